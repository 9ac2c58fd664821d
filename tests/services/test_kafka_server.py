"""The Kafka that tests, the demo and benchmarks start: what it keeps, whom it lets in."""

import uuid

import pytest
from certificates import Authority
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from kafka_properties import Access
from kafka_service import StartKafka, StartKafkaCluster

pytestmark = pytest.mark.timeout(240)


def make_topic(servers: str, copies: int = 1) -> str:
    topic = f"topic-{uuid.uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, 1, copies)])[topic].result(60)
    return topic


def write(topic: str, value: bytes, **options: str) -> KafkaError | None:
    """None once it is stored, else why it is not."""
    producer = Producer({"acks": "all", "message.timeout.ms": 30_000, "log_level": 0, **options})
    told: list[KafkaError | None] = []
    producer.produce(topic, value, on_delivery=lambda error, _: told.append(error))
    producer.flush(40)
    return told[0]


def read(servers: str, topic: str) -> bytes:
    """The first record's value."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reading"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        (message,) = consumer.consume(1, 60)
        value = message.value()
        assert isinstance(value, bytes)
        return value
    finally:
        consumer.close()


def test_all_tests_share_one_that_serves(kafka: str) -> None:
    topic = make_topic(kafka)
    assert write(topic, b"shared", **{"bootstrap.servers": kafka}) is None
    assert read(kafka, topic) == b"shared"


def test_killed_and_started_again_it_has_what_it_had(start_kafka: StartKafka) -> None:
    server = start_kafka()
    topic = make_topic(server.bootstrap_servers)
    assert write(topic, b"kept", **{"bootstrap.servers": server.bootstrap_servers}) is None
    server.kill()
    server.start()
    assert read(server.bootstrap_servers, topic) == b"kept"


def test_of_three_nodes_one_may_be_lost(start_kafka_cluster: StartKafkaCluster) -> None:
    cluster = start_kafka_cluster()
    topic = make_topic(cluster.bootstrap_servers, copies=3)
    cluster.nodes[0].kill()
    assert (
        write(topic, b"two are enough", **{"bootstrap.servers": cluster.bootstrap_servers}) is None
    )
    assert read(cluster.bootstrap_servers, topic) == b"two are enough"
    cluster.nodes[0].start()


def test_over_tls_and_sasl_a_user_may_do_what_a_rule_allows(start_kafka: StartKafka) -> None:
    authority = Authority()
    server = start_kafka(access=Access({"ann": "right"}, rules=True, pem=authority.issue().both))
    topic = make_topic(server.inside_servers)
    ann = {
        "bootstrap.servers": server.bootstrap_servers,
        "security.protocol": server.access.protocol,
        "ssl.ca.pem": authority.ca,
        "sasl.mechanism": "PLAIN",
        "sasl.username": "ann",
        "sasl.password": "right",
    }
    denied = write(topic, b"", **ann)
    assert denied is not None and denied.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    rule = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        "User:ann",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient({"bootstrap.servers": server.inside_servers})
    admin.create_acls([rule])[rule].result(30)
    assert write(topic, b"allowed", **ann) is None
    with pytest.raises(KafkaException):
        AdminClient({**ann, "sasl.password": "wrong", "log_level": 0}).list_topics(timeout=5)
