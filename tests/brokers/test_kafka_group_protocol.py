"""The rebalance protocol that is chosen, and that the client and the server take what is set."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from broker_contract import awaited
from confluent_kafka import Consumer
from confluent_kafka.admin import ResourceType
from kafka_properties import QUICK_GROUPS
from kafka_server import KafkaServer
from kafka_service import own_kafka

from brokers.kafka.group_protocol import Protocol, choose_protocol, group_options, shorten_session
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.topics import Topics
from eventing.errors import StorageError

pytestmark = pytest.mark.timeout(240)

SESSION = "group.consumer.session.timeout.ms"
GROUP_SESSION = "consumer.session.timeout.ms"


@pytest.fixture(scope="module")
def as_it_comes() -> Iterator[KafkaServer]:
    """A Kafka with no option for groups set."""
    with own_kafka() as server:
        yield server


@asynccontextmanager
async def administered(servers: str) -> AsyncIterator[Topics]:
    topics = Topics(KafkaSettings(servers), "test")
    try:
        yield topics
    finally:
        await topics.close()


async def session_of(topics: Topics, group: str) -> int:
    options = await topics.option(ResourceType.GROUP, group, [GROUP_SESSION])
    assert options is not None
    return int(options[GROUP_SESSION])


@awaited
async def test_the_next_generation_is_chosen_where_it_notices_in_time(kafka: str) -> None:
    async with administered(kafka) as topics:
        assert await choose_protocol(topics) == "consumer"
        group = f"group-{uuid.uuid4().hex}"
        assert await shorten_session(topics, group)
        assert await session_of(topics, group) == int(QUICK_GROUPS[SESSION])


@awaited
async def test_as_kafka_comes_the_classic_one_is_chosen(as_it_comes: KafkaServer) -> None:
    async with administered(as_it_comes.bootstrap_servers) as topics:
        assert await choose_protocol(topics) == "classic"


def test_a_long_session_that_may_be_shorter_is_shortened_for_the_group(
    start_kafka: object,
) -> None:
    properties = {
        "group.consumer.min.session.timeout.ms": "5000",
        "group.consumer.min.heartbeat.interval.ms": "1000",
    }

    @awaited
    async def test() -> None:
        async with administered(start_kafka(properties=properties).bootstrap_servers) as topics:  # type: ignore[operator]
            assert await choose_protocol(topics) == "consumer"
            group = f"group-{uuid.uuid4().hex}"
            assert await session_of(topics, group) == 45_000
            assert await shorten_session(topics, group)
            assert await session_of(topics, group) == 6_000

    test()


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_the_client_takes_the_options(kafka: str, protocol: Protocol) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": f"group-{uuid.uuid4().hex}",
            **group_options(protocol),
        }
    )
    consumer.close()


@awaited
async def test_kafka_that_is_away_is_an_error() -> None:
    async with administered("localhost:1") as topics:
        with pytest.raises(StorageError, match="can't be reached"):
            await choose_protocol(topics)
