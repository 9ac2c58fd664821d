"""A node among the others: it goes on while the engine is away, and always can leave.

The engines here are a LocalCluster that can be taken away; real ones are in test_several_nodes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from brokers.base import BrokerStats, SubscriptionStats
from brokers.cluster import Cluster, Document, Member
from brokers.kafka.settings import KafkaSettings
from brokers.local_cluster import LocalCluster, LocalLease
from eventing.errors import StorageError
from eventing.node import membership as module
from eventing.node import node_record
from eventing.node.engines import EMBEDDED, EngineSettings
from eventing.node.membership import Membership

ONE = KafkaSettings("one:9092")
OTHER = KafkaSettings("other:9092")


class Engine:
    """One that several clusters share. While `away` they can't do anything, while `silent` they
    don't get an answer."""

    def __init__(self) -> None:
        self.away = self.silent = False
        self.seen: dict[str, Mapping[str, Any]] = {}
        self.tables = LocalCluster("engine")
        self.open = 0
        self.asked = 0

    async def reach(self) -> None:
        self.asked += 1
        if self.silent:
            await asyncio.get_running_loop().create_future()
        if self.away:
            raise StorageError("the engine is away", "EngineUnreachable")


class Shared:
    """A cluster over such an engine."""

    def __init__(self, engine: Engine, node: str) -> None:
        self._engine = engine
        self._node = node
        self._open = False

    async def start(self) -> None:
        self._open = True
        self._engine.open += 1
        await self._engine.reach()

    async def announce(self, document: Mapping[str, Any]) -> None:
        await self._engine.reach()
        self._engine.seen[self._node] = document

    async def members(self) -> list[Member]:
        await self._engine.reach()
        return [Member(name, 0.0, told) for name, told in sorted(self._engine.seen.items())]

    def lease(self, name: str) -> LocalLease:
        return LocalLease()

    async def documents(self, table: str) -> Mapping[str, Document]:
        await self._engine.reach()
        return await self._engine.tables.documents(table)

    async def store(self, table: str, changes: Mapping[str, Document | None]) -> None:
        await self._engine.reach()
        await self._engine.tables.store(table, changes)

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._engine.open -= 1
            self._engine.seen.pop(self._node, None)
            await self._engine.reach()


class Nodes:
    """What the memberships of a test are made with."""

    def __init__(self) -> None:
        self.engines = {"one:9092": Engine(), "other:9092": Engine()}
        self.mistaken = False

    @property
    def one(self) -> Engine:
        return self.engines["one:9092"]

    @property
    def other(self) -> Engine:
        return self.engines["other:9092"]

    def make(self, settings: EngineSettings, node: str) -> Cluster:
        if isinstance(settings, KafkaSettings):
            return Shared(self.engines[settings.bootstrap_servers], node)
        return LocalCluster(node)

    async def describe(self) -> dict[str, Any]:
        if self.mistaken:
            raise KeyError("a mistake")
        return {"workers": 3}

    def membership(self) -> Membership:
        return Membership(self.describe, self.make)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANNOUNCE_EVERY", 0.01)
    for wait in ("JOINING", "ANSWERING", "LEAVING"):
        monkeypatch.setattr(module, wait, 0.05)


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_nodes_of_one_engine_see_each_other(nodes: Nodes) -> None:
    async def main() -> None:
        a, b = nodes.membership(), nodes.membership()
        assert await a.use("a", ONE)
        assert await b.use("b", ONE)
        await until(lambda: len(nodes.one.seen) == 2)
        assert [each.name for each in await a.members()] == ["a", "b"]
        await b.close()
        assert [each.name for each in await a.members()] == ["a"]
        await a.close()
        assert nodes.one.open == 0

    run(main())


def test_a_node_with_embedded_brokers_describes_itself_when_it_is_asked(nodes: Nodes) -> None:
    async def main() -> None:
        described = 0

        async def describe() -> dict[str, Any]:
            nonlocal described
            described += 1
            return {"asked": described}

        alone = Membership(describe, nodes.make)
        await alone.use("a", EMBEDDED)
        assert (await alone.lease("timer")).held
        for count in (1, 2):
            (member,) = await alone.members()
            assert (member.name, member.document) == ("a", {"asked": count})
        await alone.close()

    run(main())


@pytest.mark.parametrize("how", ["away", "silent"])
def test_an_engine_that_is_away_at_first_is_joined_when_it_is_there(
    how: str, nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        setattr(nodes.one, how, True)
        node = nodes.membership()
        await node.use("a", ONE)
        lease = asyncio.create_task(node.lease("timer"))
        await until(lambda: nodes.one.asked > 6)
        assert [each.name for each in await node.members()] == ["a"], "it sees itself alone"
        assert not lease.done(), "it holds no lease"
        assert len(complaints(caplog)) == 1, "it says so once"
        setattr(nodes.one, how, False)
        await until(lambda: "a" in nodes.one.seen)
        assert (await lease).held
        assert nodes.one.open == 1, "each failed try was closed"
        await node.close()

    run(main())


def test_tables_are_those_of_the_engine_and_an_error_until_it_has_been_reached(
    nodes: Nodes,
) -> None:
    async def main() -> None:
        nodes.one.away = True
        a, b = nodes.membership(), nodes.membership()
        await a.use("a", ONE)
        assert a.shared and not a.reached
        assert not await a.joined(10, once=True), "the first try is enough"
        with pytest.raises(StorageError, match="the engine is away"):
            await a.documents("table")
        nodes.one.away = False
        assert await a.joined(10)
        await b.use("b", ONE)
        assert await b.joined(10, once=True)
        await a.store("table", {"key": {"by": "a"}})
        assert await b.documents("table") == {"key": {"by": "a"}}
        nodes.one.silent = True
        with pytest.raises(StorageError, match="does not answer within"):
            await a.documents("table")
        with pytest.raises(StorageError, match="does not answer within"):
            await a.store("table", {"key": None})
        nodes.one.silent = False
        for each in (a, b):
            await each.close()

    run(main())


def test_a_node_with_embedded_brokers_shares_nothing(nodes: Nodes) -> None:
    async def main() -> None:
        alone = nodes.membership()
        await alone.use("a", EMBEDDED)
        assert not alone.shared
        await alone.close()

    run(main())


@pytest.mark.parametrize("how", ["away", "silent"])
def test_one_that_goes_away_later_is_told_once_and_announced_to_again(
    how: str, nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        node = nodes.membership()
        await node.use("a", ONE)
        await until(lambda: "a" in nodes.one.seen)
        setattr(nodes.one, how, True)
        with pytest.raises(StorageError):
            await node.members()
        asked = nodes.one.asked
        await until(lambda: nodes.one.asked > asked + 3)
        assert len(complaints(caplog)) == 1
        nodes.one.seen.clear()
        setattr(nodes.one, how, False)
        await until(lambda: "a" in nodes.one.seen)
        assert nodes.one.open == 1, "it is the cluster it was"
        await node.close()

    run(main())


@pytest.mark.parametrize("when", ["while it joins", "when it has joined"])
def test_a_node_can_leave_an_engine_that_does_not_answer(when: str, nodes: Nodes) -> None:
    async def main() -> None:
        node = nodes.membership()
        if when == "while it joins":
            nodes.one.silent = True
            await node.use("a", ONE)
            await until(lambda: nodes.one.asked > 0)
        else:
            await node.use("a", ONE)
            await until(lambda: "a" in nodes.one.seen)
            nodes.one.silent = True
        async with asyncio.timeout(5):
            await node.close()
        assert nodes.one.open == 0

    run(main())


def test_an_engine_that_fails_as_it_is_left_does_not_hold_the_node_up(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        node = nodes.membership()
        await node.use("a", ONE)
        await until(lambda: "a" in nodes.one.seen)
        nodes.one.away = True
        await node.close()
        assert any("for a while yet: the engine is away" in each for each in complaints(caplog))

    run(main())


def test_the_same_engine_is_not_joined_anew_and_another_is(nodes: Nodes) -> None:
    async def main() -> None:
        node = nodes.membership()
        await node.use("a", ONE)
        await until(lambda: "a" in nodes.one.seen)
        assert not await node.use("a", KafkaSettings("one:9092"))
        assert await node.use("a", OTHER)
        assert (nodes.one.open, nodes.one.seen) == (0, {})
        await until(lambda: "a" in nodes.other.seen)
        assert await node.use("b", OTHER)
        await until(lambda: list(nodes.other.seen) == ["b"])
        await node.close()
        assert nodes.other.open == 0

    run(main())


def test_of_changes_at_the_same_time_the_last_one_counts(nodes: Nodes) -> None:
    async def main() -> None:
        node = nodes.membership()
        await node.use("a", ONE)
        await until(lambda: "a" in nodes.one.seen)
        await asyncio.gather(*(node.use("a", each) for each in (OTHER, ONE, OTHER)))
        await until(lambda: "a" in nodes.other.seen)
        assert (nodes.one.open, nodes.other.open) == (0, 1)
        await node.close()
        assert nodes.other.open == 0

    run(main())


def test_a_lease_asked_for_as_the_engine_changes_is_one_of_the_new_engine(nodes: Nodes) -> None:
    async def main() -> None:
        nodes.one.away = True
        node = nodes.membership()
        await node.use("a", ONE)
        lease = asyncio.create_task(node.lease("timer"))
        await until(lambda: nodes.one.asked > 1)
        await node.use("a", OTHER)
        assert (await lease).held
        await node.close()

    run(main())


def test_one_that_is_closed_does_not_join_again(nodes: Nodes) -> None:
    async def main() -> None:
        node = nodes.membership()
        await node.use("a", ONE)
        await node.close()
        assert not await node.use("a", OTHER)
        assert nodes.other.asked == 0

    run(main())


def test_a_mistake_of_ours_is_told_with_its_place_and_ends_nothing(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        nodes.mistaken = True
        node = nodes.membership()
        await node.use("a", ONE)
        await until(lambda: bool(complaints(caplog)))
        assert caplog.records[-1].exc_info is not None
        nodes.mistaken = False
        await until(lambda: "a" in nodes.one.seen)
        assert len(complaints(caplog)) == 1
        await node.close()

    run(main())


class Counted:
    """A broker that counts its events, or takes its time."""

    def __init__(self, stats: Callable[[], Awaitable[Any]]) -> None:
        self.stats = stats


def test_a_broker_that_does_not_count_in_time_holds_no_announcement_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_record, "COUNTING", 0.05)
    silent = away = False

    async def stats() -> BrokerStats:
        if silent:
            await asyncio.get_running_loop().create_future()
        if away:
            raise StorageError("it is away")
        return BrokerStats(9, 9, 0, {"default/t": SubscriptionStats(7, 2, 0, 0, 4)})

    brokers = {"default/default": Counted(stats), "default/other": Counted(stats)}
    runtime: Any = SimpleNamespace(
        brokers=brokers, triggers={"default/t": None}, functions=SimpleNamespace(workers=0)
    )

    async def main() -> None:
        nonlocal silent, away
        record = node_record.NodeRecord(runtime)

        async def figures() -> tuple[int, int]:
            told = await record.document(ingress="", admin="", started_at=0.0, reason="")
            return told["lag"], told["inFlight"]

        assert await figures() == (8, 4)
        silent = True
        assert await figures() == (8, 4), "what it counted last stands"
        silent, away = False, True
        assert await figures() == (8, 4)

    run(main())
