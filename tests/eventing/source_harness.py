"""A source at work in a test: sinks that do as they are told, and records and entries to read."""

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from brokers.embedded import EmbeddedBroker
from brokers.kafka.settings import KafkaSettings
from brokers.local_cluster import LocalCluster
from eventing.event import Event
from eventing.sources.kafka_source import KafkaSource
from eventing.sources.outlet import Outlet, SourceRoute
from eventing.sources.settings import KafkaSourceSettings
from functions.base import Call, Response
from triggers.broker_target import BrokerTarget
from triggers.delivery import DeliveryPolicy

SOURCE = "/apis/v1/namespaces/default/kafkasources/s"
PATIENCE = 30.0


async def eventually(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true result of `condition`. Fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"after {seconds:g} s still not so: {what}"
        await asyncio.sleep(0.01)
    return result


class Sink:
    """Answers as `answer` says of each event; None holds the call until `release`."""

    def __init__(self, answer: Callable[[Event], Response | None] | None = None) -> None:
        self.events: list[Event] = []
        self.calls: list[Call] = []
        self.held: list[tuple[Event, Callable[[Response], None]]] = []
        self._answer = answer or (lambda event: Response(202))

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        self.events.append(call.event)
        self.calls.append(call)
        response = self._answer(call.event)
        if response is None:
            self.held.append((call.event, done))
        else:
            done(response)

    def release(self) -> None:
        held, self.held = self.held, []
        for _, done in held:
            done(Response(202))

    @property
    def data(self) -> list[bytes | None]:
        return [event.data for event in self.events]

    @property
    def ids(self) -> list[str]:
        return [event.attributes["id"] for event in self.events]


QUICK = DeliveryPolicy(retry=3, backoff_policy="linear", backoff_delay=0.01)


def outlet_to(
    sink: Any, *, dead_letters: Any = None, policy: DeliveryPolicy = QUICK, **more: Any
) -> Outlet:
    outlet = Outlet("test")
    outlet.route = SourceRoute(
        sink, "function:default/f", policy, None, dead_letters, "function:default/dead", **more
    )
    return outlet


def outlet_into(broker: Any, **more: Any) -> Outlet:
    outlet = Outlet("test")
    outlet.route = SourceRoute(BrokerTarget(broker), f"broker:{broker.name}", broker=broker, **more)
    return outlet


class Nothing:
    """A router that wants nothing."""

    observed = False

    def route(self, event: Event) -> tuple[str, ...]:
        return ()

    def accepts(self, subscription: str, event: Event) -> bool:
        return False


@asynccontextmanager
async def embedded_broker(path: Any):
    broker = EmbeddedBroker("default/b", path / "b.db")
    await broker.start()
    broker.set_router(Nothing())
    try:
        yield broker
    finally:
        await broker.close()


async def local_lease(name: str) -> Any:
    return LocalCluster("n").lease(name)


def new_topic(servers: str, partitions: int = 1) -> str:
    """A topic of a name of its own, made."""
    name = f"orders-{uuid.uuid4().hex[:8]}"
    make_topic(servers, name, partitions)
    return name


def make_topic(servers: str, name: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        future.result(30)
    deadline = time.monotonic() + PATIENCE
    while name not in admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline


def produce(servers: str, topic: str, *values: bytes | None, **more: Any) -> None:
    """Records, stored when this returns."""
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    for value in values:
        producer.produce(topic, value, **more)
    assert producer.flush(30) == 0


def committed(servers: str, group: str, topic: str, partition: int = 0) -> int:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "log_level": 0})
    try:
        return consumer.committed([TopicPartition(topic, partition)], 10)[0].offset
    finally:
        consumer.close()


def kafka_source(
    servers: str, topic: str, outlet: Outlet, *, client_id: str = "test", **settings: Any
) -> KafkaSource:
    kafka = settings.pop("kafka", KafkaSettings(servers))
    defaults = {
        "group": f"group-{topic}",
        "earliest": True,
        "ordered": True,
        "key_type": "string",
    }
    topics = settings.pop("topics", (topic,))
    made = KafkaSourceSettings(kafka, topics, **{**defaults, **settings})
    return KafkaSource("KafkaSource/default/s", made, outlet, source=SOURCE, client_id=client_id)


@asynccontextmanager
async def running(source: Any):
    try:
        yield source
    finally:
        await source.stop(5.0)
