"""compose/Dockerfile, built and run where an engine is at hand: it serves, healthy, as no root, and
ends in order.
"""

import json
import re
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "end_to_end"))

from base_image import base_image  # noqa: E402
from image_engines import BUILD_SECONDS, ImageEngine, image_engine  # noqa: E402
from node_process import wait_for  # noqa: E402
from server_process import ServerUnavailable, free_port  # noqa: E402
from service_rule import unavailable  # noqa: E402

FILE = ROOT / "compose" / "Dockerfile"
TAG = "localhost/eventing-test-node"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.service("container engine"),
    pytest.mark.timeout(2 * BUILD_SECONDS),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[ImageEngine]:
    """With the image built."""
    found = image_engine()
    if found is None:
        unavailable(
            "neither does a Docker engine answer, nor is there buildah, run by root: "
            "apt install buildah debootstrap"
        )
    wanted = re.search(r"^ARG PYTHON=(.+)$", FILE.read_text(), re.MULTILINE)
    assert wanted is not None
    try:
        base = base_image(found, wanted[1])
    except ServerUnavailable as error:
        unavailable(str(error))
    try:
        found.build(TAG, FILE, ROOT, {"PYTHON": base})
        yield found
    finally:
        found.remove_image(TAG)
        if base != wanted[1]:
            found.remove_image(base)


class Running:
    """The image at work."""

    def __init__(self, engine: ImageEngine) -> None:
        self._engine = engine
        self.name = f"eventing-test-{uuid.uuid4().hex[:8]}"
        self.ingress, self.admin = free_port(), free_port()
        self.process: subprocess.Popen[bytes] = engine.run(
            TAG,
            self.name,
            {ROOT / "compose" / "project": "/app"},
            [*engine.config(TAG)["Cmd"], f"--port={self.ingress}", f"--admin-port={self.admin}"],
        )

    def healthy(self) -> bool:
        """As its own health check finds it."""
        assert self.process.poll() is None, "it ended at once"
        probe = [
            part.replace(":8081/", f":{self.admin}/")
            for part in self._engine.config(TAG)["Healthcheck"]["Test"][1:]
        ]
        return self._engine.inside(self.name, probe) == 0


@pytest.fixture
def running(engine: ImageEngine) -> Iterator[Running]:
    node = Running(engine)
    try:
        wait_for(node.healthy, "the health check passes")
        yield node
    finally:
        if node.process.poll() is None:
            engine.terminate(node.process)
            node.process.wait(60)
        engine.remove_container(node.name)


def test_the_image_says_what_it_needs(engine: ImageEngine) -> None:
    config = engine.config(TAG)
    assert config["User"].isdecimal() and config["User"] != "0"
    assert list(config["Volumes"]) == ["/data"]
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    assert config["StopSignal"] == "SIGTERM"
    assert "/readyz" in config["Healthcheck"]["Test"][-1]


def test_it_has_nothing_to_build_with(engine: ImageEngine, running: Running) -> None:
    assert engine.inside(running.name, ["test", "-e", "/opt/eventing"]) == 0
    assert engine.inside(running.name, ["test", "-e", "/src"]) != 0
    assert engine.inside(running.name, ["touch", "/opt/eventing/written"]) != 0


def test_it_takes_events_and_ends_in_order(engine: ImageEngine, running: Running) -> None:
    assert post_an_order(running.ingress) == 202
    wait_for(lambda: handled(running.admin) == {"price": 1, "receipt": 1}, "the order is handled")
    engine.terminate(running.process)
    assert running.process.wait(30) == 0


def post_an_order(port: int) -> int:
    headers = {"content-type": "application/json", "ce-type": "order.placed", "ce-id": "1"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/default/default",
        b'{"item": "tea", "amount": 2}',
        headers | {"ce-specversion": "1.0", "ce-source": "/test"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        status: int = answer.status
    return status


def handled(port: int) -> dict[str, int]:
    """How many deliveries of each trigger are done."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/api/v1/resources?kind=Trigger", timeout=10
    ) as answer:
        return {item["name"]: item["status"]["done"] for item in json.load(answer)["items"]}
