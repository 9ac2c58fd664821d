"""What a handler prints or logs, marked line by line with the event it belongs to.

Descriptors 1 and 2 are pipes to the node. Each line goes as
`\\x1e level \\x1f event id \\x1f event source \\x1f text \\n` in one write; what code outside
Python prints goes unmarked and is taken as it is.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from eventing.event import Event

if TYPE_CHECKING:
    from typing import BinaryIO

MARK: Final = "\x1e"
FIELD: Final = "\x1f"
LINE_LIMIT: Final = 16 << 10
"""Characters of an unfinished line kept back; a longer one is sent in pieces."""

_in_context: ContextVar[Event | None] = ContextVar("eventing_event", default=None)
_in_process: Event | None = None


def enter_process(event: Event | None) -> None:
    """From here on the whole process works on `event`: for workers that take one call at a time."""
    global _in_process
    _in_process = event


def enter_context(event: Event) -> None:
    """From here on the current task works on `event`: for workers that take several."""
    _in_context.set(event)


def current() -> Event | None:
    """The event that whoever asks works on."""
    return _in_context.get() or _in_process


class MarkedStream(io.TextIOBase):
    """A text stream that sends whole lines, each marked with the event of whoever printed it."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._partial: dict[int, tuple[Event | None, str]] = {}
        self._lock = threading.RLock()
        self._binary: BinaryIO | None = None

    @property
    def buffer(self) -> BinaryIO:
        """For bytes; they go unmarked."""
        if self._binary is None:
            self._binary = io.FileIO(self._descriptor, "w", closefd=False)
        return self._binary

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        event = current()
        with self._lock:
            partial = self._partial.pop(id(event), None)
            whole = text if partial is None else partial[1] + text
            *lines, rest = whole.split("\n")
            if len(rest) > LINE_LIMIT:
                lines.append(rest)
                rest = ""
            if rest:
                self._partial[id(event)] = (event, rest)
            if lines:
                self._send("INFO", lines, event)
        return len(text)

    def flush(self) -> None:
        """Nothing: whole lines have gone, an unfinished one waits for its end or its event's."""

    def finish(self) -> None:
        """Send the unfinished line of the current event."""
        if not self._partial:
            return
        with self._lock:
            partial = self._partial.pop(id(current()), None)
            if partial is not None:
                self._send("INFO", [partial[1]], partial[0])

    def record(self, level: str, text: str) -> None:
        """Send `text` as a log record's lines."""
        with self._lock:
            self._send(level, text.split("\n"), current())

    def _send(self, level: str, lines: list[str], event: Event | None) -> None:
        mark = f"{MARK}{level}{FIELD}{FIELD}{FIELD}"
        if event is not None:
            get = event.attributes.get
            mark = f"{MARK}{level}{FIELD}{get('id', '')}{FIELD}{get('source', '')}{FIELD}"
        text = "".join(f"{mark}{line}\n" for line in lines)
        data = memoryview(text.encode(errors="backslashreplace"))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            # The node is gone, and soon this process: nobody is left to tell.
            pass


class _Records(logging.Handler):
    """Log records as marked lines of stderr."""

    def __init__(self, stream: MarkedStream) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._stream.record(record.levelname, self.format(record))
        except Exception:
            self.handleError(record)


stdout = MarkedStream(1)
stderr = MarkedStream(2)


def capture() -> None:
    """Make print and sys.stderr marked streams; before the user's code is imported."""
    sys.stdout = stdout
    sys.stderr = stderr


def capture_logging() -> None:
    """Log from INFO up through the marked stream, unless the user's code has configured logging."""
    root = logging.getLogger()
    if root.handlers:
        return
    root.addHandler(_Records(stderr))
    if root.level == logging.WARNING:
        root.setLevel(logging.INFO)


def finish() -> None:
    """The current event is done: send what it printed without an end of line."""
    stdout.finish()
    stderr.finish()
