"""The demo over real engines: two nodes, one of them killed in the middle, nothing lost."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_run import EXAMPLE, Demo
from kafka_jars import java, kafka_jars
from redis_service import StartRedis
from service_rule import needed

pytest.importorskip("cv2")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PICTURES = {path.name for path in (EXAMPLE / "images").glob("*.*")} - {"broken.jpg"}


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    """Those that are put in are ended."""
    started: list[Demo] = []
    yield started
    for demo in started:
        demo.end()


def assert_nothing_was_lost(demo: Demo, engine: str) -> None:
    assert demo.wait() == 0, demo.output + demo.complaints
    assert demo.output.startswith(f"{engine}: ")
    assert re.search(r"node a killed \(kill -9\) with \d+ events? in its hands", demo.output)
    assert re.search(r"the last one ended \d+\.\d s after the kill", demo.output)
    stored = {folder.name for folder in demo.folder("thumbnails").iterdir()}
    assert stored == PICTURES | {"fails-twice.webp"}
    # Who is killed in the middle of writing leaves a file behind that has a dot before its name.
    kept = {path.name for path in demo.folder("quarantine").glob("[!.]*")}
    assert kept == {"broken.jpg", "broken.jpg.json"}


@pytest.mark.service("kafka")
def test_over_a_kafka_that_it_starts(tmp_path: Path, demos: list[Demo]) -> None:
    with needed():
        java()
        kafka_jars()
    demos.append(Demo(tmp_path, "--broker", "kafka"))
    assert_nothing_was_lost(demos[0], "kafka")


def test_over_a_redis_that_is_there_and_its_password_is_not_shown(
    start_redis: StartRedis, tmp_path: Path, demos: list[Demo]
) -> None:
    server = start_redis(password="hidden")
    demos.append(Demo(tmp_path, "--broker", "redis", broker=server.url))
    assert_nothing_was_lost(demos[0], "redis")
    assert ", of EVENTING_BROKER" in demos[0].output
    logs = "".join(path.read_text() for path in tmp_path.rglob("node.log"))
    assert "hidden" not in demos[0].output + demos[0].complaints + logs


@pytest.mark.parametrize("asked", ["kafka", "redis"])
def test_an_address_of_another_engine_is_a_clear_mistake(
    asked: str, tmp_path: Path, demos: list[Demo]
) -> None:
    demos.append(Demo(tmp_path, "--broker", asked, broker="amqp://user:hidden@127.0.0.1:1"))
    assert demos[0].wait() == 2
    assert f"--broker is {asked}, but EVENTING_BROKER is an address of amqp" in demos[0].complaints
    assert "hidden" not in demos[0].complaints


def test_an_engine_that_does_not_answer_is_a_clear_failure(
    tmp_path: Path, demos: list[Demo]
) -> None:
    demos.append(
        Demo(tmp_path, "--broker", "redis", "--start-limit", "5", broker="redis://127.0.0.1:1")
    )
    assert demos[0].wait() == 1
    assert "failed: node a was not ready within 5 s" in demos[0].output
    assert "Traceback" not in demos[0].output + demos[0].complaints
