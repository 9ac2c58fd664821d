"""`eventing usage` of real nodes: what a bill says, and what of it outlives a kill."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node_process import NodeProcess, wait_for, write_project
from redis_service import StartRedis

APP = """
    import time
    from eventing import CloudEvent, Reject, function

    @function(memory="512Mi")
    def resize(event: CloudEvent):
        time.sleep(0.05)

    @function
    def picky(event: CloudEvent):
        raise Reject("never")

    @function
    def idle(event: CloudEvent):
        pass
    """
TRIGGER = """
    apiVersion: eventing.knative.dev/v1
    kind: Trigger
    metadata: {{name: {name}}}
    spec:
      broker: default
      filter: {{attributes: {{type: {name}}}}}
      subscriber: {{ref: {{apiVersion: functions/v1, kind: Function, name: {name}}}}}
    """
AT_ZERO = """
    apiVersion: functions/v1
    kind: Function
    metadata: {name: idle}
    spec:
      handler: app:idle
      scale: {initial: 0}
    """
FILES = {
    "app.py": APP,
    "idle.yaml": AT_ZERO,
    **{f"{name}.yaml": TRIGGER.format(name=name) for name in ("resize", "picky")},
}

Item = dict[str, Any]


class Billed:
    """A node with three functions, and the command line beside it."""

    def __init__(self, folder: Path, name: str = "a", **environment: str) -> None:
        self.data = folder / f"data-{name}"
        self.node = NodeProcess(
            write_project(folder / "project", FILES),
            data=self.data,
            log=folder / f"{name}.log",
            environment={"EVENTING_NODE_NAME": name, **environment},
        )
        self._sent = 0

    def send(self, type: str, number: int) -> None:
        for _ in range(number):
            self._sent += 1
            assert self.node.post(type, f"{type}-{self._sent}") == 202

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`eventing usage …`, of the node that runs."""
        return usage(*arguments, "--admin", f"http://{self.node.admin}")

    def bill(self, *arguments: str) -> Item:
        return read(self.run(*arguments, "-o", "json"))

    def stored(self, *arguments: str) -> Item:
        """What stands in its data folder, whether it runs or not."""
        return read(usage(*arguments, "--data", str(self.data), "-o", "json"))


def usage(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "eventing", "usage", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "EVENTING_ADMIN"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran


def read(ran: "subprocess.CompletedProcess[str]") -> Item:
    assert ran.returncode == 0, ran.stderr
    document: Item = json.loads(ran.stdout)
    return document


def of(bill: Item, function: str) -> Item:
    [item] = [item for item in bill["items"] if item["function"] == function]
    found: Item = item
    return found


def invocations(bill: Item) -> int:
    return int(bill["total"]["invocations"])


@pytest.fixture
def billed(tmp_path: Path) -> Iterator[Billed]:
    made = Billed(tmp_path)
    yield made
    made.node.kill()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Billed]:
    """A node whose functions have been called: 20 times, 4 times in vain, never."""
    made = Billed(tmp_path_factory.mktemp("usage"))
    made.node.start()
    made.send("resize", 20)
    made.send("picky", 4)
    wait_for(lambda: invocations(made.bill()) == 24, "all were called")
    yield made
    made.node.kill()


def test_a_bill_has_each_functions_calls_times_and_costs(running: Billed) -> None:
    bill = running.bill("--price-gb-second", "2", "--price-million", "1e6", "--currency", "EUR")
    resize, picky, idle = (of(bill, name) for name in ("resize", "picky", "idle"))
    assert (resize["invocations"], resize["failed"]) == (20, 0)
    assert (picky["invocations"], picky["failed"]) == (4, 4)
    assert resize["executionMilliseconds"] >= 20 * 50
    assert resize["busySeconds"] == pytest.approx(resize["executionMilliseconds"] / 1000)
    assert resize["gbSeconds"] == pytest.approx(resize["busySeconds"] / 2)
    assert resize["instanceSeconds"] >= resize["busySeconds"] + resize["idleSeconds"]
    assert resize["cost"] == pytest.approx(2 * resize["gbSeconds"] + 20)
    assert idle["invocations"] == idle["instanceSeconds"] == idle["cost"] == 0
    assert idle["zeroSeconds"] > 0
    assert idle["avoidedGbSeconds"] == pytest.approx(idle["zeroSeconds"] / 8)
    assert idle["avoidedCost"] == pytest.approx(2 * idle["avoidedGbSeconds"])
    assert bill["total"]["cost"] == pytest.approx(sum(item["cost"] for item in bill["items"]))
    assert bill["nodes"] == ["a"] and bill["prices"]["currency"] == "EUR"


def test_the_table_is_for_people(running: Billed) -> None:
    ran = running.run("--by", "day", "--by-revision")
    titles, *rows = ran.stdout.splitlines()
    assert titles.split()[:5] == ["DAY", "FUNCTION", "REVISION", "CALLS", "FAILED"]
    assert "COST USD" in titles and "AVOIDED USD" in titles
    assert rows[-1].split()[:3] == ["TOTAL", "24", "4"]
    assert "on node a" in ran.stderr


def test_a_function_alone_and_rows_for_a_spreadsheet(running: Billed) -> None:
    ran = running.run("resize", "--by", "month", "-o", "csv")
    [row] = csv.DictReader(io.StringIO(ran.stdout))
    assert (row["function"], row["invocations"]) == ("resize", "20")
    assert len(row["period"]) == len("2026-11")
    assert "revision" not in row


def test_a_period_without_usage_is_said_to_be_empty(running: Billed) -> None:
    ran = running.run("--since", "2001-01", "--until", "2001-02")
    assert (ran.returncode, ran.stdout) == (0, "")
    said = "nothing was used from 2001-01-01T00:00:00Z to 2001-02-01T00:00:00Z, on node a"
    assert said in ran.stderr
    ran = running.run("resize", "--until", "2001-02", "--since", "2001-01")
    assert "resize has used nothing from" in ran.stderr


def test_an_unknown_function_is_told_with_the_one_that_was_meant(running: Billed) -> None:
    ran = running.run("rezise")
    assert ran.returncode == 2
    assert "there is no usage of rezise; did you mean 'resize'?" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "2026-13-01"], "'2026-13-01' is neither a date such as 2026-11-01"),
        (["--since", "2026"], "'2026' is neither a date"),
        (["--until", "soon"], "Invalid value for '--until': 'soon' is neither"),
        (
            ["--since", "2026-11-02", "--until", "2026-11-01"],
            "--since 2026-11-02T00:00:00Z is not before --until 2026-11-01T00:00:00Z",
        ),
        (["--by", "week"], "'week' is not one of 'hour', 'day', 'month', 'total'"),
        (["--price-million", "-1"], "'-1' is no price; write a number such as 0.20"),
        (["--price-gb-second", "nan"], "'nan' is no price"),
        (["--currency", "a b"], "'a b' is no currency"),
        (["a/b/c"], "is neither a name nor namespace/name"),
        (["--data", ".", "--admin", "http://127.0.0.1:1"], "keep one of them"),
        (["--data", "/nowhere"], "there is no /nowhere/usage.db: no node has run on /nowhere"),
    ],
)
def test_mistakes_are_told(arguments: list[str], said: str) -> None:
    ran = usage(*arguments)
    assert ran.returncode == 2
    assert said in " ".join(ran.stderr.split())


def test_without_a_node_it_says_how_to_read_what_is_stored(tmp_path: Path) -> None:
    ran = usage("--admin", "http://127.0.0.1:1")
    assert ran.returncode == 3
    assert "what a stopped node has stored is read with --data DIR" in ran.stderr


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("by=week", "by is 'week'; it must be one of hour, day, month, total"),
        ("since=inf", "since is 'inf'; it must be a time in Unix seconds"),
    ],
)
def test_the_admin_api_refuses_a_wrong_query(running: Billed, query: str, said: str) -> None:
    status, answer = running.node.ask("GET", f"/api/v1/usage?{query}")
    assert (status, answer["error"]) == (400, said)


def test_a_stop_in_order_stores_every_call_and_the_next_life_adds_to_it(billed: Billed) -> None:
    billed.node.start()
    billed.send("picky", 5)
    wait_for(lambda: invocations(billed.bill()) == 5, "all were called")
    billed.send("picky", 2)
    assert billed.node.stop() == 0
    stored = billed.stored()
    assert (stored["nodes"], stored["folder"]) == ([], str(billed.data))
    before = invocations(stored)
    assert 5 <= before <= 7, "what was not called waits for the next life"
    billed.node.start()
    wait_for(lambda: invocations(billed.bill()) == 7, "each was called once")
    assert billed.node.stop() == 0
    assert invocations(billed.stored()) == 7


def test_a_kill_takes_no_more_than_what_was_not_stored_yet(billed: Billed) -> None:
    billed.node.start()
    billed.send("picky", 20)
    # Nobody asks the node, which would have it store at once: it does so by itself.
    wait_for(lambda: (billed.data / "usage.db").exists(), "usage is stored")
    wait_for(lambda: invocations(billed.stored("picky")) == 20, "all calls are stored")
    billed.send("picky", 5)
    billed.node.kill()
    stored = invocations(billed.stored("picky"))
    assert 20 <= stored <= 25
    billed.node.start()
    assert invocations(billed.bill("picky")) >= 20, "what was stored is there"
    billed.send("picky", 3)
    wait_for(lambda: invocations(billed.bill("picky")) >= stored + 3, "and is added to")
    most = stored + 5 + 3
    assert invocations(billed.bill("picky")) <= most, "what was in flight is called again, once"


@pytest.mark.slow
def test_the_bill_of_nodes_that_share_an_engine_is_their_sum(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    redis = start_redis()
    made = [Billed(tmp_path, name, EVENTING_BROKER=redis.url) for name in ("a", "b")]
    a, b = made
    try:
        for each in made:
            each.node.start()
        wait_for(lambda: a.bill()["nodes"] == ["a", "b"], "they see each other")
        a.send("resize", 30)
        b.send("resize", 30)
        wait_for(lambda: invocations(a.bill()) == 60, "all were called")
        assert invocations(b.bill()) == 60
        own = [
            sum(item["invocations"] for item in each.node.ask("GET", "/api/v1/usage")[1]["items"])
            for each in made
        ]
        assert all(own) and sum(own) == 60
        b.node.kill()
        told = a.run()
        if "usage of node b is missing" not in told.stderr:
            assert "on node a" in told.stderr, "it is gone to the engine, too"
        assert invocations(a.bill()) == own[0]
    finally:
        for each in made:
            each.node.kill()
