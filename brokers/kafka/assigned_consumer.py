"""A consumer that reads what it is assigned, in no group: the blocking part of a TopicReader.

Its buffers are small, it sees committed records only, and it commits nothing.
"""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from brokers.kafka.client_options import client_options
from brokers.kafka.faults import UNREACHABLE, ClientErrors, reason_of, storage_error
from brokers.kafka.settings import KafkaSettings
from eventing.errors import StorageError

GROUP = "eventing-reading"
"""No group is joined, but the client wants the name of one, and to be allowed to read it."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Offsets of one partition: from `start` up to but without `end`."""

    start: int
    end: int


class AssignedConsumer:
    """Methods block, and may be called from any thread: one at a time, the others wait."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self.heard = ClientErrors()
        self.open: set[int] = set()
        """Partitions that are not read to the end of their stretch yet."""
        self._servers = settings.bootstrap_servers
        self._lock = threading.Lock()
        self._topic = ""
        self._stretches: Mapping[int, Stretch] = {}
        self._held: set[int] = set()
        self._consumer: Any = Consumer(
            {
                **client_options(settings, client_id, self.heard),
                "group.id": GROUP,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "queued.max.messages.kbytes": 4096,
                "fetch.max.bytes": 8 << 20,
                # A fetch that waits at the end of the log holds up the next one behind it.
                "fetch.wait.max.ms": 10,
                "fetch.error.backoff.ms": 100,
                "fetch.queue.backoff.ms": 10,
            }
        )

    def assign(self, topic: str, stretches: Mapping[int, Stretch]) -> None:
        """Begin to read; each stretch has at least one offset."""
        with self._lock:
            self._topic, self._stretches, self._held = topic, dict(stretches), set()
            self.open = set(stretches)
            self._check_open()
            self._consumer.assign(
                [
                    TopicPartition(topic, partition, stretch.start)
                    for partition, stretch in stretches.items()
                ]
            )

    def read(self, limit: int, seconds: float, held: Collection[int] = ()) -> list[Message]:
        """At most `limit` records, after `seconds` at the latest. Those of the partitions `held`
        are left where they are. Raises StorageError for what waiting does not mend."""
        with self._lock:
            self._check_open()
            self._hold(self.open.intersection(held))
            first = self._consumer.poll(seconds)
            if first is None:
                return []
            came = [first, *self._consumer.consume(limit - 1, 0)]
            open_before = len(self.open)
            messages = [message for message in came if self._wanted(message)]
            if messages or len(self.open) < open_before:
                self.heard.clear()
            return messages

    def release(self) -> None:
        """Read no further, and be ready for the next `assign`."""
        with self._lock:
            if self._consumer is not None:
                self.open = set()
                self._consumer.unassign()
                while self._consumer.consume(1000, 0):
                    pass

    def close(self) -> None:
        """Within a second or so, also when Kafka is away. `assign` and `read` raise then."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
            if consumer is not None:
                consumer.close()

    def _check_open(self) -> None:
        if self._consumer is None:
            raise StorageError(f"the connection to Kafka at {self._servers} is closed")

    def _hold(self, held: set[int]) -> None:
        pause, resume = held - self._held, (self._held - held) & self.open
        self._held = held
        if pause:
            self._consumer.pause([TopicPartition(self._topic, each) for each in pause])
        if resume:
            self._consumer.resume([TopicPartition(self._topic, each) for each in resume])

    def _wanted(self, message: Message) -> bool:
        """Whether it is a record of a stretch; notes where a stretch is at its end."""
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            if reason_of(error) != UNREACHABLE:
                raise storage_error(
                    error, f"topic {self._topic!r} can't be read", self._servers, self.heard
                )
            self.heard(error)
            return False
        partition, offset = message.partition(), message.offset()
        if message.topic() != self._topic or partition not in self.open or offset is None:
            return False
        stretch = self._stretches[partition]
        if offset < stretch.start:
            raise StorageError(
                f"topic {self._topic!r} can't be read from offset {stretch.start} of partition "
                f"{partition}: it was made anew meanwhile; try again"
            )
        # Records behind the last one may be a transaction's markers, or compacted away: then what
        # tells the end is a later record, or the end of all that is committed.
        if offset >= stretch.end or (error is None and offset == stretch.end - 1):
            self.open.discard(partition)
            try:
                self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
            except KafkaException:
                pass  # It is about to be assigned something else altogether.
        return error is None and offset < stretch.end
