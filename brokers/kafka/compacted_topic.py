"""A table kept in a compacted topic of one partition: read to its end whenever it is asked for."""

import asyncio
import time
from collections.abc import Callable

from confluent_kafka import Message

from brokers.kafka.topic_reader import Stretch, TopicReader
from brokers.kafka.topics import Topic, Topics

_TOMBSTONES_STAY = 24 * 3600.0
"""Seconds for which compaction keeps a tombstone. Who did not look for half as long, such as a
machine that was asleep, reads the table anew: it may have missed some."""


def compacted(name: str, replication_factor: int, **options: str) -> Topic:
    """A topic for a table, as it has to be made; `options` are further ones of it, with `_` for
    `.` in their names."""
    return Topic(
        name,
        1,
        replication_factor,
        {
            "cleanup.policy": "compact",
            "delete.retention.ms": str(round(_TOMBSTONES_STAY * 1000)),
            # What stands in the segment that is written to is not compacted.
            "segment.ms": str(24 * 3600 * 1000),
            **{option.replace("_", "."): value for option, value in options.items()},
        },
    )


class CompactedTopic:
    """Applies each committed record once, in order. `clear` is called where the topic turns out
    to have been made anew, before its records are applied from the start: those whose tombstones
    may be gone again are read anew in the same way. `recent`: seconds of the past that matter;
    records older than that need not be applied. None = all matter."""

    def __init__(
        self,
        topics: Topics,
        reader: TopicReader,
        name: str,
        apply: Callable[[Message], None],
        clear: Callable[[], None],
        *,
        recent: float | None = None,
    ) -> None:
        self._topics = topics
        self._reader = reader
        self._name = name
        self._apply = apply
        self._clear = clear
        self._recent = recent
        self._next: int | None = None
        self._identity = ""
        self._refreshed = 0.0
        self._refreshing = asyncio.Lock()

    async def refresh(self) -> None:
        """Apply all that was stored before this call, by whichever node: a transaction whose
        commit was answered is seen. Raises StorageError."""
        async with self._refreshing:
            now = time.time()
            identity = await self._topics.identity(self._name)
            end = (await self._topics.highs(self._name, [0]))[0]
            stale = now - self._refreshed > _TOMBSTONES_STAY / 2
            if self._next is None or identity != self._identity or end < self._next or stale:
                start = await self._start(now)
                self._clear()
                self._identity = identity
                self._next = start
            await self._read(self._next, end)
            self._refreshed = now

    async def _start(self, now: float) -> int:
        if self._recent is None:
            return 0
        offsets = await self._topics.offsets_at(self._name, [0], now - self._recent)
        return offsets[0]

    async def _read(self, start: int, end: int) -> None:
        batches = self._reader.batches(self._name, {0: Stretch(start, end)})
        try:
            async for batch in batches:
                for message in batch:
                    self._apply(message)
                    self._next = (message.offset() or 0) + 1
        finally:
            await batches.aclose()
        self._next = max(end, self._next or 0)
