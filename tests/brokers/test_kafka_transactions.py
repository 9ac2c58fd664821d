"""Transactions over a real Kafka, and the thread their blocking calls run in."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from broker_contract import TypeRouter, awaited, event, opened, publish, receive, until
from kafka_harness import KafkaHarness
from kafka_properties import QUICK_GROUPS
from kafka_service import StartKafka

from brokers.base import Done
from brokers.kafka import commit
from brokers.kafka.client_thread import ClientThread, Hung
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.topic_reader import Stretch, TopicReader
from brokers.kafka.topics import Topic, Topics
from brokers.kafka.transactions import NotCommitted, OutRecord, Stale, Transactions, Unclear
from brokers.kafka.turns import TransactionsInTurn
from eventing.errors import EventTooLarge


class Log:
    """A topic of its own, and transactions into it."""

    def __init__(self, servers: str) -> None:
        self.settings = KafkaSettings(servers)
        self.topic = f"log-{uuid.uuid4().hex[:8]}"
        self.id = f"id-{self.topic}"
        self.topics = Topics(self.settings, "test")
        self.reader = TopicReader(self.settings, "test")

    def transactions(self) -> Transactions:
        return Transactions(self.settings, "test", self.id)

    def record(self, value: bytes) -> OutRecord:
        return OutRecord(self.topic, 0, None, [], value)

    async def values(self) -> list[bytes | None]:
        ends = await self.topics.highs(self.topic, [0])
        batches = self.reader.batches(self.topic, {0: Stretch(0, ends[0])})
        return [message.value() async for batch in batches for message in batch]


@asynccontextmanager
async def log(servers: str) -> AsyncIterator[Log]:
    made = Log(servers)
    await made.topics.ensure([Topic(made.topic)])
    try:
        yield made
    finally:
        await made.reader.close()
        await made.topics.close()


class Refused:
    """Offsets that are another node's by now."""

    def send(self, producer: Any, seconds: float) -> None:
        raise Stale


@awaited
async def test_records_are_stored_all_or_none_and_told_where(kafka: str) -> None:
    async with log(kafka) as it:
        transactions = it.transactions()
        assert await transactions.commit([it.record(b"1"), it.record(b"2")], []) == [(0, 0), (0, 1)]
        with pytest.raises(Stale):
            await transactions.commit([it.record(b"3")], [Refused()])
        await transactions.commit([it.record(b"4")], [])
        assert await it.values() == [b"1", b"2", b"4"]
        await transactions.close()


@awaited
async def test_a_record_over_the_topics_limit_aborts_and_the_next_one_is_stored(
    kafka: str,
) -> None:
    async with log(kafka) as it:
        transactions = it.transactions()
        await transactions.commit([it.record(b"0")], [])
        with pytest.raises(EventTooLarge, match=it.topic):
            await transactions.commit([it.record(b"1"), it.record(bytes(3 << 20))], [])
        await transactions.commit([it.record(b"2")], [])
        assert await it.values() == [b"0", b"2"]
        await transactions.close()


async def tried(commit: Awaitable[Any]) -> bool:
    try:
        await commit
        return True
    except (NotCommitted, Unclear):
        return False


@awaited
async def test_one_that_was_fenced_stores_nothing_and_works_again_later(kafka: str) -> None:
    async with log(kafka) as it:
        first, second = it.transactions(), it.transactions()
        await first.commit([it.record(b"1")], [])
        await second.commit([it.record(b"2")], [])
        assert not await tried(first.commit([it.record(b"3")], []))
        while not await tried(first.commit([it.record(b"4")], [])):
            await asyncio.sleep(0.1)
        assert await it.values() == [b"1", b"2", b"4"]
        await asyncio.gather(first.close(), second.close())


@awaited
async def test_what_a_call_returns_or_raises_comes_back() -> None:
    thread = ClientThread("test")
    assert await thread.run(5, lambda: threading.current_thread().name) == "test"
    with pytest.raises(ZeroDivisionError):
        await thread.run(5, lambda: 1 / 0)
    thread.close()


@awaited
async def test_a_call_that_hangs_is_given_up_and_the_next_runs_in_another_thread() -> None:
    thread = ClientThread("test")
    hangs = threading.Event()
    with pytest.raises(Hung):
        await thread.run(0.05, hangs.wait)
    assert await thread.run(5, lambda: "goes on") == "goes on"
    hangs.set()
    thread.close()


@awaited
async def test_producers_in_turn_store_in_order_and_fence_their_former_owners(kafka: str) -> None:
    async with log(kafka) as it:
        first = TransactionsInTurn(it.settings, "test", it.id)
        for n in range(5):
            await first.commit([it.record(b"%d" % n)], [])
        second = TransactionsInTurn(it.settings, "test", it.id)
        await second.open()
        assert not await tried(first.commit([it.record(b"fenced")], []))
        await second.commit([it.record(b"5")], [])
        assert await it.values() == [b"%d" % n for n in range(6)]
        await asyncio.gather(first.close(), second.close())


@pytest.mark.slow
@pytest.mark.parametrize("at_rest", [False, True])
@awaited
async def test_after_kafka_was_away_no_call_of_its_client_hangs(
    start_kafka: StartKafka, monkeypatch: pytest.MonkeyPatch, at_rest: bool
) -> None:
    hung: list[str] = []
    run = ClientThread.run

    async def told(self: ClientThread, within: float, function: Callable[[], Any]) -> Any:
        try:
            return await run(self, within, function)
        except Hung:
            hung.append(str(function))
            raise

    monkeypatch.setattr(ClientThread, "run", told)
    monkeypatch.setattr(commit, "TIDY_EVERY", 0.1 if at_rest else 3600.0)
    server = await asyncio.to_thread(start_kafka, properties=QUICK_GROUPS)
    broker = await opened(KafkaHarness(server.bootstrap_servers), TypeRouter(a={"order"}))
    a = await broker.subscribe("a")

    async def chains(*names: str) -> None:
        for name in names:
            await publish(broker, name)
            (got,) = await receive(a, 1)
            await a.settle([Done(got, (event(f"reply-to-{name}", "reply"),))])

    # Each of the producers that take turns knows the group's coordinator now.
    await chains("1", "2", "3", "4")
    producers = [None, *(each._producer for each in broker._transactions._all)]

    def renewed() -> bool:
        return all(each._producer not in producers for each in broker._transactions._all)

    await asyncio.to_thread(server.stop)
    await until(lambda: broker.fault)
    await asyncio.to_thread(server.start)
    await until(lambda: not broker.fault)
    if at_rest:
        await until(renewed)
    await chains("5", "6", "7", "8")
    assert hung == []
    assert renewed()
    await broker.close()
