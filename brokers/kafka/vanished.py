"""Nodes that went without a word: their transactions would stay open until Kafka ends them, and
hold up whoever reads the partitions they wrote to.
"""

import asyncio
import logging

from confluent_kafka import Message

from brokers.cluster import ANNOUNCE_EVERY
from brokers.kafka.cluster import RECENT, TOPIC
from brokers.kafka.compacted_topic import CompactedTopic
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.topic_reader import TopicReader
from brokers.kafka.topics import Topics
from brokers.kafka.turns import TransactionsInTurn
from eventing.errors import StorageError

LOOK_EVERY = 1.5
SILENT = 3 * ANNOUNCE_EVERY
"""Seconds after its last announcement when a node is taken for gone. Where it was but slow, its
next transaction fails and is tried again."""

_log = logging.getLogger("brokers.kafka")


class VanishedNodes:
    """Looks at what nodes announce, and ends what those that vanished have open in a broker."""

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        topics: Topics,
        reader: TopicReader,
        transactional_prefix: str,
    ) -> None:
        """`transactional_prefix` and a node's name make the id of its transactions."""
        self._settings = settings
        self._client_id = client_id
        self._prefix = transactional_prefix
        self._announced: dict[str, float] = {}
        self._ended: set[str] = set()
        self._table = CompactedTopic(
            topics, reader, TOPIC, self._apply, self._announced.clear, recent=RECENT
        )

    async def watch(self) -> None:
        """Look for as long as it is not cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._table.refresh()
                for node in self._silent():
                    await self._end(node)
            except StorageError as error:
                _log.debug("vanished nodes are not looked for: %s", error)

    def _silent(self) -> list[str]:
        """By Kafka's clock alone: compared with the newest announcement of any node."""
        newest = max(self._announced.values(), default=0.0)
        silent = [name for name, at in self._announced.items() if newest - at > SILENT]
        self._ended.intersection_update(silent)
        return [name for name in silent if name not in self._ended]

    async def _end(self, node: str) -> None:
        transactions = TransactionsInTurn(self._settings, self._client_id, f"{self._prefix}{node}")
        try:
            await transactions.open()
            self._ended.add(node)
        finally:
            await transactions.close()

    def _apply(self, message: Message) -> None:
        key = message.key()
        name = key.decode(errors="replace") if isinstance(key, bytes) else ""
        if message.value() is None:
            self._announced.pop(name, None)
        elif name:
            self._announced[name] = message.timestamp()[1] / 1000
