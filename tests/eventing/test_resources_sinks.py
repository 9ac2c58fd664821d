"""The sinks: KafkaSink and RedisStreamSink; what they mean, and every mistake."""

import pytest

from eventing.resources import KafkaSink, RedisStreamSink, load_text, to_yaml

KAFKA = """\
apiVersion: eventing.knative.dev/v1alpha1
kind: KafkaSink
metadata: {name: s, namespace: shop}
spec:
"""
REDIS = """\
apiVersion: sinks.knative.dev/v1alpha1
kind: RedisStreamSink
metadata: {name: s, namespace: shop}
spec:
"""
NEEDED = {
    KAFKA: {"topic": "orders", "bootstrapServers": "['kafka:9092']"},
    REDIS: {"stream": "orders", "address": "redis://redis"},
}


def document(head: str, **spec: str | None) -> str:
    fields = {**NEEDED[head], **spec}
    return head + "".join(f"  {name}: {value}\n" for name, value in fields.items() if value)


def sink(head: str, **spec: str) -> KafkaSink | RedisStreamSink:
    loaded = load_text(document(head, **spec), "f.yaml")
    assert loaded.errors == [] and loaded.warnings == []
    (resource,) = loaded.resources
    (again,) = load_text(to_yaml([resource])).resources
    assert again == resource and isinstance(resource, KafkaSink | RedisStreamSink)
    return resource


def test_a_kafka_sink_that_says_little() -> None:
    made = sink(KAFKA)
    assert isinstance(made, KafkaSink)
    assert (made.bootstrap_servers, made.content_mode) == ("kafka:9092", "binary")
    assert not made.makes_topic and made.secret is None


def test_a_kafka_sink_that_says_all() -> None:
    made = sink(
        KAFKA,
        contentMode="structured",
        numPartitions="3",
        replicationFactor="1",
        auth="{secret: {ref: {name: k}}}",
    )
    assert isinstance(made, KafkaSink)
    assert made.content_mode == "structured" and made.makes_topic
    assert made.secret is not None and made.secret.identity == ("Secret", "shop", "k")
    assert made.secret in tuple(made.references())


def test_a_redis_sink() -> None:
    made = sink(REDIS, dialOptions="{password: {name: r, namespace: ops}}")
    assert isinstance(made, RedisStreamSink)
    assert made.spec.url == "redis://redis"
    assert made.secrets["password"].identity == ("Secret", "ops", "r")


@pytest.mark.parametrize(
    ("head", "spec", "complaint"),
    [
        (KAFKA, {"topic": None}, '"topic" is missing in spec'),
        (KAFKA, {"topic": "'a/b'"}, "is no name of a topic"),
        (KAFKA, {"bootstrapServers": "kafka"}, "spec.bootstrapServers"),
        (KAFKA, {"contentMode": "avro"}, "spec.contentMode"),
        (KAFKA, {"numPartitions": "3"}, 'needs "replicationFactor" too'),
        (KAFKA, {"replicationFactor": "3"}, 'needs "numPartitions" too'),
        (KAFKA, {"numPartitions": "0", "replicationFactor": "1"}, "spec.numPartitions"),
        (KAFKA, {"auth": "{secret: {ref: {name: ''}}}"}, "is empty; name a Secret"),
        (KAFKA, {"topik": "a"}, 'did you mean "topic"?'),
        (REDIS, {"stream": None}, '"stream" is missing in spec'),
        (REDIS, {"address": "redis"}, "has no scheme of Redis"),
        (REDIS, {"strem": "a"}, 'did you mean "stream"?'),
    ],
)
def test_mistakes(head: str, spec: dict, complaint: str) -> None:
    (told,) = [error.message for error in load_text(document(head, **spec)).errors]
    assert complaint in told
