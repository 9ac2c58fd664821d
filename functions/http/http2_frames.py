"""The ends of an HTTP/2 connection that the server announces, told apart from all else it sends.

To the h2 library a GOAWAY is the end at once. It is not: the requests up to the one it names are
still answered (RFC 9113, section 6.8). So these frames are taken out of what the library reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from h2.errors import ErrorCodes

_HEADER = 9
_GOAWAY = 7
_LARGEST = 16_384
"""Bytes of a frame, as long as nobody has allowed the server more."""
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class GoAway:
    """The server takes no more requests: those of streams above `last` have had no effect."""

    last: int
    error: int
    debug: bytes

    def __str__(self) -> str:
        told = self.debug[:_SHOWN].decode("ascii", "replace")
        shown = "".join(character for character in told if character.isprintable())
        return f"GOAWAY, {error_name(self.error)}" + (f": {shown}" if shown else "")


def error_name(code: int) -> str:
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"error {code:#x}"


class FrameCutter:
    """Cuts what comes into GOAWAY frames and the stretches between them."""

    def __init__(self) -> None:
        self._held = b""
        """The beginning of a frame whose kind, or of a GOAWAY whose whole, has not come yet."""
        self._ahead = 0
        """Bytes of the current frame still to come."""

    def feed(self, data: bytes) -> Iterator[bytes | GoAway]:
        """The pieces, in order. Raises ValueError at a frame larger than allowed: the library would
        wait for all of it."""
        if self._held:
            data = self._held + data
            self._held = b""
        begin, at, end = 0, self._ahead, len(data)
        while at + _HEADER <= end:
            length = int.from_bytes(data[at : at + 3], "big")
            if length > _LARGEST:
                raise ValueError(f"a frame of {length:,} bytes, where {_LARGEST:,} are allowed")
            following = at + _HEADER + length
            if data[at + 3] == _GOAWAY and length >= 8:
                if following > end:
                    break
                if begin < at:
                    yield data[begin:at]
                body = data[at + _HEADER : following]
                last = int.from_bytes(body[:4], "big") & 0x7FFF_FFFF
                yield GoAway(last, int.from_bytes(body[4:8], "big"), body[8:])
                begin = following
            at = following
        if at < end:
            self._held = data[at:]
            end = at
        self._ahead = at - end
        if begin < end:
            yield data[begin:end]
