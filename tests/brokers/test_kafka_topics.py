"""Topics as an administrator sees them, and what is said where it can't be done."""

import asyncio
import time
import uuid

import pytest
from broker_contract import awaited
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from kafka_properties import Access
from kafka_records import clients, producer, transactional, write
from kafka_service import StartKafka, StartKafkaCluster

from brokers.kafka.settings import KafkaSettings
from brokers.kafka.topics import Topic, Topics, Watermarks
from eventing.errors import StorageError


def new_name() -> str:
    return f"topic-{uuid.uuid4().hex}"


@awaited
async def test_a_topic_is_made_as_it_is_to_be_and_left_as_it_is(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = Topic(new_name(), 3, options={"cleanup.policy": "compact"})
        await at.topics.ensure([topic, Topic(new_name())])
        assert await at.topics.partitions(topic.name) == 3
        names = ["cleanup.policy", "no.such.option"]
        options = await at.topics.option(ResourceType.TOPIC, topic.name, names)
        assert options == {"cleanup.policy": "compact"}
        identity = await at.topics.identity(topic.name)
        await at.topics.ensure([Topic(topic.name, 5)])
        assert await at.topics.partitions(topic.name) == 3
        assert await at.topics.identity(topic.name) == identity


@awaited
async def test_a_topic_is_enlarged_and_never_made_smaller(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic(2)
        for partitions in (4, 3):
            await at.topics.enlarge(topic, partitions)
            assert await at.topics.partitions(topic) == 4


@awaited
async def test_one_deleted_and_made_again_is_another(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        identity = await at.topics.identity(topic)
        await at.topics.delete([topic, "topic-that-never-was"])
        with pytest.raises(StorageError) as raised:
            while True:
                await at.topics.partitions(topic)
                await asyncio.sleep(0.05)
        assert raised.value.reason == "TopicMissing"
        await at.topics.ensure([Topic(topic)])
        assert await at.topics.identity(topic) != identity


@awaited
async def test_offsets_are_measured(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic(2)
        write(kafka, topic, [b"1", b"2", b"3"], 1)
        assert await at.topics.highs(topic, [0, 1]) == {0: 0, 1: 3}
        assert await at.topics.delete_before(topic, {1: 2})
        assert await at.topics.watermarks(topic, [0, 1]) == {
            0: Watermarks(0, 0),
            1: Watermarks(2, 3),
        }
        assert await at.topics.highs(topic, []) == {}


@awaited
async def test_an_open_transaction_hides_the_end_from_those_who_read_committed(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        write(kafka, topic, [b"1"])
        open_one = transactional(kafka)
        write(open_one, topic, [b"2"])
        assert await at.topics.highs(topic, [0]) == {0: 2}
        assert await at.topics.stable_ends(topic, [0]) == {0: 1}
        open_one.abort_transaction(20)
        while (await at.topics.stable_ends(topic, [0]))[0] < 3:
            await asyncio.sleep(0.05)


@awaited
async def test_a_moment_is_an_offset(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic(2)
        sender = producer(kafka)
        for second in (100, 200, 300):
            sender.produce(topic, b"", partition=0, timestamp=second * 1000)
        assert sender.flush(20) == 0
        for second, offset in ((0, 0), (100, 0), (100.001, 1), (200, 1), (299.5, 2)):
            assert await at.topics.offsets_at(topic, [0], second) == {0: offset}
        found = await at.topics.offsets_at(topic, [0, 1], 301)
        assert found == await at.topics.highs(topic, [0, 1])


@awaited
async def test_the_size_of_a_record_is_the_topics(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic(max_message_bytes="12345")
        assert await at.topics.max_message_bytes(topic) == 12345


@awaited
async def test_a_group_tells_its_offsets_and_what_stands_beside_them(kafka: str) -> None:
    async with clients(kafka) as at:
        topic, other = await at.new_topic(3), await at.new_topic()
        group = f"group-{uuid.uuid4().hex}"
        assert await at.topics.group_offsets(group, topic) == {}
        consumer = Consumer({"bootstrap.servers": kafka, "group.id": group})
        places = [TopicPartition(topic, 0, 5), TopicPartition(topic, 2, 7, "open: 8-9 ä")]
        consumer.commit(offsets=[*places, TopicPartition(other, 0, 1)], asynchronous=False)
        consumer.close()
        for stable in (False, True):
            assert await at.topics.group_offsets(group, topic, stable=stable) == {
                0: (5, ""),
                2: (7, "open: 8-9 ä"),
            }


@awaited
async def test_a_group_is_deleted_unless_it_has_members(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        group = f"group-{uuid.uuid4().hex}"
        assert await at.topics.delete_group(group)
        consumer = Consumer({"bootstrap.servers": kafka, "group.id": group})
        consumer.subscribe([topic])
        while not consumer.assignment():
            consumer.poll(0.05)
        consumer.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
        assert not await at.topics.delete_group(group)
        consumer.close()
        assert await at.topics.delete_group(group)
        assert await at.topics.group_offsets(group, topic) == {}


@pytest.mark.parametrize("call", ["partitions", "identity", "max_message_bytes"])
def test_a_topic_that_is_missing_is_named(kafka: str, call: str) -> None:
    @awaited
    async def test() -> None:
        async with clients(kafka) as at:
            with pytest.raises(StorageError, match="topic-that-never-was") as raised:
                await getattr(at.topics, call)("topic-that-never-was")
            assert raised.value.reason == "TopicMissing"

    test()


@awaited
async def test_offsets_of_a_topic_that_is_missing_can_not_be_read(kafka: str) -> None:
    async with clients(kafka) as at:
        with pytest.raises(StorageError, match="has no such topic") as raised:
            await at.topics.watermarks("topic-that-never-was", [0])
        assert raised.value.reason == "TopicMissing"


@awaited
async def test_a_topic_with_more_copies_than_brokers_says_how_to_make_it(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = Topic(new_name(), 2, 77, {"retention.ms": "1000"})
        with pytest.raises(StorageError, match="is missing") as raised:
            await at.topics.ensure([topic])
        assert raised.value.reason == "TopicMissing"
        assert str(raised.value).endswith(
            f"kafka-topics.sh --bootstrap-server {kafka} --create --topic {topic.name} "
            "--partitions 2 --replication-factor 77 --config retention.ms=1000"
        )


@awaited
async def test_kafka_that_is_away_is_said_within_seconds() -> None:
    topics = Topics(KafkaSettings("localhost:1"), "test")
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"localhost:1 can't be reached .*bootstrap\.servers"):
        await topics.ensure([Topic("topic")])
    assert time.monotonic() - began < 8
    began = time.monotonic()
    await topics.close()
    assert time.monotonic() - began < 3
    with pytest.raises(StorageError, match="closed"):
        await topics.partitions("topic")


@awaited
async def test_closing_ends_a_request_that_is_out() -> None:
    topics = Topics(KafkaSettings("localhost:1"), "test")
    asking = asyncio.ensure_future(topics.partitions("topic"))
    await asyncio.sleep(0)
    await topics.close()
    with pytest.raises(StorageError):
        await asking


def test_a_kafka_broker_that_is_away_takes_no_core_and_has_no_offsets_made_up(
    start_kafka_cluster: StartKafkaCluster,
) -> None:
    cluster = start_kafka_cluster()

    @awaited
    async def test() -> None:
        async with clients(cluster.bootstrap_servers) as at:
            topic = await at.new_topic(3)
            admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
            placed = admin.list_topics(topic, timeout=20).topics[topic].partitions
            mine, other = (
                next(each for each in placed if placed[each].leader == number) for number in (1, 2)
            )
            assert await at.topics.highs(topic, [mine, other]) == {mine: 0, other: 0}
            cluster.nodes[0].pause()
            with pytest.raises(StorageError) as raised:
                await at.topics.highs(topic, [mine, other])
            assert raised.value.reason == "EngineUnreachable"
            # Two of three are away: nobody can choose another leader.
            cluster.nodes[1].kill()
            used = time.process_time()
            with pytest.raises(StorageError):
                await at.topics.highs(topic, [other])
            # CPU of this process, not time: one that connects without a pause, as often as it is
            # refused, takes most of a core for the ten seconds that it waits.
            assert time.process_time() - used < 3

    test()


def test_who_is_not_let_in_or_may_not_do_it_is_told_so(start_kafka: StartKafka) -> None:
    server = start_kafka(access=Access({"ann": "secret-word"}, rules=True))

    def as_ann(password: str) -> Topics:
        security = {
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "ann",
            "sasl.password": password,
        }
        return Topics(KafkaSettings(server.bootstrap_servers, security), "test")

    @awaited
    async def test() -> None:
        topics = as_ann("wrong-word")
        began = time.monotonic()
        with pytest.raises(StorageError, match="does not let this node in") as raised:
            await topics.ensure([Topic("topic")])
        assert raised.value.reason == "AuthenticationFailed"
        assert "wrong-word" not in str(raised.value)
        assert time.monotonic() - began < 5
        await topics.close()

        topics = as_ann("secret-word")
        with pytest.raises(StorageError, match="does not allow it") as raised:
            await topics.ensure([Topic("topic")])
        assert raised.value.reason == "NotAuthorized"
        assert await topics.option(ResourceType.BROKER, "1", ["log.dirs"]) is None
        allow_to_describe(server.inside_servers, "ann", "topic")
        with pytest.raises(StorageError, match=r"kafka-topics\.sh .*--topic topic ") as raised:
            await topics.ensure([Topic("topic")])
        assert raised.value.reason == "TopicMissing"
        await topics.close()

    test()


def allow_to_describe(servers: str, user: str, topic: str) -> None:
    rule = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        f"User:{user}",
        "*",
        AclOperation.DESCRIBE,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_acls([rule])[rule].result(30)
