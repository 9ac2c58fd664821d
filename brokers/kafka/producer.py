"""Single records into Kafka: acks=all, idempotent, each with an answer on the event loop."""

import asyncio
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from brokers.kafka.client_options import client_options
from brokers.kafka.faults import ClientErrors, produce_error
from brokers.kafka.messages import place_of
from brokers.kafka.reports import SLOWEST, Reports
from brokers.kafka.settings import KafkaSettings
from eventing.errors import EventTooLarge, StorageError
from eventing.kafka_encoding import Headers

ANSWER_SECONDS = 10.0
"""After which a record that no broker took counts as not stored."""
OUTSTANDING_BYTES = 64 << 20
LINGER_MS = 1
COMMON: dict[str, Any] = {
    "enable.idempotence": True,
    "linger.ms": LINGER_MS,
    # As Kafka's own clients place keys, so that all who write the topic agree.
    "partitioner": "murmur2_random",
    # The topic's own limit counts, not the client's.
    "message.max.bytes": 1_000_000_000,
    "queue.buffering.max.kbytes": OUTSTANDING_BYTES >> 10,
}
"""Options of every producer."""

Stored = Callable[[StorageError | EventTooLarge | None, int, int], None]
"""Told of the error, or of the partition and offset of the record."""


class RecordProducer:
    """Opened at once, closed by `close`; on one event loop. A record that is answered with an
    error may have been stored all the same, where the connection was lost meanwhile."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self.heard = ClientErrors()
        self._servers = settings.bootstrap_servers
        self._options = {
            **client_options(settings, client_id, self.heard),
            **COMMON,
            "message.timeout.ms": int(ANSWER_SECONDS * 1000),
        }
        self._outstanding: set[_Sent] = set()
        self._open()

    def _open(self) -> None:
        self._producer: Any = Producer(self._options)
        self._reports = Reports(self._producer, self._broke)

    def _broke(self, error: KafkaError) -> None:
        """What is outstanding is answered, and the next record goes to another producer."""
        self._reports.stop()
        self._open()
        for sent in tuple(self._outstanding):
            sent(error, None)

    @property
    def outstanding(self) -> int:
        """Records that are not answered yet."""
        return len(self._outstanding)

    def send(
        self,
        topic: str,
        key: bytes | None,
        headers: Headers,
        value: bytes | None,
        done: Stored,
        partition: int = -1,
    ) -> None:
        """Store a record; -1 = the partition of its key, any without one. `done` is called once,
        on the loop, perhaps before this returns."""
        sent = _Sent(self, topic, done)
        try:
            self._producer.produce(topic, value, key, partition, headers=headers, on_delivery=sent)
        except BufferError:
            full = f"{OUTSTANDING_BYTES} bytes wait for Kafka at {self._servers}; send again later"
            done(StorageError(full), -1, -1)
            return
        except KafkaException as error:
            self._failed(error.args[0], topic, done)
            return
        self._outstanding.add(sent)
        self._reports.expect()

    def answered(self, sent: "_Sent", error: KafkaError | None, message: Message | None) -> None:
        """Of one that was sent, once or again."""
        if sent not in self._outstanding:
            return
        self._outstanding.discard(sent)
        if error is not None or message is None:
            self._failed(error or KafkaError(KafkaError._FAIL), sent.topic, sent.done)
            return
        self.heard.clear()
        sent.done(None, *place_of(message))

    def _failed(self, error: KafkaError, topic: str, done: Stored) -> None:
        done(produce_error(error, topic, self._servers, self.heard), -1, -1)

    def give_up(self) -> None:
        """Answer what has not been sent yet with an error."""
        self._producer.purge(in_queue=True, in_flight=False, blocking=False)

    async def close(self, seconds: float = 5.0) -> None:
        """Wait for what is outstanding, up to `seconds`; then it is answered with an error."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.outstanding and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(SLOWEST)
        if self.outstanding:
            self._producer.purge(blocking=False)
            self._producer.poll(0)
        self._reports.stop()
        holder = [self._producer]
        self._producer = None
        # Ending the client's threads takes a moment, and happens when its last reference goes.
        await asyncio.get_running_loop().run_in_executor(None, holder.clear)


class _Sent:
    """A record that is outstanding; called with the client's report."""

    __slots__ = ("_producer", "done", "topic")

    def __init__(self, producer: RecordProducer, topic: str, done: Stored) -> None:
        self._producer = producer
        self.topic = topic
        self.done = done

    def __call__(self, error: KafkaError | None, message: Message | None) -> None:
        self._producer.answered(self, error, message)
