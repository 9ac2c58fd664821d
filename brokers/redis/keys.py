"""Names of a broker's keys in Redis, and the places of its entries.

A position is an entry's id `<milliseconds>-<sequence>` in one integer: milliseconds × 1,000,000 +
sequence. So positions rise as ids do, tell the time of storing, and stay below 2**63 until the
year 2262.
"""

import hashlib
from typing import Final

from brokers.base import At, Place

SEQUENCES: Final = 1_000_000
"""Sequence numbers that a millisecond has room for."""
LAST_POSITION: Final = (1 << 63) - 1


def base_key(broker: str) -> str:
    """What all keys of a broker begin with. The braces make one Redis Cluster slot of them all."""
    return f"eventing:{{{broker}}}"


def events_key(broker: str) -> str:
    """The stream of a broker's events."""
    return f"{base_key(broker)}:events"


def letters_key(broker: str) -> str:
    """The stream of its dead letters."""
    return f"{base_key(broker)}:dead-letters"


def waiting_key(broker: str, trigger: str) -> str:
    """The hash of a trigger's deliveries that wait for their time, or were handed out after it."""
    return f"{base_key(broker)}:waiting:{trigger}"


def position_of(id: bytes) -> int:
    """The position of an entry's id. Raises ValueError for an id that has none: one that somebody
    chose, with a sequence or a time beyond all that Redis gives by itself."""
    milliseconds, _, sequence = id.partition(b"-")
    number = int(sequence)
    position = int(milliseconds) * SEQUENCES + number
    if number >= SEQUENCES or position > LAST_POSITION:
        raise ValueError(f"the entry id {id.decode()} is out of range")
    return position


def id_of(position: int) -> bytes:
    """The entry's id at a position."""
    return b"%d-%d" % divmod(position, SEQUENCES)


def place_of(position: int) -> bytes:
    """The position as the keys beside the stream have it: digits that sort as numbers do."""
    return b"%019d" % position


def moment_of(position: int) -> float:
    """When the entry was stored, in Unix seconds of the server's clock."""
    return position // SEQUENCES / 1000


def first_position(place: Place) -> int:
    """The lowest position that is not before the place."""
    if isinstance(place, At):
        place = max(0, int(min(place.seconds, 1e12) * 1000)) * SEQUENCES
    return min(max(1, place), LAST_POSITION)


def last_position(end: Place | None, head: int) -> int:
    """The highest position that is before the end, of those up to `head`."""
    if end is None:
        return head
    last = first_position(end) - 1 if isinstance(end, At) else end
    return min(last, head)


def script_name(source: str) -> str:
    """What EVALSHA calls a script."""
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
