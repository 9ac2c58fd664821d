"""The small tables that all nodes of a Kafka share: one compacted topic, a record a document.

A document counts until another one, or a tombstone, is stored under its key; nothing ages.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

import orjson
from confluent_kafka import Message

from brokers.cluster import Document
from brokers.kafka.compacted_topic import CompactedTopic, compacted
from brokers.kafka.producer import RecordProducer
from brokers.kafka.topic_reader import TopicReader
from brokers.kafka.topics import Topic, Topics
from eventing.errors import EventTooLarge, StorageError

TOPIC = "eventing-tables"

_HEADERS = [("content-type", b"application/json")]
_EMPTY: Mapping[str, Document] = MappingProxyType({})


def tables_topic(replication_factor: int) -> Topic:
    """The topic as it has to be made."""
    return compacted(TOPIC, replication_factor)


class SharedTables:
    """See `documents` and `store` of the contract. A record that is no document is passed over."""

    def __init__(self, topics: Topics, reader: TopicReader, producer: RecordProducer) -> None:
        self._producer = producer
        self._tables: dict[str, dict[str, Document]] = {}
        self._shown: dict[str, Mapping[str, Document]] = {}
        self._topic = CompactedTopic(topics, reader, TOPIC, self._apply, self._clear)

    async def documents(self, table: str) -> Mapping[str, Document]:
        """See the contract."""
        await self._topic.refresh()
        if table not in self._shown:
            self._shown[table] = MappingProxyType(dict(self._tables.get(table, _EMPTY)))
        return self._shown[table]

    async def store(self, table: str, changes: Mapping[str, Document | None]) -> None:
        """See the contract. Where several can't be stored the first reason is told."""
        loop = asyncio.get_running_loop()
        waiting = []
        for key, document in changes.items():
            stored: asyncio.Future[None] = loop.create_future()
            waiting.append(stored)
            value = None if document is None else orjson.dumps(dict(document))
            name = f"{table}/{key}"
            done = _Done(name, stored)
            self._producer.send(TOPIC, name.encode(), _HEADERS, value, done, 0)
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            if error is not None:
                raise error

    def _apply(self, message: Message) -> None:
        key, value = message.key(), message.value()
        try:
            table, slash, name = (key.decode() if isinstance(key, bytes) else "").partition("/")
            document = None if value is None else orjson.loads(value)
        except ValueError:
            return
        if not slash or not (document is None or isinstance(document, dict)):
            return
        if document is None:
            self._tables.get(table, {}).pop(name, None)
        else:
            self._tables.setdefault(table, {})[name] = document
        self._shown.pop(table, None)

    def _clear(self) -> None:
        self._tables.clear()
        self._shown.clear()


class _Done:
    """Told how storing one record went."""

    def __init__(self, name: str, stored: "asyncio.Future[None]") -> None:
        self._name = name
        self._stored = stored

    def __call__(self, error: StorageError | EventTooLarge | None, _: int, __: int) -> None:
        if self._stored.done():
            return
        if isinstance(error, EventTooLarge):
            self._stored.set_exception(StorageError(f"document {self._name!r}: {error}"))
        elif error is not None:
            self._stored.set_exception(error)
        else:
            self._stored.set_result(None)
