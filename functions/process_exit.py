"""How a process ended: noticed on the event loop, said in words."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

from eventing.sdk.lifeline import GROUP_PAUSE, GROUP_ROUNDS, group_is_gone


def describe(status: int | None) -> str:
    """A wait status for people: "exited with status 3", "killed by SIGSEGV"."""
    if status is None:
        return "it is gone, and nobody could tell how it ended"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def kill_group(pid: int) -> None:
    """SIGKILL to the process group `pid` leads, so to what it has started as well."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended


def watch_exit(pid: int, ended: Callable[[int | None], None]) -> None:
    """Call `ended(wait status)` on the event loop once the process and its group have ended.

    They are waited for, so that nothing of them stays. The status is None where the process is
    no child of this one.
    """
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        loop.call_soon(_settle, pid, ended)
        return

    def readable() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        _settle(pid, ended)

    loop.add_reader(pidfd, readable)


def _settle(pid: int, ended: Callable[[int | None], None]) -> None:
    kill_group(pid)
    status: int | None
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        status = None
    _settle_group(pid, GROUP_ROUNDS, lambda: ended(status))


def _settle_group(pid: int, rounds: int, ended: Callable[[], None]) -> None:
    if group_is_gone(pid) or rounds == 0:
        _reap_strangers()
        ended()
        return
    loop = asyncio.get_running_loop()
    loop.call_later(GROUP_PAUSE, _settle_group, pid, rounds - 1, ended)


def _reap_strangers() -> None:
    """Wait for daemons of ended workers that came to this process and have ended since.

    They are told from this process's own children by their session: none of these has another.
    """
    session = os.getsid(0)
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            try:
                state, _, _, of_session, *_ = (
                    Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                )
                if state == "Z" and int(of_session) != session:
                    os.waitpid(pid, os.WNOHANG)
            except (OSError, ValueError):
                continue  # it has been waited for
