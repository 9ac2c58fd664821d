"""Long reads of the broker's file: on a thread and a connection of their own, page by page.

Each page is a short transaction, so that no reader holds the write-ahead log for long.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

import orjson

from brokers.base import DeadLetter, Delivery, Failure, Stage, Stored
from brokers.embedded.storage import Storage
from brokers.key_order import KeyRows
from eventing.errors import StorageError
from eventing.event import Event

PAGE_EVENTS = 256
PAGE_BYTES = 2 << 20

P = ParamSpec("P")
T = TypeVar("T")

Logged = tuple[int, Event, int | None]
"""Position, event, and the id of the only subscription it is for, where it is for one."""


class Reader:
    """Runs the functions below, one at a time, off the event loop."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._thread = ThreadPoolExecutor(1, f"broker-read-{storage.broker}")
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    def run(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "asyncio.Future[T]":
        """Run `query` on the reading connection. Raises StorageError through the future."""

        def call() -> T:
            try:
                if self._connection is None:
                    self._connection = self._storage.reader()
                return query(self._connection, *args, **kwargs)
            except (sqlite3.Error, orjson.JSONDecodeError) as error:
                raise self._storage.fault(error, "nothing was changed") from error

        if self._closed:
            raise StorageError(f"broker {self._storage.broker!r} is closed")
        return asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        """Wait for the read under way, then close."""
        self._closed = True
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._connection is not None:
            self._connection.close()


def log_page(connection: sqlite3.Connection, after: int, upto: int) -> tuple[list[Logged], int]:
    """Events above position `after` up to `upto`, and the position the page reaches to."""
    page: list[Logged] = []
    size = 0
    rows = connection.execute(
        "SELECT seq, only, attributes, data FROM events WHERE seq > ? AND seq <= ? ORDER BY seq",
        (after, upto),
    )
    for seq, only, attributes, data in rows:
        page.append((seq, Event(orjson.loads(attributes), data), only))
        size += len(data or b"")
        if len(page) >= PAGE_EVENTS or size >= PAGE_BYTES:
            rows.close()
            return page, seq
    return page, upto


def events_at(
    connection: sqlite3.Connection, positions: Sequence[int]
) -> tuple[list[Delivery], int]:
    """First deliveries of the events at `positions`, in that order, and how many of these the page
    covers."""
    found: list[Delivery] = []
    size = 0
    for covered, position in enumerate(positions, 1):
        row = connection.execute(
            "SELECT attributes, data FROM events WHERE seq = ?", (position,)
        ).fetchone()
        if row is not None:
            found.append(Delivery(Event(orjson.loads(row[0]), row[1]), position))
            size += len(row[1] or b"")
        if size >= PAGE_BYTES:
            return found, covered
    return found, len(positions)


_DELIVERY = (
    "SELECT d.seq, d.attempt, d.stage, d.destination, d.code, d.reason, d.body,"
    " e.attributes, e.data FROM deliveries d JOIN events e ON e.seq = d.seq"
)


def deliveries_at(
    connection: sqlite3.Connection, subscription: int, positions: Sequence[int]
) -> tuple[list[Delivery], int]:
    """The deliveries in rows at `positions`, in that order, and how many of these the page
    covers."""
    found: list[Delivery] = []
    size = 0
    for covered, position in enumerate(positions, 1):
        row = connection.execute(
            f"{_DELIVERY} WHERE d.seq = ? AND d.sub = ?", (position, subscription)
        ).fetchone()
        if row is not None:
            found.append(_delivery(row))
            size += len(row[8] or b"")
        if size >= PAGE_BYTES:
            return found, covered
    return found, len(positions)


def parked_at(
    connection: sqlite3.Connection, subscription: int, keys: Sequence[str], limit: int
) -> dict[str, list[Delivery]]:
    """For each of `keys` the first `limit` deliveries parked in rows, oldest first."""
    return {
        key: [
            _delivery(row)
            for row in connection.execute(
                f"{_DELIVERY} WHERE d.sub = ? AND d.key = ? AND d.due IS NULL"
                " ORDER BY d.seq LIMIT ?",
                (subscription, key, limit),
            )
        ]
        for key in keys
    }


def key_rows(connection: sqlite3.Connection, subscription: int) -> list[KeyRows]:
    """Each partition key in the rows of a subscription."""
    return connection.execute(
        "SELECT key, count(due), count(*) - count(due), min(iif(due IS NULL, seq, NULL))"
        " FROM deliveries"
        " WHERE sub = ? AND key IS NOT NULL GROUP BY key",
        (subscription,),
    ).fetchall()


def stored_page(connection: sqlite3.Connection, start: int, end: int) -> tuple[list[Stored], int]:
    """The log for people from `start` to `end`, and the position after the page."""
    page: list[Stored] = []
    size = 0
    rows = connection.execute(
        "SELECT seq, at, attributes, data FROM events"
        " WHERE seq >= ? AND seq <= ? AND only IS NULL ORDER BY seq",
        (start, end),
    )
    for seq, at, attributes, data in rows:
        page.append(Stored(seq, at, Event(orjson.loads(attributes), data)))
        size += len(data or b"")
        if len(page) >= PAGE_EVENTS or size >= PAGE_BYTES:
            rows.close()
            return page, seq + 1
    return page, end + 1


def position_at(connection: sqlite3.Connection, at: float, head: int) -> int:
    """By bisection over the log, whose times run upwards as long as the clock does."""
    low, high = 1, head + 1
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            "SELECT seq, at FROM events WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,)
        ).fetchone()
        if row is None or row[1] >= at:
            high = middle
        else:
            low = row[0] + 1
    row = connection.execute("SELECT min(seq) FROM events WHERE seq >= ?", (low,)).fetchone()
    return int(row[0]) if row[0] is not None and row[0] <= head else head + 1


_DEAD_LETTER = (
    "SELECT id, subscription, at, position, attempts, destination, code, reason, body,"
    " attributes, data FROM dead_letters"
)


def dead_letters(
    connection: sqlite3.Connection, trigger: str | None, after: int, limit: int
) -> list[DeadLetter]:
    """Dead letters with an id above `after`, of one trigger or of all, oldest first."""
    if trigger is None:
        rows = connection.execute(
            f"{_DEAD_LETTER} WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
    else:
        rows = connection.execute(
            f"{_DEAD_LETTER} WHERE subscription = ? AND id > ? ORDER BY id LIMIT ?",
            (trigger, after, limit),
        )
    return [_dead_letter(row) for row in rows]


def dead_letter(connection: sqlite3.Connection, id: int) -> DeadLetter | None:
    """The dead letter of this id."""
    row = connection.execute(f"{_DEAD_LETTER} WHERE id = ?", (id,)).fetchone()
    return None if row is None else _dead_letter(row)


def totals(connection: sqlite3.Connection) -> tuple[int, dict[str, int]]:
    """The lowest position in the log (0 = empty), and how many dead letters each trigger has."""
    first = connection.execute("SELECT min(seq) FROM events").fetchone()[0]
    dead = connection.execute("SELECT subscription, count(*) FROM dead_letters GROUP BY 1")
    return first or 0, dict(dead.fetchall())


def _delivery(row: Sequence[Any]) -> Delivery:
    position, attempt, stage, destination, code, reason, body, attributes, data = row
    failure = None if destination is None else Failure(destination, code, reason, body)
    event = Event(orjson.loads(attributes), data)
    return Delivery(event, position, attempt, _stage(stage), failure)


def _stage(stage: str) -> Stage:
    return "dead_letter" if stage == "dead_letter" else "subscriber"


def _dead_letter(row: Sequence[Any]) -> DeadLetter:
    id, trigger, at, position, attempts, destination, code, reason, body, attributes, data = row
    return DeadLetter(
        id,
        trigger,
        Event(orjson.loads(attributes), data),
        Failure(destination, code, reason, body),
        attempts,
        at,
        position,
    )
