"""The subscriptions a broker knows: a compacted topic of one partition, a record for each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
from confluent_kafka import Message

from brokers.kafka.compacted_topic import CompactedTopic, compacted
from brokers.kafka.kept_event import Record
from brokers.kafka.topic_reader import TopicReader
from brokers.kafka.topics import Topic, Topics


def registry_topic(broker_topic: str, replication_factor: int) -> Topic:
    """The topic as it has to be made."""
    return compacted(f"{broker_topic}-subscriptions", replication_factor)


def subscription_record(name: str, document: Mapping[str, Any]) -> Record:
    """The record that makes a subscription known; `document` holds small JSON values."""
    return name.encode(), [("content-type", b"application/json")], orjson.dumps(dict(document))


def removal_record(name: str) -> Record:
    """The tombstone of a subscription."""
    return name.encode(), [], None


class Registry:
    """Names and documents of all subscriptions of a broker. A record that is none is passed
    over."""

    def __init__(self, topics: Topics, reader: TopicReader, topic: str) -> None:
        self._known: dict[str, dict[str, Any]] = {}
        self._table = CompactedTopic(topics, reader, topic, self._apply, self._known.clear)

    def known(self) -> Mapping[str, Mapping[str, Any]]:
        """Subscriptions as of the last refresh: name to document."""
        return MappingProxyType(self._known)

    async def refresh(self) -> None:
        """See what every node has stored before this call. Raises StorageError."""
        await self._table.refresh()

    def _apply(self, message: Message) -> None:
        key, value = message.key(), message.value()
        try:
            name = key.decode() if isinstance(key, bytes) else ""
            if value is None:
                self._known.pop(name, None)
                return
            document = orjson.loads(value)
        except ValueError:
            return
        if name and isinstance(document, dict):
            # Of two nodes that made it at once, the first says where it begins.
            self._known.setdefault(name, document)
