"""Nodes and engines that break under load, over a real Kafka and a real Redis: nothing accepted is
lost, and no reply is stored twice.

docs/faults.md has the figures these print.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chain import WANTS, Journal, write_chain
from confluent_kafka.admin import AdminClient
from engine_log import EngineLog, KafkaLog, RedisLog
from ingress_load import IngressLoad
from kafka_service import StartKafka, StartKafkaCluster
from node_process import NodeProcess, wait_for
from redis_service import StartRedis

ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))
# As the documentation tells operators to set it: nodes that vanish are missed within seconds.
SESSIONS = {
    "group.consumer.min.session.timeout.ms": "5000",
    "group.consumer.session.timeout.ms": "6000",
}
Say = Callable[[str], None]


class Nodes:
    """Nodes a, b … with one wiring over one engine, and all that was answered 202."""

    def __init__(self, folder: Path, log: EngineLog, count: int = 2) -> None:
        self.log = log
        self.journal = Journal(folder / "journal")
        self.accepted: set[str] = set()
        self.refused = 0
        self._loads = 0
        project = write_chain(folder / "project")
        self.all = [
            NodeProcess(
                project,
                data=folder / f"data-{name}",
                log=folder / f"{name}.log",
                arguments=("--broker", log.url, "--node-name", name),
                environment={"JOURNAL": str(self.journal.path)},
            )
            for name in "abcd"[:count]
        ]

    def load(self, node: NodeProcess, **options: int) -> IngressLoad:
        """A load on one node, started; `took` is to be called when it has ended."""
        self._loads += 1
        return IngressLoad(node.ingress, f"{self._loads}", type="order", **options).start()

    def took(self, load: IngressLoad) -> None:
        self.accepted |= set(load.accepted)
        self.refused += len(load.refused)

    def wait_until_settled(self) -> None:
        """Until no trigger has anything left to do, as every node sees it."""
        for node in self.all:
            wait_for(lambda: settled(node), f"all is handled, see {node.log}", 240)  # noqa: B023

    def lost(self) -> int:
        handled = self.journal.handled()
        return sum(len(self.accepted - set(handled[name])) for name in WANTS)

    def repeated(self) -> int:
        """Calls beyond the first for an event and function."""
        calls = self.journal.calls()
        return len(calls) - len({(call.function, call.id) for call in calls})

    def assert_nothing_is_lost_and_nothing_stored_twice(self) -> None:
        """As the engine's own log has it: each cause has exactly one reply, and that one too."""
        assert self.lost() == 0
        found = self.log.stored()
        assert self.accepted <= set(found["order"])
        for type in ("order", "checked", "shipped"):
            assert set(found[type]) == set(found["order"]), type
            assert set(found[type].values()) == {1}, f"{type} events that are in the log twice"

    def figures(self, what: str, seconds: float) -> str:
        calls = len(self.journal.calls())
        return (
            f"\n{what}, {seconds:.0f} s\n  accepted {len(self.accepted):,},"
            f" refused {self.refused:,}, calls {calls:,}, lost {self.lost()},"
            f" handled again {self.repeated():,}"
        )


def settled(node: NodeProcess) -> bool:
    status, answer = node.ask("GET", "/api/v1/resources?kind=Trigger")
    # Where the engine can't be asked there are no figures: then nobody knows.
    return status == 200 and all(
        item["status"].get(figure) == 0
        for item in answer["items"]
        for figure in ("lag", "retrying", "dead")
    )


def in_sync(servers: str) -> bool:
    """Whether every partition of this Kafka has all its replicas."""
    topics = AdminClient({"bootstrap.servers": servers}).list_topics(timeout=30).topics.values()
    partitions = [each for topic in topics for each in topic.partitions.values()]
    return bool(partitions) and all(
        len(each.isrs) == len(each.replicas) == 3 for each in partitions
    )


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints past pytest's capture."""

    def print_uncaptured(text: str) -> None:
        with capsys.disabled():
            print(text)

    return print_uncaptured


@pytest.fixture(params=["kafka", "redis"])
def engine_log(
    request: pytest.FixtureRequest, start_kafka: StartKafka, start_redis: StartRedis
) -> EngineLog:
    if request.param == "kafka":
        return KafkaLog(start_kafka(properties=SESSIONS).bootstrap_servers, "?partitions=6")
    return RedisLog(start_redis().url)


@pytest.fixture
def start_nodes(tmp_path: Path) -> Iterator[Callable[[EngineLog], Nodes]]:
    started: list[Nodes] = []

    def start(log: EngineLog) -> Nodes:
        nodes = Nodes(tmp_path, log)
        started.append(nodes)
        for node in nodes.all:
            node.launch()
        for node in nodes.all:
            node.wait_until_up()
        return nodes

    yield start
    for nodes in started:
        for node in nodes.all:
            if node.process is not None:
                node.process.send_signal(signal.SIGCONT)
            node.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_killed_again_and_again(
    engine_log: EngineLog, start_nodes: Callable[[EngineLog], Nodes], say: Say
) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    nodes = start_nodes(engine_log)
    began = time.monotonic()
    for _ in range(ROUNDS):
        victim, other = chance.sample(nodes.all, 2)
        loads = [
            nodes.load(victim, singles=2, batchers=1),
            nodes.load(other, singles=1, batchers=1),
        ]
        time.sleep(chance.uniform(0.1, 0.6))
        victim.kill()
        loads[1].stop()
        for load in loads:
            load.join()
            assert set(load.statuses) <= {202}
            nodes.took(load)
        victim.start()
    nodes.wait_until_settled()
    say(
        nodes.figures(f"{ROUNDS} kills of one of two nodes (seed {seed})", time.monotonic() - began)
    )
    nodes.assert_nothing_is_lost_and_nothing_stored_twice()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_node_that_wakes_after_its_work_was_taken_over(
    engine_log: EngineLog, start_nodes: Callable[[EngineLog], Nodes], say: Say
) -> None:
    nodes = start_nodes(engine_log)
    began = time.monotonic()
    paused, other = nodes.all
    loads = [nodes.load(node, singles=2, batchers=1) for node in nodes.all]
    time.sleep(1)
    assert paused.process is not None
    paused.process.send_signal(signal.SIGSTOP)
    loads[1].stop()
    nodes.took(loads[1])
    wait_for(lambda: settled(other), f"the other took over, see {other.log}", 120)
    paused.process.send_signal(signal.SIGCONT)
    loads[0].stop()
    nodes.took(loads[0])
    nodes.wait_until_settled()
    say(
        nodes.figures(
            "One of two nodes paused until the other had it all", time.monotonic() - began
        )
    )
    nodes.assert_nothing_is_lost_and_nothing_stored_twice()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_kafka_brokers_restarted_one_after_the_other(
    start_kafka_cluster: StartKafkaCluster, start_nodes: Callable[[EngineLog], Nodes], say: Say
) -> None:
    cluster = start_kafka_cluster(properties=SESSIONS)
    nodes = start_nodes(KafkaLog(cluster.bootstrap_servers, "?partitions=6&replication=3"))
    began = time.monotonic()
    loads = [nodes.load(node, singles=1, batchers=1) for node in nodes.all]
    for server in cluster.nodes:
        server.restart()
        wait_for(lambda: in_sync(cluster.bootstrap_servers), "all replicas are in sync again")
    for load in loads:
        load.stop()
        assert set(load.statuses) <= {202, 503}
        nodes.took(load)
    nodes.wait_until_settled()
    say(nodes.figures("Three Kafka brokers restarted under load", time.monotonic() - began))
    nodes.assert_nothing_is_lost_and_nothing_stored_twice()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_redis_killed_and_started_again_with_its_append_only_file(
    start_redis: StartRedis, start_nodes: Callable[[EngineLog], Nodes], say: Say
) -> None:
    redis = start_redis(appendfsync="always")
    nodes = start_nodes(RedisLog(redis.url))
    began = time.monotonic()
    loads = [nodes.load(node, singles=2, batchers=1) for node in nodes.all]
    for _ in range(3):
        time.sleep(1)
        redis.kill()
        time.sleep(0.5)
        redis.start()
    wait_for(lambda: nodes.all[0].ask("GET", "/readyz")[0] == 200, "the node is ready again")
    time.sleep(0.5)
    for load in loads:
        load.stop()
        assert set(load.statuses) <= {202, 503}
        nodes.took(load)
    nodes.wait_until_settled()
    say(nodes.figures("Redis killed three times under load", time.monotonic() - began))
    nodes.assert_nothing_is_lost_and_nothing_stored_twice()
