"""The Broker and the ConfigMap with its limits."""

import pytest

from eventing.resources import Broker, BrokerLimits, ConfigMap, broker_config, load_text

BROKER = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: default
  namespace: shop
"""
CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: limits}
data:
"""


def broker(rest: str = "") -> Broker:
    (resource,) = load_text(BROKER + rest, "f.yaml").resources
    assert isinstance(resource, Broker)
    return resource


def config_map(data: str) -> ConfigMap:
    (resource,) = load_text(CONFIG_MAP + data, "f.yaml").resources
    assert isinstance(resource, ConfigMap)
    return resource


def test_a_broker_needs_no_spec() -> None:
    assert str(broker().identity) == "Broker/shop/default"
    assert broker().config is None
    assert list(broker().references()) == []


def test_what_a_knative_server_returns_is_taken() -> None:
    document = BROKER.replace(
        "  namespace: shop\n",
        """\
  namespace: shop
  uid: 6a1f
  generation: 3
  resourceVersion: "77"
  creationTimestamp: null
  finalizers: [brokers.eventing.knative.dev]
  managedFields: [{manager: kubectl}]
  annotations:
    eventing.knative.dev/broker.class: MTChannelBasedBroker
    eventing.knative.dev/creator: me
spec:
  config: {apiVersion: v1, kind: ConfigMap, name: config-br-default-channel, namespace: k}
  delivery: {retry: 10, backoffPolicy: exponential, backoffDelay: PT0.2S}
status:
  address: {url: "http://broker-ingress"}
  conditions: [{type: Ready, status: "True"}]
""",
    )
    loaded = load_text(document)
    assert (loaded.errors, loaded.warnings) == ([], [])
    (resource,) = loaded.resources
    assert [str(ref) for ref in resource.references()] == ["ConfigMap/k/config-br-default-channel"]


def test_what_a_server_sets_makes_no_difference() -> None:
    (other,) = load_text(BROKER + "  uid: other\nstatus: {a: 1}\n", "elsewhere.yaml").resources
    assert other == broker()


def test_references_are_in_the_brokers_namespace_unless_they_say_so() -> None:
    resource = broker("spec: {delivery: {deadLetterSink: {ref: {kind: Function, name: f}}}}\n")
    sink = resource.dead_letter_sink
    assert sink is not None
    assert str(sink) == "Function/shop/f"
    assert sink.path == ("spec", "delivery", "deadLetterSink")


@pytest.mark.parametrize("name", ["KafkaNamespaced", "RabbitMQBroker"])
def test_another_class_of_broker_is_warned_of(name: str) -> None:
    text = BROKER + f"  annotations: {{eventing.knative.dev/broker.class: {name}}}\n"
    (warning,) = load_text(text, "f.yaml").warnings
    assert str(warning).startswith("f.yaml:6:17: eventing.knative.dev/broker.class has no effect")


def test_limits_are_read_in_seconds_and_bytes() -> None:
    parsed = broker_config(
        config_map("  retention.age: P1D\n  max.bytes: 2Gi\n  max.backlog: 100k\n")
    )
    assert parsed.limits == BrokerLimits(retention_age=86400, max_bytes=2 << 30, max_backlog=100000)
    assert parsed.limits.given() == {
        "retention_age": 86400,
        "max_bytes": 2 << 30,
        "max_backlog": 100000,
    }
    assert (parsed.errors, parsed.warnings) == ((), ())


def test_every_mistaken_limit_is_told_with_its_place() -> None:
    parsed = broker_config(
        config_map("  retention.age: 7d\n  max.byte: 1G\n  max.backlog: |\n    1x\n")
    )
    assert [str(error) for error in parsed.errors] == [
        'f.yaml:5:18: ConfigMap limits: retention.age: "7d" is no ISO 8601 duration such as '
        '"PT30S", "PT1M30S" or "P7D"',
        'f.yaml:6:13: ConfigMap limits: "max.byte" is no setting of a broker; '
        'did you mean "max.bytes"?',
        'f.yaml:7:16: ConfigMap limits: max.backlog: "1x" is no quantity such as "256Mi", '
        '"1.5G" or "1000"',
    ]


def test_settings_of_knatives_brokers_are_warned_of() -> None:
    parsed = broker_config(config_map('  default.topic.partitions: "10"\n'))
    assert parsed.errors == ()
    assert [str(warning) for warning in parsed.warnings] == [
        "f.yaml:5:29: ConfigMap limits: default.topic.partitions has no effect on the embedded "
        "broker"
    ]


def test_a_class_names_its_engine() -> None:
    def engine(name: str) -> str | None:
        return broker(f"  annotations: {{eventing.knative.dev/broker.class: {name}}}\n").engine

    assert [engine(name) for name in ("Embedded", "Kafka", "Redis")] == [
        "embedded",
        "kafka",
        "redis",
    ]
    assert engine("MTChannelBasedBroker") is None
    assert broker().engine is None


def test_the_keys_of_knatives_kafka_broker_are_those_of_the_engine() -> None:
    parsed = broker_config(
        config_map(
            '  default.topic.partitions: "10"\n'
            '  default.topic.replication.factor: "3"\n'
            "  bootstrap.servers: kafka:9092\n"
            "  auth.secret.ref.name: kafka-auth\n"
            '  default.topic.config.retention.ms: "604800000"\n'
            "  max.backlog: 10k\n"
        ),
        "kafka",
    )
    assert parsed.engine["bootstrap.servers"] == "kafka:9092"
    assert len(parsed.engine) == 5
    assert parsed.limits.max_backlog == 10_000
    assert (parsed.errors, parsed.warnings) == ((), ())


def test_mistaken_and_foreign_keys_of_an_engine_are_told_with_their_place() -> None:
    parsed = broker_config(
        config_map(
            '  default.topic.partitions: "many"\n  redis.address: redis://r\n  max.bytes: 1Gi\n'
        ),
        "kafka",
    )
    assert [str(error) for error in parsed.errors] == [
        'f.yaml:5:29: ConfigMap limits: default.topic.partitions: "many" is no number from 1 to '
        "9999"
    ]
    assert [str(warning) for warning in parsed.warnings] == [
        "f.yaml:6:18: ConfigMap limits: redis.address has no effect on a broker of class Kafka",
        "f.yaml:7:14: ConfigMap limits: max.bytes has no effect on a broker of class Kafka",
    ]
