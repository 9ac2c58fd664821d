"""A Kafka for a test: its topics, clients that are closed in the end, and records written to it."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaError, Message, Producer

from brokers.kafka.settings import KafkaSettings
from brokers.kafka.topic_reader import TopicReader
from brokers.kafka.topics import Topic, Topics

Written = tuple[bytes | None, list[tuple[str, bytes]], bytes | None]
"""Key, headers and value."""


@dataclass(frozen=True, slots=True)
class Clients:
    settings: KafkaSettings
    topics: Topics
    reader: TopicReader

    async def new_topic(self, partitions: int = 1, **options: str) -> str:
        """Its name; `options` are the server's, with `_` for `.`."""
        topic = Topic(
            f"topic-{uuid.uuid4().hex}",
            partitions,
            options={name.replace("_", "."): value for name, value in options.items()},
        )
        await self.topics.ensure([topic])
        return topic.name


@contextlib.asynccontextmanager
async def clients(servers: str) -> AsyncIterator[Clients]:
    settings = KafkaSettings(servers)
    topics, reader = Topics(settings, "test"), TopicReader(settings, "test")
    try:
        yield Clients(settings, topics, reader)
    finally:
        await reader.close()
        await topics.close()


def producer(servers: str, **options: str | int) -> Producer:
    return Producer(
        {"bootstrap.servers": servers, "acks": "all", "linger.ms": 1, "log_level": 0, **options}
    )


def transactional(servers: str) -> Producer:
    """With a transaction begun."""
    made = producer(servers, **{"transactional.id": f"test-{uuid.uuid4().hex}"})
    made.init_transactions(20)
    made.begin_transaction()
    return made


def write(
    by: Producer | str, topic: str, records: Iterable[Written | bytes], partition: int = 0
) -> None:
    """Returns once they are stored; a record given as bytes is its value alone."""
    sender = producer(by) if isinstance(by, str) else by
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    for record in records:
        key, headers, value = (None, [], record) if isinstance(record, bytes) else record
        sender.produce(topic, value, key, partition, delivered, headers=headers)
    assert sender.flush(20) == 0
    assert failed == []


def values(messages: Iterable[Message]) -> list[object]:
    return [message.value() for message in messages]
