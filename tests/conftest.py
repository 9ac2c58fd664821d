"""Real servers for every folder of tests: what there is and how to ask for it stands at the top of
tests/services/kafka_service.py, redis_service.py and container_service.py.
"""

import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(_ROOT / "tests" / "services"), str(_ROOT / "compose" / "local_servers")]

from container_service import (  # noqa: E402
    ContainerEngine,
    PodmanEngine,
    StartContainerEngine,
    own_containers,
    shared_containers,
)
from kafka_jars import kafka_jars  # noqa: E402
from kafka_server import KafkaCluster, KafkaServer  # noqa: E402
from kafka_service import (  # noqa: E402
    StartKafka,
    StartKafkaCluster,
    own_kafka,
    own_kafka_cluster,
    shared_kafka,
)
from redis_server import RedisServer  # noqa: E402
from redis_service import StartRedis, engines, own_redis, shared_redis  # noqa: E402
from server_process import ServerUnavailable, running_servers  # noqa: E402

_FIXTURES = {
    "kafka": {"kafka", "start_kafka", "start_kafka_cluster"},
    "redis": {"redis_url", "start_redis"},
    "containers": {"container_engine", "start_container_engine"},
}
"""Which fixtures give a test one of these services."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what the servers printed that it was over."""
    report = yield
    if report.failed:
        for server in running_servers():
            state = "runs" if server.running else "has ended"
            report.sections.append((f"{server.name}, which {state}, said last", server.tail()))
    return report


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of a Kafka that all tests share."""
    with shared_kafka() as servers:
        yield servers


@pytest.fixture
def start_kafka() -> Iterator[StartKafka]:
    """Starts a KafkaServer for this test alone."""
    with ExitStack() as servers:

        def start(**options: Any) -> KafkaServer:
            return servers.enter_context(own_kafka(**options))

        yield start


@pytest.fixture
def start_kafka_cluster() -> Iterator[StartKafkaCluster]:
    """Starts a KafkaCluster of three nodes for this test alone."""
    with ExitStack() as servers:

        def start(**options: Any) -> KafkaCluster:
            return servers.enter_context(own_kafka_cluster(**options))

        yield start


@pytest.fixture(scope="session", params=engines())
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """redis://… of a server that all tests share; once more for Valkey where there is one."""
    with shared_redis(request.param) as url:
        yield url


@pytest.fixture
def start_redis() -> Iterator[StartRedis]:
    """Starts a RedisServer for this test alone."""
    with ExitStack() as servers:

        def start(**options: Any) -> RedisServer:
            return servers.enter_context(own_redis(**options))

        yield start


@pytest.fixture(scope="session")
def container_engine() -> Iterator[ContainerEngine]:
    """A container engine that all tests share."""
    with shared_containers() as engine:
        yield engine


@pytest.fixture
def start_container_engine() -> Iterator[StartContainerEngine]:
    """Starts a PodmanEngine for this test alone."""
    with ExitStack() as engines:

        def start() -> PodmanEngine:
            return engines.enter_context(own_containers())

        yield start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a service, and say which in the report: there .ci/run counts them."""
    for item in items:
        for service in sorted(_services(item)):
            item.add_marker("service")
            item.user_properties.append(("service", service))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Kafka's jars are fetched before the first test, whose time would not be enough for it."""
    if session.config.option.collectonly:
        return
    if any("kafka" in _services(item) for item in session.items):
        with suppress(ServerUnavailable):  # The test that needs them says why.
            kafka_jars()


def _services(item: pytest.Item) -> set[str]:
    fixtures = set(getattr(item, "fixturenames", ()))
    needed = {service for service, names in _FIXTURES.items() if names & fixtures}
    for marker in item.iter_markers("service"):
        needed.update(marker.args)
    return needed
