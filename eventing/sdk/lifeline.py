"""Ends a process group the moment its node is gone, whatever its code is doing."""

import ctypes
import fcntl
import os
import select
import signal
from typing import Final

GROUP_PAUSE: Final = 0.005
GROUP_ROUNDS: Final = 200
"""Seconds between two looks at a killed group, and how often it is looked at before its end is
told all the same: one second, for a process that the kernel itself holds."""

_PR_SET_CHILD_SUBREAPER = 36


def own_group() -> None:
    """Make this process the leader of its group, which then ends as one.

    A process a handler has started belongs to it and goes with its worker.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)


def hold(descriptor: int) -> None:
    """Have the kernel kill this process's group when the pipe `descriptor` reads from is closed.

    Only the node holds the pipe's other end and nothing is ever written to it. The signal comes
    from the kernel (F_SETSIG), so it reaches a handler that blocks, spins or holds the
    interpreter, and costs no thread. The owner of such a signal is kept per open file, hence a
    fresh one: the descriptor's own is shared with every process that inherited it.
    """
    own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(own, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(own, 0)
    if poll.poll(0):
        os.killpg(os.getpgrp(), signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can be waited for."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def group_is_gone(leader: int) -> bool:
    """Wait for what has ended of a killed group; whether nothing of it is left among our children.

    To be asked once its leader has been waited for: orphans have come to us by then.
    """
    try:
        while os.waitpid(-leader, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False
