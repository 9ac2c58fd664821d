"""What several nodes that have one Kafka broker open may count on, and what others write into its
topic.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from broker_contract import ALL, REFUSED, TypeRouter, awaited, event, ids, receive, until
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka_harness import KafkaHarness, crash
from kafka_properties import QUICK_GROUPS
from kafka_service import StartKafka, own_kafka

from brokers.base import At, Dead, Delivery, Done, Retry, Subscription
from brokers.kafka import replaying
from brokers.kafka.broker import KafkaBroker
from brokers.kafka.names import trigger_group
from eventing.errors import UserError

pytestmark = pytest.mark.service("kafka")

PARTITIONS = 6


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with own_kafka(
        properties={**QUICK_GROUPS, "group.consumer.session.timeout.ms": "1500"}
    ) as server:
        yield server.bootstrap_servers


@pytest.fixture
def harness(servers: str) -> KafkaHarness:
    return KafkaHarness(servers, partitions=PARTITIONS)


@asynccontextmanager
async def node(
    harness: KafkaHarness, name: str, router: TypeRouter = ALL
) -> AsyncIterator[KafkaBroker]:
    broker = await harness.open(node=name)
    broker.set_router(router)
    try:
        yield broker
    finally:
        await broker.close()


def partitions(broker: KafkaBroker, name: str = "a") -> set[int]:
    """Those of the subscription that this node has, once it may hand them out."""
    shares = broker.subscriptions[name].shares
    return {each for each, share in shares.items() if share.loaded}


async def shared(*brokers: KafkaBroker, name: str = "a") -> None:
    """Wait until every partition has a node, and every node has some."""
    await until(lambda: sum(len(partitions(each, name)) for each in brokers) == PARTITIONS)
    await until(lambda: all(partitions(each, name) for each in brokers))


async def drained(subscription: Subscription, quiet: float = 1.0) -> list[Delivery]:
    """All that comes until nothing came for `quiet` seconds, settled."""
    got: list[Delivery] = []
    while True:
        try:
            async with asyncio.timeout(quiet):
                batch = await subscription.receive(100)
        except TimeoutError:
            return got
        got += batch
        await subscription.settle([Done(each) for each in batch])


async def publish_many(broker: KafkaBroker, count: int, first: int = 0) -> None:
    """Each by itself, so that they spread over the partitions."""
    keys = [event(n, partitionkey=str(n)) for n in range(first, first + count)]
    await asyncio.gather(*(broker.publish([each]) for each in keys))


async def stored(broker: KafkaBroker) -> Counter[str]:
    return Counter([each.event.attributes["id"] async for each in broker.read()])


@awaited
async def test_nodes_share_the_partitions_and_none_gets_what_another_has(
    harness: KafkaHarness,
) -> None:
    async with node(harness, "one") as one, node(harness, "two") as two:
        a, b = await one.subscribe("a"), await two.subscribe("a")
        await shared(one, two)
        await publish_many(one, 300)
        first, second = await asyncio.gather(drained(a), drained(b))
        assert first and second
        assert sorted(ids(first) + ids(second), key=int) == [str(n) for n in range(300)]


@awaited
async def test_stats_on_any_node_are_those_of_all_and_the_shares_add_up(
    harness: KafkaHarness,
) -> None:
    async with node(harness, "one") as one, node(harness, "two") as two:
        a, b = await one.subscribe("a"), await two.subscribe("a")
        await shared(one, two)
        await publish_many(one, 60)
        for subscription in (a, b):
            got = await receive(subscription, 3)
            later = [Retry(each, time.time() + 600, REFUSED) for each in got[:2]]
            await subscription.settle([*later, Dead(got[2], REFUSED)])

        async def agree() -> bool:
            found = [(await each.stats()).subscriptions["a"] for each in (one, two)]
            retrying, dead, lag = ({x.retrying for x in found}, {x.dead for x in found},
                                   {x.lag for x in found})  # fmt: skip
            return (
                (retrying, dead) == ({4}, {2})
                and len(lag) == 1
                and (sum(each.share for each in found) == lag.pop())
            )

        async with asyncio.timeout(20):
            while not await agree():
                await asyncio.sleep(0.1)


@awaited
async def test_what_a_vanished_node_had_is_handed_out_on_another(harness: KafkaHarness) -> None:
    async with node(harness, "one") as one:
        two = await harness.open(node="two")
        two.set_router(ALL)
        a, b = await one.subscribe("a"), await two.subscribe("a")
        await shared(one, two)
        await publish_many(one, 100)
        got = await receive(b, 10)
        await b.settle([Done(got[0]), Retry(got[1], time.time(), REFUSED)])
        await crash(two)
        began = time.monotonic()
        again = await receive(a, 99)
        print(f"taken over after {time.monotonic() - began:.1f} s")
        assert sorted(ids(again) + ids(got[:1]), key=int) == [str(n) for n in range(100)]
        assert {each.attempt for each in again if each.event == got[1].event} == {2}


@awaited
async def test_a_node_that_leaves_gives_its_work_up_at_once(start_kafka: StartKafka) -> None:
    # One that vanished would be missed after the 40 s only.
    session = {"group.consumer.session.timeout.ms": "40000"}
    server = await asyncio.to_thread(start_kafka, properties={**QUICK_GROUPS, **session})
    harness = KafkaHarness(server.bootstrap_servers, partitions=PARTITIONS)
    async with node(harness, "one") as one:
        a = await one.subscribe("a")
        async with node(harness, "two") as two:
            await two.subscribe("a")
            await shared(one, two)
        await until(lambda: len(partitions(one)) == PARTITIONS, 20)
        await publish_many(one, 20)
        assert len(await receive(a, 20)) == 20


@awaited
async def test_outcomes_of_what_another_node_took_over_are_passed_over_with_their_replies(
    harness: KafkaHarness,
) -> None:
    router = TypeRouter(a={"order"})
    async with node(harness, "one", router) as one:
        a = await one.subscribe("a")
        await until(lambda: len(partitions(one)) == PARTITIONS)
        await publish_many(one, 60)
        got = await receive(a, 60)
        async with node(harness, "two", router) as two:
            b = await two.subscribe("a")
            await shared(one, two)
            positions = await a.settle(
                [Done(each, (event(f"re-{each.event.attributes['id']}", "reply"),)) for each in got]
            )
            kept = [each for each, place in zip(got, positions, strict=True) if place]
            again = []
            while len(again) < 60 - len(kept):
                batch = await b.receive(100)
                again += batch
                await b.settle(
                    [
                        Done(each, (event(f"re-{each.event.attributes['id']}", "reply"),))
                        for each in batch
                    ]
                )
            assert kept and again
            assert sorted(ids(kept) + ids(again), key=int) == [str(n) for n in range(60)]
            found = await stored(two)
            assert {found[f"re-{n}"] for n in range(60)} == {1}


@awaited
async def test_a_dead_letter_redriven_on_one_node_is_delivered_by_the_one_that_has_its_partition(
    harness: KafkaHarness,
) -> None:
    async with node(harness, "one") as one, node(harness, "two") as two:
        a, b = await one.subscribe("a"), await two.subscribe("a")
        await shared(one, two)
        await publish_many(one, 40)
        for subscription in (a, b):
            for _ in range(5):
                (got,) = await receive(subscription, 1)
                await subscription.settle([Dead(got, REFUSED)])
        await drained(a), await drained(b)
        letters = await two.dead_letters()
        assert len(letters) == 10
        for letter in letters:
            assert await two.redrive(letter.id)
        assert await one.dead_letters() == []
        again = await drained(a) + await drained(b)
        assert sorted(ids(again)) == sorted(each.event.attributes["id"] for each in letters)


@awaited
async def test_replay_reaches_the_partitions_of_every_node(harness: KafkaHarness) -> None:
    async with node(harness, "one") as one, node(harness, "two") as two:
        a, b = await one.subscribe("a"), await two.subscribe("a")
        await shared(one, two)
        await publish_many(one, 50)
        await asyncio.gather(drained(a), drained(b))
        await asyncio.sleep(1.5)  # What was settled on the other node is known by its commits.
        assert await a.replay(1) == 50
        first, second = await asyncio.gather(drained(a), drained(b))
        assert sorted(ids(first) + ids(second), key=int) == [str(n) for n in range(50)]


@awaited
async def test_a_removed_subscription_is_known_to_no_node(harness: KafkaHarness) -> None:
    async with node(harness, "one") as one, node(harness, "two") as two:
        await one.subscribe("a")
        await until(lambda: two.known_subscriptions() == ["a"])
        assert await one.unsubscribe("a") == 0
        await until(lambda: two.known_subscriptions() == [])


def write(servers: str, topic: str, *records: tuple[bytes | None, dict[str, bytes]]) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for value, headers in records:
        producer.produce(topic, value, headers=list(headers.items()), partition=0)
    assert producer.flush(30) == 0


EVENT = {"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"/kcat", "ce_type": b"order"}


@awaited
async def test_a_record_that_is_no_event_is_a_dead_letter_of_the_broker_once(
    harness: KafkaHarness,
) -> None:
    async with node(harness, "one") as one:
        a, b = await one.subscribe("a"), await one.subscribe("b")
        broken = {**EVENT, "ce_id": b""}
        write(
            harness.settings.bootstrap_servers,
            one.topic,
            (b"plain", {"content-type": b"text/plain"}),
            (b"{}", broken),
            (b"good", EVENT),
        )
        for subscription in (a, b):
            (got,) = await receive(subscription, 1)
            assert got.event.data == b"good"
            await subscription.settle([Done(got)])
        await one.commits.drain()
        plain, unnamed = await one.dead_letters()
        assert (plain.trigger, plain.event.data) == ("", b"plain")
        assert plain.event.attributes["type"] == "dev.eventing.record.unreadable"
        assert plain.event.attributes["datacontenttype"] == "text/plain"
        where = f"topic {one.topic}, partition 0, offset 0 is no CloudEvent: "
        assert plain.failure.reason.startswith(where)
        assert "id" in unnamed.failure.reason

        assert await one.redrive(unnamed.id, event("mended"))
        for subscription in (a, b):
            assert ids(await receive(subscription, 1)) == ["mended"]
        assert await one.dead_letters() == [plain]


@awaited
async def test_a_tombstone_is_passed_over_and_an_event_without_data_is_one(
    harness: KafkaHarness,
) -> None:
    async with node(harness, "one") as one:
        a = await one.subscribe("a")
        servers = harness.settings.bootstrap_servers
        write(servers, one.topic, (None, {}), (None, EVENT), (b"data", EVENT))
        got = await receive(a, 2)
        assert [each.event.data for each in got] == [None, b"data"]
        await a.settle([Done(each) for each in got])
        assert await one.dead_letters() == []


@awaited
async def test_a_trigger_that_a_cluster_had_goes_on_at_its_committed_offset(
    harness: KafkaHarness,
) -> None:
    async with node(harness, "one") as one:
        await publish_many(one, 30)
        ends = await one._ends()
        consumer = Consumer(
            {
                "bootstrap.servers": harness.settings.bootstrap_servers,
                "group.id": trigger_group("a", harness.name),
            }
        )
        kept = {partition: max(0, end - 1) for partition, end in ends.items()}
        consumer.commit(
            offsets=[TopicPartition(one.topic, *each) for each in kept.items()], asynchronous=False
        )
        consumer.close()
        a = await one.subscribe("a")
        got = await drained(a)
        assert len(got) == sum(end > 0 for end in ends.values())


@awaited
async def test_more_than_may_wait_is_not_replayed_at_once(
    harness: KafkaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "AT_ONCE", 10)
    async with node(harness, "one") as one:
        a = await one.subscribe("a")
        await publish_many(one, 11)
        await drained(a)
        with pytest.raises(UserError, match="11 events are more than the 10"):
            await a.replay(1)
        assert await drained(a, 0.5) == []
        assert await a.replay(1, At(0.0)) == 0


def resident() -> int:
    """Bytes of memory of this process."""
    (line,) = (
        each for each in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in each
    )
    return int(line.split()[1]) * 1024


@awaited
async def test_a_trigger_that_takes_nothing_holds_some_megabytes_however_much_waits(
    harness: KafkaHarness,
) -> None:
    async with node(harness, "one") as one:
        data = bytes(50_000)
        for first in range(0, 4000, 100):
            await one.publish([event(n, data=data) for n in range(first, first + 100)])
        before = resident()
        a = await one.subscribe("a", start=1)
        got = await receive(a, 50)
        await until(lambda: not one.subscriptions["a"]._consumer._room.is_set())
        await asyncio.sleep(1)
        assert resident() - before < 80 << 20, "of 200 MB that wait"
        await a.settle([Done(each) for each in got])
        rest = await receive(a, 3950)
        assert sorted(ids(got + rest), key=int) == [str(n) for n in range(4000)]
