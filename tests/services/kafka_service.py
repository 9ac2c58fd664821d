"""A Kafka for tests. In a test:

    def test_shared(kafka: str) -> None: ...            # bootstrap servers of one for all tests
    def test_own(start_kafka: StartKafka) -> None:
        server = start_kafka(properties={...})          # a KafkaServer, closed after the test
    def test_failover(start_kafka_cluster: StartKafkaCluster) -> None:
        cluster = start_kafka_cluster()                 # a KafkaCluster of three

Who shares one needs topics of names of their own. A server for a whole module or class is a
fixture around `own_kafka(...)` or `own_kafka_cluster(...)`. The shared one is EVENTING_TEST_KAFKA
(host:port) where that is set, else a container, else a local process; servers of one's own are
always local processes, since tests pause and kill them. The classes and their options: modules
kafka_server and kafka_properties (Access) of compose/local_servers; for TLS there is
certificates.Authority.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from docker_engine import container
from kafka_jars import VERSION
from kafka_properties import QUICK_GROUPS, Access
from kafka_server import KafkaCluster, KafkaServer
from server_process import ServerUnavailable
from service_rule import needed, unavailable

IMAGE = f"apache/kafka:{VERSION}"
ADDRESS = "EVENTING_TEST_KAFKA"
_OPEN = Access()


class StartKafka(Protocol):
    def __call__(
        self, *, properties: Mapping[str, str] | None = None, access: Access = _OPEN
    ) -> KafkaServer: ...


class StartKafkaCluster(Protocol):
    def __call__(
        self, *, properties: Mapping[str, str] | None = None, access: Access = _OPEN
    ) -> KafkaCluster: ...


@contextmanager
def shared_kafka() -> Iterator[str]:
    """The bootstrap servers of a Kafka that may be shared."""
    given = os.environ.get(ADDRESS)
    if given:
        if not _serves(given):
            unavailable(f"{ADDRESS} is {given}, and no Kafka answers there")
        yield given
        return
    with ExitStack() as servers:
        try:
            address = servers.enter_context(
                container(IMAGE, 9092, environment=_environment, serves=_serves)
            )
        except ServerUnavailable:
            address = servers.enter_context(own_kafka(properties=QUICK_GROUPS)).bootstrap_servers
        yield address


@contextmanager
def own_kafka(
    *, properties: Mapping[str, str] | None = None, access: Access = _OPEN
) -> Iterator[KafkaServer]:
    """A server of one's own, started; skips or fails the test where that cannot be."""
    with needed():
        server = KafkaServer(properties=properties, access=access)
    with server:
        yield server


@contextmanager
def own_kafka_cluster(
    *, properties: Mapping[str, str] | None = None, access: Access = _OPEN
) -> Iterator[KafkaCluster]:
    """Three nodes of one's own, started; skips or fails the test where that cannot be."""
    with needed():
        cluster = KafkaCluster(properties=properties, access=access)
    with cluster:
        yield cluster


def _environment(address: str) -> dict[str, str]:
    """For the image of Apache Kafka: server.properties as variables. Once one is set, its own
    defaults are gone."""
    properties = {
        "node.id": "1",
        "process.roles": "broker,controller",
        "listeners": "CLIENTS://:9092,CONTROLLER://localhost:9093",
        "advertised.listeners": f"CLIENTS://{address}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENTS",
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": "1@localhost:9093",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "5",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.num.partitions": "5",
        "transaction.state.log.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        **QUICK_GROUPS,
    }
    return {f"KAFKA_{name.upper().replace('.', '_')}": each for name, each in properties.items()}


def _serves(address: str) -> bool:
    try:
        client = AdminClient({"bootstrap.servers": address, "log_level": 0})
        return bool(client.list_topics(timeout=5).brokers)
    except KafkaException:
        return False
