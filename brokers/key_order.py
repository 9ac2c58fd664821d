"""Order by partition key: one delivery of a key at a time, the others parked behind it.

"Rows" are what a broker has stored for later: the embedded one in a table, Kafka's in a topic.
"""

from collections import deque

from brokers.base import Delivery

PARKED = 1000
PARKED_BYTES = 8 << 20
LOAD_KEYS = 64
LOAD_EACH = 8

KeyRows = tuple[str, int, int, int | None]
"""A partition key in rows: how many retries, how many parked events, the first of these."""


class KeyOrder:
    """Which deliveries of an ordered subscription may go out, and what waits behind them.

    Events are parked in memory up to PARKED events or PARKED_BYTES, above that in rows of
    `deliveries` (spilled): later than all of their key in memory, and loaded when those are done.
    A key stays busy from when its delivery is let go until that is settled for good, so through
    all its retries. Events without `partitionkey` have no order among them.
    """

    def __init__(self) -> None:
        self._busy: dict[str, int] = {}
        self._parked: dict[str, deque[Delivery]] = {}
        self._spilled: dict[str, int] = {}
        self._count = 0
        self._bytes = 0
        self._to_spill: list[Delivery] = []
        self._to_spill_bytes = 0
        self._wanted: dict[str, None] = {}
        self._first_row: dict[str, int] = {}
        self.spilling = False

    def restore(self, rows: list[KeyRows]) -> None:
        """What is found in rows at the start."""
        for key, retries, parked, first in rows:
            if retries:
                self._busy[key] = retries
            if first is not None:
                self._first_row[key] = first
                self._spilled[key] = parked
                self._wanted[key] = None

    def admit(self, delivery: Delivery) -> bool:
        """Whether it may go out now; if not it is parked."""
        key = delivery.event.attributes.get("partitionkey")
        if key is None:
            return True
        if key in self._spilled or (key in self._busy and self.crowded):
            self._spilled[key] = self._spilled.get(key, 0) + 1
            self._to_spill.append(delivery)
            self._to_spill_bytes += len(delivery.event.data or b"")
            return False
        if key in self._busy:
            self._park(key, delivery)
            return False
        self._busy[key] = 1
        return True

    def recover(self, delivery: Delivery) -> bool:
        """The same for one found outstanding at the start, in the order of positions. Most are
        older than any of their key in rows; one that was about to be spilled is not."""
        key = delivery.event.attributes.get("partitionkey")
        if key is None:
            return True
        if delivery.position > self._first_row.get(key, delivery.position):
            return self.admit(delivery)
        if key in self._busy:
            self._park(key, delivery)
            return False
        self._busy[key] = 1
        return True

    def _park(self, key: str, delivery: Delivery) -> None:
        self._parked.setdefault(key, deque()).append(delivery)
        self._count += 1
        self._bytes += len(delivery.event.data or b"")

    @property
    def crowded(self) -> bool:
        """Whether memory holds as many as it may."""
        return self._count >= PARKED or self._bytes >= PARKED_BYTES

    @property
    def full(self) -> bool:
        """Whether no more may be taken in until what is to be spilled is stored."""
        return len(self._to_spill) >= PARKED or self._to_spill_bytes >= PARKED_BYTES

    @property
    def in_rows(self) -> int:
        """Events parked in storage, or on their way there."""
        return sum(self._spilled.values())

    def take_spill(self) -> list[Delivery]:
        """Those to be written into rows now; `spilled` is to be called when they are."""
        spill, self._to_spill = self._to_spill, []
        self._to_spill_bytes = 0
        self.spilling = bool(spill)
        return spill

    def has_spill(self) -> bool:
        """Whether there is something to spill, and no spill under way."""
        return bool(self._to_spill) and not self.spilling

    def spilled(self, deliveries: list[Delivery]) -> None:
        """They are in rows."""
        self.spilling = False
        self._want(deliveries)

    def stored(self, key: str, count: int) -> None:
        """`count` further events of the key were put into rows by someone else."""
        self._spilled[key] = self._spilled.get(key, 0) + count
        if key not in self._busy:
            self._wanted[key] = None

    def _want(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            key = delivery.event.attributes["partitionkey"]
            if key not in self._busy:
                self._wanted[key] = None

    def take_wanted(self) -> list[str]:
        """Free keys with events in rows, to be loaded."""
        keys: list[str] = []
        while self._wanted and len(keys) < LOAD_KEYS:
            key = next(iter(self._wanted))
            del self._wanted[key]
            if key in self._spilled and key not in self._busy:
                keys.append(key)
        return keys

    def want(self, keys: list[str]) -> None:
        """Keys that could not be loaded after all."""
        self._wanted.update(dict.fromkeys(keys))

    def loaded(self, key: str, deliveries: list[Delivery]) -> Delivery | None:
        """The first events of a free key, from rows; returns the one that may go out."""
        if not deliveries:
            return None
        left = self._spilled[key] - len(deliveries)
        if left > 0:
            self._spilled[key] = left
        else:
            del self._spilled[key]
        self._busy[key] = 1
        for delivery in deliveries[1:]:
            self._park(key, delivery)
        return deliveries[0]

    def release(self, delivery: Delivery) -> Delivery | None:
        """It is settled for good; returns the next of its key that may go out."""
        key = delivery.event.attributes.get("partitionkey")
        if key is None or key not in self._busy:
            return None
        if self._busy[key] > 1:
            self._busy[key] -= 1
            return None
        parked = self._parked.get(key)
        if parked:
            successor = parked.popleft()
            self._count -= 1
            self._bytes -= len(successor.event.data or b"")
            if not parked:
                del self._parked[key]
            return successor
        del self._busy[key]
        if key in self._spilled:
            self._wanted[key] = None
        return None
