"""The node's end of a zygote: asks it to import and to fork, hears who was born and who ended."""

import asyncio
import os
import re
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from eventing.errors import OperationError, UserError
from eventing.sdk import zygote as protocol
from eventing.sdk.frames import FrameError, FrameReader, encode
from functions.interpreter import Lifeline, start_interpreter
from functions.output_lines import LogLine, OnLog, OutputPipe
from functions.process_exit import describe, kill_group, watch_exit
from functions.worker_process import ProcessWorker, open_channels

_CHUNK = 1 << 16
_DUMP_GRACE = 0.5
"""Seconds an interpreter that hangs gets to say where it stands."""
_EOF_GRACE = 1.0
"""Seconds from the end of its socket to the end of the process."""
_LAST_LINES = 40
_OURS = re.compile(r'File "(<string>|<frozen |[^"]*/eventing/sdk/)')
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


class ZygoteProcess:
    """One zygote. `lost` is called once when it has ended, however that came.

    What it forked outlives it: those workers are then watched through their pidfds.
    """

    def __init__(
        self,
        python: str,
        lifeline: Lifeline,
        on_log: OnLog,
        lost: Callable[["ZygoteProcess", str], None],
    ) -> None:
        """Starts it. Raises OperationError or OSError."""
        self._loop = asyncio.get_running_loop()
        self._on_log = on_log
        self._lost = lost
        self._reader = FrameReader()
        self._outbox: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._blocked = False
        self._number = 0
        self._unborn: dict[int, ProcessWorker] = {}
        self._workers: dict[int, ProcessWorker] = {}
        self._loading: asyncio.Future[Mapping[str, Any]] | None = None
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._alive = True
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._socket, (stdout, stderr), theirs = open_channels()
        control, stdout_end, stderr_end = theirs
        try:
            self.pid = start_interpreter(
                python,
                "eventing.sdk.zygote",
                (control, lifeline.descriptor),
                stdout=stdout_end,
                stderr=stderr_end,
            )
        except OperationError:
            self._socket.close()
            _close_all((stdout, stderr))
            raise
        finally:
            _close_all(theirs)
        self._outputs = (
            OutputPipe(stdout, "", "stdout", self._log),
            OutputPipe(stderr, "", "stderr", self._log),
        )
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._readable)
        watch_exit(self.pid, self._ended)

    def on_lost(self, lost: Callable[["ZygoteProcess", str], None]) -> None:
        """Tell `lost` from now on."""
        self._lost = lost

    @property
    def alive(self) -> bool:
        return self._alive

    def preload(self, modules: Iterable[str]) -> None:
        """Begin to import third-party modules, as far as they can be."""
        self._ask(protocol.PRELOAD, list(modules))

    async def load(
        self, paths: Sequence[str], handlers: Sequence[str], timeout: float
    ) -> Mapping[str, Any]:
        """Import the project; the report of what is in it.

        Raises UserError for everything the user's code can do wrong when imported: it raises,
        exits, ends the interpreter, or has not come back after `timeout` seconds.
        """
        self._loading = self._loop.create_future()
        if not self._alive:
            raise OperationError("the project's interpreter has ended; it is started again")
        self._ask(protocol.LOAD, list(paths), list(handlers))
        try:
            return await asyncio.wait_for(asyncio.shield(self._loading), timeout)
        except TimeoutError:
            where = await self._standing_at(paths)
            self.kill()
            raise UserError(
                f"{where or ', '.join(paths)}: importing the project took longer than {timeout:g} s"
                f"{'; it stood here' if where else ''}. Move what is slow into a start-up hook"
            ) from None
        finally:
            self._loading = None

    def fork(self, worker: ProcessWorker, descriptors: tuple[int, int, int]) -> None:
        """Ask for a process for `worker`; takes over the descriptors."""
        self._number += 1
        self._unborn[self._number] = worker
        self._ask(protocol.FORK, self._number, descriptors=descriptors)

    def close(self) -> None:
        """Let it end: it does when its socket is closed. Its workers go on."""
        if self._alive:
            self._let_go()

    def kill(self) -> None:
        if self._alive:
            kill_group(self.pid)

    # Out

    def _ask(self, *items: object, descriptors: tuple[int, ...] = ()) -> None:
        if not self._alive or self._socket.fileno() < 0:
            _close_all(descriptors)
            return
        self._outbox.append((memoryview(encode(*items)), descriptors))
        if not self._blocked:
            self._flush()

    def _flush(self) -> None:
        while self._outbox:
            data, descriptors = self._outbox[0]
            try:
                if descriptors:
                    sent = socket.send_fds(self._socket, [data], list(descriptors))
                else:
                    sent = self._socket.send(data)
            except BlockingIOError:
                if not self._blocked:
                    self._blocked = True
                    self._loop.add_writer(self._socket, self._flush)
                return
            except OSError:
                return  # it has ended, which `_ended` hears of
            _close_all(descriptors)
            if sent < len(data):
                self._outbox[0] = (data[sent:], ())
            else:
                self._outbox.popleft()
        if self._blocked:
            self._blocked = False
            self._loop.remove_writer(self._socket)

    # In

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)
            self._loop.call_later(_EOF_GRACE, self.kill)
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            told = list(self._reader.feed(data))
        except FrameError:
            self._loop.remove_reader(self._socket)
            self.kill()
            return
        for frame in told:
            self._hear(frame)

    def _hear(self, frame: list[Any]) -> None:
        kind, *told = frame
        if kind == protocol.FORKED:
            number, pid = told
            worker = self._unborn.pop(number)
            self._workers[pid] = worker
            worker.born(pid)
        elif kind == protocol.EXITED:
            pid, status = told
            self._workers.pop(pid).ended(status)
        elif kind == protocol.NOT_FORKED:
            number, reason = told
            self._unborn.pop(number).ended(None, reason)
        elif self._loading is not None and not self._loading.done():
            if kind == protocol.LOADED:
                self._loading.set_result(told[0])
            elif kind == protocol.FAILED:
                self._loading.set_exception(UserError(told[0]))

    # The end

    def _let_go(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            if self._blocked:
                self._loop.remove_writer(self._socket)
            self._socket.close()

    def _ended(self, status: int | None) -> None:
        if self._socket.fileno() >= 0:
            self._drain()
        self._alive = False
        self._let_go()
        for _, descriptors in self._outbox:
            _close_all(descriptors)
        self._outbox.clear()
        for pipe in self._outputs:
            pipe.close()
        how = describe(status)
        if self._loading is not None and not self._loading.done():
            lines = "".join(f"\n{line}" for line in self._last_lines if not _OURS.search(line))
            self._loading.set_exception(
                UserError(f"importing the project ended the interpreter ({how}){lines}")
            )
        for pid, worker in self._workers.items():
            watch_exit(pid, worker.ended)
        for worker in self._unborn.values():
            worker.ended(None, f"the zygote ended ({how}) before it could be forked")
        self._unborn.clear()
        self._workers.clear()
        self._lost(self, how)
        self.gone.set_result(None)

    def _drain(self) -> None:
        """Hear what it still said: who was born and who ended."""
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except OSError:
                return
            if not data:
                return
            self._take(data)

    def _log(self, line: LogLine) -> None:
        self._last_lines.append(line.text)
        self._on_log(line)

    async def _standing_at(self, paths: Sequence[str]) -> str:
        """`app.py:12`, the project's innermost line as the interpreter's own dump tells it."""
        self._last_lines.clear()
        if not self._alive:
            return ""
        os.kill(self.pid, signal.SIGUSR2)
        await asyncio.sleep(_DUMP_GRACE)
        return innermost_line(self._last_lines, paths)


def innermost_line(dump: Iterable[str], paths: Sequence[str]) -> str:
    """`app.py:12`: the first line of a faulthandler dump that is in one of `paths`; "" = none."""
    own = tuple(path if path.endswith(".py") else path.rstrip("/") + "/" for path in paths)
    for line in dump:
        match = _FRAME.search(line)
        if match is not None and match["file"].startswith(own):
            return f"{match['file']}:{match['line']}"
    return ""


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
