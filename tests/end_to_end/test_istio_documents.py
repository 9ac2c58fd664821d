"""VirtualServices and DestinationRules for a Knative Service, measured in a whole node."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ingress_load import IngressLoad
from node_process import wait_for
from traffic_node import SERVICE, TrafficNode, expected

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

IN_FLIGHT = 256
"""Deliveries of a trigger that are out at once at the most."""

RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: work}
spec:
  host: work
"""

VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: work}
spec:
  hosts: [work.default.svc.cluster.local]
"""

SUBSETS = """\
  subsets:
    - name: one
      labels: {version: v1}
    - name: two
      labels: {serving.knative.dev/revision: work-00002}
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[TrafficNode]:
    node = TrafficNode(tmp_path, document=SERVICE)
    yield node
    node.kill()


def apply(node: TrafficNode, virtual_service: str, rule: str) -> None:
    node.process.apply(f"{RULE}{rule}---\n{VIRTUAL_SERVICE}{virtual_service}")
    for kind in ("DestinationRule", "VirtualService"):
        node.wait_until_in_effect(kind, "work")


def test_weights_of_subsets_retries_faults_and_a_mirror(node: TrafficNode) -> None:
    node.release("fail-first", "fail-first", "work")
    apply(
        node,
        """\
  http:
    - match:
        - headers: {ce-type: {exact: paid}}
      route:
        - {destination: {host: work, subset: one}, weight: 75}
        - {destination: {host: work, subset: two}, weight: 25}
      retries: {attempts: 2, retryOn: "5xx", backoff: 5ms}
    - match:
        - headers: {ce-type: {prefix: doubted}}
          withoutHeaders: {ce-region: {exact: north%20west}}
      fault: {abort: {httpStatus: 503, percentage: {value: 30}}}
      route:
        - destination: {host: work}
    - route:
        - destination: {host: work-00003.default}
      mirror: {host: work, subset: one}
      mirrorPercentage: {value: 40}
""",
        SUBSETS,
    )
    paid = node.send(1000, "paid")
    node.wait_until_handled(paid)
    handled = node.handled_by()
    # A first failure is tried again by weight too, so an event may fail at both of them once.
    assert handled["v1"] | handled["v2"] == set(paid)
    tries = Counter(line.version for line in node.journal("begin"))
    assert expected(tries["v1"], tries.total(), 0.75)
    assert node.attempts() == {"attempts": 1000, "done": 1000, "retried": 0, "given_up": 0}

    doubted = node.send(1000, "doubted.order")
    trusted = node.send(300, "doubted.order", region="north west")
    node.wait_until_handled([*doubted, *trusted])
    assert node.handled_by()["v3"] == {*doubted, *trusted}
    aborted = node.traffic()["aborted"]
    assert node.attempts()["retried"] == aborted
    # Each event met it until it did not: so many attempts were open to it.
    assert expected(aborted, 1000 + aborted, 0.3)
    copied_by_then = node.figures()["work-00001"]["mirror"]
    assert expected(copied_by_then["calls"] + copied_by_then["dropped"], 300, 0.4)

    other = node.send(1000, "made")
    node.wait_until_handled(other)
    assert {*other} <= node.handled_by()["v3"]
    copied = node.figures()["work-00001"]["mirror"]
    assert expected(copied["calls"] + copied["dropped"], 1300, 0.4)
    assert node.dead_letters() == []


def test_outlier_detection_of_a_destination_rule(node: TrafficNode) -> None:
    node.release("work", "fail-while-broken")
    apply(
        node,
        """\
  http:
    - route:
        - {destination: {host: work, subset: one}, weight: 50}
        - {destination: {host: work, subset: two}, weight: 50}
""",
        """\
  trafficPolicy:
    outlierDetection:
      {consecutive5xxErrors: 3, interval: 100ms, baseEjectionTime: 500ms, maxEjectionPercent: 100}
"""
        + SUBSETS,
    )
    node.broken.touch()
    load = IngressLoad(node.process.ingress, "load", type="done", singles=2, batchers=0).start()
    try:
        wait_for(lambda: node.figures()["work-00002"]["ejections"] >= 2, "it is out, again")
        wait_for(lambda: len(node.handled_by()["v1"]) > 1000, "the other goes on")
        node.broken.unlink()
        wait_for(lambda: len(node.handled_by().get("v2", ())) > 200, "it is in again")
    finally:
        accepted = load.stop().accepted
    node.wait_until_handled(accepted)
    figures = node.figures()["work-00002"]
    assert 3 * 2 <= figures["errors"] <= figures["ejections"] * (3 + IN_FLIGHT)
    assert node.dead_letters() == []
