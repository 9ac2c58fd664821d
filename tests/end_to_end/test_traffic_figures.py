"""What a user sees of a function's traffic: `describe`, `get -o json` and `explain`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from node_process import wait_for
from traffic_node import TrafficNode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

POLICY = """\
  http:
    - name: paid orders
      match: [{attributes: {type: {exact: paid}}}]
      route:
        - {destination: {revision: work-00001}, weight: 3}
        - {destination: {revision: work-00002}, weight: 1}
      retries: {attempts: 20, retryOn: "500", backoff: 1ms}
      fault: {delay: {fixedDelay: 5ms, percentage: {value: 25}}}
    - route: [{destination: {revision: work-00001}}]
      mirrors: [{destination: {revision: work-00003}, percentage: {value: 50}}]
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 1h, maxEjectionPercent: 50}
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrafficNode]:
    """v2 has failed its first three calls and is out; v3 has had copies only."""
    node = TrafficNode(tmp_path_factory.mktemp("figures"))
    try:
        node.release("work", "fail-while-broken", "work")
        node.policy(POLICY)
        node.broken.touch()
        node.wait_until_handled([*node.send(200, "paid"), *node.send(100, "made")])
        wait_for(lambda: not node.figures()["work-00003"]["mirror"]["inFlight"], "copies are done")
        yield node
    finally:
        node.kill()


def run(node: TrafficNode, *arguments: str) -> str:
    command = [sys.executable, "-m", "eventing", *arguments]
    command += ["--admin", f"http://{node.process.admin}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def in_json(node: TrafficNode, *arguments: str) -> Any:
    return json.loads(run(node, *arguments, "-o", "json"))


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_describe_shows_which_policy_counts_and_how_each_revision_does(node: TrafficNode) -> None:
    shown = rows(run(node, "describe", "function", "work"))
    figures = node.figures()
    assert ["Calls", "follow", "TrafficPolicy", "work"] in shown
    assert ["Calls", "by", "revision"] in shown
    [titles] = [row for row in shown if row[:1] == ["REVISION"]]
    assert titles == ["REVISION", "CALLS", "ERRORS", "REFUSED", "MEAN", "P99", "RETRIED", "EJECTED"]
    [second] = [
        row for row in shown if row[0:2] == ["work-00002", str(figures["work-00002"]["calls"])]
    ]
    assert second[2] == str(figures["work-00002"]["errors"])
    assert second[3] == "0"
    assert second[-5:-3] == ["once,", "for"]
    [copies] = [row for row in shown if row[:2] == ["copies", "for"]]
    assert copies[2:5] == [
        "work-00003:",
        str(figures["work-00003"]["mirror"]["calls"]),
        "answered,",
    ]
    assert f"{node.traffic()['delayed']} delayed, 0 aborted" in run(
        node, "describe", "function", "work"
    )


def test_describe_revision_shows_its_own(node: TrafficNode) -> None:
    shown = run(node, "describe", "revision", "work-00002")
    figures = node.figures()["work-00002"]
    assert f"{figures['errors']} errors and 0 refused of {figures['calls']} calls" in shown
    assert f"{figures['retried']} retried" in shown
    assert "once, for " in shown
    assert "Copies" in run(node, "describe", "revision", "work-00003")


def test_get_in_json_has_the_figures_of_functions_and_of_revisions(node: TrafficNode) -> None:
    functions = in_json(node, "get", "functions")["items"]
    [work] = [each["status"] for each in functions if each["metadata"]["name"] == "work"]
    assert work["policies"] == ["TrafficPolicy/default/work"]
    told = work["trafficFigures"]
    assert set(told) == {"delayed", "aborted", "unhealthy", "revisions"}
    assert set(told["revisions"]) == {"work-00001", "work-00002", "work-00003"}
    assert told["revisions"]["work-00001"]["meanSeconds"] > 0
    assert told["revisions"]["work-00001"]["p99Seconds"] > 0
    assert told["revisions"]["work-00002"]["ejectedForSeconds"] > 0

    revisions = in_json(node, "get", "revisions")["items"]
    by_name = {each["metadata"]["name"]: each["status"] for each in revisions}
    for name, figures in told["revisions"].items():
        own = by_name[name]["trafficFigures"]
        assert own | {"ejectedForSeconds": 0} == figures | {"ejectedForSeconds": 0}
    # What has neither a policy nor a choice has no figures of its own here.
    [collect] = [each["status"] for each in functions if each["metadata"]["name"] == "collect"]
    assert "trafficFigures" not in collect


def test_explain_says_which_route_and_revision_an_event_would_meet(node: TrafficNode) -> None:
    shown = run(node, "explain", "--type", "paid")
    assert (
        '  then: route 0 "paid orders" of TrafficPolicy/default/work; 25 % are held back for '
        "0.005 s on purpose; 75 % to work-00001, 25 % to work-00002"
    ) in shown
    [work] = [
        each
        for each in in_json(node, "explain", "--type", "made")["triggers"]
        if each["trigger"] == "default/work"
    ]
    assert work["then"] == (
        "route 1 of TrafficPolicy/default/work; to work-00001; copies of 50 % to work-00003"
    )
