"""The node's end of one worker process: calls out, results in, and how it ended.

The socket is read and written on the event loop directly, without a transport: a worker can be
sent its first calls in the very turn it is launched in, and a call costs no more than its bytes.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

from eventing.sdk import frames
from eventing.sdk.frames import FrameError, FrameReader, FrameTooLarge
from functions.base import Call, Response
from functions.output_lines import OnLog, OutputPipe
from functions.process_exit import describe, kill_group
from functions.worker import Revision, WorkerListener

STOP_GRACE = 10.0
"""Seconds a worker's shutdown hooks may take."""

_CHUNK = 1 << 16
_WRITE = 1 << 18
"""Bytes packed for one write. What waits beyond is kept as calls, not packed a second time."""
_LAST_READS = 64
"""Pieces read of a worker that has ended: more than its socket holds."""
_EOF_GRACE = 1.0
"""Seconds from the end of the socket to the end of the process."""


class ProcessWorker:
    """A worker (functions.worker.Worker). Made by a launcher, which tells it `born` and `ended`.

    `between_calls`: it said it exits with no call running, so what it did not answer never began.
    """

    def __init__(
        self,
        revision: Revision,
        listener: WorkerListener,
        connection: socket.socket,
        outputs: tuple[int, int],
        roots: tuple[str, ...],
        on_log: OnLog,
        gone: Callable[["ProcessWorker"], None],
    ) -> None:
        self.pid = 0
        self.between_calls = False
        self.revision = revision
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._gone = gone
        self._reader = FrameReader()
        self._waiting: deque[tuple[int, Call] | bytes] = deque()
        self._unsent = memoryview(b"")
        self._scheduled = False
        self._blocked = False
        self._kill_at_birth = False
        self._over = False
        """Its process has ended."""
        self._alive = True
        """Its listener has not been told so."""
        self._reason = ""
        self._last_words: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        connection.setblocking(False)
        self._loop.add_reader(connection, self._readable)
        function = f"{revision.namespace}/{revision.name}"
        self._outputs = (
            OutputPipe(outputs[0], function, "stdout", on_log),
            OutputPipe(outputs[1], function, "stderr", on_log),
        )
        self._send(
            frames.encode(
                frames.START,
                {
                    "handler": revision.handler,
                    "name": revision.name,
                    "namespace": revision.namespace,
                    "concurrency": revision.concurrency,
                    "timeout": revision.timeout,
                    "memory": revision.memory,
                    "env": dict(revision.env),
                    "roots": roots,
                },
            )
        )

    def call(self, id: int, call: Call) -> None:
        self._send((id, call))

    def cancel(self, id: int) -> None:
        self._send(frames.encode(frames.CANCEL, id))

    def drain(self) -> None:
        self._send(frames.encode(frames.DRAIN))

    def kill(self, reason: str = "") -> None:
        """SIGKILL to it and all it has started; `reason` is then told by `exited`."""
        if self._over:
            return
        self._reason = self._reason or reason
        if self.pid:
            kill_group(self.pid)
        else:
            self._kill_at_birth = True

    def born(self, pid: int) -> None:
        """The launcher knows its process."""
        self.pid = pid
        if self._kill_at_birth:
            kill_group(pid)

    def ended(self, status: int | None, reason: str = "") -> None:
        """Its process has ended, or (with a reason) never began. Tells the listener, once."""
        if self._over:
            return
        self._over = True
        for _ in range(_LAST_READS):  # what it still said
            if not self._read():
                break
        self._alive = False
        self._loop.remove_reader(self._connection)
        if self._blocked:
            self._loop.remove_writer(self._connection)
        self._connection.close()
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        for pipe in self._outputs:
            pipe.close()
        if not reason:
            reason = self._reason or self._describe(status)
        self._gone(self)
        self._listener.exited(self, reason)

    def _describe(self, status: int | None) -> str:
        if self._last_words is None:
            return describe(status)
        return self._last_words or "drained"

    # Sending

    def _send(self, item: tuple[int, Call] | bytes) -> None:
        if not self._alive:
            return
        self._waiting.append(item)
        if not self._scheduled and not self._blocked:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """What was sent in one turn of the loop leaves in one write, as far as the worker reads."""
        self._scheduled = False
        while self._alive:
            if not self._unsent:
                self._unsent = memoryview(self._pack())
                if not self._unsent:
                    break
            try:
                sent = self._connection.send(self._unsent)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # it has ended, which is told in its own way
            self._unsent = self._unsent[sent:]
            if self._unsent:
                if not self._blocked:
                    self._blocked = True
                    self._loop.add_writer(self._connection, self._flush)
                return
        if self._blocked and self._alive:
            self._blocked = False
            self._loop.remove_writer(self._connection)

    def _pack(self) -> bytes:
        waiting = self._waiting
        packed: list[bytes] = []
        size = 0
        while waiting and size < _WRITE:
            item = waiting.popleft()
            if isinstance(item, tuple):
                id, call = item
                try:
                    item = frames.encode_call(
                        id, call.event, call.attempt, call.trigger, call.timeout
                    )
                except FrameTooLarge as error:
                    reason = f"the event is too large for a worker: {error}"
                    response = Response(413, body=reason.encode(), reason=reason)
                    self._listener.result(self, id, response)
                    continue
            packed.append(item)
            size += len(item)
        return packed[0] if len(packed) == 1 else b"".join(packed)

    # Receiving

    def _readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        """Take one piece; whether there may be more."""
        try:
            data = self._connection.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._finished()
            return False
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except FrameError as error:
            self._loop.remove_reader(self._connection)
            self.kill(f"killed, for it sent {error}")
            return False
        return self._alive

    def _take(self, frame: list[object]) -> None:
        kind = frame[0]
        if kind == frames.RESULT:
            id, response = frames.decode_result(frame, Response)
            self._listener.result(self, id, response)
        elif kind == frames.READY:
            self._listener.ready(self)
        elif kind == frames.STOPPING:
            self._after(STOP_GRACE, f"killed, its shutdown hooks took over {STOP_GRACE:g} s")
        elif kind == frames.LAST_WORDS and len(frame) == 3 and isinstance(frame[1], str):
            self._last_words = frame[1]
            self.between_calls = bool(frame[2])
        else:
            raise FrameError(f"a frame of kind {kind} that a worker does not send")

    def _finished(self) -> None:
        """The socket's end, a moment before the process's own, or of a process that lost it."""
        self._loop.remove_reader(self._connection)
        self._after(_EOF_GRACE, "killed, for it had closed its connection to the node")

    def _after(self, seconds: float, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.kill, reason)


class StillbornWorker:
    """Stands for a worker whose process could not even be asked for."""

    pid = 0
    between_calls = True

    def call(self, id: int, call: Call) -> None: ...

    def cancel(self, id: int) -> None: ...

    def drain(self) -> None: ...

    def kill(self) -> None: ...


def open_channels() -> tuple[socket.socket, tuple[int, int], tuple[int, int, int]]:
    """The node's socket and two output pipes, and the three descriptors for the worker.

    Raises OSError, with nothing left open.
    """
    ours, theirs = socket.socketpair()
    opened: list[int] = []
    try:
        opened += os.pipe2(os.O_CLOEXEC)
        opened += os.pipe2(os.O_CLOEXEC)
    except OSError:
        ours.close()
        theirs.close()
        for descriptor in opened:
            os.close(descriptor)
        raise
    stdout, stdout_end, stderr, stderr_end = opened
    return ours, (stdout, stderr), (theirs.detach(), stdout_end, stderr_end)
