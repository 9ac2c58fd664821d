"""A new revision is released in steps to a node under load; what goes wrong is counted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ingress_load import IngressLoad
from node_process import NodeProcess, wait_for, write_project
from released_app import APP

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

WORK = """
apiVersion: functions/v1
kind: Function
metadata: {{name: work}}
spec:
  handler: app:work
  env: [{{name: VERSION, value: {version}}}]
  rollout: {{steps: [10, 50, 100], interval: {interval}, minEvents: 20, latencyFactor: 1000}}
"""

TRIGGER = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: work}
spec:
  broker: default
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: work}}
  delivery: {retry: 10, backoffPolicy: linear, backoffDelay: PT0.2S}
"""


class Release:
    """A node with a function, and what its versions have handled."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal"
        self.node = NodeProcess(
            write_project(folder / "project", {"app.py": APP, "trigger.yaml": TRIGGER}),
            data=folder / "data",
            log=folder / "node.log",
            environment={"JOURNAL": str(self.journal)},
        ).start()

    def apply(self, version: str, interval: str = "PT1S") -> None:
        self.node.apply(WORK.format(version=version, interval=interval))

    def handled(self) -> dict[str, Counter[str]]:
        """By version, how often it met each event."""
        met: dict[str, Counter[str]] = {}
        text = self.journal.read_text() if self.journal.exists() else ""
        for line in text.split("\n")[:-1]:
            version, id = line.split()
            met.setdefault(version, Counter())[id] += 1
        return met

    def rollout(self) -> dict[str, Any]:
        status, answer = self.node.ask("GET", "/api/v1/rollout?function=default/work")
        return answer if status == 200 else {"state": "none"}

    def post(self, path: str, **asked: Any) -> tuple[int, Any]:
        return self.node.ask("POST", path, json.dumps(asked).encode())

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.node.resource("Function", "work")["status"]
        return found


@pytest.fixture
def release(tmp_path: Path) -> Any:
    release = Release(tmp_path)
    try:
        yield release
    finally:
        release.node.kill()


def test_a_broken_revision_is_rolled_back_and_every_event_it_met_is_handled(
    release: Release,
) -> None:
    release.apply("good")
    load = IngressLoad(release.node.ingress, "load", type="order", singles=2, batchers=0).start()
    wait_for(lambda: len(release.handled().get("good", ())) > 200, "the first version is at work")
    before = len(load.accepted)
    release.apply("broken")
    wait_for(lambda: release.rollout()["state"] == "rolled back", "it is rolled back", 60)
    told = release.rollout()
    after = len(load.accepted)
    wait_for(lambda: len(load.accepted) > after + 200, "the load goes on")
    accepted = load.stop().accepted
    wait_for(lambda: set(release.handled()["good"]) >= set(accepted), "all are handled", 60)

    met = release.handled()["broken"]
    assert (told["from"], told["to"], told["percent"]) == ("work-00001", "work-00002", 0)
    assert "work-00002" in told["reason"]
    # It never had more than the first step's tenth of the calls; what it met in its first moments
    # it met before anybody could know.
    assert 1 <= len(met) <= max(50, 0.15 * (after - before))
    assert release.status()["traffic"] == [
        {"revisionName": "work-00001", "percent": 100, "latestRevision": False}
    ]
    wait_for(
        lambda: release.node.resource("Revision", "work-00002")["reason"] == "NoTraffic",
        "the broken one does not run any more",
    )
    assert release.node.ask("GET", "/api/v1/dead-letters")[1]["items"] == []


def test_a_good_revision_gets_all_calls_step_by_step(release: Release) -> None:
    release.apply("good")
    load = IngressLoad(release.node.ingress, "load", type="order", singles=2, batchers=0).start()
    wait_for(lambda: len(release.handled().get("good", ())) > 100, "the first version is at work")
    release.apply("better")
    seen: set[float] = set()

    def complete() -> bool:
        told = release.rollout()
        seen.add(told.get("percent", 0))
        return bool(told["state"] == "complete")

    wait_for(complete, "it is complete", 60)
    assert seen >= {10, 50, 100}
    count = len(release.handled()["better"])
    wait_for(lambda: len(release.handled()["better"]) > count + 100, "it handles them all")
    accepted = load.stop().accepted
    wait_for(
        lambda: set().union(*release.handled().values()) >= set(accepted), "all are handled", 60
    )
    wait_for(
        lambda: release.node.resource("Revision", "work-00001")["reason"] == "NoTraffic",
        "the old one does not run any more",
    )


def test_by_hand_and_over_a_restart(release: Release) -> None:
    node = release.node
    release.apply("good")
    wait_for(lambda: release.node.resource("Revision", "work-00001")["ready"], "it is ready")
    release.apply("better", interval="PT1H")
    wait_for(lambda: release.rollout().get("percent") == 10, "the first step")
    status, answer = release.post("/api/v1/rollback", function="default/work")
    assert (status, answer["state"]) == (200, "rolled back")
    assert answer["reason"] == "rolled back by hand"
    assert node.stop() == 0
    node.start()
    assert release.rollout()["state"] == "rolled back"
    wait_for(lambda: release.status()["ready"] >= 0, "it is there")
    assert release.status()["traffic"][0]["revisionName"] == "work-00001"

    status, answer = release.post("/api/v1/rollout", function="default/work", plan={"steps": [100]})
    assert status == 200, answer
    wait_for(lambda: release.rollout()["percent"] == 100, "all of it")
    assert release.status()["traffic"][0]["revisionName"] == "work-00002"

    status, answer = release.post("/api/v1/rollback", function="default/gone")
    assert (status, answer["error"]) == (
        400,
        "there is no function default/gone with revisions; 'eventing get functions' lists them",
    )
    status, answer = release.post("/api/v1/rollback", function="default/work", to="work-00009")
    assert status == 400
    assert "there is no revision work-00009; there are: work-00002, work-00001" in answer["error"]


def test_a_plan_that_is_none_is_refused(release: Release) -> None:
    release.apply("good")
    wait_for(lambda: release.node.resource("Revision", "work-00001")["ready"], "it is ready")
    release.apply("better", interval="PT1H")
    for plan, complaint in (
        ({"step": [1, 100]}, "the plan of the rollout has no step; it has steps, interval"),
        ({"steps": [50]}, "steps are [50], but must rise from above 0 to 100"),
        ({"interval": "soon"}, "the plan of the rollout is not valid"),
    ):
        status, answer = release.post("/api/v1/rollout", function="default/work", plan=plan)
        assert status == 400
        assert complaint in answer["error"]
