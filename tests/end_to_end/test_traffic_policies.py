"""What every part of a traffic policy does to a thousand events and more, in a whole node.

Whatever it is, nothing is lost: every event that was accepted is handled, or is a dead letter.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ingress_load import IngressLoad
from node_process import wait_for
from traffic_node import TrafficNode, expected, most_in_flight, revision

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

IN_FLIGHT = 256
"""Deliveries of a trigger that are out at once at the most."""

Start = Callable[..., TrafficNode]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    nodes: list[TrafficNode] = []

    def start(**options: Any) -> TrafficNode:
        nodes.append(TrafficNode(tmp_path, **options))
        return nodes[-1]

    yield start
    for node in nodes:
        node.kill()


@pytest.fixture
def node(start: Start) -> TrafficNode:
    return start()


def attempts_of(node: TrafficNode) -> Counter[int]:
    """How many events each number of attempts was needed for."""
    return Counter(line.attempt for line in node.journal("end"))


# Weights


def test_a_split_by_percent_gives_each_revision_its_share(node: TrafficNode) -> None:
    node.release("work", "work", "work", traffic={"v1": 60, "v2": 30, "v3": 10})
    ids = node.send(2000)
    node.wait_until_handled(ids)
    handled = node.handled_by()
    for version, share in {"v1": 0.6, "v2": 0.3, "v3": 0.1}.items():
        assert expected(len(handled[version]), 2000, share)
    assert sum(map(len, handled.values())) == 2000
    figures = {name: figures["calls"] for name, figures in node.figures().items()}
    assert figures == {revision(version): len(ids) for version, ids in handled.items()}


def test_the_weights_of_a_route_come_before_the_functions_own_split(node: TrafficNode) -> None:
    node.release("work", "work")
    node.policy("""\
  http:
    - route:
        - {destination: {revision: work-00001}, weight: 3}
        - {destination: {latest: true}, weight: 1}
""")
    ids = node.send(2000)
    node.wait_until_handled(ids)
    handled = node.handled_by()
    assert expected(len(handled["v1"]), 2000, 0.75)
    assert handled["v1"] | handled["v2"] == set(ids)


# Matches


def test_events_go_by_the_first_route_whose_match_they_meet(node: TrafficNode) -> None:
    node.release("work", "work", "work", "work", "work")
    node.policy("""\
  http:
    - match: [{attributes: {type: {exact: order.paid}}}]
      route: [{destination: {revision: work-00001}}]
    - match: [{attributes: {subject: {prefix: large/}}}]
      route: [{destination: {revision: work-00002}}]
    - match: [{attributes: {region: {regex: 'eu-(west|north)-[0-9]+'}}}]
      route: [{destination: {revision: work-00003}}]
    - match: [{attributes: {region: {}}, withoutAttributes: {subject: {prefix: small/}}}]
      route: [{destination: {revision: work-00004}}]
""")
    wanted = {
        "v1": node.send(150, "order.paid", subject="large/1")
        + node.send(150, "order.paid", region="eu-west-1"),
        "v2": node.send(300, "order.made", subject="large/1", region="eu-west-1"),
        "v3": node.send(150, region="eu-west-12") + node.send(150, region="eu-north-3"),
        "v4": node.send(150, region="us-east-1")
        + node.send(150, region="eu-west-1a", subject="medium/1"),
        # What none matches goes by the function's own split: all to the latest.
        "v5": node.send(150, "order.paid.late", subject="a/large/")
        + node.send(150, region="us-east-1", subject="small/1"),
    }
    node.wait_until_handled(id for ids in wanted.values() for id in ids)
    assert node.handled_by() == {version: set(ids) for version, ids in wanted.items()}


# Retries


def test_a_retry_of_the_policy_is_within_one_attempt_of_the_delivery(node: TrafficNode) -> None:
    node.release("fail-first")
    node.policy("""\
  http:
    - retries: {attempts: 2, retryOn: 5xx, backoff: 5ms}
""")
    ids = node.send(1200)
    node.wait_until_handled(ids)
    tries = Counter(line.id for line in node.journal("begin"))
    assert tries == dict.fromkeys(ids, 2)
    assert attempts_of(node) == {1: 1200}
    assert node.attempts() == {"attempts": 1200, "done": 1200, "retried": 0, "given_up": 0}
    [figures] = node.figures().values()
    assert (figures["calls"], figures["errors"], figures["retried"]) == (2400, 1200, 1200)


def test_what_retry_on_does_not_name_is_left_to_the_delivery(node: TrafficNode) -> None:
    node.release("fail-first")
    node.policy("""\
  http:
    - retries: {attempts: 2, retryOn: "gateway-error,reset,409"}
""")
    ids = node.send(1000)
    node.wait_until_handled(ids)
    assert attempts_of(node) == {2: 1000}
    assert node.attempts() == {"attempts": 2000, "done": 1000, "retried": 1000, "given_up": 0}
    [figures] = node.figures().values()
    assert (figures["calls"], figures["retried"]) == (2000, 0)


def test_a_retry_chooses_a_revision_anew(node: TrafficNode) -> None:
    node.release("work", "fail-odd")
    node.policy("""\
  http:
    - route:
        - {destination: {revision: work-00001}, weight: 50}
        - {destination: {revision: work-00002}, weight: 50}
      retries: {attempts: 100, retryOn: "500", backoff: 1ms}
""")
    ids = node.send(1000)
    node.wait_until_handled(ids)
    assert attempts_of(node) == {1: 1000}
    # Each of the 500 odd ones meets the second one as often as a coin falls so before the other
    # side: once on average, with a variance of 2.
    failed = len(node.journal("failed"))
    assert abs(failed - 500) <= 6 * (500 * 2) ** 0.5
    assert node.figures()["work-00002"]["retried"] == failed
    assert expected(len(node.handled_by()["v2"]), 500, 0.5)


def test_retries_out_at_once_are_bounded(node: TrafficNode) -> None:
    node.release("fail-first")
    node.policy("""\
  http:
    - retries: {attempts: 1, retryOn: 5xx, backoff: 2s}
  trafficPolicy:
    connectionPool: {http: {maxRetries: 3}}
""")
    ids = node.send(1000)
    node.wait_until_handled(ids)
    [figures] = node.figures().values()
    assert 3 <= figures["retried"] < 1000
    assert figures["retried"] + figures["retriesOverflowed"] == 1000
    # Beyond the bound the failure counts, and the delivery tries again.
    assert attempts_of(node) == {1: figures["retried"], 2: figures["retriesOverflowed"]}


# Timeouts


def test_a_call_past_the_timeout_of_its_route_is_tried_again(node: TrafficNode) -> None:
    node.release("hang-first")
    node.policy("""\
  http:
    - timeout: 4s
""")
    ids = node.send(1000)
    node.wait_until_handled(ids)
    hung = {id for id in ids if int(id.rpartition("-")[2]) % 10 == 0}
    retried = {line.id for line in node.journal("end") if line.attempt > 1}
    # A machine that is busy with something else may hold up another one as long.
    assert hung <= retried
    assert len(retried) < 500
    [figures] = node.figures().values()
    assert figures["timedOut"] == figures["errors"] == node.attempts()["retried"] >= 100


def test_a_try_past_its_limit_is_tried_again_within_the_attempt(node: TrafficNode) -> None:
    node.release("hang-first")
    node.policy("""\
  http:
    - retries: {attempts: 3, perTryTimeout: 4s, retryOn: reset, backoff: 5ms}
""")
    ids = node.send(1000)
    node.wait_until_handled(ids)
    assert attempts_of(node) == {1: 1000}
    [figures] = node.figures().values()
    tries = Counter(line.id for line in node.journal("begin"))
    assert {id for id in ids if int(id.rpartition("-")[2]) % 10 == 0} <= {
        id for id, count in tries.items() if count > 1
    }
    assert figures["timedOut"] == figures["retried"] == tries.total() - 1000 >= 100


# Faults on purpose


def test_an_abort_that_can_be_retried_is_retried_by_the_delivery(node: TrafficNode) -> None:
    node.release("work")
    node.policy("""\
  http:
    - fault: {abort: {httpStatus: 503, percentage: {value: 30}}}
""")
    ids = node.send(1500)
    node.wait_until_handled(ids)
    aborted = node.traffic()["aborted"]
    counted = node.attempts()
    assert (counted["done"], counted["retried"], counted["given_up"]) == (1500, aborted, 0)
    assert expected(aborted, counted["attempts"], 0.3)
    assert Counter(line.id for line in node.journal("begin")) == dict.fromkeys(ids, 1)


def test_an_abort_that_can_not_is_a_dead_letter_that_says_so(node: TrafficNode) -> None:
    node.release("work")
    node.policy("""\
  http:
    - fault: {abort: {httpStatus: 400, percentage: {value: 12.5}}}
""")
    ids = node.send(1500)
    node.wait_until_settled()
    letters = node.dead_letters()
    dead = {letter["event"]["id"] for letter in letters}
    handled = node.handled_by()["v1"]
    assert expected(len(dead), 1500, 0.125)
    assert handled | dead == set(ids)
    assert not handled & dead
    assert node.traffic()["aborted"] == len(letters) == len(dead)
    assert {(each["code"], each["attempts"]) for each in letters} == {(400, 1)}
    assert {each["reason"] for each in letters} == {"TrafficPolicy: fault: answered 400 on purpose"}


def test_a_delay_holds_back_its_share_of_the_calls(node: TrafficNode) -> None:
    node.release("work")
    node.policy("""\
  http:
    - fault: {delay: {fixedDelay: 1500ms, percentage: {value: 20}}}
""")
    sent: dict[str, float] = {}
    for _ in range(10):
        before = time.time()
        sent |= dict.fromkeys(node.send(100), before)
    node.wait_until_handled(sent)
    delayed = node.traffic()["delayed"]
    assert expected(delayed, 1000, 0.2)
    late = [line for line in node.journal("begin") if line.at - sent[line.id] >= 1.5]
    assert len(late) >= delayed
    assert attempts_of(node) == {1: 1000}


# Mirrors


def test_copies_are_counted_and_what_they_answer_is_dropped(node: TrafficNode) -> None:
    node.release("work", "fail-odd")
    node.policy("""\
  http:
    - route: [{destination: {revision: work-00001}}]
      mirrors: [{destination: {revision: work-00002}, percentage: {value: 30}}]
""")
    ids = node.send(1500, "asked")
    node.wait_until_handled(ids)
    assert node.handled_by()["v1"] == set(ids)
    wait_for(lambda: not node.figures()["work-00002"]["mirror"]["inFlight"], "copies are answered")

    mirror = node.figures()["work-00002"]["mirror"]
    copied = Counter(line.id for line in node.journal("begin") if line.version == "v2")
    failed = [line for line in node.journal("failed") if line.version == "v2"]
    assert set(copied.values()) == {1}
    assert (mirror["calls"], mirror["errors"]) == (len(copied), len(failed))
    assert expected(mirror["calls"] + mirror["dropped"], 1500, 0.3)
    assert expected(mirror["errors"], mirror["calls"], 0.5)
    assert node.figures()["work-00002"]["calls"] == 0
    # Its failures have failed nothing, and its replies have gone nowhere.
    assert node.attempts() == {"attempts": 1500, "done": 1500, "retried": 0, "given_up": 0}
    collected = Counter(line.what for line in node.journal() if line.what.startswith("collected"))
    assert collected == {"collected-v1": 1500}


# Outlier detection


def test_a_revision_that_fails_is_taken_out_and_comes_back(node: TrafficNode) -> None:
    node.release("work", "fail-while-broken", traffic={"v1": 50, "v2": 50})
    node.policy("""\
  trafficPolicy:
    outlierDetection:
      {consecutive5xxErrors: 5, interval: 100ms, baseEjectionTime: 500ms, maxEjectionPercent: 50}
""")
    load = IngressLoad(node.process.ingress, "load", type="done", singles=2, batchers=0).start()
    try:
        wait_for(lambda: len(node.handled_by().get("v2", ())) > 100, "both have calls")
        node.broken.touch()
        wait_for(lambda: node.figures()["work-00002"]["ejections"] >= 2, "it is out, again")
        before = len(node.handled_by()["v1"])
        wait_for(lambda: len(node.handled_by()["v1"]) > before + 1000, "the other goes on")
        node.broken.unlink()
        healed = len(node.handled_by()["v2"])
        wait_for(lambda: len(node.handled_by()["v2"]) > healed + 200, "it is in again")
    finally:
        accepted = load.stop().accepted
    node.wait_until_handled(accepted)

    assert len(accepted) >= 1000
    figures = node.figures()["work-00002"]
    failed = [line for line in node.journal("failed") if line.version == "v2"]
    # At each turn it met the five that it takes, and what was with it by then.
    assert 5 * 2 <= len(failed) == figures["errors"]
    assert len(failed) <= figures["ejections"] * (5 + IN_FLIGHT)
    assert node.dead_letters() == []


def test_where_all_are_out_the_events_wait(node: TrafficNode) -> None:
    node.release("fail-while-broken")
    node.policy("""\
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 100ms, baseEjectionTime: 500ms}
""")
    node.broken.touch()
    ids = node.send(1000)
    wait_for(lambda: node.figures()["work-00001"]["ejections"] >= 2, "it is out, again")
    wait_for(lambda: node.attempts()["attempts"] >= 1000, "all have been tried")
    assert node.journal("end") == []
    node.broken.unlink()
    node.wait_until_handled(ids)
    failed = len(node.journal("failed"))
    # Most attempts have not met it at all.
    assert failed < node.traffic()["unhealthy"] == node.attempts()["retried"] - failed
    assert Counter(line.id for line in node.journal("end")) == dict.fromkeys(ids, 1)


# Bounds


def test_calls_in_flight_are_bounded_and_what_has_no_place_to_wait_comes_again(
    start: Start,
) -> None:
    node = start(retry=1000)
    node.release("take-time", "take-time", traffic={"v1": 50, "v2": 50})
    node.policy("""\
  trafficPolicy:
    connectionPool: {http: {http2MaxRequests: 4, http1MaxPendingRequests: 10}}
  subsets:
    - name: second
      revision: work-00002
      trafficPolicy:
        connectionPool: {tcp: {maxConnections: 7}}
""")
    ids = node.send(1500)
    node.wait_until_handled(ids)
    lines = node.journal()
    assert most_in_flight(lines, "v1") == 4
    assert most_in_flight(lines, "v2") == 7
    overflowed = {name: each["overflowed"] for name, each in node.figures().items()}
    # A subset's pool stands in the place of the other as a whole: there all may wait.
    assert overflowed["work-00001"] > 0
    assert overflowed["work-00002"] == 0
    counted = node.attempts()
    assert (counted["done"], counted["given_up"]) == (1500, 0)
    assert counted["retried"] == overflowed["work-00001"]
    assert Counter(line.id for line in lines if line.what == "end") == dict.fromkeys(ids, 1)


# Order


def test_events_of_a_key_stay_in_order_and_at_one_revision_while_weights_move(
    start: Start,
) -> None:
    node = start(order="ordered")
    node.release("take-time", "take-time")
    keys = [f"key-{number}" for number in range(60)]
    ids_of: dict[str, list[str]] = {key: [] for key in keys}
    key_of: dict[str, str] = {}

    def send(rounds: int) -> None:
        wanted = keys * rounds
        for key, id in zip(
            wanted,
            node.send_all({"type": "done", "partitionkey": key} for key in wanted),
            strict=True,
        ):
            ids_of[key].append(id)
            key_of[id] = key

    shares = (10, 30, 50, 70, 90)
    for second in shares:
        node.policy(f"""\
  http:
    - route:
        - {{destination: {{revision: work-00001}}, weight: {100 - second}}}
        - {{destination: {{revision: work-00002}}, weight: {second}}}
""")
        send(6)
    node.wait_until_handled(key_of)

    open_calls: dict[str, str] = {}
    began: dict[str, list[str]] = {key: [] for key in keys}
    versions: dict[str, list[str]] = {key: [] for key in keys}
    for line in node.journal():
        key = key_of[line.id]
        if line.what == "begin":
            assert key not in open_calls, f"{line.id} begins while {open_calls[key]} runs"
            open_calls[key] = line.id
            began[key].append(line.id)
            versions[key].append(line.version)
        else:
            assert open_calls.pop(key) == line.id
    assert began == ids_of
    assert sum(map(len, began.values())) == 60 * 6 * len(shares) == 1800
    # The weight of the second one grew, so a key that has come to it stays there.
    assert all(each == sorted(each) for each in versions.values())
    moved = [key for key, each in versions.items() if each[0] != each[-1]]
    assert moved
    assert len(moved) < len(keys)


def test_the_functions_own_split_keeps_a_key_at_one_revision(start: Start) -> None:
    node = start(order="ordered")
    node.release("work", "work", traffic={"v1": 50, "v2": 50})
    keys = [f"key-{number}" for number in range(200)]
    wanted = keys * 6
    ids = node.send_all({"type": "done", "partitionkey": key} for key in wanted)
    node.wait_until_handled(ids)
    key_of = dict(zip(ids, wanted, strict=True))
    at: dict[str, set[str]] = {key: set() for key in keys}
    for line in node.journal("end"):
        at[key_of[line.id]].add(line.version)
    assert all(len(versions) == 1 for versions in at.values())
    assert expected(sum(versions == {"v1"} for versions in at.values()), 200, 0.5)

    # Moving a tenth of the calls moves a tenth of the keys, and none the other way.
    node.spread("v2", "work", {"v1": 40, "v2": 60})
    ids = node.send_all({"type": "done", "partitionkey": key} for key in keys)
    node.wait_until_handled(ids)
    handled = node.handled_by()
    key_of = dict(zip(ids, keys, strict=True))
    moved = 0
    for id, key in key_of.items():
        now = "v1" if id in handled["v1"] else "v2"
        assert now in at[key] or now == "v2"
        moved += now not in at[key]
    assert expected(moved, 200, 0.1)
