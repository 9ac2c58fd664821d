"""A worker's output pipes as log lines: which function, which event, which level, what text."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from eventing.sdk.output import FIELD, MARK

LINE_LIMIT: Final = 16 << 10
"""Bytes of a line that are kept."""
RATE: Final = 1 << 20
"""Bytes a second that are read from one pipe for long; above it the printing handler waits."""
BURST: Final = 2 << 20
"""Bytes that are read at once after a quiet time."""

_CHUNK = 16 << 10
_LAST_READS = 64
_LINE_COST = 200
"""What a line costs beside its bytes: short ones must not be cheaper to send than to read."""
_NOTICE_EVERY = 10.0
_MARK = MARK.encode()
_FIELD = FIELD.encode()

Stream = Literal["stdout", "stderr", "node"]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line a function has printed or logged, or ("node") the node has to say about it.

    `at` is Unix seconds. `level` is a log record's; "INFO" for what was printed. `event_id` and
    `event_source` are those of the event being handled, "" where none was or nobody can tell.
    `function` is "namespace/name", "" for what a project prints while it is imported.
    """

    at: float
    function: str
    stream: Stream
    level: str
    event_id: str
    event_source: str
    text: str


OnLog = Callable[[LogLine], None]


def parse_line(line: bytes, function: str, stream: Stream, at: float) -> LogLine:
    """A line without its end, marked as eventing.sdk.output marks them or not at all."""
    level, id, source, text = b"INFO", b"", b"", line
    if line.startswith(_MARK):
        fields = line[1:].split(_FIELD, 3)
        if len(fields) == 4:
            level, id, source, text = fields
    return LogLine(
        at,
        function,
        stream,
        level.decode(errors="replace"),
        id.decode(errors="replace"),
        source.decode(errors="replace"),
        text.decode(errors="replace"),
    )


class LineCutter:
    """Cuts bytes into lines, each kept up to LINE_LIMIT; holds no more than that."""

    def __init__(self) -> None:
        self._partial = bytearray()
        self._cut = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends."""
        lines = []
        *whole, rest = data.split(b"\n")
        for piece in whole:
            if self._partial or self._cut or len(piece) > LINE_LIMIT:
                self._keep(piece)
                lines.append(self._line())
            else:
                lines.append(piece)
        if rest:
            self._keep(rest)
        return lines

    def end(self) -> list[bytes]:
        """The line that had no end."""
        return [self._line()] if self._partial or self._cut else []

    def _keep(self, piece: bytes) -> None:
        room = LINE_LIMIT - len(self._partial)
        self._partial += piece[:room]
        self._cut += max(0, len(piece) - room)

    def _line(self) -> bytes:
        line = bytes(self._partial)
        if self._cut:
            line += f" … ({self._cut} bytes of this line were cut)".encode()
        self._partial.clear()
        self._cut = 0
        return line


class OutputPipe:
    """Reads one pipe on the event loop, at a bounded rate: who prints without end is slowed down
    by the full pipe, and neither the node's memory nor its time goes with it."""

    def __init__(self, descriptor: int, function: str, stream: Stream, on_log: OnLog) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._function = function
        self._stream = stream
        self._on_log = on_log
        self._cutter = LineCutter()
        self._credit = float(BURST)
        self._credited = time.monotonic()
        self._noticed = -_NOTICE_EVERY
        self._resume: asyncio.TimerHandle | None = None
        self._open = True
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._readable)

    def close(self) -> None:
        """Read what is there, then let go.

        A pipe holds little; more comes only of a process that outlived its worker's group.
        """
        for _ in range(_LAST_READS):
            if not self._open or not self._read():
                break
        self._close()

    def _readable(self) -> None:
        if not self._read():
            return
        if self._credit < 0:
            self._pause(-self._credit / RATE)

    def _read(self) -> bool:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._close()
            return False
        lines = self._cutter.feed(data)
        self._spend(len(data) + _LINE_COST * len(lines))
        self._tell(lines)
        return self._open

    def _tell(self, lines: list[bytes]) -> None:
        at = time.time()
        for line in lines:
            self._on_log(parse_line(line, self._function, self._stream, at))

    def _spend(self, cost: int) -> None:
        now = time.monotonic()
        gained = (now - self._credited) * RATE
        self._credited = now
        self._credit = min(BURST, self._credit + gained) - cost

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._descriptor)
        self._resume = self._loop.call_later(seconds, self._go_on)
        now = time.monotonic()
        if now - self._noticed >= _NOTICE_EVERY:
            self._noticed = now
            text = (
                f"{self._stream} is printed to faster than {RATE >> 20} MiB/s: it is read no"
                " faster than that, and the handler waits meanwhile; nothing is dropped"
            )
            self._on_log(LogLine(time.time(), self._function, "node", "WARNING", "", "", text))

    def _go_on(self) -> None:
        self._resume = None
        if self._open:
            self._spend(0)
            self._loop.add_reader(self._descriptor, self._readable)

    def _close(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._resume is not None:
            self._resume.cancel()
        else:
            self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._tell(self._cutter.end())
