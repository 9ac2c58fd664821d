"""A node over engines that move, change their settings, stay away and fail as they should not."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from brokers.base import Broker, Fault, Limits
from brokers.embedded import EmbeddedBroker
from brokers.kafka.settings import KafkaSettings
from brokers.local_cluster import LocalCluster
from eventing.errors import StorageError
from eventing.event import Event
from eventing.node import membership as membership_module
from eventing.node import node as node_module
from eventing.node import runtime as runtime_module
from eventing.node.config import NodeConfig
from eventing.node.engines import EngineSettings
from eventing.node.node import Node
from eventing.node.runtime import UnopenedBroker
from eventing.resources import Identity

BROKER = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: NAME
  annotations: {eventing.knative.dev/broker.class: Kafka}
spec:
  config: {apiVersion: v1, kind: ConfigMap, name: NAME}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME}
data:
  bootstrap.servers: SERVERS
  default.topic.partitions: "PARTITIONS"
  default.topic.replication.factor: "1"
---
"""
TRIGGER = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: NAME}
spec:
  broker: BROKER
  subscriber: SUBSCRIBER
---
"""
FUNCTION = """\
apiVersion: functions/v1
kind: Function
metadata: {name: f}
spec:
  handler: app:f
  env: [{name: VERSION, value: "NUMBER"}]
---
"""
NOWHERE = '{uri: "http://127.0.0.1:1/"}'


def broker(name: str, servers: str, partitions: int = 1) -> str:
    text = BROKER.replace("NAME", name).replace("SERVERS", servers)
    return text.replace("PARTITIONS", str(partitions))


def trigger(name: str, of: str, subscriber: str = NOWHERE) -> str:
    text = TRIGGER.replace("NAME", name).replace("BROKER", of)
    return text.replace("SUBSCRIBER", subscriber)


def function(version: str) -> str:
    return FUNCTION.replace("NUMBER", version)


def to_broker(name: str) -> str:
    return f"{{ref: {{apiVersion: eventing.knative.dev/v1, kind: Broker, name: {name}}}}}"


class OverEngine(EmbeddedBroker):
    """A broker whose events are in a file of its server's, and which does as that is told."""

    def __init__(self, key: str, path: Path, limits: Limits, server: "Server") -> None:
        super().__init__(key, path, limits)
        self._server = server
        self.open = False

    async def start(self) -> None:
        self._server.asked += 1
        if self._server.failure is not None:
            raise self._server.failure
        try:
            await self._server.held.wait()
        except asyncio.CancelledError:
            self._server.cancelled += 1
            raise
        await super().start()
        self.open = True

    async def close(self) -> None:
        if self._server.close_failure is not None:
            raise self._server.close_failure
        await self._server.close_held.wait()
        await super().close()
        self.open = False

    @property
    def fault(self) -> Fault | None:
        return self._server.fault


class Server:
    """What the brokers of one address are to meet, and what was asked of it."""

    def __init__(self) -> None:
        self.asked = self.cancelled = 0
        self.failure: Exception | None = None
        self.close_failure: Exception | None = None
        self.fault: Fault | None = None
        self.held, self.close_held = asyncio.Event(), asyncio.Event()
        self.held.set()
        self.close_held.set()


class Engines:
    """Makes what the node asks for, and remembers it."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self.made: list[OverEngine] = []
        self.joined: list[EngineSettings] = []

    def server(self, address: str) -> Server:
        return self.servers.setdefault(address, Server())

    def make_broker(
        self, key: str, settings: EngineSettings, limits: Limits, *, data: Path, node: str
    ) -> Broker:
        if not isinstance(settings, KafkaSettings):
            return EmbeddedBroker(key, data / "brokers" / f"{key}.db", limits)
        address = settings.bootstrap_servers
        path = data / address.replace(":", "-") / f"{key}.db"
        self.made.append(OverEngine(key, path, limits, self.server(address)))
        return self.made[-1]

    def make_cluster(self, settings: EngineSettings, node: str) -> LocalCluster:
        self.joined.append(settings)
        return LocalCluster(node)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    made = Engines()
    monkeypatch.setattr(runtime_module, "make_broker", made.make_broker)
    monkeypatch.setattr(node_module, "MEND_EVERY", 0.02)
    return made


@pytest.fixture
def make(tmp_path: Path, engines: Engines) -> Callable[[], Node]:
    (tmp_path / "w.yaml").write_text("")

    def new() -> Node:
        node = Node(NodeConfig((tmp_path / "w.yaml",), tmp_path / "data", grace=1.0))
        node.membership._make = engines.make_cluster
        return node

    return new


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.005)


def event(id: str) -> Event:
    return Event({"specversion": "1.0", "id": id, "source": "/s", "type": "t"})


def logged(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in each.getMessage() for each in caplog.records)


def test_one_that_moves_to_another_engine_has_its_senders_come_again_until_it_is_open(
    engines: Engines, make: Callable[[], Node], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        node = make()
        await node.start(ports=False)
        await node.apply(broker("b", "one:9092") + trigger("t", "b"), "b.yaml")
        engines.server("other:9092").held.clear()
        moving = asyncio.create_task(node.apply(broker("b", "other:9092"), "b.yaml"))
        await until(lambda: engines.server("other:9092").asked)
        found = node.runtime.find_broker("default", "b")
        assert isinstance(found, UnopenedBroker)
        with pytest.raises(StorageError, match="is being opened; send the event again"):
            await found.publish([event("1")])
        assert node.readiness() == "broker default/b: it is being opened"
        assert node.condition(Identity("Broker", "default", "b")).reason == "Opening"
        engines.server("other:9092").held.set()
        await moving
        assert not engines.made[0].open
        assert node.runtime.find_broker("default", "b") is engines.made[1]
        assert node.runtime.triggers["default/t"].subscription is not None
        assert node.readiness() == ""
        await node.stop()
        assert not engines.made[1].open

    run(main())
    assert logged(caplog, "moves to another engine") == 1


def test_changed_settings_of_the_same_engine_open_it_anew_and_nobody_joins_again(
    engines: Engines, make: Callable[[], Node], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        node = make()
        await node.start(ports=False)
        await node.apply(broker("b", "one:9092") + trigger("t", "b"), "b.yaml")
        await until(lambda: len(engines.joined) == 2)
        await node.apply(broker("b", "one:9092", partitions=3), "b.yaml")
        first, second = engines.made
        assert (first.open, second.open) == (False, True)
        assert node.runtime.brokers["default/b"] is second
        assert len(engines.joined) == 2
        await node.stop()

    run(main())
    assert logged(caplog, "moves to another engine") == 0


def test_where_one_fails_as_none_may_no_other_is_left_half_open(
    engines: Engines, make: Callable[[], Node]
) -> None:
    async def main() -> None:
        node = make()
        await node.start(ports=False)
        engines.server("slow:9092").held.clear()
        engines.server("mistaken:9092").failure = KeyError("a mistake")
        with pytest.raises(BaseExceptionGroup) as raised:
            await node.apply(broker("a", "slow:9092") + broker("b", "mistaken:9092"), "b.yaml")
        assert isinstance(raised.value.exceptions[0], KeyError)
        assert engines.server("slow:9092").cancelled == 1
        # Once it is mended, what was applied is made real.
        engines.server("slow:9092").held.set()
        engines.server("mistaken:9092").failure = None
        await until(lambda: {"default/a", "default/b"} <= node.runtime.brokers.keys())
        await until(lambda: not node.readiness())
        await node.stop()

    run(main())
    assert not any(each.open for each in engines.made)


def test_a_start_that_is_cut_short_closes_what_it_has_opened(
    tmp_path: Path, engines: Engines, make: Callable[[], Node]
) -> None:
    async def main() -> None:
        node = make()
        (tmp_path / "w.yaml").write_text(broker("a", "one:9092") + broker("b", "slow:9092"))
        engines.server("slow:9092").held.clear()
        starting = asyncio.create_task(node.start(ports=False))
        await until(lambda: any(each.open for each in engines.made))
        await until(lambda: engines.server("slow:9092").asked)
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()
        assert engines.server("slow:9092").cancelled == 1
        assert not any(each.open for each in engines.made)
        # The data folder is free, and so are the files in it.
        engines.server("slow:9092").held.set()
        again = make()
        await again.start(ports=False)
        assert again.readiness() == ""
        await again.stop()

    run(main())


def test_one_that_does_not_close_holds_no_other_up(
    engines: Engines,
    make: Callable[[], Node],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(runtime_module, "CLOSING", 0.1)

    async def main() -> None:
        node = make()
        await node.start(ports=False)
        texts = [broker(name, f"{name}:9092") for name in ("well", "failing", "hanging")]
        await node.apply("".join(texts), "b.yaml")
        engines.server("failing:9092").close_failure = RuntimeError("a mistake")
        engines.server("hanging:9092").close_held.clear()
        assert await node.stop()
        left = [each for each in engines.made if each.open]
        assert [each.name for each in left] == ["default/failing", "default/hanging"]
        engines.server("failing:9092").close_failure = None
        engines.server("hanging:9092").close_held.set()
        for each in left:
            await each.close()

    run(main())
    assert logged(caplog, "broker default/failing did not close in order") == 1
    assert logged(caplog, "broker default/hanging does not close within 0.1 s") == 1


def test_what_else_a_change_did_is_told_where_storage_refused_some_of_it(
    make: Callable[[], Node],
) -> None:
    async def main() -> None:
        node = make()
        await node.start(ports=False)
        default = node.runtime.brokers["default/default"]
        assert isinstance(default, EmbeddedBroker)
        default._storage.connection.execute("PRAGMA query_only=ON")
        let_go: list[object] = []

        async def note(in_use: set[Any]) -> None:
            let_go.append(in_use)

        node.projects.let_go = note  # type: ignore[method-assign]
        with node.activity.listen() as listener:
            with pytest.raises(StorageError):
                await node.apply(trigger("late", "default") + trigger("held", "none"), "t.yaml")
            told = [await listener.get(), await listener.get()]
        assert {each["resource"]: each["ready"] for each in told} == {
            "Trigger/default/late": False,
            "Trigger/default/held": False,
        }
        assert let_go
        assert node.condition(Identity("Trigger", "default", "late")).reason == "StorageFailed"
        default._storage.connection.execute("PRAGMA query_only=OFF")
        await until(lambda: "default/late" in node.runtime.triggers)
        await node.stop()

    run(main())


def test_while_an_engine_is_away_it_alone_is_tried_again(
    engines: Engines, make: Callable[[], Node], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        node = make()
        away = engines.server("away:9092")
        away.failure = StorageError("Kafka at away:9092 can't be reached", "EngineUnreachable")
        await node.start(ports=False)
        await node.apply(
            broker("b", "away:9092")
            + trigger("t", "b")
            + trigger("sends", "default", to_broker("b")),
            "b.yaml",
        )
        running = node.runtime
        # One that no trigger takes is counted, and the count stays.
        await node.delete(Identity("Trigger", "default", "sends"))
        await running.brokers["default/default"].publish([event("1")])
        await node.apply(trigger("sends", "default", to_broker("b")), "b.yaml")
        await running.brokers["default/default"].publish([event("2")])
        unrouted, asked = running.unrouted("default/default"), away.asked
        router = running._routers["default/default"]
        await until(lambda: away.asked > asked + 3)
        assert running._routers["default/default"] is router
        assert running.unrouted("default/default") == unrouted
        assert running.triggers["default/sends"].dispatcher is None
        assert node.condition(Identity("Broker", "default", "b")).reason == "EngineUnreachable"
        assert node.condition(Identity("Trigger", "default", "t")).reason == "BrokerNotReady"
        away.failure = None
        await until(lambda: "default/t" in running.triggers)
        await until(lambda: not node.readiness())
        assert running.triggers["default/sends"].dispatcher is not None
        # What was held for it is in it now.
        opened = engines.made[-1]
        await until(lambda: opened.head == 1)
        asked = away.asked
        await asyncio.sleep(5 * node_module.MEND_EVERY)
        assert away.asked == asked
        await node.stop()

    with caplog.at_level(logging.INFO):
        run(main())
    assert logged(caplog, "can't be reached") == 1
    assert logged(caplog, "broker default/b is open now") == 1


def test_one_that_is_open_takes_nothing_before_what_other_nodes_know_is_learned(
    tmp_path: Path, engines: Engines, make: Callable[[], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership_module, "ANNOUNCE_EVERY", 0.01)
    wiring = broker("b", "one:9092") + trigger("t", "b")
    others = LocalCluster("others")

    class Reached(LocalCluster):
        """Others are behind it. Its engine is away, or slow, until it is `met`."""

        away, met = False, asyncio.Event()

        async def start(self) -> None:
            if self.away:
                raise StorageError("the engine is away", "EngineUnreachable")
            await self.met.wait()

        documents, store = others.documents, others.store  # type: ignore[assignment]

    async def main() -> None:
        Reached.met.set()
        for version in ("1", "2"):
            (tmp_path / "w.yaml").write_text(wiring + function(version))
            first = make()
            first.membership._make = lambda settings, node: Reached(node)
            await first.start(ports=False)
            await until(lambda: first.shared.told)  # noqa: B023
            await first.stop()

        Reached.met.clear()
        Reached.away = True
        engines.server("one:9092").failure = StorageError("the engine is away", "EngineUnreachable")
        late = Node(NodeConfig((tmp_path / "w.yaml",), tmp_path / "empty", grace=1.0))
        late.membership._make = lambda settings, node: Reached(node)
        await late.start(ports=False)
        Reached.away = False
        engines.server("one:9092").failure = None
        await until(lambda: engines.made[-1].open)
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert isinstance(late.runtime.find_broker("default", "b"), UnopenedBroker)
            assert late.readiness() == "broker default/b: it is being opened"
            assert not late.runtime.triggers.keys() & {"default/t"}
        Reached.met.set()
        await until(lambda: not late.readiness())
        assert late.runtime.triggers["default/t"].subscription is not None
        known = late.revisions.revisions["default/f"]
        assert [each.name for each in known.known] == ["f-00001", "f-00002"]
        await late.stop()

    run(main())
    assert not any(each.open for each in engines.made)


def test_the_reason_of_an_open_broker_is_what_its_engine_says(
    engines: Engines, make: Callable[[], Node]
) -> None:
    async def main() -> None:
        node = make()
        await node.start(ports=False)
        await node.apply(broker("b", "one:9092"), "b.yaml")
        engines.server("one:9092").fault = Fault("AuthenticationFailed", "it does not let us in")
        condition = node.condition(Identity("Broker", "default", "b"))
        assert (condition.ready, condition.reason) == (False, "AuthenticationFailed")
        assert node.readiness() == "broker default/b: it does not let us in"
        engines.server("one:9092").fault = None
        assert node.condition(Identity("Broker", "default", "b")).ready
        await node.stop()

    run(main())
