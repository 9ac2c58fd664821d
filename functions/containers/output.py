"""A container's stdout and stderr as log lines: each told once, also when the engine was away.

A thread reads, at a bounded rate, and never has more than one batch of lines on its way.
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from functions.containers.engine import OutputStream
from functions.containers.threads import post, start_thread
from functions.output_lines import (
    BURST,
    RATE,
    LineCutter,
    LogLine,
    OnLog,
    Stream,
    parse_line,
)

_HEADER: Final = 8
"""Bytes before each message: stream, three of nothing, length."""
_LINE_COST: Final = 200
_TAKEN: Final = 30.0
"""Seconds that the event loop may take for a batch; then it is taken to be gone."""
_STREAMS: Final[dict[int, Stream]] = {1: "stdout", 2: "stderr"}


class Resumption:
    """Where the output was left, so that it goes on there: engines can only be asked for what was
    printed since a whole second."""

    def __init__(self, since: int = 0, told: int = 0) -> None:
        """since: Unix seconds; what was printed before that second is not wanted. told: so many
        messages of that second aren't either."""
        self.since = since
        self._told = told
        self._skip = 0

    def begin(self) -> None:
        """The output is read from `since` on, once more."""
        self._skip = self._told

    def is_new(self, second: int) -> bool:
        """Whether a message of this second has not been told yet; it then counts as told."""
        if second == self.since and self._skip:
            self._skip -= 1
            return False
        if second > self.since:
            self.since, self._told, self._skip = second, 0, 0
        self._told += 1
        return True


class OutputReader:
    """Reads one run's output until its end; `ended` is set then, on the event loop."""

    def __init__(
        self, stream: OutputStream, function: str, resumption: Resumption, on_log: OnLog
    ) -> None:
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._function = function
        self._resumption = resumption
        self._on_log = on_log
        self._closed = threading.Event()
        self._taken = threading.Event()
        self._cutters: dict[Stream, LineCutter] = {"stdout": LineCutter(), "stderr": LineCutter()}
        self._credit = float(BURST)
        self._credited = time.monotonic()
        resumption.begin()
        start_thread(self._read, f"output of {function}")

    def close(self) -> None:
        """Read no more."""
        self._closed.set()
        self._taken.set()
        self._stream.close()

    # In its thread

    def _read(self) -> None:
        for lines in batches(self._stream, self._resumption, self._cutters):
            if not self._hand_over(lines):
                break
        self._stream.close()
        last = [(stream, line) for stream, cutter in self._cutters.items() for line in cutter.end()]
        self._hand_over(last)
        post(self._loop, self.ended.set)

    def _hand_over(self, lines: list[tuple[Stream, bytes]]) -> bool:
        if self._closed.is_set():
            return False
        if not lines:
            return True
        self._taken.clear()
        if not post(self._loop, self._tell, lines) or not self._taken.wait(_TAKEN):
            return False
        self._pay(sum(len(line) + _LINE_COST for _, line in lines))
        return not self._closed.is_set()

    def _pay(self, cost: int) -> None:
        now = time.monotonic()
        gained = (now - self._credited) * RATE
        self._credited = now
        self._credit = min(BURST, self._credit + gained) - cost
        if self._credit < 0:
            self._closed.wait(-self._credit / RATE)

    # On the event loop

    def _tell(self, lines: list[tuple[Stream, bytes]]) -> None:
        try:
            at = time.time()
            for stream, line in lines:
                self._on_log(parse_line(line, self._function, stream, at))
        finally:
            self._taken.set()


def batches(
    pieces: Iterable[bytes], resumption: Resumption, cutters: dict[Stream, LineCutter]
) -> Iterator[list[tuple[Stream, bytes]]]:
    """The new lines of each piece of an engine's stream; an empty list for a piece of none."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        lines: list[tuple[Stream, bytes]] = []
        for number, message in messages(buffer):
            stream = _STREAMS.get(number)
            stamp, _, text = message.partition(b" ")
            if stream is None or not resumption.is_new(_second(stamp)):
                continue
            lines += [(stream, line.removesuffix(b"\r")) for line in cutters[stream].feed(text)]
        yield lines


def messages(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """(stream, message) of each whole one in the buffer, which then holds them no more."""
    at = 0
    while len(buffer) - at >= _HEADER:
        end = at + _HEADER + int.from_bytes(buffer[at + 4 : at + _HEADER], "big")
        if len(buffer) < end:
            break
        yield buffer[at], bytes(buffer[at + _HEADER : end])
        at = end
    del buffer[:at]


def _second(stamp: bytes) -> int:
    """Unix seconds of a message's time, 0 where that can't be read."""
    text = stamp.decode(errors="replace")
    whole, dot, rest = text.partition(".")
    if dot:  # Only the zone is wanted of what follows.
        whole += rest.lstrip("0123456789")
    try:
        return int(datetime.fromisoformat(whole).timestamp())
    except ValueError:
        return 0


def notice(function: str, text: str, level: str = "WARNING") -> LogLine:
    """What the node itself has to say of a function."""
    return LogLine(time.time(), function, "node", level, "", "", text)
