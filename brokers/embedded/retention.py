"""What of the log may go: settled events, by age and by size, in chunks that stall nobody."""

import sqlite3
from dataclasses import dataclass

from brokers.base import Limits

CHUNK_EVENTS = 256
CHUNK_BYTES = 1 << 20
DISK_MARGIN = 16 << 20


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes: `used` by pages in use, `reusable` by free pages of the file, `disk` free on it."""

    used: int
    reusable: int
    disk: int


def excess(limits: Limits, space: Space) -> int:
    """How many bytes of settled events should go, whatever their age.

    Size limits go before age: a broker whose own settled events reach `max_bytes` or the file
    system's reserve would refuse what it has room for. The pages of removed events are reused.
    """
    target = limits.retention_bytes
    if limits.max_bytes is not None:
        target = min(target, limits.max_bytes * 3 // 4)
    over = max(0, space.used - target)
    short = limits.min_free_bytes + DISK_MARGIN - space.disk - space.reusable
    return max(over, short) if short <= space.used else over


@dataclass(frozen=True, slots=True)
class Trimmed:
    """`walk` is where the next chunk begins; `more` whether there may be more to remove at once;
    `oldest` when the first event left was stored, where there is one."""

    walk: int
    more: bool
    oldest: float | None


def trim(
    connection: sqlite3.Connection, walk: int, needed: int, cutoff: float, over: int
) -> Trimmed:
    """Remove the oldest events from position `walk` on, below `needed`: those stored before
    `cutoff` (Unix seconds), and others until `over` bytes are gone. Events that a row of
    `deliveries` refers to stay. Raises sqlite3.Error."""
    rows = connection.execute(
        "SELECT seq, at, iif(EXISTS (SELECT 1 FROM deliveries WHERE deliveries.seq = events.seq),"
        " 0, 64 + length(attributes) + ifnull(length(data), 0)) FROM events"
        " WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?",
        (walk, needed, CHUNK_EVENTS),
    )
    gone = 0
    last = oldest = None
    more = False
    for looked_at, (seq, at, size) in enumerate(rows, 1):
        if at >= cutoff and gone >= over:
            oldest = at
            break
        last = seq
        gone += size
        more = looked_at == CHUNK_EVENTS or gone >= CHUNK_BYTES
        if more:
            break
    rows.close()
    if last is None:
        return Trimmed(walk, False, oldest)
    connection.execute(
        "DELETE FROM events WHERE seq >= ? AND seq <= ?"
        " AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.seq = events.seq)",
        (walk, last),
    )
    return Trimmed(last + 1, more, oldest)
