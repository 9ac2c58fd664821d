"""The engines that `benchmarks.engines` measures over: a Kafka and a Redis of this machine's own,
and the programs that are run beside a node.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT / "compose" / "local_servers"))

from kafka_properties import QUICK_GROUPS  # noqa: E402
from kafka_server import KafkaServer  # noqa: E402
from redis_server import RedisServer  # noqa: E402
from server_process import ServerUnavailable  # noqa: E402

__all__ = [
    "EngineUnderTest",
    "Kind",
    "ServerUnavailable",
    "engine_under_test",
    "measured",
    "reader_cost",
]

PARTITIONS = 6
Kind = Literal["kafka", "redis"]


@dataclass(frozen=True, slots=True)
class EngineUnderTest:
    """`url` is for `--broker`, `address` for client libraries, `log` is where the broker
    default/default has its events."""

    kind: Kind
    url: str
    address: str

    @property
    def log(self) -> str:
        kafka = self.kind == "kafka"
        return "knative-broker-default-default" if kafka else "eventing:{default/default}:events"

    def make_log(self, name: str) -> str:
        """A topic of as many partitions as the broker's; a stream makes itself."""
        if self.kind == "kafka":
            from confluent_kafka.admin import AdminClient, NewTopic

            admin = AdminClient({"bootstrap.servers": self.address})
            admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(60)
        return name


@contextmanager
def engine_under_test(kind: Kind) -> Iterator[EngineUnderTest]:
    """One of its own, empty. Raises ServerUnavailable with what to install."""
    if kind == "kafka":
        with KafkaServer(properties=QUICK_GROUPS) as kafka:
            servers = kafka.bootstrap_servers
            yield EngineUnderTest(kind, f"kafka://{servers}?partitions={PARTITIONS}", servers)
    else:
        with RedisServer() as redis:
            yield EngineUnderTest(kind, redis.url, redis.url)


def measured(*command: str) -> float:
    """CPU microseconds an event, as one of the programs here prints them last."""
    with reading(*command) as lines:
        return _figure(lines)


@contextmanager
def reading(*command: str) -> Iterator[IO[str]]:
    """One of the programs here at work: the lines it prints. It is ended at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        process.communicate()


def reader_cost(feed: "list[str]", *command: str) -> float:
    """CPU microseconds an event of a reader, once it is ready and `feed` has been run for it."""
    with reading(*command) as lines:
        if lines.readline().strip() != "ready":
            raise RuntimeError(f"{' '.join(command)} did not start")
        subprocess.run([sys.executable, "-m", *feed], cwd=_ROOT, check=True, capture_output=True)
        return _figure(lines)


def _figure(lines: IO[str]) -> float:
    text = lines.read().strip()
    if not text:
        raise RuntimeError("a program that is measured ended without a figure")
    return float(text.splitlines()[-1])
