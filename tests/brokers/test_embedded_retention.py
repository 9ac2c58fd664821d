"""Retention: settled events go by age and by size; what anybody still needs never does."""

import asyncio
import time
from pathlib import Path

import pytest
from broker_contract import (
    ALL,
    REFUSED,
    awaited,
    event,
    ids,
    publish,
    receive,
    receives_nothing,
    settle_all,
)

from brokers.base import Dead, Limits, Retry
from brokers.embedded import EmbeddedBroker, upkeep
from brokers.embedded.retention import DISK_MARGIN, Space, excess
from eventing.errors import BrokerFull

NOTHING_KEPT = Limits(retention_age=0.0, min_free_bytes=0)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "TICK", 0.02)


async def opened(path: Path, limits: Limits) -> EmbeddedBroker:
    broker = EmbeddedBroker("test", path, limits)
    await broker.start()
    broker.set_router(ALL)
    return broker


async def positions(broker: EmbeddedBroker) -> list[int]:
    return [stored.position async for stored in broker.read()]


async def left(broker: EmbeddedBroker, expected: list[int]) -> None:
    """Wait until the log holds just these positions, then see that it stays so."""
    async with asyncio.timeout(20):
        while await positions(broker) != expected:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    assert await positions(broker) == expected


@awaited
async def test_settled_events_go_when_they_are_old_and_the_newest_stays(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db", NOTHING_KEPT)
    a = await broker.subscribe("a")
    await publish(broker, *range(1000))
    await settle_all(a, await receive(a, 1000))
    await left(broker, [1000])
    assert await publish(broker, "next") == [1001]
    await broker.close()
    broker = await opened(tmp_path / "broker.db", NOTHING_KEPT)
    assert await publish(broker, "after") == [1002]
    await broker.close()


@awaited
async def test_young_settled_events_stay(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db", Limits(min_free_bytes=0))
    await publish(broker, 1, 2, 3)
    await left(broker, [1, 2, 3])
    await broker.close()


@awaited
async def test_the_oldest_settled_events_go_above_the_size(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db", Limits(retention_bytes=1 << 20, min_free_bytes=0))
    for n in range(40):
        await broker.publish([event(n, data=bytes(100_000))])
    async with asyncio.timeout(20):
        while (await broker.stats()).bytes > 1 << 20:
            await asyncio.sleep(0.02)
    kept = await positions(broker)
    assert kept == list(range(kept[0], 41))
    assert 5 <= len(kept) <= 10
    await broker.close()


@awaited
async def test_what_is_needed_stays_however_old(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db", NOTHING_KEPT)
    a = await broker.subscribe("a")
    await broker.subscribe("b")
    await broker.detach("b")
    await publish(broker, *range(10))
    await settle_all(a, await receive(a, 10))
    await left(broker, list(range(1, 11)))
    b = await broker.subscribe("b")
    got = await receive(b, 10)
    await settle_all(b, [got[0], got[1], got[2], got[5]])
    await left(broker, list(range(4, 11)))
    await settle_all(b, got[3:4])
    await left(broker, list(range(5, 11)))
    await broker.close()


@pytest.mark.parametrize("restart", [False, True])
@awaited
async def test_an_event_that_waits_for_its_retry_stays_alone(tmp_path: Path, restart: bool) -> None:
    broker = await opened(tmp_path / "broker.db", NOTHING_KEPT)
    a = await broker.subscribe("a")
    await publish(broker, *range(10))
    got = await receive(a, 10)
    await settle_all(a, got[:3] + got[4:])
    await a.settle([Retry(got[3], time.time() + 0.8, REFUSED)])
    await left(broker, [4, 10])
    if restart:
        await broker.close()
        broker = await opened(tmp_path / "broker.db", NOTHING_KEPT)
        a = await broker.subscribe("a")
    again = await receive(a, 1)
    assert ids(again) == ["3"]
    await settle_all(a, again)
    await broker.close()
    broker = await opened(tmp_path / "broker.db", NOTHING_KEPT)
    await left(broker, [10])
    await broker.close()


@awaited
async def test_a_removed_subscription_keeps_nothing(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db", NOTHING_KEPT)
    a = await broker.subscribe("a")
    await publish(broker, *range(600))
    got = await receive(a, 600)
    await a.settle([Retry(delivery, time.time() + 600, REFUSED) for delivery in got])
    await left(broker, list(range(1, 601)))
    await broker.unsubscribe("a")
    await left(broker, [600])
    await broker.close()


@awaited
async def test_dead_letters_outlive_the_log_and_can_be_redriven(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db", NOTHING_KEPT)
    a = await broker.subscribe("a")
    await publish(broker, 1, 2)
    got = await receive(a, 2)
    await a.settle([Dead(delivery, REFUSED) for delivery in got])
    await left(broker, [2])
    letters = await broker.dead_letters()
    assert await broker.redrive(letters[0].id)
    (again,) = await receive(a, 1)
    assert again.event == got[0].event
    await broker.close()


@awaited
async def test_replay_of_what_is_gone_hands_out_what_is_left(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db", NOTHING_KEPT)
    a = await broker.subscribe("a")
    await publish(broker, *range(10))
    await settle_all(a, await receive(a, 10))
    await left(broker, [10])
    assert await a.replay(1) == 1
    assert ids(await receive(a, 1)) == ["9"]
    assert await receives_nothing(a)
    await broker.close()


def test_nothing_is_over_within_the_limits() -> None:
    assert excess(Limits(), Space(used=1 << 20, reusable=0, disk=1 << 40)) == 0


def test_the_size_limit_is_the_lower_of_retention_and_three_quarters_of_max_bytes() -> None:
    space = Space(used=1000, reusable=0, disk=1 << 40)
    assert excess(Limits(retention_bytes=900), space) == 100
    assert excess(Limits(retention_bytes=900, max_bytes=800), space) == 400


def test_a_short_disk_asks_for_settled_events_unless_they_could_not_make_up_for_it() -> None:
    limits = Limits(min_free_bytes=1 << 20)
    needed = DISK_MARGIN + (1 << 20)
    assert excess(limits, Space(used=1 << 30, reusable=0, disk=needed - 5)) == 5
    assert excess(limits, Space(used=1 << 30, reusable=5, disk=needed - 5)) == 0
    assert excess(limits, Space(used=10, reusable=0, disk=0)) == 0


@awaited
async def test_what_retries_held_up_makes_room_once_they_are_over(tmp_path: Path) -> None:
    limits = Limits(max_bytes=1 << 20, min_free_bytes=0)
    broker = await opened(tmp_path / "broker.db", limits)
    a = await broker.subscribe("a")
    waiting = []
    with pytest.raises(BrokerFull):
        for n in range(1000):
            await broker.publish([event(n, data=bytes(20_000))])
            waiting += await receive(a, 1)
            due = time.time() + 0.5
            await a.settle([Retry(waiting[-1], due, REFUSED)])
    for _ in waiting:
        await settle_all(a, await receive(a, 1))
    async with asyncio.timeout(20):
        while (await broker.stats()).bytes >= limits.max_bytes * 3 // 4 + 40_000:
            await asyncio.sleep(0.02)
    await broker.publish([event("next")])
    await broker.close()
