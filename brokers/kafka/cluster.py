"""The nodes that share a Kafka: announced in a topic, with leases as consumer groups, and tables
in a topic.

An announcement counts for FORGET_AFTER seconds of the Kafka brokers' clock, which each node
compares with its own by when it sent an announcement and when the record says it was stored.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import orjson
from confluent_kafka import Message

from brokers.cluster import FORGET_AFTER, Document, Member
from brokers.kafka.compacted_topic import CompactedTopic, compacted
from brokers.kafka.faults import UNREACHABLE
from brokers.kafka.group_protocol import Protocol, choose_protocol
from brokers.kafka.lease import KafkaLease, leases_topic
from brokers.kafka.messages import place_of
from brokers.kafka.producer import RecordProducer
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.shared_tables import SharedTables, tables_topic
from brokers.kafka.topic_reader import TopicReader
from brokers.kafka.topics import Topic, Topics
from eventing.errors import EventTooLarge, StorageError

TOPIC = "eventing-nodes"
RECENT = 300.0
"""Seconds of the past that are read: more than clocks may differ by and FORGET_AFTER."""
_LEAVE_SECONDS = 2.0


def nodes_topic(replication_factor: int) -> Topic:
    """The topic as it has to be made. Only what was announced last matters, and for seconds."""
    return compacted(
        TOPIC,
        replication_factor,
        cleanup_policy="compact,delete",
        retention_ms="3600000",
        segment_ms="600000",
        message_timestamp_type="LogAppendTime",
    )


class KafkaCluster:
    """See the contract. Its clients are opened at once, on the event loop it is used on."""

    def __init__(self, settings: KafkaSettings, node: str) -> None:
        self._settings = settings
        self._node = node
        self._client_id = f"eventing-{node}-nodes"
        self._topics = Topics(settings, self._client_id)
        self._reader = TopicReader(settings, self._client_id)
        self._producer = RecordProducer(settings, self._client_id)
        self._protocol: Protocol = "classic"
        self._members: dict[str, Member] = {}
        self._table = CompactedTopic(
            self._topics,
            self._reader,
            TOPIC,
            self._apply,
            self._members.clear,
            recent=RECENT,
        )
        self._shared = SharedTables(self._topics, self._reader, self._producer)
        self._leases: set[KafkaLease] = set()
        self._sent: tuple[int, float] | None = None
        self._ahead = 0.0
        self._closed = False

    async def start(self) -> None:
        """See the contract."""
        copies = self._settings.replication_factor
        await self._topics.ensure([nodes_topic(copies), leases_topic(copies), tables_topic(copies)])
        self._protocol = await choose_protocol(self._topics)

    async def announce(self, document: Document) -> None:
        """See the contract."""
        if self._closed:
            raise self._closed_error()
        now = time.time()
        offset = await self._store(orjson.dumps(dict(document)))
        self._sent = (offset, now)

    async def members(self) -> list[Member]:
        """See the contract."""
        if self._closed:
            raise self._closed_error()
        await self._table.refresh()
        oldest = time.time() + self._ahead - FORGET_AFTER
        for name in [name for name, each in self._members.items() if each.at < oldest]:
            del self._members[name]
        return sorted(self._members.values(), key=lambda each: each.name)

    def lease(self, name: str) -> KafkaLease:
        """See the contract; once it has started."""
        if self._closed:
            raise self._closed_error()
        lease = KafkaLease(
            self._settings,
            self._client_id,
            self._topics,
            self._protocol,
            name,
            self._leases.discard,
        )
        self._leases.add(lease)
        return lease

    async def documents(self, table: str) -> Mapping[str, Document]:
        """See the contract."""
        if self._closed:
            raise self._closed_error()
        return await self._shared.documents(table)

    async def store(self, table: str, changes: Mapping[str, Document | None]) -> None:
        """See the contract."""
        if self._closed:
            raise self._closed_error()
        await self._shared.store(table, changes)

    async def close(self) -> None:
        """See the contract; within five seconds also where Kafka is away. Leases that are open
        are given up."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(lease.close() for lease in [*self._leases]), self._leave())
        await asyncio.gather(self._producer.close(0), self._reader.close(), self._topics.close())

    async def _leave(self) -> None:
        if self._sent is not None:
            with suppress(StorageError, TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await self._store(None)

    async def _store(self, document: bytes | None) -> int:
        """The offset of the record. Raises StorageError."""
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def done(error: StorageError | EventTooLarge | None, _: int, offset: int) -> None:
            if stored.done():
                return
            if isinstance(error, EventTooLarge):
                stored.set_exception(StorageError(f"what this node announces: {error}"))
            elif error is not None:
                stored.set_exception(error)
            else:
                stored.set_result(offset)

        self._producer.send(TOPIC, self._node.encode(), [], document, done, 0)
        return await stored

    def _apply(self, message: Message) -> None:
        key, value = message.key(), message.value()
        at = message.timestamp()[1] / 1000
        try:
            name = key.decode() if isinstance(key, bytes) else ""
            document = None if value is None else orjson.loads(value)
        except ValueError:
            return
        if self._sent is not None and place_of(message)[1] == self._sent[0]:
            self._ahead = at - self._sent[1]
        if isinstance(document, dict) and name:
            self._members[name] = Member(name, at, document)
        elif value is None:
            self._members.pop(name, None)

    def _closed_error(self) -> StorageError:
        servers = self._settings.bootstrap_servers
        return StorageError(f"the connection to Kafka at {servers} is closed", UNREACHABLE)
