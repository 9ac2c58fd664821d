"""One group's transaction: what its requests write, gathered, then executed table by table."""

import sqlite3
from collections.abc import Sequence

import orjson

from brokers.base import Delivery, Failure, Stage
from brokers.embedded.cursor import Cursor, pack
from eventing.errors import EventTooLarge, InvalidEvent
from eventing.event import Event

LARGEST_DATA = 512 << 20
LARGEST_CODE = 2**31 - 1

DeliveryRow = tuple[int, int, int, str, float | None, str | None, str | None, int | None,
                    str | None, bytes | None]  # fmt: skip
"""A row of `deliveries`, in the order of its columns."""


class Transaction:
    """Open from `begin` to the commit. Runs on the event loop: it touches memory only.

    `now` is the broker time it began. `head` is the position of the newest event in it, `base`
    that of the newest before it; `events` are those in between, in order, and `aimed` names the
    one cursor that a redriven one among them is for. `freed` is the lowest position that no longer
    has the row it had.
    """

    __slots__ = (
        "_dead",
        "_event_rows",
        "_put",
        "_remove",
        "aimed",
        "base",
        "connection",
        "events",
        "freed",
        "head",
        "now",
        "timed",
        "touched",
    )

    def __init__(self, connection: sqlite3.Connection, base: int, now: float) -> None:
        self.connection = connection
        self.now = now
        self.base = base
        self.head = base
        self.events: list[Event] = []
        self.aimed: dict[int, Cursor] = {}
        self.touched: dict[Cursor, int] = {}
        self.timed = False
        self.freed: int | None = None
        self._event_rows: list[tuple[int, float, int | None, bytes, bytes | None]] = []
        self._put: list[DeliveryRow] = []
        self._remove: list[tuple[int, int]] = []
        self._dead: list[tuple[object, ...]] = []

    def append(self, events: Sequence[Event], encoded: Sequence[bytes]) -> int:
        """Add events to the log; returns the position of the first."""
        position = first = self.head + 1
        now = self.now
        row = self._event_rows.append
        for event, attributes in zip(events, encoded, strict=True):
            row((position, now, None, attributes, event.data))
            position += 1
        self.events += events
        self.head = position - 1
        return first

    def append_aimed(self, event: Event, encoded: bytes, cursor: Cursor) -> int:
        """Add an event that only one subscription gets, whatever its filter says."""
        self.head += 1
        self._event_rows.append((self.head, self.now, cursor.id, encoded, event.data))
        self.events.append(event)
        self.aimed[self.head] = cursor
        return self.head

    def touch(self, cursor: Cursor) -> None:
        """Write the cursor, as it stands when the transaction ends."""
        self.touched[cursor] = 0

    def schedule(
        self,
        cursor: Cursor,
        delivery: Delivery,
        attempt: int,
        stage: Stage,
        due: float | None,
        failure: Failure | None,
    ) -> None:
        """Put the delivery in a row: due at this broker time, or parked where that is None."""
        self.timed = self.timed or due is not None
        key = delivery.event.attributes.get("partitionkey")
        told = (None, None, None, None) if failure is None else columns(failure)
        self._put.append((delivery.position, cursor.id, attempt, stage, due, key, *told))

    def remove(self, cursor: Cursor, position: int) -> None:
        """Take the delivery's row away: it is settled."""
        self._remove.append((position, cursor.id))

    def free(self, position: int) -> None:
        """A delivery that had a row is settled for good: its event may go from the log."""
        if self.freed is None or position < self.freed:
            self.freed = position

    def bury(self, cursor: Cursor, delivery: Delivery, failure: Failure, encoded: bytes) -> None:
        """Keep the event among the dead letters."""
        self._dead.append(
            (
                cursor.name,
                self.now,
                delivery.position,
                delivery.attempt,
                *columns(failure),
                encoded,
                delivery.event.data,
            )
        )

    def flush(self) -> None:
        """Execute what has gathered. Raises sqlite3.Error."""
        connection = self.connection
        if self._event_rows:
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", self._event_rows)
            self._event_rows = []
        if self._remove:
            connection.executemany("DELETE FROM deliveries WHERE seq = ? AND sub = ?", self._remove)
            self._remove = []
        if self._put:
            connection.executemany(
                "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._put
            )
            self._put = []
        if self._dead:
            connection.executemany(
                "INSERT INTO dead_letters (subscription, at, position, attempts, destination,"
                " code, reason, body, attributes, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                self._dead,
            )
            self._dead = []

    def finish(self) -> None:
        """Execute the rest, cursors last: they tell of everything written before."""
        self.flush()
        if self.timed:
            self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('time', ?)", (self.now,))
        if self.touched:
            for cursor in self.touched:
                self.touched[cursor] = cursor.now_high()
            self.connection.executemany(
                "UPDATE subscriptions SET high = ?, gaps = ? WHERE id = ?",
                [(high, pack(cursor.gaps), cursor.id) for cursor, high in self.touched.items()],
            )


def columns(failure: Failure) -> tuple[str, int, str, bytes]:
    """A failure as stored. What is no valid text (an answer may say anything) is replaced, a code
    beyond what `knativeerrorcode` can hold is cut."""
    return (
        failure.destination.encode(errors="replace").decode(),
        max(-LARGEST_CODE, min(failure.code, LARGEST_CODE)),
        failure.reason.encode(errors="replace").decode(),
        failure.data,
    )


def encoded(events: Sequence[Event]) -> list[bytes]:
    """The attributes as stored. Raises InvalidEvent or EventTooLarge for what can't be."""
    for event in events:
        if event.data is not None and len(event.data) > LARGEST_DATA:
            raise EventTooLarge(
                f"event {event.attributes.get('id')!r} has {len(event.data)} bytes of data;"
                f" the embedded broker stores at most {LARGEST_DATA}"
            )
    try:
        return [orjson.dumps(event.attributes) for event in events]
    except TypeError as error:
        raise InvalidEvent(f"an event's attributes can't be stored: {error}") from error


def weight(events: Sequence[Event]) -> int:
    """About how many bytes the events take in storage."""
    size = 512 * len(events)
    for event in events:
        if event.data:
            size += len(event.data)
    return size
