"""Functions in containers through a whole node: a server in another language takes part in a wiring
with a Python handler, comes and goes with the events, and is released in revisions.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from container_service import ContainerEngine
from ingress_load import IngressLoad
from node_process import NodeProcess, wait_for, write_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

APP = """
    import os
    from eventing import CloudEvent, Context, function

    journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @function
    async def record(event: CloudEvent, context: Context):
        told = event.get_data()
        line = f"{told['environment']['K_REVISION']} {told['headers']['ce-id']}\\n"
        os.write(journal, line.encode())
    """

WIRING = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: other-language}
spec:
  broker: default
  filters:
    - any:
        - exact: {type: echo}
        - prefix: {type: status}
        - prefix: {type: exit}
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: other-language}}
  delivery: {retry: 20, backoffPolicy: linear, backoffDelay: PT0.2S}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: record}
spec:
  broker: default
  filter: {attributes: {type: reply}}
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: record}}
"""

SERVICE = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: other-language
  annotations: {{functions/scale-to-zero: {at_rest}, functions/rollout: '{rollout}'}}
spec:
  template:
    metadata:
      annotations: {{autoscaling.knative.dev/window: 6s}}
    spec:
      timeoutSeconds: 10
      containers:
        - image: {image}
          imagePullPolicy: Never
          env: {env}
"""


class Wiring:
    """A node whose function `other-language` is a container, and what the handler behind it got."""

    def __init__(self, folder: Path, engine: ContainerEngine, app: str = APP) -> None:
        self.image = engine.image
        self.journal = folder / "journal"
        self.node = NodeProcess(
            write_project(folder / "project", {"app.py": app, "wiring.yaml": WIRING}),
            data=folder / "data",
            log=folder / "node.log",
            arguments=["--scale-to-zero-grace", "0"],
            environment={
                "JOURNAL": str(self.journal),
                "EVENTING_CONTAINER_ENGINE": engine.url,
            },
        ).start()

    def apply(
        self,
        image: str | None = None,
        at_rest: str = "stop",
        rollout: str = "{steps: [100], interval: PT0S, minEvents: 0}",
        **env: str,
    ) -> None:
        variables = json.dumps([{"name": name, "value": value} for name, value in env.items()])
        self.node.apply(
            SERVICE.format(
                image=image or self.image, at_rest=at_rest, rollout=rollout, env=variables
            )
        )

    def recorded(self) -> dict[str, str]:
        """The revision that answered each event."""
        text = self.journal.read_text() if self.journal.exists() else ""
        return {id: revision for revision, id in map(str.split, text.split("\n")[:-1])}

    def send(self, id: str, type: str = "echo") -> None:
        assert self.node.post(type, id) == 202

    def wait_recorded(self, *ids: str) -> None:
        wait_for(lambda: set(ids) <= set(self.recorded()), f"{', '.join(ids)} went all the way")

    def service(self) -> dict[str, Any]:
        return self.node.resource("Service", "other-language")

    def revision(self, number: int) -> dict[str, Any]:
        return self.node.resource("Revision", f"other-language-{number:05d}")

    def instances(self) -> int:
        status = self.service()["status"]
        return int(status["ready"] + status["starting"] + status["draining"])


@pytest.fixture
def wiring(tmp_path: Path, container_engine: ContainerEngine) -> Iterator[Wiring]:
    wiring = Wiring(tmp_path, container_engine)
    try:
        yield wiring
    finally:
        assert wiring.node.stop() == 0, wiring.node.last_words()


@pytest.mark.parametrize("at_rest", ["stop", "pause"])
def test_a_server_in_another_language_scales_to_zero_and_back(wiring: Wiring, at_rest: str) -> None:
    wiring.apply(at_rest=at_rest)
    wiring.send("one")
    wiring.wait_recorded("one")
    wait_for(lambda: wiring.instances() == 0, "it is at zero")
    wiring.send("two")
    wiring.wait_recorded("two")
    assert set(wiring.recorded().values()) == {"other-language-00001"}
    assert wiring.service()["status"]["coldStarts"] >= 1
    assert wiring.service()["status"]["image"] == wiring.image


ELSEWHERE = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: path}
spec:
  broker: default
  filter: {attributes: {type: echo.path}}
  subscriber:
    ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: other-language}
    uri: /deeper/place?x=1
"""

PATHS = """
    import os
    from eventing import CloudEvent, Context, function

    @function
    async def record(event: CloudEvent, context: Context):
        told = event.get_data()
        with open(os.environ["JOURNAL"], "a") as journal:
            journal.write(told["path"] + "\\n")
    """


def test_a_trigger_may_name_a_path(tmp_path: Path, container_engine: ContainerEngine) -> None:
    wiring = Wiring(tmp_path, container_engine, app=PATHS)
    try:
        wiring.apply()
        wiring.node.apply(ELSEWHERE)
        wiring.send("one", "echo.path")
        wait_for(lambda: wiring.journal.exists() and wiring.journal.read_text(), "it is recorded")
        assert wiring.journal.read_text() == "/deeper/place\n"
    finally:
        wiring.node.stop()


def test_a_new_revision_that_can_not_start_takes_nothing_out_of_service(wiring: Wiring) -> None:
    wiring.apply()
    wait_for(lambda: wiring.revision(1)["ready"], "the first is ready")
    wiring.apply(image="localhost/there-is-no-such-image:1")
    wait_for(lambda: not wiring.service()["ready"], "it is told")
    told = wiring.service()
    assert told["reason"] == "StartFailed"
    assert "other-language-00002" in told["message"]
    assert "localhost/there-is-no-such-image:1" in told["message"]
    for number in range(20):
        wiring.send(f"event-{number}")
    wiring.wait_recorded(*(f"event-{number}" for number in range(20)))
    assert set(wiring.recorded().values()) == {"other-language-00001"}
    wiring.apply()
    wait_for(lambda: wiring.service()["ready"], "what was there before is there again")


def test_a_revision_that_exits_at_once_tells_its_last_words(wiring: Wiring) -> None:
    wiring.apply(EXIT_AT_ONCE="3")
    wait_for(lambda: not wiring.service()["ready"], "it is told")
    assert "no configuration found" in wiring.service()["message"]
    wiring.send("waiting")
    wiring.apply()
    wiring.wait_recorded("waiting")
    assert wiring.recorded()["waiting"] == "other-language-00002"


def test_a_container_that_dies_under_a_call_is_a_failed_attempt(wiring: Wiring) -> None:
    wiring.apply()
    wiring.send("dying", "exit.7")
    wiring.send("next")
    wiring.wait_recorded("next")
    wait_for(lambda: wiring.service()["status"]["errors"], "the end is told")
    assert any(
        "7" in error and "cannot go on" in error for error in wiring.service()["status"]["errors"]
    )


def test_traffic_moves_to_a_new_image_while_events_come(wiring: Wiring) -> None:
    wiring.apply()
    load = IngressLoad(wiring.node.ingress, "load", type="echo", singles=2, batchers=0).start()
    wait_for(lambda: len(wiring.recorded()) > 50, "the first revision is at work")
    wiring.apply(
        # How long calls take on a busy machine is not what is tried here.
        rollout="{steps: [20, 100], interval: PT1S, minEvents: 20, latencyFactor: 1000}",
        VERSION="two",
    )
    wait_for(
        lambda: wiring.revision(1)["reason"] == "NoTraffic", "the second revision has all calls", 60
    )
    count = len(wiring.recorded())
    wait_for(lambda: len(wiring.recorded()) > count + 50, "it goes on")
    accepted = load.stop().accepted
    wait_for(lambda: set(accepted) <= set(wiring.recorded()), "all went all the way", 60)
    assert set(wiring.recorded().values()) == {"other-language-00001", "other-language-00002"}


def test_a_killed_node_finds_its_containers_again_or_removes_them(
    tmp_path: Path, container_engine: ContainerEngine
) -> None:
    wiring = Wiring(tmp_path, container_engine)
    wiring.apply()
    wiring.send("one")
    wiring.wait_recorded("one")
    client = container_engine.client()
    try:
        before = {each.id for each in client.containers.list(all=True)}
        wiring.node.kill()
        wiring.node.start()
        wiring.send("two")
        wiring.wait_recorded("two")
        assert {each.id for each in client.containers.list()} & before, "it is used again"
        assert wiring.node.stop() == 0
        left = [each for each in client.containers.list(all=True) if each.id in before]
        assert not left
    finally:
        client.close()
        wiring.node.kill()
