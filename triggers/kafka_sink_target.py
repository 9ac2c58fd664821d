"""A Kafka topic as a target: each event a record, answered once all in-sync replicas have it."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from confluent_kafka import KafkaException

from brokers.base import Fault
from brokers.kafka.faults import storage_error
from brokers.kafka.producer import RecordProducer
from brokers.kafka.topics import Topic, Topics
from eventing.errors import EventTooLarge, InvalidEvent, StorageError
from eventing.event import validate_event
from eventing.kafka_encoding import encode_record
from functions.base import Call, Response
from triggers.sink import KafkaSinkSettings

log = logging.getLogger("eventing.sinks")

AGAIN_SECONDS = 2.0
"""Between two looks at a topic that is not there, or a Kafka that is away."""
UNSENDABLE = 500
"""The status of an attempt whose event breaks the rules of CloudEvents: nothing was sent."""


class KafkaSinkTarget:
    """See triggers/sink.py. The record's key is the attribute `partitionkey`.

    Until the topic has been looked at for the first time calls wait; while it is missing, or Kafka
    does not let this node in, they are answered 503 at once.
    """

    def __init__(self, name: str, settings: KafkaSinkSettings, *, client_id: str) -> None:
        self._name = name
        self._settings = settings
        self._client_id = client_id
        self._fault: Fault | None = None
        self._looked = self._closed = False
        self._waiting: list[tuple[Call, Callable[[Response], None]]] = []
        self._stored = self._failed = 0
        self._suspect = asyncio.Event()
        self._producer: RecordProducer | None = None
        self._task = asyncio.get_running_loop().create_task(self._look(), name=f"sink {name}")

    @property
    def fault(self) -> Fault | None:
        """See the contract."""
        return self._fault

    def status(self) -> dict[str, Any]:
        """See the contract."""
        settings = self._settings
        return {
            "to": settings.topic,
            "servers": settings.kafka.bootstrap_servers,
            "mode": settings.mode,
            "stored": self._stored,
            "failed": self._failed,
        }

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        """See the contract."""
        if self._closed:
            done(Response(503, reason=f"sink {self._name} is closed"))
            return
        if not self._looked:
            self._waiting.append((call, done))
            return
        fault, producer = self._fault, self._producer
        if fault is not None or producer is None:
            self._failed += 1
            done(Response(503, reason=fault.message if fault is not None else ""))
            return
        try:
            validate_event(call.event)
        except InvalidEvent as error:
            done(Response(UNSENDABLE, reason=f"the event can't be sent: {error}"))
            return
        key, headers, value = encode_record(call.event, self._settings.mode)
        producer.send(self._settings.topic, key, headers, value, partial(self._answered, done))

    async def close(self, seconds: float) -> None:
        """See the contract."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._ready()
        self._closed = True
        if self._producer is not None:
            await self._producer.close(seconds)

    def _answered(
        self,
        done: Callable[[Response], None],
        error: StorageError | EventTooLarge | None,
        partition: int,
        offset: int,
    ) -> None:
        if error is None:
            self._stored += 1
            done(Response(202))
            return
        self._failed += 1
        if isinstance(error, EventTooLarge):
            done(Response(413, reason=str(error)))
            return
        # What is the matter is found out beside; this attempt is over.
        self._suspect.set()
        done(Response(503, reason=str(error)))

    async def _look(self) -> None:
        """See that the topic is there: at first, and whenever a record was not stored."""
        while True:
            try:
                await self._find()
            except StorageError as error:
                self._unusable(Fault.of(error))
            else:
                if self._fault is not None:
                    log.info("sink %s takes events now", self._name)
                self._fault = None
            self._ready()
            if self._fault is None:
                await self._suspect.wait()
                self._suspect.clear()
            else:
                await asyncio.sleep(AGAIN_SECONDS)

    async def _find(self) -> None:
        """Raises StorageError."""
        settings, kafka = self._settings, self._settings.kafka
        try:
            topics = Topics(kafka, self._client_id)
        except KafkaException as error:
            # Such as a certificate that is none.
            servers = kafka.bootstrap_servers
            raise storage_error(error, "the settings can't be used", servers) from None
        try:
            if settings.makes_topic:
                topic = Topic(settings.topic, kafka.partitions, kafka.replication_factor)
                await topics.ensure([topic])
            else:
                await topics.partitions(settings.topic)
        finally:
            await topics.close()
        if self._producer is None:
            self._producer = RecordProducer(kafka, self._client_id)

    def _unusable(self, fault: Fault) -> None:
        """Once, however often it is tried, and whatever its words are the next time."""
        if self._fault is None or self._fault.reason != fault.reason:
            log.error("sink %s: %s; it is tried again", self._name, fault.message)
        self._fault = fault

    def _ready(self) -> None:
        self._looked = True
        waiting, self._waiting = self._waiting, []
        for call, done in waiting:
            self.submit(call, done)
