"""Kafka brokers over one topic, one after the other."""

import uuid
from typing import Any

from brokers.base import Limits
from brokers.kafka.broker import KafkaBroker
from brokers.kafka.settings import KafkaSettings


class KafkaHarness:
    """All have the name of one node: it comes back. A crash leaves the group without a word, and a
    transaction open that was begun."""

    # The marks of the transactions in the log.
    own_records = 20
    takeover = 3.0

    def __init__(self, servers: str, *, partitions: int = 1) -> None:
        self.name = f"test-{uuid.uuid4().hex[:8]}/broker"
        self.settings = KafkaSettings(servers, partitions=partitions)

    async def open(self, limits: Limits | None = None, node: str = "node") -> KafkaBroker:
        broker = KafkaBroker(self.name, self.settings, limits, node=node)
        await broker.start()
        return broker

    async def crash(self, broker: KafkaBroker) -> None:
        await crash(broker)


async def crash(broker: Any) -> None:
    """Nothing is stored, left or told any more; what only Python holds is let go."""
    for task in (*broker._tasks, broker.commits._task):
        task.cancel()
    broker.commits._idle.set()
    for subscription in broker.subscriptions.values():
        subscription._consumer._end = lambda: None
        subscription.stop()
        for share in subscription.shares.values():
            share.alive = False
        await subscription._consumer.stop()
        subscription._consumer._consumer = None
    broker.subscriptions.clear()
    await broker.follower.close()
    await broker.reader.close()
    await broker._producer.close(0)
    await broker.topics.close()
    await broker._transactions.close()
