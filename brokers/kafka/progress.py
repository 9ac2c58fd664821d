"""How far a trigger has come in one partition: the offset it commits, and what is open above it."""

import base64
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

OPEN_AT_MOST = 2500
"""Offsets handed out and not settled, above which no more are handed out."""
TEXT_AT_MOST = 4000
"""Characters of a commit's metadata; Kafka takes 4,096 unless its operator lowers it."""

_MARK = "eventing/1"


@dataclass(slots=True, eq=False)
class Progress:
    """Every offset below `next` was handed out, refused by the filter or settled; `open` are those
    of them that are not settled. `waiting` counts the events of the partition that were settled
    here by being kept elsewhere for later."""

    next: int
    open: set[int] = field(default_factory=set)
    waiting: int = 0

    @property
    def low(self) -> int:
        """The offset to commit: nothing below it is left to do."""
        return min(self.open, default=self.next)

    def lag(self, end: int) -> int:
        """Offsets below `end` that are not settled, and events that wait."""
        return max(0, end - self.next) + len(self.open) + self.waiting

    def encode(self, writer: str) -> tuple[int, str]:
        """The offset to commit and its metadata. Where more is open than the metadata can name,
        what is beyond counts as not handed out: it is delivered again after a crash."""
        low = self.low
        runs = _runs(sorted(self.open), low, self.next)
        text = _text(writer, self.waiting, runs)
        while len(text) > TEXT_AT_MOST:
            runs = runs[: len(runs) * 3 // 4 // 2 * 2]
            text = _text(writer, self.waiting, runs)
        return low, text


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit says, and the node that wrote it ("" for one of another kind of client)."""

    progress: Progress
    writer: str = ""


def decode(offset: int, metadata: str | None) -> Committed:
    """The progress that was committed. Metadata of other clients say nothing: all below the offset
    is settled, and nothing above it."""
    mark, _, rest = (metadata or "").partition(" ")
    words = rest.split(" ")
    if mark != _MARK or len(words) != 3:
        return Committed(Progress(offset))
    writer, waiting, encoded = words
    try:
        numbers = _numbers(base64.urlsafe_b64decode(encoded))
        progress = Progress(offset, set(), int(waiting))
    except ValueError:
        return Committed(Progress(offset))
    for is_open, length in zip([True, False] * len(numbers), numbers, strict=False):
        if is_open:
            progress.open.update(range(progress.next, progress.next + length))
        progress.next += length
    return Committed(progress, unquote(writer))


def _text(writer: str, waiting: int, runs: list[int]) -> str:
    encoded = base64.urlsafe_b64encode(_varints(runs)).decode()
    return f"{_MARK} {quote(writer, safe='') or '-'} {waiting} {encoded}"


def _runs(open_offsets: list[int], low: int, end: int) -> list[int]:
    """Lengths of what is open and what is settled by turns, from `low`, which is open, to `end`."""
    runs: list[int] = []
    at = low
    for offset in open_offsets:
        if offset == at and runs:
            runs[-1] += 1
        else:
            if offset > low:
                runs.append(offset - at)
            runs.append(1)
        at = offset + 1
    if runs and end > at:
        runs.append(end - at)
    return runs


def _varints(numbers: list[int]) -> bytes:
    encoded = bytearray()
    for number in numbers:
        while number > 0x7F:
            encoded.append(number & 0x7F | 0x80)
            number >>= 7
        encoded.append(number)
    return bytes(encoded)


def _numbers(encoded: bytes) -> list[int]:
    """Raises ValueError where it ends within a number."""
    numbers: list[int] = []
    number = shift = 0
    for byte in encoded:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    if shift:
        raise ValueError("it ends within a number")
    return numbers
