"""Memory and plans: neither grows with what is stored or waits."""

import asyncio
import gc
import re
import sqlite3
import time
from pathlib import Path

import pytest
from broker_contract import ALL, REFUSED, awaited, event, ids, publish, receive, settle_all

from brokers.base import At, Dead, Delivery, Limits, Retry
from brokers.embedded import EmbeddedBroker, upkeep
from brokers.embedded.storage import Storage
from brokers.embedded.subscription import QUEUE_EVENTS

PLENTY = 100_000
BOUND = QUEUE_EVENTS + 2_000
"""Deliveries in memory: a full queue, and what is being read or handed over."""


def deliveries_in_memory() -> int:
    gc.collect()
    return sum(1 for each in gc.get_objects() if type(each) is Delivery)


async def opened(path: Path) -> EmbeddedBroker:
    broker = EmbeddedBroker("test", path, Limits(min_free_bytes=0))
    await broker.start()
    broker.set_router(ALL)
    return broker


@awaited
async def test_a_dead_subscriber_with_100_000_events_waiting_takes_bounded_memory(
    tmp_path: Path,
) -> None:
    broker = await opened(tmp_path / "broker.db")
    dead, alive = await broker.subscribe("a"), await broker.subscribe("b")
    for first in range(0, PLENTY, 500):
        await publish(broker, *range(first, first + 500))
        await settle_all(alive, await receive(alive, 500))
    assert deliveries_in_memory() <= BOUND
    assert (await broker.stats()).subscriptions["a"].lag == PLENTY
    more = QUEUE_EVENTS + 2_000
    assert ids(await receive(dead, more)) == [str(n) for n in range(more)]
    await broker.close()


@awaited
async def test_a_failing_subscriber_with_many_retries_waiting_takes_bounded_memory(
    tmp_path: Path,
) -> None:
    broker = await opened(tmp_path / "broker.db")
    a = await broker.subscribe("a")
    for first in range(0, 20_000, 500):
        await publish(broker, *range(first, first + 500))
        got = await receive(a, 500)
        await a.settle([Retry(delivery, time.time() + 600, REFUSED) for delivery in got])
    del got
    assert (await broker.stats()).subscriptions["a"].retrying == 20_000
    assert deliveries_in_memory() <= BOUND
    await broker.close()


@awaited
async def test_one_key_with_many_events_behind_it_takes_bounded_memory(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db")
    a = await broker.subscribe("a", order="ordered")
    await publish(broker, "first", partitionkey="k")
    assert ids(await receive(a, 1)) == ["first"]
    for first in range(0, 20_000, 500):
        await publish(broker, *range(first, first + 500), partitionkey="k")
        await publish(broker, f"free-{first}", partitionkey="other")
        got = await receive(a, 1)
        assert ids(got) == [f"free-{first}"]
        await settle_all(a, got)
    assert deliveries_in_memory() <= BOUND + 3_000
    await broker.close()


@awaited
async def test_a_large_backlog_of_large_events_is_bounded_by_bytes(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db")
    a = await broker.subscribe("a")
    for n in range(60):
        await broker.publish([event(n, data=bytes(1 << 20))])
    assert deliveries_in_memory() <= 12
    assert ids(await receive(a, 60)) == [str(n) for n in range(60)]
    await broker.close()


@awaited
async def test_no_statement_walks_the_log_or_the_waiting_deliveries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    plain = Storage._connect
    reading = Storage.reader

    def traced(connect):
        def opening(self: Storage) -> sqlite3.Connection:
            connection = connect(self)
            connection.set_trace_callback(seen.add)
            return connection

        return opening

    monkeypatch.setattr(Storage, "_connect", traced(plain))
    monkeypatch.setattr(Storage, "reader", traced(reading))
    monkeypatch.setattr(upkeep, "TICK", 0.01)
    path = tmp_path / "broker.db"
    for order in ("unordered", "ordered", "ordered"):
        broker = EmbeddedBroker("test", path, Limits(retention_age=0.0, min_free_bytes=0))
        await broker.start()
        broker.set_router(ALL)
        a = await broker.subscribe("a", order=order, start=1)
        await publish(broker, *range(2000), partitionkey="k")
        await publish(broker, *range(50))
        got = await receive(a, 10)
        await a.settle([Retry(got[0], 0.0, REFUSED), Dead(got[1], REFUSED)])
        await settle_all(a, await receive(a, 1))
        await a.replay(1)
        letters = await broker.dead_letters("a")
        await broker.dead_letters()
        await broker.redrive(letters[0].id)
        await broker.drop([letters[0].id])
        assert [each async for each in broker.read(At(time.time() - 60))]
        await broker.stats()
        assert [each async for each in broker.read()]
        await asyncio.sleep(0.05)
        await broker.close()
    connection = sqlite3.connect(path)
    looked_at = 0
    for statement in seen:
        if not re.match(r"(SELECT|INSERT|UPDATE|DELETE)", statement):
            continue
        looked_at += 1
        statement = statement.replace("Inf", "9e999")
        for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
            if re.search(r"SCAN (events|d|e|deliveries)\b", step):
                # The one exception: at the start, rows are counted by subscription in an index.
                assert "GROUP BY sub" in statement, (statement, step)
    connection.close()
    assert looked_at > 30
