"""The admin API's contract: paths, statuses and bodies, on a node without code."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventing.event import Event
from eventing.node.admin import admin_app
from eventing.node.config import NodeConfig
from eventing.node.node import Node

# Nobody listens on port 1, so what is sent there becomes a dead letter at once.
WIRING = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: dead}
spec:
  broker: default
  filters: [{exact: {type: dead}}]
  subscriber: {uri: "http://127.0.0.1:1/"}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: held}
spec:
  broker: default
  filters: [{exact: {type: held}}]
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: nobody}}
"""
EXTRA = WIRING.split("---")[0].replace("dead", "extra")
EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "dead"}

Client = httpx.AsyncClient
Test = Callable[[Client, Node], Awaitable[None]]


@pytest.fixture
def on_node(tmp_path: Path) -> Callable[[Test], None]:
    (tmp_path / "w.yaml").write_text(WIRING)

    async def run(test: Test) -> None:
        node = Node(NodeConfig((tmp_path / "w.yaml",), tmp_path / "data", grace=1.0))
        await node.start(ports=False)
        transport = httpx.ASGITransport(app=admin_app(node))
        try:
            async with asyncio.timeout(30):
                async with Client(transport=transport, base_url="http://localhost") as client:
                    await test(client, node)
        finally:
            await node.stop()

    return lambda test: asyncio.run(run(test))


async def publish(node: Node, type: str, id: str = "1") -> None:
    attributes = {"specversion": "1.0", "id": id, "source": "/s", "type": type}
    await node.runtime.brokers["default/default"].publish([Event(attributes, b'{"a": 1}')])


async def dead_letters(client: Client, count: int, **query: Any) -> list[dict[str, Any]]:
    while True:
        answer = await client.get("/api/v1/dead-letters", params=query)
        assert answer.status_code == 200
        items: list[dict[str, Any]] = answer.json()["items"]
        if len(items) >= count:
            return items
        await asyncio.sleep(0.01)


def test_a_running_node_is_healthy_and_ready(on_node: Callable[[Test], None]) -> None:
    async def test(client: Client, node: Node) -> None:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "reason": ""})

    on_node(test)


def test_a_node_that_shuts_down_is_not_ready_and_says_why(on_node: Callable[[Test], None]) -> None:
    async def test(client: Client, node: Node) -> None:
        node.stopping = True
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["reason"] == "the node is shutting down"

    on_node(test)


def test_resources_are_told_with_condition_place_and_document(
    on_node: Callable[[Test], None],
) -> None:
    async def test(client: Client, node: Node) -> None:
        items = (await client.get("/api/v1/resources", params={"kind": "Trigger"})).json()["items"]
        dead, held = sorted(items, key=lambda item: item["name"])
        assert dead["ready"] and not held["ready"]
        assert held["reason"] == "SubscriberNotResolved"
        assert dead["source"].endswith("w.yaml:1:1")
        assert dead["document"]["spec"]["broker"] == "default"
        assert dead["status"]["filter"] == 'type = "dead"'

    on_node(test)


def test_the_default_broker_is_there_without_a_document(on_node: Callable[[Test], None]) -> None:
    async def test(client: Client, node: Node) -> None:
        [item] = (await client.get("/api/v1/resources?kind=Broker")).json()["items"]
        assert (item["name"], item["document"], item["ready"]) == ("default", None, True)

    on_node(test)


def test_a_triggers_figures_tell_dead_letters_and_attempts_apart(
    on_node: Callable[[Test], None],
) -> None:
    async def test(client: Client, node: Node) -> None:
        await publish(node, "dead")
        [letter] = await dead_letters(client, 1)
        await client.delete(f"/api/v1/dead-letters/default/default/{letter['id']}")
        query = {"kind": "Trigger", "name": "dead"}
        [item] = (await client.get("/api/v1/resources", params=query)).json()["items"]
        assert (item["status"]["dead"], item["status"]["given_up"]) == (0, 1)

    on_node(test)


def test_apply_creates_changes_nothing_twice_and_delete_removes(
    on_node: Callable[[Test], None],
) -> None:
    async def test(client: Client, node: Node) -> None:
        for result in ("created", "unchanged"):
            applied = await client.post("/api/v1/resources", content=EXTRA)
            told = {"resource": "Trigger/default/extra", "result": result}
            assert applied.json() == {"results": [told], "warnings": []}
        for status in (200, 404):
            deleted = await client.delete("/api/v1/resources/Trigger/default/extra")
            assert deleted.status_code == status

    on_node(test)


def test_a_namespace_is_deleted_by_a_dash(on_node: Callable[[Test], None]) -> None:
    async def test(client: Client, node: Node) -> None:
        text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n"
        assert (await client.post("/api/v1/resources", content=text)).status_code == 200
        deleted = await client.delete("/api/v1/resources/Namespace/-/team")
        assert deleted.json() == {"deleted": "Namespace/team"}

    on_node(test)


def test_apply_with_mistakes_answers_400_with_every_place(on_node: Callable[[Test], None]) -> None:
    async def test(client: Client, node: Node) -> None:
        bad = EXTRA.replace("broker:", "brokr:") + "---\nkind: Nothing\napiVersion: v1\n"
        answer = await client.post("/api/v1/resources?file=x.yaml", content=bad)
        assert answer.status_code == 400
        first, second = answer.json()["problems"]
        assert first.startswith("x.yaml:5:3: ")
        assert second.startswith("x.yaml:9:7: ")

    on_node(test)


def test_explain_tells_every_triggers_verdict(on_node: Callable[[Test], None]) -> None:
    async def test(client: Client, node: Node) -> None:
        answer = await client.post("/api/v1/explain", json={"event": EVENT})
        verdicts = {each["trigger"]: each["matches"] for each in answer.json()["triggers"]}
        assert verdicts == {"default/dead": True, "default/held": False}

    on_node(test)


def test_a_dead_letter_can_be_shown_redriven_with_another_event_and_dropped(
    on_node: Callable[[Test], None],
) -> None:
    async def test(client: Client, node: Node) -> None:
        await publish(node, "dead")
        [letter] = await dead_letters(client, 1)
        path = f"/api/v1/dead-letters/default/default/{letter['id']}"
        whole = (await client.get(path)).json()
        assert (whole["trigger"], whole["attempts"]) == ("default/dead", 1)
        changed = {**whole["event"], "subject": "mended"}
        redriven = await client.post(f"{path}/redrive", json={"event": changed})
        assert redriven.json() == {"redriven": letter["id"]}
        [again] = await dead_letters(client, 1, after=letter["id"])
        assert again["event"]["subject"] == "mended"
        path = f"/api/v1/dead-letters/default/default/{again['id']}"
        assert [(await client.delete(path)).status_code for _ in range(2)] == [200, 404]

    on_node(test)


def test_dead_letters_are_paged_by_id_and_filtered_by_trigger(
    on_node: Callable[[Test], None],
) -> None:
    async def test(client: Client, node: Node) -> None:
        for id in ("1", "2", "3"):
            await publish(node, "dead", id)
        first, second, _ = await dead_letters(client, 3)
        query: dict[str, Any] = {"after": first["id"], "limit": 1}
        [page] = await dead_letters(client, 1, **query)
        assert page == second
        assert await dead_letters(client, 0, trigger="default/held") == []

    on_node(test)


def test_activity_begins_by_saying_that_it_listens_and_ends_with_the_node(
    on_node: Callable[[Test], None],
) -> None:
    async def test(client: Client, node: Node) -> None:
        async def events() -> None:
            while not node.activity.listening:
                await asyncio.sleep(0)
            await publish(node, "nobody.wants.it")
            await node.stop()

        async with asyncio.TaskGroup() as group:
            group.create_task(events())
            # The whole answer is read: it ends when the node does.
            answer = await client.get("/api/v1/activity")
        records = [json.loads(line) for line in answer.text.splitlines()]
        assert [record["record"] for record in records] == ["listening", "accepted"]
        assert records[1]["triggers"] == []

    on_node(test)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:8081"}, 200),
        ({"host": "[::1]:8081"}, 200),
        ({"host": "localhost:8081", "origin": "http://localhost:8081"}, 200),
        ({"host": "localhost:8081", "origin": "http://localhost:3000"}, 403),
        ({"host": "localhost:8081", "origin": "https://shop.example"}, 403),
        ({"host": "localhost:8081", "origin": "null"}, 403),
        ({"host": "shop.example:8081"}, 403),
        ({"host": "shop.example:8081", "origin": "http://shop.example:8081"}, 403),
        ({"host": "[:::"}, 403),
    ],
)
def test_a_web_page_of_another_site_is_refused(
    on_node: Callable[[Test], None], headers: dict[str, str], status: int
) -> None:
    async def test(client: Client, node: Node) -> None:
        body = EXTRA.encode()
        answer = await client.post("/api/v1/resources", content=body, headers=headers)
        assert answer.status_code == status
        assert ("default/extra" in node.runtime.triggers) == (status == 200)

    on_node(test)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("GET", "/api/v1/nothing", "", 404, ""),
        ("GET", "/api/v1/dead-letters?limit=many", "", 400, "limit is 'many'"),
        ("GET", "/api/v1/dead-letters/default/none/1", "", 404, "no broker default/none"),
        ("GET", "/api/v1/dead-letters/default/default/9", "", 404, "no dead letter 9"),
        ("POST", "/api/v1/dead-letters/default/default/9/redrive", "", 404, "no dead letter 9"),
        ("POST", "/api/v1/explain", "{", 400, "no JSON"),
        ("POST", "/api/v1/explain", "[]", 400, "JSON object"),
        ("POST", "/api/v1/explain", '{"event": {"id": "1"}}', 400, "specversion"),
        ("POST", "/api/v1/explain", '{"event": null}', 400, ""),
        ("POST", "/api/v1/replay", '{"trigger": "default/gone"}', 400, "no trigger default/gone"),
        ("POST", "/api/v1/replay", '{"trigger": ["x"]}', 400, "no trigger"),
        ("POST", "/api/v1/replay", '{"trigger": "default/held", "from": 0}', 400, "from is 0"),
        ("POST", "/api/v1/replay", '{"trigger": "default/held", "since": "1h"}', 400, "since"),
        ("POST", "/api/v1/resources", "\xff", 400, "UTF-8"),
        ("DELETE", "/api/v1/resources/Trigger/default/dead", "", 400, "remove it there"),
        ("DELETE", "/api/v1/resources", "", 405, ""),
    ],
)
def test_what_is_wrong_is_answered_in_json_with_the_reason(
    on_node: Callable[[Test], None], method: str, path: str, body: str, status: int, told: str
) -> None:
    async def test(client: Client, node: Node) -> None:
        answer = await client.request(method, path, content=body.encode("latin-1"))
        assert answer.status_code == status
        assert told in answer.json()["error"]

    on_node(test)
