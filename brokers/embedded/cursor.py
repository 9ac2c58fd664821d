"""How far a subscription has come: one row of storage says it all."""

import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brokers.embedded.subscription import EmbeddedSubscription


@dataclass(slots=True, eq=False)
class Cursor:
    """The place of one subscription in the log, kept whether it is open or not.

    Every event up to `high` has been handed out, refused by the filter, or settled. `gaps` are
    the positions up to `high` that are not settled and have no row in `deliveries`: its size is
    bounded by what the receivers hold (and, in ordered mode, by what is parked in memory), at 8
    bytes each in storage. `rows` counts the rows in `deliveries`. `settling` counts what the
    transaction under way settles: it is over once that is durable, and its replies are in the log.
    `written` is the `high` storage knows; it may lag behind where nothing was settled, since
    reading and refusing the same events again is harmless.
    """

    id: int
    name: str
    high: int
    gaps: set[int] = field(default_factory=set)
    rows: int = 0
    settling: int = 0
    written: int = 0
    handle: "EmbeddedSubscription | None" = None

    def now_high(self) -> int:
        """`high` as of this moment."""
        return self.high if self.handle is None else self.handle.high()

    def needs(self) -> int:
        """The lowest position it may still ask the log for, its `deliveries` rows apart."""
        high = self.now_high()
        return min(self.gaps, default=high + 1)

    def lag(self, head: int) -> int:
        """Events up to `head` not yet settled; those its filter will refuse count until read."""
        return head - self.now_high() + len(self.gaps) + self.rows + self.settling


def pack(positions: Iterable[int]) -> bytes:
    """Positions as little-endian 64-bit integers."""
    packed = array("Q", positions)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(packed: bytes) -> set[int]:
    """The positions of `pack`. Raises ValueError where the length is none of its."""
    positions = array("Q")
    positions.frombytes(packed)
    if sys.byteorder == "big":
        positions.byteswap()
    return set(positions)
