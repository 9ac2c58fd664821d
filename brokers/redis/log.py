"""Reading a broker's stream from one place to another, page by page."""

from collections.abc import AsyncIterator
from typing import Final

from brokers.base import Place
from brokers.redis.entry import decode_entry
from brokers.redis.keys import first_position, id_of, last_position, position_of
from brokers.redis.link import Link
from eventing.errors import InvalidEvent
from eventing.event import Event

PAGE_EVENTS: Final = 250
PAGE_BYTES: Final = 4 << 20
FIRST_PAGE: Final = 10
"""Entries; how many the next ones have follows from their size."""


async def log_pages(
    link: Link, stream: str, start: Place, end: Place | None
) -> AsyncIterator[list[tuple[bytes, int, Event]]]:
    """Ids, positions and events from `start` to `end`, or to the newest there was at the beginning.
    What is no event is passed over. Raises StorageError."""
    position = first_position(start)
    last = last_position(end, known_position(await link.run("last")))
    count = FIRST_PAGE
    while position <= last:
        entries = await link.ask("XRANGE", stream, id_of(position), id_of(last), "COUNT", count)
        page = []
        for id, fields in entries:
            try:
                page.append((id, position_of(id), decode_entry(fields)))
            except (InvalidEvent, ValueError):
                continue
        yield page
        if len(entries) < count:
            return
        position = known_position(entries[-1][0]) + 1
        size = sum(len(each) for _, fields in entries for each in fields) / count
        count = int(min(PAGE_EVENTS, max(1.0, PAGE_BYTES / max(size, 1.0))))


def known_position(id: bytes) -> int:
    """The position of an entry's id; 0, before any other, for an id that has none."""
    try:
        return position_of(id)
    except ValueError:
        return 0
