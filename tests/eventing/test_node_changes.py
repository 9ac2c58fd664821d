"""Changes of a running node: what storage did not allow is made up for, what runs goes on."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from brokers.base import BrokerStats
from brokers.embedded import EmbeddedBroker
from eventing.errors import StorageError
from eventing.event import Event
from eventing.node import node as node_module
from eventing.node import runtime as runtime_module
from eventing.node.config import NodeConfig
from eventing.node.inventory import inventory
from eventing.node.node import Node
from eventing.resources import Identity
from functions.base import Call, Response

TRIGGER = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: NAME}
spec:
  broker: default
  subscriber: {uri: "http://127.0.0.1:1/"}
"""
BROKER = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: shop}
spec: {config: {kind: ConfigMap, apiVersion: v1, name: limits}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: limits}
data: {max.backlog: "1000"}
"""
MISSING = TRIGGER.replace(
    'uri: "http://127.0.0.1:1/"',
    "ref: {apiVersion: functions/v1, kind: Function, name: nobody}",
)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.005)


def test_a_change_that_storage_did_not_allow_is_made_once_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "MEND_EVERY", 0.05)
    (tmp_path / "w.yaml").write_text("")

    async def main() -> None:
        node = Node(NodeConfig((tmp_path / "w.yaml",), tmp_path / "data", grace=1.0))
        await node.start(ports=False)
        broker = node.runtime.brokers["default/default"]
        assert isinstance(broker, EmbeddedBroker)
        broker._storage.connection.execute("PRAGMA query_only=ON")
        with pytest.raises(StorageError):
            await node.apply(TRIGGER.replace("NAME", "late"), "late.yaml")
        assert "default/late" not in node.runtime.triggers
        broker._storage.connection.execute("PRAGMA query_only=OFF")
        await until(lambda: "default/late" in node.runtime.triggers)
        await node.stop()

    asyncio.run(main())


def test_a_change_that_waits_for_storage_does_not_hold_up_the_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "CHANGE_GRACE", 0.1)
    (tmp_path / "w.yaml").write_text("")

    async def main() -> None:
        node = Node(NodeConfig((tmp_path / "w.yaml",), tmp_path / "data", grace=1.0))
        await node.start(ports=False)
        await node.apply(TRIGGER.replace("NAME", "t"), "t.yaml")
        broker = node.runtime.brokers["default/default"]
        assert isinstance(broker, EmbeddedBroker)
        broker._storage.connection.execute("PRAGMA query_only=ON")
        ordered = "{name: t, annotations: {kafka.eventing.knative.dev/delivery.order: ordered}}"
        text = TRIGGER.replace("{name: NAME}", ordered)
        change = asyncio.create_task(node.apply(text, "t.yaml"))
        await until(lambda: "default/t" not in node.runtime.triggers)
        async with asyncio.timeout(20):
            await node.stop()
            await asyncio.wait([change])
        assert isinstance(change.exception(), StorageError)

    asyncio.run(main())


def test_a_broker_that_closes_while_resources_are_listed_is_listed_as_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.yaml").write_text("")
    stats = EmbeddedBroker.stats

    async def main() -> None:
        node = Node(NodeConfig((tmp_path / "w.yaml",), tmp_path / "data", grace=1.0))
        await node.start(ports=False)
        await node.apply(BROKER, "shop.yaml")

        async def slow(broker: EmbeddedBroker) -> BrokerStats:
            found = await stats(broker)
            if broker.name == "default/shop":
                await node.delete(Identity("ConfigMap", "default", "limits"))
            return found

        monkeypatch.setattr(EmbeddedBroker, "stats", slow)
        (shop,) = [item for item in await inventory(node) if item["name"] == "shop"]
        assert shop["reason"] == "ConfigMapNotFound" and not shop["status"]
        await node.stop()

    asyncio.run(main())


class Held:
    """A subscriber that answers when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[Response], None]] = []

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        self.calls.append(done)


def test_what_is_out_when_a_trigger_is_paused_is_settled_by_its_answer(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("")

    async def main() -> None:
        node = Node(NodeConfig((tmp_path / "w.yaml",), tmp_path / "data", grace=5.0))
        await node.start(ports=False)
        await node.apply(TRIGGER.replace("NAME", "t"), "t.yaml")
        running = node.runtime.triggers["default/t"]
        assert running.dispatcher is not None
        held = Held()
        running.dispatcher.route = replace(running.dispatcher.route, target=held)
        attributes = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
        await node.runtime.brokers["default/default"].publish([Event(attributes)])
        await until(lambda: len(held.calls) == 1)
        await node.apply(MISSING.replace("NAME", "t"), "t.yaml")
        assert running.dispatcher is None
        held.calls[0](Response(200))
        # The shutdown waits for the paused one too, so nothing is delivered twice.
        assert await node.stop()
        again = EmbeddedBroker("default/default", tmp_path / "data" / "brokers/default/default.db")
        await again.start()
        assert (await again.stats()).subscriptions["default/t"].lag == 0
        await again.close()

    asyncio.run(main())


def test_what_waits_for_a_deleted_trigger_is_given_up_at_once(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("")

    async def main() -> None:
        node = Node(NodeConfig((tmp_path / "w.yaml",), tmp_path / "data", grace=1.0))
        await node.start(ports=False)
        await node.apply(MISSING.replace("NAME", "t"), "t.yaml")
        broker = node.runtime.brokers["default/default"]
        assert broker.known_subscriptions() == ["default/t"]
        assert await node.delete(Identity("Trigger", "default", "t"))
        assert broker.known_subscriptions() == []
        await node.stop()

    asyncio.run(main())


def test_what_waits_for_a_trigger_that_is_gone_is_given_up_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "MEND_EVERY", 0.02)
    monkeypatch.setattr(runtime_module, "KEEP_REMOVED", 0.1)
    (tmp_path / "w.yaml").write_text(MISSING.replace("NAME", "t"))
    config = NodeConfig((tmp_path / "w.yaml",), tmp_path / "data", grace=1.0)

    async def main() -> None:
        node = Node(config)
        await node.start(ports=False)
        await node.stop()
        (tmp_path / "w.yaml").write_text("")
        node = Node(config)
        await node.start(ports=False)
        broker = node.runtime.brokers["default/default"]
        assert broker.known_subscriptions() == ["default/t"]
        await until(lambda: broker.known_subscriptions() == [])
        await node.stop()

    asyncio.run(main())
