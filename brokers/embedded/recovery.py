"""What a broker finds in its file when it starts. Cost: its subscriptions, not its events."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from brokers.embedded.cursor import Cursor, unpack
from brokers.embedded.retention import Space
from brokers.embedded.storage import Storage


@dataclass(frozen=True, slots=True)
class Found:
    """`head` is the newest position; `orphans` are ids of removed subscriptions with rows left."""

    storage: Storage
    head: int
    cursors: dict[str, Cursor]
    orphans: list[int]
    space: Space


def recover(broker: str, path: Path, wall: Callable[[], float]) -> Found:
    """Open the file and read where everything stood. Raises StorageError."""
    storage = Storage(broker, path)
    try:
        return _read(storage, wall())
    except (sqlite3.Error, OSError, ValueError) as error:
        storage.close()
        raise storage.fault(error, "nothing was changed") from error


def _read(storage: Storage, now: float) -> Found:
    connection = storage.connection
    _keep_delays(connection, now)
    rows = dict(connection.execute("SELECT sub, count(*) FROM deliveries GROUP BY sub").fetchall())
    head = connection.execute("SELECT max(seq) FROM events").fetchone()[0] or 0
    cursors: dict[str, Cursor] = {}
    for id, name, high, gaps in connection.execute(
        "SELECT id, name, high, gaps FROM subscriptions"
    ):
        head = max(head, high)
        cursors[name] = Cursor(id, name, high, unpack(gaps), rows.pop(id, 0), written=high)
    used, reusable = storage.used_bytes()
    return Found(storage, head, cursors, list(rows), Space(used, reusable, storage.free_disk()))


def _keep_delays(connection: sqlite3.Connection, now: float) -> None:
    """A clock that was set back, in the last run or since, must not stretch what retries wait."""
    stored = connection.execute("SELECT value FROM meta WHERE name = 'time'").fetchone()
    if stored is not None and stored[0] > now:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "UPDATE deliveries SET due = due - ? WHERE due IS NOT NULL", (stored[0] - now,)
        )
        connection.execute("UPDATE meta SET value = ? WHERE name = 'time'", (now,))
        connection.execute("COMMIT")
