"""Order by partition key: one delivery of a key at a time, the others parked behind it."""

from collections import deque
from typing import Final

from brokers.base import Delivery

PARKED_EVENTS: Final = 1000
PARKED_BYTES: Final = 8 << 20
PARKED_AT_MOST: Final = 100_000
LOAD_EACH: Final = 16

Parked = Delivery | int
"""A delivery, or the position of one that memory has no room for."""


def key_of(delivery: Delivery) -> str | None:
    """Its partition key; None for one without order."""
    return delivery.event.attributes.get("partitionkey")


class KeyOrder:
    """Which deliveries of an ordered trigger may go out, and what waits behind them.

    Up to PARKED_EVENTS and PARKED_BYTES are parked whole, above that as their positions, to be
    fetched when it is their turn. A key is busy from when its delivery is let go until that is
    settled for good, so through all its retries.
    """

    def __init__(self) -> None:
        self._busy: dict[str, int] = {}
        self._parked: dict[str, deque[Parked]] = {}
        self._whole = 0
        self._bytes = 0
        self.count = 0
        """All that are parked."""

    @property
    def full(self) -> bool:
        """Whether no more new events are to be taken until some are over."""
        return self.count >= PARKED_AT_MOST

    def hold(self, key: str) -> None:
        """A retry of the key waits for its time."""
        self._busy[key] = self._busy.get(key, 0) + 1

    def admit(self, delivery: Delivery) -> bool:
        """Whether it may go out now; if not it is parked."""
        key = key_of(delivery)
        if key is None:
            return True
        if key not in self._busy:
            self._busy[key] = 1
            return True
        parked = self._parked.get(key)
        if parked is None:
            parked = self._parked[key] = deque()
        self.count += 1
        if self._whole < PARKED_EVENTS and self._bytes < PARKED_BYTES:
            self._whole += 1
            self._bytes += len(delivery.event.data or b"")
            parked.append(delivery)
        else:
            parked.append(delivery.position)
        return False

    def release(self, key: str) -> Parked | None:
        """The key's delivery is settled for good; returns the next of it, which keeps it busy."""
        busy = self._busy.get(key)
        if busy is None:
            return None
        if busy > 1:
            self._busy[key] = busy - 1
            return None
        parked = self._parked.get(key)
        if not parked:
            del self._busy[key]
            return None
        successor = parked.popleft()
        self.count -= 1
        if not parked:
            del self._parked[key]
        if not isinstance(successor, int):
            self._whole -= 1
            self._bytes -= len(successor.event.data or b"")
        return successor

    def upcoming(self, key: str) -> list[int]:
        """Positions of the next parked ones of a key, to be fetched along with its first."""
        found: list[int] = []
        for each in self._parked.get(key, ()):
            if not isinstance(each, int) or len(found) == LOAD_EACH:
                break
            found.append(each)
        return found

    def fetched(self, key: str, deliveries: dict[int, Delivery]) -> None:
        """The upcoming ones of a key have been fetched."""
        parked = self._parked.get(key)
        if parked is None:
            return
        for index in range(min(len(parked), LOAD_EACH)):
            each = parked[index]
            if isinstance(each, int) and each in deliveries:
                parked[index] = deliveries[each]
                self._whole += 1
                self._bytes += len(deliveries[each].event.data or b"")
