"""A broker's dead letters: a compacted topic of one partition, with an index of it in memory.

Only ids, keys and triggers are in memory; a letter is fetched when it is asked for. Letters are
produced by the broker's transactions, with the records of dead_letter_records.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import Message

from brokers.base import DeadLetter
from brokers.kafka.compacted_topic import CompactedTopic, compacted
from brokers.kafka.dead_letter_records import decode_letter
from brokers.kafka.messages import headers_of, value_of
from brokers.kafka.topic_reader import TopicReader
from brokers.kafka.topics import Topic, Topics
from eventing.errors import InvalidEvent

MAX_LETTER_BYTES = 64 << 20
"""More than a broker's topic takes: a letter is longer than its event, and has to find room."""


def dead_letter_topic(broker_topic: str, replication_factor: int) -> Topic:
    """The topic as it has to be made."""
    return compacted(
        f"{broker_topic}-dead-letters",
        replication_factor,
        max_message_bytes=str(MAX_LETTER_BYTES),
        segment_bytes=str(2 * MAX_LETTER_BYTES),
    )


@dataclass(slots=True)
class _Entry:
    """`ids`: those of all records of its key, the newest last."""

    trigger: str
    ids: list[int] = field(default_factory=list)


class DeadLetterTopic:
    """The index. A letter's id is the offset of its record, plus 1.

    Where two nodes wrote the same letter, it is that of the later record, which is the one that
    compaction keeps, so that every node says the same; the earlier id finds it as well while both
    are there. A record that is no letter is passed over.
    """

    def __init__(self, topics: Topics, reader: TopicReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic
        self._keys: dict[int, bytes] = {}
        self._entries: dict[bytes, _Entry] = {}
        self._counts: Counter[str] = Counter()
        self._table = CompactedTopic(topics, reader, topic, self._apply, self._clear)

    async def refresh(self) -> None:
        """See what every node has stored before this call. Raises StorageError."""
        await self._table.refresh()

    def counts(self) -> Mapping[str, int]:
        """Letters by trigger, as of the last refresh."""
        return dict(self._counts)

    async def page(
        self, trigger: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """See Broker.dead_letters; refreshes first. Raises StorageError."""
        await self.refresh()
        letters: list[DeadLetter] = []
        while len(letters) < limit:
            ids = self._ids(trigger, after, limit - len(letters))
            if not ids:
                break
            # One that was dropped meanwhile leaves room for the next: a short page is the last.
            letters += await self._fetch(ids)
            after = ids[-1]
        return letters

    async def fetch(self, id: int) -> DeadLetter | None:
        """See Broker.dead_letter; refreshes first. Raises StorageError."""
        await self.refresh()
        key = self._keys.get(id)
        if key is None:
            return None
        letters = await self._fetch([self._entries[key].ids[-1]])
        return letters[0] if letters else None

    def key_of(self, id: int) -> bytes | None:
        """The key to drop it by, as of the last refresh; None where there is no such letter."""
        return self._keys.get(id)

    def _ids(self, trigger: str | None, after: int, limit: int) -> list[int]:
        """The first ids above `after`, in order."""
        ids: list[int] = []
        for entry in self._entries.values():
            id = entry.ids[-1]
            if id > after and (trigger is None or trigger == entry.trigger):
                ids.append(id)
                if len(ids) == limit:
                    break
        return ids

    async def _fetch(self, ids: list[int]) -> list[DeadLetter]:
        found = await self._reader.fetch(self._topic, {0: [id - 1 for id in ids]})
        letters = []
        for id in ids:
            message = found.get((0, id - 1))
            if message is not None:
                letters.append(decode_letter(id, headers_of(message), value_of(message)))
        return letters

    def _apply(self, message: Message) -> None:
        key, offset = message.key(), message.offset()
        if not isinstance(key, bytes) or offset is None:
            return
        if message.value() is None:
            self._forget(key)
            return
        try:
            letter = decode_letter(offset + 1, headers_of(message), value_of(message))
        except InvalidEvent:
            return
        entry = _Entry(letter.trigger)
        known = self._forget(key)
        if known is not None:
            entry.ids = known.ids
        entry.ids.append(letter.id)
        # Put in anew it is the last, and the entries stay in the order of their ids.
        self._entries[key] = entry
        self._counts[entry.trigger] += 1
        self._keys.update(dict.fromkeys(entry.ids, key))

    def _forget(self, key: bytes) -> _Entry | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            for id in entry.ids:
                del self._keys[id]
            self._counts[entry.trigger] -= 1
            if not self._counts[entry.trigger]:
                del self._counts[entry.trigger]
        return entry

    def _clear(self) -> None:
        self._keys.clear()
        self._entries.clear()
        self._counts.clear()
