"""Sources and sinks from documents to a wiring: what they are set to, and what is not ready why."""

import asyncio
from textwrap import dedent

import pytest

from eventing.event import Event
from eventing.node.cli.validate import _not_ready
from eventing.node.running_sinks import Sinks
from eventing.node.wiring import Destination, Wiring, embedded, resolve
from eventing.resources import Identity, load_text
from eventing.sources.settings import (
    KafkaSourceSettings,
    PingSourceSettings,
    RedisStreamSourceSettings,
)
from functions.base import Call, Response
from triggers.delivery import DeliveryPolicy
from triggers.sink import KafkaSinkSettings, RedisStreamSinkSettings

KAFKA_SOURCE = """
apiVersion: sources.knative.dev/v1
kind: KafkaSource
metadata: {name: s}
spec:
  bootstrapServers: [kafka:9092]
  topics: [orders]
  sink: {ref: {kind: Broker, name: default}}
"""
REDIS_SOURCE = """
apiVersion: sources.knative.dev/v1alpha1
kind: RedisStreamSource
metadata: {name: s}
spec:
  address: redis://redis:6379
  stream: orders
  sink: {ref: {kind: Broker, name: default}}
"""
PING_SOURCE = """
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: s}
spec:
  schedule: "@hourly"
  data: tick
  sink: {ref: {kind: Broker, name: default}}
"""
KAFKA_SINK = """
apiVersion: eventing.knative.dev/v1alpha1
kind: KafkaSink
metadata: {name: out}
spec:
  bootstrapServers: [kafka:9092]
  topic: done
"""
REDIS_SINK = """
apiVersion: sinks.knative.dev/v1alpha1
kind: RedisStreamSink
metadata: {name: out}
spec:
  address: redis://redis:6379
  stream: done
"""
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: k}
stringData: {user: ann, password: hush}
"""
SASL = """\
  net:
    sasl:
      enable: true
      user: {secretKeyRef: {name: k, key: user}}
      password: {secretKeyRef: {name: k, key: password}}
"""


def wired(*texts: str) -> Wiring:
    loaded = load_text("\n---\n".join(dedent(text) for text in texts), "f.yaml")
    assert loaded.errors == []
    return resolve(loaded.resources)


def plan(kind: str, *texts: str):
    wiring = wired(*texts)
    identity = Identity(kind, "default", "s")
    assert wiring.conditions[identity].ready, wiring.conditions[identity]
    return wiring.sources[identity]


def test_a_kafka_source() -> None:
    made = plan("KafkaSource", KAFKA_SOURCE + "  ceOverrides: {extensions: {region: eu}}\n")
    settings = made.settings
    assert isinstance(settings, KafkaSourceSettings)
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert (settings.topics, settings.group) == (("orders",), "knative-kafka-source-default.s")
    assert (settings.earliest, settings.ordered, settings.paused) == (False, True, False)
    assert made.destination == Destination("broker", "default/default") and made.sink is None
    assert made.policy == DeliveryPolicy(10, "exponential", 0.3, 600.0)
    assert made.extensions == {"region": "eu"}


def test_its_secrets_are_resolved_and_shown_nowhere() -> None:
    made = plan("KafkaSource", KAFKA_SOURCE + SASL, SECRET)
    options = made.settings.kafka.client_options()
    assert options["security.protocol"] == "sasl_plaintext"
    assert (options["sasl.username"], options["sasl.password"]) == ("ann", "hush")
    assert "hush" not in repr(made)


def test_another_secret_is_another_plan() -> None:
    first = plan("KafkaSource", KAFKA_SOURCE + SASL, SECRET)
    assert first == plan("KafkaSource", KAFKA_SOURCE + SASL, SECRET)
    assert first != plan("KafkaSource", KAFKA_SOURCE + SASL, SECRET.replace("hush", "other"))


def test_a_redis_source() -> None:
    text = REDIS_SOURCE + "  consumers: 3\n  dialOptions: {password: {name: k}}\n"
    settings = plan("RedisStreamSource", text, SECRET).settings
    assert isinstance(settings, RedisStreamSourceSettings)
    assert (settings.stream, settings.at_once) == ("orders", 3)
    assert (settings.redis.address, settings.redis.user) == ("redis://redis:6379", "ann")
    assert settings.redis.password == "hush" and "hush" not in repr(settings)


def test_a_ping_source() -> None:
    made = plan("PingSource", PING_SOURCE)
    assert isinstance(made.settings, PingSourceSettings)
    assert (made.settings.text, made.settings.data) == ("@hourly", b"tick")
    assert made.policy == DeliveryPolicy(5, "exponential", 0.05)
    assert made == plan("PingSource", PING_SOURCE)
    assert made != plan("PingSource", PING_SOURCE.replace("@hourly", "@daily"))


def test_sinks() -> None:
    wiring = wired(KAFKA_SINK + "  contentMode: structured\n", REDIS_SINK)
    kafka = wiring.sinks[Identity("KafkaSink", "default", "out")]
    assert kafka.destination == Destination("kafka-sink", "default/out")
    assert isinstance(kafka.settings, KafkaSinkSettings)
    assert (kafka.settings.topic, kafka.settings.mode) == ("done", "structured")
    redis = wiring.sinks[Identity("RedisStreamSink", "default", "out")]
    assert redis.destination == Destination("redis-stream-sink", "default/out")
    assert isinstance(redis.settings, RedisStreamSinkSettings)


@pytest.mark.parametrize(
    ("kind", "text", "destination"),
    [
        ("KafkaSink", KAFKA_SINK, "kafka-sink"),
        ("RedisStreamSink", REDIS_SINK, "redis-stream-sink"),
    ],
)
def test_a_sink_can_stand_wherever_events_go(kind: str, text: str, destination: str) -> None:
    ref = f"{{ref: {{kind: {kind}, name: out}}}}"
    expected = Destination(destination, "default/out")
    wiring = wired(
        text,
        f"""
        apiVersion: eventing.knative.dev/v1
        kind: Trigger
        metadata: {{name: t}}
        spec:
          broker: default
          subscriber: {ref}
          delivery: {{deadLetterSink: {ref}}}
        """,
        f"""
        apiVersion: eventing.knative.dev/v1alpha1
        kind: EventTransform
        metadata: {{name: e}}
        spec: {{jsonata: {{expression: $}}, sink: {ref}}}
        """,
        KAFKA_SOURCE.replace("{ref: {kind: Broker, name: default}}", ref)
        + f"  delivery: {{deadLetterSink: {ref}}}\n",
    )
    assert all(condition.ready for condition in wiring.conditions.values())
    trigger = wiring.triggers["default/t"]
    assert trigger.destination == trigger.sink == expected
    assert wiring.transforms["default/e"].sink == expected
    source = wiring.sources[Identity("KafkaSource", "default", "s")]
    assert source.destination == source.sink == expected


TO_NOBODY = "{ref: {kind: Function, name: nobody}}"
TO_DEFAULT = "{ref: {kind: Broker, name: default}}"


@pytest.mark.parametrize(
    ("texts", "reason", "place", "message"),
    [
        (
            [KAFKA_SOURCE.replace(TO_DEFAULT, TO_NOBODY)],
            "SinkNotResolved",
            "f.yaml:8",
            "there is no Function/default/nobody",
        ),
        (
            [PING_SOURCE.replace(TO_DEFAULT, "{ref: {apiVersion: v1, kind: Service, name: x}}")],
            "SinkNotResolved",
            "f.yaml:8",
            "Service/default/x of apiVersion v1 is one of Kubernetes itself, and there are none "
            "here; Knative's have apiVersion serving.knative.dev/v1",
        ),
        (
            [KAFKA_SOURCE + f"  delivery: {{deadLetterSink: {TO_NOBODY}}}\n"],
            "DeadLetterSinkNotResolved",
            "f.yaml:9",
            "there is no Function/default/nobody",
        ),
        ([KAFKA_SOURCE + SASL], "SecretNotFound", "f.yaml:12", "there is no Secret/default/k"),
        (
            [KAFKA_SOURCE + SASL, SECRET.replace(", password: hush", "")],
            "KeyNotFound",
            "f.yaml",
            "Secret/default/k has no key password",
        ),
        (
            [REDIS_SOURCE + "  dialOptions: {password: {name: k}}\n"],
            "SecretNotFound",
            "f.yaml:9",
            "there is no Secret/default/k",
        ),
        (
            [
                KAFKA_SOURCE
                + "  net: {tls: {enable: true, cert: {secretKeyRef: {name: k, key: user}}}}\n",
                SECRET,
            ],
            "SettingsNotValid",
            "f.yaml:9",
            "user.crt and user.key go together; one of them is missing",
        ),
        (
            [KAFKA_SOURCE + "  net: {sasl: {enable: true}}\n"],
            "SettingsNotValid",
            "f.yaml:9",
            "the key user is missing; SASL_PLAINTEXT needs it",
        ),
        (
            [REDIS_SOURCE.replace("redis:6379", "redis:6379?replicas=1")],
            "SettingsNotValid",
            "f.yaml:6",
            "replicas=N in the address counts for what is written; leave it out",
        ),
        (
            [KAFKA_SINK + "  auth: {secret: {ref: {name: k}}}\n"],
            "SecretNotFound",
            "f.yaml:8",
            "there is no Secret/default/k",
        ),
        (
            [KAFKA_SINK + "  auth: {secret: {ref: {name: k}}}\n", SECRET + "type: Opaque\n"],
            None,
            "",
            "",
        ),
        (
            [REDIS_SINK.replace("redis:6379", "redis:6379?replicas=1&cluster=true")],
            "SettingsNotValid",
            "f.yaml:6",
            "replicas=N can't be waited for in a Redis Cluster; leave it out",
        ),
    ],
)
def test_what_is_missing_is_told_with_its_place(texts, reason, place, message) -> None:
    wiring = wired(*texts)
    told = [each for each in wiring.conditions.values() if not each.ready]
    if reason is None:
        assert told == []
        return
    (condition,) = told
    assert (condition.reason, condition.message) == (reason, message)
    (problem,) = _not_ready(wiring, [])
    assert str(problem).startswith(place) and message in problem.message


def test_a_source_without_its_sink_keeps_its_place_without_a_destination() -> None:
    wiring = wired(KAFKA_SOURCE.replace(TO_DEFAULT, TO_NOBODY))
    assert wiring.sources[Identity("KafkaSource", "default", "s")].destination is None


def test_what_needs_a_sink_that_is_not_ready_says_so() -> None:
    wiring = wired(
        KAFKA_SINK + "  auth: {secret: {ref: {name: k}}}\n",
        PING_SOURCE.replace(TO_DEFAULT, "{ref: {kind: KafkaSink, name: out}}"),
    )
    condition = wiring.conditions[Identity("PingSource", "default", "s")]
    assert condition.reason == "SinkNotResolved"
    assert "KafkaSink/default/out is not ready: there is no Secret" in condition.message


def test_sources_of_several_kinds_may_have_one_name() -> None:
    assert len(wired(KAFKA_SOURCE, REDIS_SOURCE, PING_SOURCE).sources) == 3


def test_tests_of_a_wiring_reach_no_engine() -> None:
    wiring = embedded(wired(KAFKA_SOURCE, PING_SOURCE, KAFKA_SINK, REDIS_SINK))
    assert not wiring.sources
    assert [each.settings for each in wiring.sinks.values()] == [None, None]


def test_and_its_sinks_take_every_event_there() -> None:
    async def main() -> None:
        sinks = Sinks()
        sinks.open(embedded(wired(KAFKA_SINK)).sinks)
        answers: list[Response] = []
        sink = sinks.find(Identity("KafkaSink", "default", "out"))
        assert sink is not None and not sinks.running()
        event = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"})
        sink.submit(Call(event, 1, "default/t"), answers.append)
        assert [each.status for each in answers] == [202]
        await sinks.close(1.0)

    asyncio.run(main())
