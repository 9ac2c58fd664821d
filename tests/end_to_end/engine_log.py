"""What an engine has stored for the broker default/default, read with its own client.

Not through this project's code: what a test counts here is what is there.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from redis import Redis

Counts = dict[str, Counter[str]]
"""By type, how often each subject is in the log."""


class EngineLog(Protocol):
    @property
    def url(self) -> str:
        """For `eventing up --broker`."""

    def stored(self) -> Counts: ...


class KafkaLog:
    TOPIC = "knative-broker-default-default"

    def __init__(self, servers: str, query: str = "") -> None:
        self._servers = servers
        self.url = f"kafka://{servers}{query}"

    def stored(self) -> Counts:
        found: Counts = defaultdict(Counter)
        for attributes in self._records():
            found[attributes["ce_type"].decode()][attributes["ce_subject"].decode()] += 1
        return found

    def _records(self) -> Iterator[dict[str, bytes]]:
        """The headers of every committed record."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": "reads-alone",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        try:
            partitions = consumer.list_topics(self.TOPIC, timeout=30).topics[self.TOPIC].partitions
            consumer.assign(
                [TopicPartition(self.TOPIC, each, OFFSET_BEGINNING) for each in partitions]
            )
            ended: set[int] = set()
            while len(ended) < len(partitions):
                (message,) = consumer.consume(1, 30) or [None]
                assert message is not None, "Kafka's log does not end"
                if message.error() is None:
                    yield dict(message.headers() or ())
                else:
                    ended.add(message.partition())
        finally:
            consumer.close()


class RedisLog:
    STREAM = "eventing:{default/default}:events"

    def __init__(self, url: str) -> None:
        self.url = url

    def stored(self) -> Counts:
        found: Counts = defaultdict(Counter)
        with Redis.from_url(self.url) as redis:
            for _, fields in redis.xrange(self.STREAM):
                found[fields[b"ce_type"].decode()][fields[b"ce_subject"].decode()] += 1
        return found
