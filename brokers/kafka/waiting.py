"""The deliveries of one partition that wait in the trigger's deliveries topic, as far as known."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Message

from brokers.base import Delivery
from brokers.kafka.delivery_records import decode_delivery
from brokers.kafka.messages import headers_of, value_of
from brokers.key_order import KeyRows
from eventing.kafka_encoding import PARTITION_KEY


@dataclass(slots=True, eq=False)
class Entry:
    """One of them: `offset` is its record's in the deliveries topic, `due` when its time comes
    (None = when its turn comes), `order_key` the key it waits for. `delivery` is None where its
    payload was left behind in the topic. `out`: it was handed on."""

    key: bytes
    offset: int
    position: int
    due: float | None
    order_key: str | None
    delivery: Delivery | None
    out: bool = False

    @property
    def size(self) -> int:
        """Bytes of payload in memory."""
        delivery = self.delivery
        return 0 if delivery is None else len(delivery.event.data or b"") + 1024


def entry_of(key: bytes, offset: int, delivery: Delivery, due: float | None) -> Entry:
    """The entry of a record."""
    order_key = delivery.event.attributes.get(PARTITION_KEY)
    return Entry(key, offset, delivery.position, due, order_key, delivery)


class Waiting:
    """Entries by key. The topic's records are applied in any order: the highest offset counts.

    What this node wrote itself is applied as soon as it is committed, and comes once more when the
    topic is read.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.positions: dict[int, int] = {}
        """How many entries there are for the event at a position."""
        self.bytes = 0
        """Of payload in memory."""
        self._removed: dict[bytes, int] = {}
        self._parked: dict[str, deque[Entry]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def apply(self, key: bytes, offset: int, entry: Entry | None) -> Entry | None:
        """Take in a record, None being a tombstone; returns the entry where it is news."""
        if offset <= self._removed.get(key, -1):
            return None
        known = self.entries.get(key)
        if known is not None:
            if offset <= known.offset:
                return None
            self._forget(known)
        if entry is None:
            self._removed[key] = offset
            return None
        self._removed.pop(key, None)
        self.entries[key] = entry
        self.positions[entry.position] = self.positions.get(entry.position, 0) + 1
        self.bytes += entry.size
        return entry

    def leave_behind(self, entry: Entry) -> None:
        """Its payload stays in the topic alone."""
        self.bytes -= entry.size
        entry.delivery = None

    def _forget(self, entry: Entry) -> None:
        del self.entries[entry.key]
        self.bytes -= entry.size
        left = self.positions[entry.position] - 1
        if left:
            self.positions[entry.position] = left
        else:
            del self.positions[entry.position]

    def bring(self, entry: Entry, message: Message) -> None:
        """Its payload is in memory again. Raises InvalidEvent."""
        entry.delivery, _ = decode_delivery(headers_of(message), value_of(message))
        self.bytes += entry.size

    def read_to(self, offset: int) -> None:
        """All records below the offset have been applied: no older one of a key comes any more."""
        if self._removed:
            self._removed = {key: at for key, at in self._removed.items() if at >= offset}

    def park(self, entry: Entry) -> None:
        """It waits for its key, behind those of it that were parked before."""
        assert entry.order_key is not None
        self._parked.setdefault(entry.order_key, deque()).append(entry)

    def next_parked(self, order_key: str, limit: int) -> list[Entry]:
        """The first entries parked behind the key; they are parked no more."""
        parked = self._parked.get(order_key, deque())
        taken: list[Entry] = []
        while parked and len(taken) < limit:
            entry = parked.popleft()
            if self.entries.get(entry.key) is entry and not entry.out:
                taken.append(entry)
        if not parked:
            self._parked.pop(order_key, None)
        return taken

    def put_back(self, order_key: str, entries: list[Entry]) -> None:
        """Entries that could not be taken after all."""
        self._parked.setdefault(order_key, deque()).extendleft(reversed(entries))

    def key_rows(self) -> list[KeyRows]:
        """What there is of each key, and park what has no time of its own, oldest first."""
        rows: dict[str, KeyRows] = {}
        for entry in sorted(self.entries.values(), key=lambda each: (each.position, each.offset)):
            if entry.order_key is None:
                continue
            name, retries, parked, first = rows.get(entry.order_key, (entry.order_key, 0, 0, None))
            if entry.due is None:
                self.park(entry)
                first = entry.position if first is None else first
                rows[entry.order_key] = (name, retries, parked + 1, first)
            else:
                rows[entry.order_key] = (name, retries + 1, parked, first)
        return list(rows.values())

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())
