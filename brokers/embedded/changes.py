"""Changes of subscriptions, retries and dead letters, each inside one transaction."""

from collections.abc import Mapping, Sequence

import orjson

from brokers.base import Failure
from brokers.embedded.cursor import Cursor
from brokers.embedded.transaction import Transaction, columns
from eventing.event import Event

CHUNK = 256
"""Rows changed in one transaction at most, so that nobody waits long for the next."""

Keyed = tuple[int, str | None]
"""A position, and its event's partition key."""
Again = tuple[int, str | None, float | None]
"""A position put into a row: its key where it is parked, or when it is due."""


def make(transaction: Transaction, name: str, start: int | None) -> Cursor:
    """A new subscription, from position `start` or the next event on."""
    high = transaction.head
    if start is not None:
        high = min(high, max(0, start - 1))
    connection = transaction.connection
    connection.execute(
        "INSERT OR IGNORE INTO subscriptions (name, high, gaps) VALUES (?, ?, x'')", (name, high)
    )
    id = connection.execute("SELECT id FROM subscriptions WHERE name = ?", (name,)).fetchone()[0]
    return Cursor(id, name, high, written=high)


def unpark(transaction: Transaction, cursor: Cursor) -> int:
    """Make events parked behind keys due, a chunk of them: nobody orders them any more."""
    connection = transaction.connection
    rows = connection.execute(
        "SELECT seq FROM deliveries WHERE sub = ? AND due IS NULL ORDER BY seq LIMIT ?",
        (cursor.id, CHUNK),
    ).fetchall()
    connection.executemany(
        "UPDATE deliveries SET due = ? WHERE seq = ? AND sub = ?",
        [(transaction.now, seq, cursor.id) for (seq,) in rows],
    )
    return len(rows)


def again(
    transaction: Transaction, cursor: Cursor, wanted: Sequence[Keyed], ordered: bool
) -> list[Again]:
    """Put settled events into rows, to be handed out once more; ordered ones park by their key.

    Passed over is what is still to be handed out, or outstanding, or gone from the log.
    """
    transaction.flush()
    transaction.touch(cursor)
    transaction.timed = True
    high = cursor.now_high()
    added: list[Again] = []
    for position, key in wanted:
        if position > high or position in cursor.gaps:
            continue
        parked = ordered and key is not None
        due = None if parked else transaction.now
        inserted = transaction.connection.execute(
            "INSERT OR IGNORE INTO deliveries (seq, sub, attempt, stage, due, key)"
            " SELECT seq, ?, 1, 'subscriber', ?, ? FROM events WHERE seq = ?",
            (cursor.id, due, key, position),
        ).rowcount
        if inserted:
            added.append((position, key if parked else None, due))
    return added


def clear_orphan(transaction: Transaction, id: int) -> bool:
    """Remove rows of a subscription that is gone, a chunk; whether there may be more."""
    transaction.flush()
    connection = transaction.connection
    rows = connection.execute(
        "SELECT seq, sub FROM deliveries WHERE sub = ? LIMIT ?", (id, CHUNK)
    ).fetchall()
    connection.executemany("DELETE FROM deliveries WHERE seq = ? AND sub = ?", rows)
    return len(rows) == CHUNK


def drop(transaction: Transaction, ids: Sequence[int]) -> int:
    """Remove dead letters; how many there were."""
    transaction.flush()
    return transaction.connection.executemany(
        "DELETE FROM dead_letters WHERE id = ?", [(id,) for id in ids]
    ).rowcount


def keep(transaction: Transaction, event: Event, failure: Failure, encoded: bytes) -> None:
    """Add a dead letter of no trigger: the broker's own."""
    transaction.flush()
    transaction.connection.execute(
        "INSERT INTO dead_letters (subscription, at, position, attempts, destination,"
        " code, reason, body, attributes, data) VALUES ('', ?, 0, 1, ?, ?, ?, ?, ?, ?)",
        (transaction.now, *columns(failure), encoded, event.data),
    )


def redrive(
    transaction: Transaction, id: int, edited: Event | None, cursors: Mapping[str, Cursor]
) -> bool:
    """Move a dead letter, or `edited` in its place, into the log for its trigger alone; one of no
    trigger for all of them.

    Raises LookupError where its subscription is gone.
    """
    transaction.flush()
    connection = transaction.connection
    row = connection.execute(
        "SELECT subscription, attributes, data FROM dead_letters WHERE id = ?", (id,)
    ).fetchone()
    if row is None:
        return False
    name, attributes, data = row
    cursor = cursors.get(name)
    event = edited or Event(orjson.loads(attributes), data)
    if not name:
        transaction.append([event], [orjson.dumps(event.attributes)])
    elif cursor is not None:
        transaction.append_aimed(event, orjson.dumps(event.attributes), cursor)
    else:
        raise LookupError(
            f"dead letter {id} was of trigger {name!r}, which is gone; make the trigger again, "
            "or drop the dead letter"
        )
    connection.execute("DELETE FROM dead_letters WHERE id = ?", (id,))
    return True
