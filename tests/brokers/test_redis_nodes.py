"""Several nodes over one Redis: what one had is another's once it is gone, and never both's."""

import asyncio
import time
from collections import Counter

import pytest
from broker_contract import (
    ALL,
    REFUSED,
    TypeRouter,
    awaited,
    event,
    ids,
    publish,
    receive,
    receives_nothing,
    settle_all,
)
from redis_harness import RedisHarness

from brokers.base import Dead, Done, Retry
from brokers.redis.broker import RedisBroker
from brokers.redis.upkeep import GONE_AFTER
from eventing.errors import SubscriptionInUse

TAKEN_OVER = GONE_AFTER + 4
"""Seconds within which another node has what a node had that vanished."""


@pytest.fixture
def harness(redis_url: str) -> RedisHarness:
    return RedisHarness(redis_url)


async def node(harness: RedisHarness, name: str, router: TypeRouter = ALL) -> RedisBroker:
    broker = await harness.open(node=name)
    broker.set_router(router)
    return broker


@awaited
async def test_each_event_goes_to_one_node_and_both_take_their_share(
    harness: RedisHarness,
) -> None:
    x, y = await node(harness, "x"), await node(harness, "y")
    at_x, at_y = await x.subscribe("a"), await y.subscribe("a")
    seen: dict[str, list[str]] = {"x": [], "y": []}

    async def work(name: str, subscription) -> None:
        while True:
            got = await subscription.receive(20)
            seen[name] += ids(got)
            await settle_all(subscription, got)

    working = [asyncio.ensure_future(work(*each)) for each in (("x", at_x), ("y", at_y))]
    for first in range(0, 2000, 20):
        await publish(x, *range(first, first + 20))
    async with asyncio.timeout(20):
        while len(seen["x"]) + len(seen["y"]) < 2000:
            await asyncio.sleep(0.01)
    assert sorted(seen["x"] + seen["y"], key=int) == [str(n) for n in range(2000)]
    assert seen["x"] and seen["y"]
    for each in working:
        each.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    await x.close()
    await y.close()


@awaited
async def test_shares_of_the_lag_add_up(harness: RedisHarness) -> None:
    x, y = await node(harness, "x"), await node(harness, "y")
    await x.subscribe("a")
    await y.subscribe("a")
    await x.detach("a")
    await y.detach("a")
    await publish(x, *range(3000))
    await x.subscribe("a")
    await y.subscribe("a")
    # Each reads ahead what memory takes; the rest is spread.
    async with asyncio.timeout(10):
        while True:
            told = [(await broker.stats()).subscriptions["a"] for broker in (x, y)]
            # Looked at one after the other, while they read ahead at the beginning.
            if 3000 <= told[0].share + told[1].share <= 3002:
                break
            await asyncio.sleep(0.05)
    assert {each.lag for each in told} == {3000}
    assert all(1000 < each.share < 2000 for each in told)
    await x.close()
    await y.close()


@awaited
async def test_a_node_that_vanished_is_taken_over_and_fenced_when_it_is_back(
    harness: RedisHarness,
) -> None:
    router = TypeRouter(a={"order"}, b={"reply"})
    x, y = await node(harness, "x", router), await node(harness, "y", router)
    at_x = await x.subscribe("a")
    await publish(x, *range(5))
    had = await receive(at_x, 5)
    await at_x.settle([Retry(had[4], 0.0, REFUSED)])
    (retried,) = await receive(at_x, 1)
    at_y, replies = await y.subscribe("a"), await y.subscribe("b")
    assert await receives_nothing(at_y)
    # Not heard of any more, as while it is paused.
    await x._upkeep.close()
    began = time.monotonic()
    got = await receive(at_y, 5)
    assert time.monotonic() - began < TAKEN_OVER
    assert sorted(ids(got)) == ["0", "1", "2", "3", "4"]
    assert {d.event.attributes["id"]: d.attempt for d in got}["4"] == 2
    outcomes = [Done(delivery, (event("twice", "reply"),)) for delivery in had[:2]]
    assert await at_x.settle([*outcomes, Done(had[2]), Dead(had[3], REFUSED)]) == [()] * 4
    assert await at_x.settle([Done(retried, (event("twice", "reply"),))]) == [()]
    assert await x.dead_letters() == []
    await at_y.settle(
        [Done(each, (event(f"of-{each.event.attributes['id']}", "reply"),)) for each in got]
    )
    assert sorted(ids(await receive(replies, 5))) == [f"of-{n}" for n in range(5)]
    log = Counter([each.event.attributes["id"] async for each in y.read()])
    assert "twice" not in log
    # It takes part again under another name.
    x._upkeep.start()
    x.attend()
    await y.detach("a")
    async with asyncio.timeout(10):
        while at_x.lost or at_x.token not in await consumers(x, "a"):
            await asyncio.sleep(0.02)
    await publish(y, "new")
    assert ids(await receive(at_x, 1)) == ["new"]
    await x.close()
    await y.close()


async def consumers(broker: RedisBroker, trigger: str) -> list[str]:
    told = await broker._link.ask("XINFO", "CONSUMERS", broker.stream, trigger)
    return [each[1].decode() for each in told]


@awaited
async def test_what_a_node_had_that_ended_in_order_is_anothers_at_once(
    harness: RedisHarness,
) -> None:
    x, y = await node(harness, "x"), await node(harness, "y")
    at_x = await x.subscribe("a")
    await publish(x, *range(50))
    had = await receive(at_x, 10)
    await settle_all(at_x, had[:5])
    at_y = await y.subscribe("a")
    assert await receives_nothing(at_y)
    began = time.monotonic()
    await x.close()
    got = await receive(at_y, 45)
    assert time.monotonic() - began < 3
    assert sorted(map(int, ids(got))) == list(range(5, 50))
    # The names of those that are gone go as well.
    async with asyncio.timeout(5):
        while len(await consumers(y, "a")) > 1:
            await asyncio.sleep(0.05)
    await y.close()


@pytest.mark.parametrize("crash", [False, True])
@awaited
async def test_an_ordered_trigger_works_on_one_node_and_moves_whole(
    harness: RedisHarness, crash: bool
) -> None:
    x, y = await node(harness, "x"), await node(harness, "y")
    at_x = await x.subscribe("a", order="ordered")
    at_y = await y.subscribe("a", order="ordered")
    await publish(y, 1, 2, 3, partitionkey="k")
    await publish(y, 4, partitionkey="other")
    first, other = await receive(at_x, 2)
    assert ids([first, other]) == ["1", "4"]
    assert await receives_nothing(at_y)
    assert (await x.stats()).subscriptions["a"].share == 4
    assert (await y.stats()).subscriptions["a"].share == 0
    await at_x.settle([Retry(first, time.time() + 0.1, REFUSED), Done(other)])
    (first,) = await receive(at_x, 1)
    if crash:
        await harness.crash(x)
    else:
        await x.close()
    began = time.monotonic()
    await publish(y, 5, partitionkey="k")
    for expected in ["1", "2", "3", "5"]:
        (got,) = await receive(at_y, 1)
        assert ids([got]) == [expected]
        assert got.attempt == (2 if expected == "1" else 1)
        assert await receives_nothing(at_y)
        await settle_all(at_y, [got])
    assert time.monotonic() - began < (TAKEN_OVER if crash else 3) + 2
    await y.close()


@awaited
async def test_what_another_node_has_open_is_not_removed(harness: RedisHarness) -> None:
    x, y = await node(harness, "x"), await node(harness, "y")
    await x.subscribe("a")
    await y.subscribe("a")
    await x.detach("a")
    with pytest.raises(SubscriptionInUse):
        await x.unsubscribe("a")
    await y.detach("a")
    assert await x.unsubscribe("a") == 0
    with pytest.raises(LookupError):
        await y.unsubscribe("a")
    async with asyncio.timeout(5):
        while y.known_subscriptions():
            await asyncio.sleep(0.05)
    await x.close()
    await y.close()


@awaited
async def test_retries_replays_and_redrives_come_on_any_node(harness: RedisHarness) -> None:
    x, y = await node(harness, "x"), await node(harness, "y")
    at_x = await x.subscribe("a")
    await publish(x, 1, 2)
    got = await receive(at_x, 2)
    await at_x.settle([Retry(got[0], time.time() + 0.5, REFUSED), Dead(got[1], REFUSED)])
    at_y = await y.subscribe("a")
    await x.detach("a")
    (again,) = await receive(at_y, 1)
    assert (ids([again]), again.attempt) == (["1"], 2)
    await settle_all(at_y, [again])
    (letter,) = await y.dead_letters()
    assert await x.redrive(letter.id)
    (driven,) = await receive(at_y, 1)
    assert ids([driven]) == ["2"]
    await settle_all(at_y, [driven])
    await x.close()
    await y.close()
