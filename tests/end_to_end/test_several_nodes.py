"""Two nodes with one wiring over one real Kafka or Redis, and what users of the engine's own tools
meet.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chain import WANTS, Journal, write_chain
from engine_server import Engine
from ingress_load import IngressLoad
from kafka_properties import QUICK_GROUPS, Access
from kafka_service import StartKafka
from node_process import NodeProcess, wait_for
from redis_service import StartRedis
from service_rule import unavailable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TOPIC = "knative-broker-default-default"
STREAM = "eventing:{default/default}:events"


class Nodes:
    """Makes nodes of one wiring; what each node's handlers do stands in a journal of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._project = write_chain(folder / "project")
        self._made: dict[str, NodeProcess] = {}

    def make(self, name: str, url: str) -> NodeProcess:
        node = NodeProcess(
            self._project,
            data=self._folder / f"data-{name}",
            log=self._folder / f"{name}.log",
            environment={
                "JOURNAL": str(self.journal(name).path),
                "EVENTING_BROKER": url,
                "EVENTING_NODE_NAME": name,
            },
        )
        self._made[name] = node
        return node

    def start(self, url: str, *names: str) -> list[NodeProcess]:
        """Started together; returns once all are ready."""
        nodes = [self.make(name, url) for name in names]
        for node in nodes:
            node.launch()
        return [node.wait_until_up() for node in nodes]

    def journal(self, name: str) -> Journal:
        return Journal(self._folder / f"journal-{name}")

    def handled(self, function: str) -> set[str]:
        """The subjects that this function of any node has handled."""
        return {
            call.subject
            for name in self._made
            for call in self.journal(name).calls()
            if call.function == function
        }

    def wait_until_handled(self, subjects: set[str]) -> None:
        for function in WANTS:
            wait_for(
                lambda function=function: subjects <= self.handled(function),
                f"{function} has handled all; logs are in {self._folder}",
                120,
            )

    def kill(self) -> None:
        for node in self._made.values():
            node.kill()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    made.kill()


def eventing(node: NodeProcess, *arguments: str) -> str:
    """What the command line prints when it asks this node."""
    command = [sys.executable, "-m", "eventing", *arguments, "--admin", f"http://{node.admin}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def members(node: NodeProcess) -> dict[str, bool]:
    """The nodes that `eventing get nodes` shows, and whether each is ready."""
    items = json.loads(eventing(node, "get", "nodes", "-o", "json"))["items"]
    return {item["name"]: item["ready"] for item in items}


def complaints(node: NodeProcess, about: str) -> list[str]:
    lines = node.log.read_text().splitlines()
    return [line for line in lines if "ERROR" in line and about in line]


def test_each_sees_the_other_and_the_work_is_spread(engine: Engine, nodes: Nodes) -> None:
    a, b = nodes.start(engine.url, "a", "b")
    for node in (a, b):
        wait_for(lambda node=node: members(node) == {"a": True, "b": True}, "both are seen")
    table = eventing(b, "get", "nodes", "-o", "wide")
    titles, *rows = table.splitlines()
    assert {"NAME", "READY", "TRIGGERS", "WORKERS", "LAG"} <= set(titles.split())
    assert [row.split()[0] for row in rows] == ["a", "b"]
    assert a.admin in rows[0] and b.admin in rows[1]

    load = IngressLoad(a.ingress, "x", type="order", singles=2, batchers=1, most=600).start().join()
    assert set(load.statuses) == {202}
    nodes.wait_until_handled(set(load.accepted))
    calls = {name: nodes.journal(name).calls() for name in "ab"}
    assert all(calls.values()), "one of them did nothing"
    everything = [(call.function, call.id) for name in "ab" for call in calls[name]]
    assert len(everything) == len(set(everything)), "no event went to both"

    assert b.stop() == 0
    wait_for(lambda: members(a) == {"a": True}, "one that ended in order is gone")


def test_a_killed_one_is_taken_over_within_seconds(engine: Engine, nodes: Nodes) -> None:
    a, b = nodes.start(engine.url, "a", "b")
    loads = [
        IngressLoad(node.ingress, name, type="order", singles=2, batchers=1).start()
        for node, name in ((a, "a"), (b, "b"))
    ]
    wait_for(lambda: nodes.journal("a").size() and nodes.journal("b").size(), "both are at work")
    a.kill()
    loads[0].join()
    loads[1].stop()
    assert all(set(load.statuses) <= {202} for load in loads)
    accepted = {id for load in loads for id in load.accepted}
    wait_for(lambda: accepted <= nodes.handled("audit"), "b has taken over")
    nodes.wait_until_handled(accepted)
    wait_for(lambda: members(b) == {"b": True}, "the killed one is not shown any more")


def test_without_its_engine_a_node_refuses_complains_once_and_goes_on_when_it_comes(
    engine: Engine, nodes: Nodes
) -> None:
    engine.server.stop()
    node = nodes.make("a", engine.url).start(ready=False)
    status, answer = node.ask("GET", "/readyz")
    assert status == 503 and "default/default" in answer["reason"]
    assert node.post("order", "refused", subject="refused") == 503
    broker = node.resource("Broker", "default")
    assert not broker["ready"] and broker["reason"] == "EngineUnreachable"
    assert "EngineUnreachable" in eventing(node, "get", "brokers") or broker["message"] in eventing(
        node, "get", "brokers"
    )

    engine.server.start()
    wait_for(lambda: node.ask("GET", "/readyz")[0] == 200, "the node is ready")
    assert node.post("order", "taken", subject="taken") == 202
    nodes.wait_until_handled({"taken"})
    assert len(complaints(node, "broker default/default")) == 1
    assert "refused" not in nodes.handled("audit")


def test_an_engine_that_goes_away_comes_back_to_a_node_that_lost_nothing(
    engine: Engine, nodes: Nodes
) -> None:
    (node,) = nodes.start(engine.url, "a")
    assert node.post("order", "before", subject="before") == 202
    nodes.wait_until_handled({"before"})
    engine.server.stop()
    wait_for(lambda: node.ask("GET", "/readyz")[0] == 503, "the node is not ready")
    assert node.post("order", "refused", subject="refused") == 503
    engine.server.start()
    wait_for(lambda: node.ask("GET", "/readyz")[0] == 200, "the node is ready again")
    assert node.post("order", "after", subject="after") == 202
    nodes.wait_until_handled({"before", "after"})


def wrong_kafka(start_kafka: StartKafka, start_redis: StartRedis) -> str:
    server = start_kafka(access=Access({"ann": "right"}))
    return f"kafka://ann:mistaken@{server.bootstrap_servers}"


def wrong_redis(start_kafka: StartKafka, start_redis: StartRedis) -> str:
    server = start_redis(password="right")
    return f"redis://:mistaken@127.0.0.1:{server.port}"


@pytest.mark.parametrize("wrong", [wrong_kafka, wrong_redis])
def test_wrong_credentials_are_a_reason_that_the_command_line_shows(
    wrong: Callable[[StartKafka, StartRedis], str],
    start_kafka: StartKafka,
    start_redis: StartRedis,
    nodes: Nodes,
) -> None:
    node = nodes.make("a", wrong(start_kafka, start_redis)).start(ready=False)
    assert node.ask("GET", "/readyz")[0] == 503
    broker = node.resource("Broker", "default")
    assert not broker["ready"] and broker["reason"] == "AuthenticationFailed"
    table, described = (
        eventing(node, "get", "brokers"),
        eventing(node, "describe", "broker", "default"),
    )
    assert "AuthenticationFailed" in described and "False" in table
    assert len(complaints(node, "broker default/default")) == 1
    assert "mistaken" not in node.log.read_text() + table + described
    assert node.stop() == 0


def test_kcat_writes_an_event_and_the_function_runs(start_kafka: StartKafka, nodes: Nodes) -> None:
    if shutil.which("kcat") is None:
        unavailable("kcat is not installed: apt install kcat")
    server = start_kafka(properties=QUICK_GROUPS)
    (node,) = nodes.start(f"kafka://{server.bootstrap_servers}", "a")
    where = ["-b", server.bootstrap_servers, "-t", TOPIC]
    headers = ["ce_specversion=1.0", "ce_id=1", "ce_source=/kcat", "ce_type=order", "ce_subject=k"]
    subprocess.run(
        ["kcat", "-P", *where, *(part for each in headers for part in ("-H", each))],
        input=b'{"item": "tea"}',
        check=True,
        timeout=60,
    )
    nodes.wait_until_handled({"k"})

    # And what came in over HTTP, and every reply, it reads.
    assert node.post("order", "2", b"by HTTP", subject="h") == 202
    nodes.wait_until_handled({"h"})
    read = subprocess.run(
        ["kcat", "-C", *where, "-e", "-q", "-f", "%h|%s\n"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    records = [line.partition("|")[::2] for line in read.splitlines()]
    (posted,) = (value for headers, value in records if "ce_id=2," in f"{headers},")
    assert posted == "by HTTP"
    assert {"ce_type=checked", "ce_type=shipped"} <= {
        header for headers, _ in records for header in headers.split(",")
    }


def test_redis_cli_shows_the_stream_and_an_entry_of_its_own_is_an_event(
    start_redis: StartRedis, nodes: Nodes
) -> None:
    if shutil.which("redis-cli") is None:
        unavailable("redis-cli is not installed: apt install redis-tools")
    server = start_redis()
    (node,) = nodes.start(server.url, "a")

    def redis_cli(*arguments: str) -> list[str]:
        command = ["redis-cli", "-e", "-p", str(server.port), *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return ran.stdout.splitlines()

    assert node.post("order", "1", b"by HTTP", subject="h") == 202
    nodes.wait_until_handled({"h"})
    _, *first = redis_cli("XRANGE", STREAM, "-", "+", "COUNT", "1")
    fields = dict(zip(first[::2], first[1::2], strict=True))
    assert fields["ce_id"] == "1" and fields["ce_type"] == "order"
    assert fields["data"] == "by HTTP"
    groups = redis_cli("XINFO", "GROUPS", STREAM)
    assert all(f"default/{trigger}" in groups for trigger in WANTS)

    event = "ce_specversion 1.0 ce_id 2 ce_source /redis-cli ce_type order ce_subject r data tea"
    redis_cli("XADD", STREAM, "*", *event.split())
    nodes.wait_until_handled({"r"})
