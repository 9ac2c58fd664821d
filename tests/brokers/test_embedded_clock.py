"""Broker time, and retries while the wall clock jumps."""

import asyncio
from pathlib import Path

import pytest
from broker_contract import ALL, REFUSED, awaited, ids, publish, receive, receives_nothing

from brokers.base import Retry
from brokers.embedded import EmbeddedBroker, upkeep
from brokers.embedded.clock import BrokerTime


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Clock:
    return Clock(1_000_000.0)


def test_broker_time_runs_with_the_wall_clock(wall: Clock) -> None:
    time = BrokerTime(wall, Clock(5.0))
    assert time.now() == 1_000_000.0
    wall.now += 10
    assert time.now() == 1_000_010.0


def test_broker_time_goes_on_while_the_wall_clock_is_set_back(wall: Clock) -> None:
    monotonic = Clock(5.0)
    time = BrokerTime(wall, monotonic)
    wall.now -= 3600
    assert time.now() == 1_000_000.0
    monotonic.now += 2
    wall.now += 2
    assert time.now() == 1_000_002.0


def test_a_delay_is_the_same_whatever_the_wall_clock_says(wall: Clock) -> None:
    time = BrokerTime(wall, Clock(5.0))
    wall.now -= 3600
    assert time.of(wall.now + 30) == time.now() + 30


async def opened(path: Path, wall: Clock) -> EmbeddedBroker:
    broker = EmbeddedBroker("test", path, clock=wall)
    await broker.start()
    broker.set_router(ALL)
    return broker


@awaited
async def test_a_clock_set_back_does_not_stall_a_retry(tmp_path: Path, wall: Clock) -> None:
    broker = await opened(tmp_path / "broker.db", wall)
    a = await broker.subscribe("a")
    await publish(broker, 1)
    (got,) = await receive(a, 1)
    await a.settle([Retry(got, wall.now + 0.2, REFUSED)])
    wall.now -= 3600
    assert ids(await receive(a, 1)) == ["1"]
    await broker.close()


@awaited
async def test_a_clock_set_forward_makes_a_retry_due(
    tmp_path: Path, wall: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "TICK", 0.02)
    broker = await opened(tmp_path / "broker.db", wall)
    a = await broker.subscribe("a")
    await publish(broker, 1)
    (got,) = await receive(a, 1)
    await a.settle([Retry(got, wall.now + 3600, REFUSED)])
    assert await receives_nothing(a)
    wall.now += 3601
    assert ids(await receive(a, 1)) == ["1"]
    await broker.close()


@awaited
async def test_a_clock_set_back_before_a_restart_stretches_no_delay(
    tmp_path: Path, wall: Clock
) -> None:
    broker = await opened(tmp_path / "broker.db", wall)
    a = await broker.subscribe("a")
    await publish(broker, 1)
    (got,) = await receive(a, 1)
    await a.settle([Retry(got, wall.now + 0.2, REFUSED)])
    await broker.close()
    wall.now -= 3600
    broker = await opened(tmp_path / "broker.db", wall)
    a = await broker.subscribe("a")
    await asyncio.sleep(0.2)
    wall.now += 0.2
    assert ids(await receive(a, 1)) == ["1"]
    await broker.close()


@pytest.mark.parametrize("at", [float("inf"), float("nan"), 1e300])
@awaited
async def test_a_time_that_is_none_waits_and_breaks_nothing(
    tmp_path: Path, wall: Clock, at: float
) -> None:
    broker = await opened(tmp_path / "broker.db", wall)
    a = await broker.subscribe("a")
    await publish(broker, 1)
    (got,) = await receive(a, 1)
    await a.settle([Retry(got, at, REFUSED)])
    await publish(broker, 2)
    assert ids(await receive(a, 1)) == ["2"]
    assert (await broker.stats()).subscriptions["a"].retrying == 1
    await broker.close()
