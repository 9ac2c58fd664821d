"""The zygote: a process that has imported the project and forks a worker in milliseconds.

It has one thread and no event loop, so forking it is sound; where the project's imports start
threads it says so and is not asked to fork. It lives as long as its node wants it.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import select
import signal
import socket
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from eventing.errors import UserError
from eventing.sdk import lifeline, limits, output, worker
from eventing.sdk.frames import FrameError, FrameReader, encode
from eventing.sdk.project import Project, lasting_threads, load, preload

# From the node: [PRELOAD, modules], [LOAD, paths, handlers], [FORK, number] with 3 descriptors.
PRELOAD: Final = 33
LOAD: Final = 34
FORK: Final = 35
# From the zygote:
LOADED: Final = 49  # [LOADED, report]
FAILED: Final = 50  # [FAILED, message]
FORKED: Final = 51  # [FORKED, number, pid]
NOT_FORKED: Final = 52  # [NOT_FORKED, number, reason]
EXITED: Final = 53  # [EXITED, pid, wait status]

DESCRIPTORS: Final = 3
"""A FORK brings the worker's socket, stdout and stderr."""


@dataclass(frozen=True, slots=True)
class Child:
    """Returned in the process that was forked: what its worker serves with."""

    connection: int
    stdout: int
    stderr: int


class Zygote:
    """Reads requests from its control socket, forks, and tells which of its children ended."""

    def __init__(self, control: socket.socket) -> None:
        self.project: Project | None = None
        self._control = control
        self._reader = FrameReader()
        self._descriptors: deque[int] = deque()
        self._children: set[int] = set()
        self._ending: dict[int, tuple[int, int]] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._wakeup, self._wakeup_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._wakeup, select.POLLIN)

    def serve(self) -> Child | None:
        """Until the control socket is closed (None), or in a forked process (its Child)."""
        control = self._control.fileno()
        while True:
            pause = lifeline.GROUP_PAUSE * 1000 if self._ending else None
            for descriptor, _ in self._poll.poll(pause):
                if descriptor != control:
                    os.read(self._wakeup, worker.CHUNK)
                    continue
                data, descriptors, _, _ = socket.recv_fds(
                    self._control, worker.CHUNK, DESCRIPTORS * 64, socket.MSG_CMSG_CLOEXEC
                )
                self._descriptors.extend(descriptors)
                if not data:
                    return None
                for frame in self._reader.feed(data):
                    child = self._handle(frame)
                    if child is not None:
                        return child
            self._reap()
            self._tell_ended()

    def _handle(self, frame: list[Any]) -> Child | None:
        kind, *arguments = frame
        if kind == FORK:
            return self._fork(*arguments)
        if kind == LOAD:
            self._load(*arguments)
        elif kind == PRELOAD:
            preload(*arguments)
        else:
            raise FrameError(f"a request of the unknown kind {kind}")
        return None

    def _tell(self, *items: object) -> None:
        self._control.sendall(encode(*items))

    def _load(self, paths: list[str], handlers: list[str]) -> None:
        try:
            self.project = load(paths, handlers)
        except UserError as error:
            self._tell(FAILED, str(error))
            return
        for module in ("orjson", "hashlib"):
            preload([module])
        if any(not handler.sync for handler in self.project.handlers.values()):
            preload(["asyncio", "eventing.sdk.concurrent"])
        output.capture_logging()
        limits.reset_signals()
        # Any child's end wakes the poll: that of a worker, and of an orphan that came to us.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wakeup_end, warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()
        self._tell(
            LOADED,
            {
                "functions": [handler.report() for handler in self.project.handlers.values()],
                "missing": self.project.missing,
                "modules": self.project.modules,
                "roots": self.project.roots,
                "threads": lasting_threads(),
            },
        )

    def _fork(self, number: int) -> Child | None:
        child = Child(*(self._descriptors.popleft() for _ in range(DESCRIPTORS)))
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(NOT_FORKED, number, f"no process could be forked: {error}")
            pid = -1
        if pid == 0:
            self._let_go()
            return child
        for descriptor in (child.connection, child.stdout, child.stderr):
            os.close(descriptor)
        if pid > 0:
            with suppress(OSError):  # the child does it as well, whoever is first
                os.setpgid(pid, pid)
            self._children.add(pid)
            self._tell(FORKED, number, pid)
        return None

    def _let_go(self) -> None:
        """In the forked process: close what is the zygote's."""
        self._control.close()
        signal.set_wakeup_fd(-1)
        for descriptor in (self._wakeup, self._wakeup_end, *self._descriptors):
            os.close(descriptor)

    def _reap(self) -> None:
        """Wait for workers that have ended, and for orphans of theirs, so that none lingers."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            own = pid in self._children
            if own:
                # What its handlers started goes with it. Before the wait, while the number of its
                # group can't have been given to another.
                with suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if own:
                self._children.remove(pid)
                self._ending[pid] = (status, lifeline.GROUP_ROUNDS)

    def _tell_ended(self) -> None:
        """Tell of the workers whose whole group is gone."""
        for pid, (status, rounds) in list(self._ending.items()):
            if lifeline.group_is_gone(pid) or rounds == 0:
                del self._ending[pid]
                self._tell(EXITED, pid, status)
            else:
                self._ending[pid] = (status, rounds - 1)


def main(control_fd: int, lifeline_fd: int) -> NoReturn:
    """A zygote; the descriptors are inherited, standard output and error are the node's pipes."""
    lifeline.own_group()
    lifeline.hold(lifeline_fd)
    lifeline.adopt_orphans()
    output.capture()
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGUSR2, file=2, all_threads=False)
    sys.argv = [""]
    zygote = Zygote(socket.socket(fileno=control_fd))
    try:
        child = zygote.serve()
    except OSError:
        child = None  # the node is gone
    if child is None:
        os._exit(0)
    worker.begin(lifeline_fd, child.stdout, child.stderr)
    limits.reseed()
    worker.run(socket.socket(fileno=child.connection), zygote.project)
