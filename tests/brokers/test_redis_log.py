"""What of the stream is an event, what stays in it, and what a trigger that is behind costs."""

import asyncio
import gc
import json
import time

import pytest
import redis.asyncio
from broker_contract import (
    ALL,
    REFUSED,
    TypeRouter,
    awaited,
    event,
    ids,
    opened,
    publish,
    receive,
    settle_all,
)
from redis_harness import RedisHarness

from brokers.base import Delivery, Limits, Retry
from brokers.redis.broker import RedisBroker
from brokers.redis.entry import UNREADABLE
from brokers.redis.keys import first_position, id_of, last_position, position_of
from brokers.redis.ordering import PARKED_EVENTS
from brokers.redis.subscription import QUEUE_EVENTS
from eventing.event import Event

BOUND = QUEUE_EVENTS + PARKED_EVENTS + 500
"""Deliveries that a trigger may hold in memory, those of a read under way included."""


@pytest.fixture
def harness(redis_url: str) -> RedisHarness:
    return RedisHarness(redis_url)


async def add(harness: RedisHarness, broker: RedisBroker, id: str = "*", **fields: str) -> str:
    async with redis.asyncio.Redis.from_url(harness.url) as client:
        return (await client.xadd(broker.stream, fields, id=id)).decode()


FOREIGN = {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "/cli", "ce_type": "order"}


# What is an event.


@awaited
async def test_an_entry_of_someone_else_is_an_event(harness: RedisHarness) -> None:
    broker = await opened(harness)
    a = await broker.subscribe("a")
    more = {"ce_subject": "é", "data": "tea", "datacontenttype": "text/plain", "trace": "ignored"}
    id = await add(harness, broker, **FOREIGN, **more)
    (got,) = await receive(a, 1)
    attributes = {name.removeprefix("ce_"): value for name, value in FOREIGN.items()}
    attributes |= {"subject": "é", "datacontenttype": "text/plain"}
    assert got.event == Event(attributes, b"tea")
    assert id_of(got.position).decode() == id
    second = await add(harness, broker, **FOREIGN, **{"content-type": "text/plain"})
    (got,) = await receive(a, 1)
    assert got.event.attributes["datacontenttype"] == "text/plain"
    assert got.event.data is None
    assert id_of(got.position).decode() == second
    await broker.close()


@awaited
async def test_the_stream_is_as_documented(harness: RedisHarness) -> None:
    broker = await opened(harness)
    await broker.publish([event(1, data=b"\x00tea", datacontenttype="text/plain", partitionkey="")])
    async with redis.asyncio.Redis.from_url(harness.url) as client:
        ((_, fields),) = await client.xrange(broker.stream)
    assert broker.stream == f"eventing:{{{harness.name}}}:events"
    assert fields == {
        b"ce_specversion": b"1.0",
        b"ce_id": b"1",
        b"ce_source": b"/test",
        b"ce_type": b"order",
        b"ce_partitionkey": b"",
        b"datacontenttype": b"text/plain",
        b"data": b"\x00tea",
    }
    await broker.close()


@awaited
async def test_an_entry_that_is_no_event_is_one_dead_letter_of_the_broker(
    harness: RedisHarness,
) -> None:
    router = TypeRouter(a=None, b=None, c=None, d=None)
    broker = await opened(harness, router)
    other = await harness.open(node="other")
    other.set_router(router)
    subscriptions = [await broker.subscribe("a"), await broker.subscribe("b")]
    subscriptions.append(await other.subscribe("c"))
    subscriptions.append(await other.subscribe("d", order="ordered"))
    strange = await add(harness, broker, temperature="21", ce_id="7")
    await add(harness, broker, **FOREIGN)
    for subscription in subscriptions:
        assert ids(await receive(subscription, 1)) == ["1"]
    async with asyncio.timeout(5):
        # All four have met it by then.
        while any(each.lag != 1 for each in (await broker.stats()).subscriptions.values()):
            await asyncio.sleep(0.01)
    (letter,) = await broker.dead_letters()
    assert letter.trigger == ""
    assert letter.event.attributes["type"] == UNREADABLE
    assert json.loads(letter.event.data or b"") == {"temperature": "21", "ce_id": "7"}
    for part in (broker.stream, strange, "specversion"):
        assert part in letter.failure.reason
    mended = event("mended")
    assert await broker.redrive(letter.id, mended)
    for subscription in subscriptions:
        assert (await receive(subscription, 1))[0].event == mended
    assert await broker.dead_letters() == []
    assert [each.event.attributes["id"] async for each in broker.read()] == [
        "1",
        "mended",
    ]
    await broker.close()
    await other.close()


@awaited
async def test_an_entry_with_an_id_out_of_range_is_told(harness: RedisHarness) -> None:
    broker = await opened(harness)
    a = await broker.subscribe("a")
    await add(harness, broker, f"{int(time.time() * 1000)}-1000000", **FOREIGN)
    await publish(broker, "next")
    assert ids(await receive(a, 1)) == ["next"]
    async with asyncio.timeout(5):
        while not (letters := await broker.dead_letters()):
            await asyncio.sleep(0.01)
    assert "out of range" in letters[0].failure.reason
    async with asyncio.timeout(5):
        while (await broker.stats()).subscriptions["a"].lag != 1:
            await asyncio.sleep(0.01)
    await broker.close()


@awaited
async def test_an_entry_that_was_deleted_holds_up_nothing(harness: RedisHarness) -> None:
    broker = await opened(harness)
    a = await broker.subscribe("a", order="ordered")
    positions = await publish(broker, 1, 2, 3, partitionkey="k")
    (first,) = await receive(a, 1)
    await harness.crash(broker)
    async with redis.asyncio.Redis.from_url(harness.url) as client:
        await client.xdel(broker.stream, id_of(positions[1]))
    broker = await opened(harness)
    a = await broker.subscribe("a", order="ordered")
    for expected in ("1", "3"):
        (got,) = await receive(a, 1)
        assert ids([got]) == [expected]
        await settle_all(a, [got])
    assert (await broker.stats()).subscriptions["a"].lag == 0
    assert first.position == positions[0]
    await broker.close()


def test_positions_are_ids() -> None:
    for id in (b"0-1", b"5-999999", b"1754000000123-7"):
        assert id_of(position_of(id)) == id
    for id in (b"1754000000123-1000000", b"9999999999999999-0"):
        with pytest.raises(ValueError, match="out of range"):
            position_of(id)
    assert first_position(0) == 1
    assert last_position(None, 7) == 7
    assert last_position(9, 7) == 7


@awaited
async def test_an_observed_router_routes_each_event_that_this_node_stored_once(
    harness: RedisHarness,
) -> None:
    class Observed(TypeRouter):
        observed = True

        def route(self, event: Event) -> list[str]:
            routed.append(event.attributes["id"])
            return []

    routed: list[str] = []
    broker = await opened(harness, Observed(a=None))
    other = await harness.open(node="other")
    other.set_router(ALL)
    a = await broker.subscribe("a")
    await publish(broker, 1)
    await publish(other, 2)
    await settle_all(a, await receive(a, 2))
    assert routed == ["1"]
    await broker.close()
    await other.close()


# What stays.


@awaited
async def test_trimming_leaves_what_a_trigger_still_needs(harness: RedisHarness) -> None:
    broker = await opened(harness, limits=Limits(retention_age=0.0))
    a, slow = await broker.subscribe("a"), await broker.subscribe("b")
    positions = await publish(broker, *range(1000))
    got = await receive(a, 600)
    await settle_all(a, got[:300] + got[301:])
    await settle_all(slow, await receive(slow, 700))
    await broker._upkeep.trim()
    left = [each.position async for each in broker.read()]
    assert got[300].position in left and left[-1] == positions[-1]
    assert left[0] > positions[100]
    await a.settle([Retry(got[300], time.time() + 0.3, REFUSED)])
    await settle_all(a, await receive(a, 400))
    assert await slow.replay(positions[650], positions[660]) == 11
    await settle_all(slow, await receive(slow, 1))
    # The retry is a copy, a replay is not: its entries stay.
    await broker._upkeep.trim()
    left = [each.position async for each in broker.read()]
    assert positions[660] in left and positions[400] not in left
    (again,) = await receive(a, 1)
    assert again.event == got[300].event
    rest = await receive(slow, 310)
    assert len({delivery.position for delivery in rest}) == 310
    await settle_all(slow, rest)
    await settle_all(a, [again])
    await broker._upkeep.trim()
    assert len([each async for each in broker.read()]) <= 100
    assert (await broker.stats()).head == positions[-1]
    await publish(broker, "next")
    assert ids(await receive(a, 1)) == ["next"]
    await broker.close()


@awaited
async def test_above_its_bytes_the_oldest_settled_go(harness: RedisHarness) -> None:
    broker = await opened(harness, limits=Limits(retention_bytes=300_000))
    a = await broker.subscribe("a")
    for _ in range(10):
        await broker.publish([event(n, data=bytes(1000)) for n in range(100)])
    await settle_all(a, await receive(a, 900))
    await broker._upkeep.trim()
    stats = await broker.stats()
    assert stats.bytes < 360_000
    assert 100 < stats.events < 350
    assert len(await receive(a, 100)) == 100
    await broker.close()


# What it costs to be behind.


def deliveries_in_memory() -> int:
    gc.collect()
    return sum(1 for each in gc.get_objects() if type(each) is Delivery)


@awaited
async def test_a_trigger_that_is_behind_takes_bounded_memory(harness: RedisHarness) -> None:
    broker = await opened(harness)
    behind, alive = await broker.subscribe("a"), await broker.subscribe("b")
    for first in range(0, 20_000, 500):
        await publish(broker, *range(first, first + 500))
        await settle_all(alive, await receive(alive, 500))
    assert deliveries_in_memory() <= 2 * QUEUE_EVENTS
    assert (await broker.stats()).subscriptions["a"].lag == 20_000
    assert ids(await receive(behind, 5000)) == [str(n) for n in range(5000)]
    await broker.close()


@awaited
async def test_a_backlog_of_large_events_is_bounded_by_bytes(harness: RedisHarness) -> None:
    broker = await opened(harness)
    a = await broker.subscribe("a")
    for n in range(40):
        await broker.publish([event(n, data=bytes(1 << 20))])
    assert deliveries_in_memory() <= 14
    assert ids(await receive(a, 40)) == [str(n) for n in range(40)]
    await broker.close()


@awaited
async def test_one_key_with_many_events_behind_it_takes_bounded_memory(
    harness: RedisHarness,
) -> None:
    broker = await opened(harness)
    a = await broker.subscribe("a", order="ordered")
    await publish(broker, "first", partitionkey="k")
    (first,) = await receive(a, 1)
    for begin in range(0, 10_000, 500):
        await publish(broker, *range(begin, begin + 500), partitionkey="k")
    await publish(broker, "free", partitionkey="other")
    assert ids(await receive(a, 1)) == ["free"]
    assert deliveries_in_memory() <= BOUND
    await settle_all(a, [first])
    for n in range(1500):
        (got,) = await receive(a, 1)
        assert ids([got]) == [str(n)]
        await settle_all(a, [got])
    await broker.close()
