"""Nodes of one real Kafka or Redis release a new revision together: one steps, all follow, any goes
back; what each of them handled is counted.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_server import Engine
from ingress_load import IngressLoad
from node_process import NodeProcess, wait_for, write_project
from redis_service import StartRedis
from released_app import APP

pytestmark = [pytest.mark.slow, pytest.mark.timeout(360)]

WORK = """
apiVersion: functions/v1
kind: Function
metadata: {{name: work}}
spec:
  handler: app:work
  env: [{{name: VERSION, value: {version}}}]
  rollout: {{steps: [10, 50, 100], interval: {interval}, minEvents: 20, latencyFactor: 1000}}
"""
"""How long its calls take is not judged by: at half a millisecond each, other work of the machine
is most of it."""

TRIGGER = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: work, annotations: {kafka.eventing.knative.dev/delivery.order: unordered}}
spec:
  broker: default
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: work}}
  delivery: {retry: 10, backoffPolicy: linear, backoffDelay: PT0.2S}
"""

STEP = re.compile(r"rollout of default/work .*: rolling, (\d+) % of the calls$", re.MULTILINE)
"""What the node that steps says; the others add where they have it from."""


class Released:
    """A node of the release, and what its versions have handled."""

    def __init__(self, folder: Path, name: str, url: str, files: dict[str, str]) -> None:
        self.name = name
        self.journal = folder / f"journal-{name}"
        self.node = NodeProcess(
            write_project(
                folder / f"project-{name}", {"app.py": APP, "trigger.yaml": TRIGGER} | files
            ),
            data=folder / f"data-{name}",
            log=folder / f"{name}.log",
            environment={
                "JOURNAL": str(self.journal),
                "EVENTING_BROKER": url,
                "EVENTING_NODE_NAME": name,
            },
        )

    def apply(self, version: str, interval: str = "PT1S") -> None:
        self.node.apply(WORK.format(version=version, interval=interval))

    def met(self) -> dict[str, Counter[str]]:
        """By version, how often it met each event."""
        found: dict[str, Counter[str]] = {}
        text = self.journal.read_text() if self.journal.exists() else ""
        for line in text.split("\n")[:-1]:
            version, id = line.split()
            found.setdefault(version, Counter())[id] += 1
        return found

    def rollout(self) -> dict[str, Any]:
        status, answer = self.node.ask("GET", "/api/v1/rollout?function=default/work")
        return answer if status == 200 else {"state": "none", "percent": -1}

    def is_at(self, percent: int) -> bool:
        return bool(self.rollout()["percent"] == percent)

    def post(self, path: str, **asked: Any) -> dict[str, Any]:
        status, answer = self.node.ask("POST", path, json.dumps(asked).encode())
        assert status == 200, answer
        found: dict[str, Any] = answer
        return found

    def revisions(self) -> dict[str, str]:
        """Names, and what each says of itself."""
        _, answer = self.node.ask("GET", "/api/v1/resources?kind=Revision")
        return {item["name"]: item["reason"] for item in answer["items"]}

    def traffic(self) -> dict[str, float]:
        status = self.node.resource("Function", "work")["status"]
        return {each["revisionName"]: each["percent"] for each in status["traffic"]}

    def steps(self) -> list[int]:
        """Those that this node has made itself."""
        return [int(percent) for percent in STEP.findall(self.node.log.read_text())]


class Release:
    """The nodes of a test, over one engine."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self._folder = folder
        self._engine = engine
        self.all: list[Released] = []

    def start(
        self, *names: str, files: dict[str, str] | None = None, ready: bool = True
    ) -> list[Released]:
        made = [Released(self._folder, name, self._engine.url, files or {}) for name in names]
        self.all += made
        for each in made:
            each.node.launch()
        for each in made:
            each.node.wait_until_up(ready=ready)
        return made

    def handled(self, version: str) -> set[str]:
        """What this version has met on any node."""
        return {id for each in self.all for id in each.met().get(version, ())}

    def kill(self) -> None:
        for each in self.all:
            each.node.kill()


@pytest.fixture
def release(tmp_path: Path, engine: Engine) -> Iterator[Release]:
    made = Release(tmp_path, engine)
    yield made
    made.kill()


def load_on(node: Released) -> IngressLoad:
    return IngressLoad(
        node.node.ingress, f"to-{node.name}", type="order", singles=2, batchers=0
    ).start()


def test_a_broken_one_is_rolled_back_on_all_and_a_third_node_knows(release: Release) -> None:
    a, b = release.start("a", "b")
    for each in (a, b):
        each.apply("good")
    load = load_on(a)
    wait_for(lambda: a.met().get("good") and b.met().get("good"), "both are at work")
    wait_for(lambda: len(release.handled("good")) > 200, "the first version is at work")
    before = len(load.accepted)
    for each in (a, b):
        each.apply("broken")
    for each in (a, b):
        wait_for(lambda each=each: each.rollout()["state"] == "rolled back", "it is rolled back")
    told = a.rollout()
    assert (told["from"], told["to"]) == ("work-00001", "work-00002")
    wait_for(lambda: a.rollout() == b.rollout(), "they say the same of it")
    told = a.rollout()
    after = len(load.accepted)
    for each in (a, b):
        assert list(each.revisions()) == ["work-00002", "work-00001"]
        assert each.traffic() == {"work-00001": 100}

    # One that has never seen any of it has the same files and an empty data folder.
    (c,) = release.start("c", files={"work.yaml": WORK.format(version="broken", interval="PT1S")})
    assert c.rollout() == told
    assert list(c.revisions()) == ["work-00002", "work-00001"]
    wait_for(lambda: len(c.met().get("good", ())) > 50, "the third node works", 120)
    accepted = load.stop().accepted
    wait_for(lambda: release.handled("good") >= set(accepted), "all are handled", 120)
    assert "broken" not in c.met()
    met = release.handled("broken")
    assert 1 <= len(met) <= max(100, 0.15 * (after - before))
    assert a.node.ask("GET", "/api/v1/dead-letters")[1]["items"] == []


def test_a_good_one_gets_all_calls_and_a_killed_stepper_is_taken_over(release: Release) -> None:
    a, b = release.start("a", "b")
    for each in (a, b):
        each.apply("good")
    loads = [load_on(a), load_on(b)]
    wait_for(lambda: a.met().get("good") and b.met().get("good"), "both are at work")
    for each in (a, b):
        each.apply("better", interval="PT3S")
    for each in (a, b):
        wait_for(lambda each=each: each.is_at(10), "the first step is on both")
    (stepper,) = [each for each in (a, b) if each.steps()]
    (other,) = [each for each in (a, b) if each is not stepper]
    assert stepper.steps()[0] == 10 and not other.steps()
    stepper.node.kill()
    wait_for(lambda: other.rollout()["state"] == "complete", "the other goes on", 120)
    assert other.steps() == sorted(other.steps())
    wait_for(lambda: other.traffic() == {"work-00002": 100}, "it has all of the calls")
    accepted = {id for load in loads for id in load.stop().accepted}
    wait_for(
        lambda: release.handled("good") | release.handled("better") >= accepted, "all handled", 120
    )

    stepper.node.start()
    wait_for(lambda: stepper.rollout()["state"] == "complete", "the killed one knows")
    wait_for(lambda: stepper.traffic() == {"work-00002": 100}, "and has gone over")


def test_by_hand_on_any_node_and_files_that_change_one_after_the_other(release: Release) -> None:
    a, b = release.start("a", "b")
    for each in (a, b):
        each.apply("good", interval="PT1H")
        wait_for(
            lambda each=each: each.node.resource("Revision", "work-00001")["ready"], "it is ready"
        )
    a.apply("better", interval="PT1H")
    wait_for(lambda: a.is_at(10), "the first step")
    wait_for(lambda: list(b.revisions()) == ["work-00002", "work-00001"], "b knows of it")
    assert b.traffic() == {"work-00001": 100}, "b goes by its own document"
    b.apply("better", interval="PT1H")
    wait_for(lambda: b.traffic() == {"work-00001": 90, "work-00002": 10}, "b follows")

    assert b.post("/api/v1/rollback", function="default/work")["state"] == "rolled back"
    wait_for(lambda: a.rollout()["state"] == "rolled back", "a follows")
    wait_for(lambda: a.traffic() == {"work-00001": 100}, "all calls of a go back")
    plan = {"steps": [30, 100]}
    assert a.post("/api/v1/rollout", function="default/work", plan=plan)["state"] == "rolling"
    for each in (a, b):
        wait_for(lambda each=each: each.is_at(30), "it begins anew on both")
    wait_for(lambda: b.traffic() == {"work-00001": 70, "work-00002": 30}, "the calls as well")

    # Files that say again what they said before begin anew, also where it had been rolled back.
    b.post("/api/v1/rollback", function="default/work")
    wait_for(lambda: a.rollout()["state"] == "rolled back", "a follows")
    for each in (a, b):
        each.apply("good", interval="PT1H")
        assert each.traffic() == {"work-00001": 100}
    wait_for(lambda: a.rollout()["state"] == b.rollout()["state"] == "none", "it is forgotten")


def test_an_engine_that_is_restarted_in_the_middle(release: Release, engine: Engine) -> None:
    a, b = release.start("a", "b")
    for each in (a, b):
        each.apply("good")
    load = load_on(a)
    wait_for(lambda: a.met().get("good") and b.met().get("good"), "both are at work")
    for each in (a, b):
        each.apply("better", interval="PT4S")
    for each in (a, b):
        wait_for(lambda each=each: each.is_at(10), "the first step is on both")
    engine.server.stop()
    for each in (a, b):
        wait_for(lambda each=each: each.node.ask("GET", "/readyz")[0] == 503, "it is not ready")
        assert each.rollout()["percent"] >= 10, "it goes on as it was"
        assert list(each.revisions()) == ["work-00002", "work-00001"]
    engine.server.start()
    for each in (a, b):
        wait_for(lambda each=each: each.rollout()["state"] == "complete", "it goes on", 120)
        assert list(each.revisions()) == ["work-00002", "work-00001"]
    accepted = set(load.stop().accepted)
    wait_for(
        lambda: release.handled("good") | release.handled("better") >= accepted, "all handled", 120
    )


def test_the_node_that_steps_need_not_be_the_one_that_has_the_calls(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    """An ordered trigger over Redis works on one node at a time."""
    server = start_redis()
    release = Release(tmp_path, Engine(server, server.url))
    ordered = {"trigger.yaml": TRIGGER.replace("unordered", "ordered")}
    try:
        made = release.start("a", "b", files=ordered)
        for each in made:
            each.apply("good")
        load = load_on(made[0])
        wait_for(lambda: len(release.handled("good")) > 100, "the first version is at work")
        (busy,) = [each for each in made if each.met()]
        (idle,) = [each for each in made if each is not busy]
        idle.apply("better")
        wait_for(lambda: idle.is_at(10), "the idle one steps")
        busy.apply("better")
        wait_for(lambda: busy.rollout()["state"] == "complete", "it goes on by the other's calls")
        assert idle.steps() == [10, 50, 100] and not busy.steps()
        accepted = set(load.stop().accepted)
        wait_for(lambda: release.handled("good") | release.handled("better") >= accepted, "all")
        assert not idle.met()
    finally:
        release.kill()


def test_a_node_that_begins_without_its_engine_learns_before_it_takes_events(
    release: Release, engine: Engine
) -> None:
    (a,) = release.start("a")
    a.apply("good")
    wait_for(lambda: a.node.resource("Revision", "work-00001")["ready"], "it is ready")
    a.apply("better", interval="PT1H")
    wait_for(lambda: a.is_at(10), "the first step")
    a.post("/api/v1/rollback", function="default/work")
    told = a.rollout()
    assert a.node.post("order", "left") == 202
    wait_for(lambda: "left" in release.handled("good"), "it is handled")
    assert a.node.stop() == 0
    engine.server.stop()

    # By itself it takes the only version that its files hold for the first one; and what the
    # traffic of another function is pinned to may be known to others.
    better = WORK.format(version="better", interval="PT1H")
    also = better[: better.index("  rollout:")].replace("name: work}", "name: also}")
    pinned = "  traffic: [{revisionName: also-00007, percent: 100}]\n"
    files = {"work.yaml": better, "also.yaml": also + pinned}
    (c,) = release.start("c", files=files, ready=False)
    assert "work-00002" not in c.revisions()
    assert c.node.resource("Function", "also")["reason"] == "RevisionNotFound"
    engine.server.start()
    wait_for(lambda: c.node.ask("GET", "/readyz")[0] == 200, "it is ready", 120)
    for number in range(50):
        assert c.node.post("order", f"to-c-{number}") == 202
    wait_for(lambda: len(release.handled("good")) >= 51, "all are handled")
    assert "better" not in c.met()
    assert c.rollout() == told
    assert "work-00002" in c.revisions() and c.traffic() == {"work-00001": 100}
