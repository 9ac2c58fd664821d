"""The sources: KafkaSource, RedisStreamSource, PingSource; what they mean, and every mistake."""

import pytest

from eventing.resources import (
    Delivery,
    KafkaSource,
    PingSource,
    RedisStreamSource,
    Resource,
    load_text,
    to_yaml,
)

KINDS = {
    "KafkaSource": (
        "sources.knative.dev/v1",
        {"bootstrapServers": "[kafka:9092]", "topics": "[orders]"},
    ),
    "RedisStreamSource": (
        "sources.knative.dev/v1alpha1",
        {"address": "redis://redis:6379", "stream": "orders"},
    ),
    "PingSource": ("sources.knative.dev/v1", {}),
}
SINK = "{ref: {kind: Broker, name: default}}"


def document(kind: str, *, version: str = "", metadata: str = "", **spec: str | None) -> str:
    default, needed = KINDS[kind]
    fields = {**needed, "sink": SINK, **spec}
    lines = [
        f"apiVersion: {version or default}",
        f"kind: {kind}",
        f"metadata: {{name: s, namespace: shop{metadata}}}",
        "spec:",
        *(f"  {field}: {value}" for field, value in fields.items() if value is not None),
    ]
    return "\n".join(lines) + "\n"


def loaded(kind: str, **more: str) -> Resource:
    found = load_text(document(kind, **more), "f.yaml")
    assert found.errors == []
    (resource,) = found.resources
    return resource


def kafka(**more: str) -> KafkaSource:
    resource = loaded("KafkaSource", **more)
    assert isinstance(resource, KafkaSource)
    return resource


def redis(**more: str) -> RedisStreamSource:
    resource = loaded("RedisStreamSource", **more)
    assert isinstance(resource, RedisStreamSource)
    return resource


def ping(**more: str) -> PingSource:
    resource = loaded("PingSource", **more)
    assert isinstance(resource, PingSource)
    return resource


def complaints(kind: str, **more: str | None) -> list[str]:
    return [error.message for error in load_text(document(kind, **more)).errors]


def warnings(kind: str, **more: str) -> list[str]:
    return [str(warning) for warning in load_text(document(kind, **more), "f.yaml").warnings]


# All of them


@pytest.mark.parametrize("kind", KINDS)
def test_the_sink_and_what_is_set_on_every_event(kind: str) -> None:
    source = loaded(kind, ceOverrides="{extensions: {region: eu}}")
    assert source.extensions == {"region": "eu"}
    assert source.sink.reference.identity == ("Broker", "shop", "default")
    assert source.sink.reference in tuple(source.references())


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_comes_back_as_it_was(kind: str) -> None:
    source = loaded(kind, ceOverrides="{extensions: {region: eu}}")
    (again,) = load_text(to_yaml([source])).resources
    assert again == source


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"sink": None, "ceOverrides": "{}"}, '"sink" is missing in spec'),
        ({"sink": "{}"}, 'spec.sink: needs a "ref" or a "uri"'),
        ({"sink": "{uri: 'ftp://host/'}"}, "only http and https"),
        ({"ceOverrides": "{extensions: {type: x}}"}, '"type" is no extension'),
        ({"ceOverrides": "{extensions: {Region: x}}"}, '"Region" is no name of an extension'),
        ({"ceOverrides": "{extensions: {data: x}}"}, '"data" is no name of an extension'),
        ({"sinc": "x"}, 'unknown field "sinc" in spec; did you mean "sink"?'),
    ],
)
def test_mistakes_that_all_can_have(kind: str, spec: dict, complaint: str) -> None:
    (told,) = complaints(kind, **spec)
    assert complaint in told


@pytest.mark.parametrize("kind", KINDS)
def test_a_sink_in_another_form_has_no_effect_in_parts(kind: str) -> None:
    (told,) = warnings(kind, sink="{uri: 'http://h/', audience: x}")
    assert "audience" in told and "has no effect" in told


# Kafka


def test_a_kafka_source_that_says_little() -> None:
    source = kafka()
    assert source.bootstrap_servers == "kafka:9092"
    assert source.group == "knative-kafka-source-shop.s"
    assert (source.initial_offset, source.ordered, source.key_type) == ("latest", True, "string")
    assert (source.paused, source.protocol, source.secrets) == (False, "PLAINTEXT", {})
    assert source.delivery == Delivery(retry=10, backoff_delay=0.3, timeout=600.0)


def test_a_kafka_source_that_says_all() -> None:
    source = kafka(
        metadata=", labels: {kafkasources.sources.knative.dev/key-type: int}",
        bootstrapServers="['a:1', 'b:2']",
        consumerGroup="mine",
        consumers="0",
        initialOffset="earliest",
        ordering="unordered",
        net="{sasl: {enable: true, user: {secretKeyRef: {name: k, key: user}}, "
        "password: {secretKeyRef: {name: k, key: word}}, "
        "type: {secretKeyRef: {name: k, key: type}}}, "
        "tls: {enable: true, caCert: {secretKeyRef: {name: k, key: ca}}}}",
        delivery="{retry: 2, deadLetterSink: {uri: 'http://dead/'}}",
    )
    assert source.bootstrap_servers == "a:1,b:2"
    assert (source.group, source.paused, source.initial_offset) == ("mine", True, "earliest")
    assert (source.ordered, source.key_type, source.protocol) == (False, "int", "SASL_SSL")
    assert {key: reference.key for key, reference in source.secrets.items()} == {
        "user": "user",
        "password": "word",
        "sasl.mechanism": "type",
        "ca.crt": "ca",
    }
    assert source.delivery.retry == 2 and source.dead_letter_sink.uri == "http://dead/"


def test_the_older_version_says_the_same() -> None:
    assert kafka(version="sources.knative.dev/v1beta1").spec == kafka().spec


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"bootstrapServers": "[]"}, "spec.bootstrapServers"),
        ({"bootstrapServers": "['a:1,b:2']"}, "is no host:port"),
        ({"bootstrapServers": "['kafka://a']"}, "is no host:port"),
        ({"topics": "[]"}, "spec.topics"),
        ({"topics": "['a b']"}, "is no name of a topic"),
        ({"topics": "['..']"}, "is no name of a topic"),
        ({"consumerGroup": "''"}, "spec.consumerGroup"),
        ({"consumers": "-1"}, "spec.consumers"),
        ({"initialOffset": "first"}, "spec.initialOffset"),
        ({"ordering": "sorted"}, "spec.ordering"),
        ({"delivery": "{retry: -1}"}, "spec.delivery.retry"),
        ({"net": "{tls: {enable: 'yes'}}"}, "spec.net.tls.enable"),
        ({"net": "{sasl: {user: {secretKeyRef: {name: k}}}}"}, '"key" is missing in'),
        (
            {"metadata": ", labels: {kafkasources.sources.knative.dev/key-type: long}"},
            '"long" is none of string, int, float, byte-array',
        ),
    ],
)
def test_mistakes_of_a_kafka_source(spec: dict, complaint: str) -> None:
    (told,) = complaints("KafkaSource", **spec)
    assert complaint in told


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"consumers": "3"}, "f.yaml:8:3: consumers has no effect above 1"),
        ({"net": "{sasl: {user: {}}}"}, 'has no effect without "enable: true"'),
        (
            {"net": "{sasl: {enable: true, roleARN: {secretKeyRef: {name: k, key: a}}}}"},
            "there is no OAUTHBEARER here",
        ),
        ({"metadata": ", annotations: {autoscaling.knative.dev/class: keda}"}, "has no effect"),
        ({"delivery": "{backoffDelay: PT1S}"}, 'has no effect without "retry"'),
    ],
)
def test_what_changes_nothing_of_a_kafka_source(spec: dict, told: str) -> None:
    (warning,) = warnings("KafkaSource", **spec)
    assert told in warning


# Redis


def test_a_redis_source_that_says_little() -> None:
    source = redis()
    assert (source.spec.url, source.spec.stream) == ("redis://redis:6379", "orders")
    assert (source.group, source.at_once) == ("knative-redis-source-shop.s", 1)
    assert source.delivery == Delivery(retry=5, backoff_delay=0.05)


def test_a_redis_source_that_says_all() -> None:
    source = redis(
        group="mine",
        consumers="4",
        dialOptions="{useTLS: true, password: {name: r}, "
        "caCert: {secretKeyRef: {name: r, key: c}}}",
    )
    assert source.spec.url == "rediss://redis:6379"
    assert (source.group, source.at_once) == ("mine", 4)
    assert {
        key: (reference.key, reference.optional) for key, reference in source.secrets.items()
    } == {
        "user": ("user", True),
        "password": ("password", False),
        "ca.crt": ("c", False),
    }
    assert set(source.secrets.values()) <= set(source.references())


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"address": "redis:6379"}, "spec.address"),
        ({"address": "http://redis"}, "has no scheme of Redis"),
        ({"address": "'redis://'"}, "names no host"),
        ({"stream": "''"}, "spec.stream"),
        ({"group": "''"}, "spec.group"),
        ({"consumers": "-1"}, "spec.consumers"),
        ({"dialOptions": "{password: {name: r, kind: ConfigMap}}"}, 'is not "Secret"'),
    ],
)
def test_mistakes_of_a_redis_source(spec: dict, complaint: str) -> None:
    (told,) = complaints("RedisStreamSource", **spec)
    assert complaint in told


def test_no_mistake_shows_the_password_of_an_address() -> None:
    told = complaints("RedisStreamSource", address="'http://u:secret@host'")
    told += warnings("RedisStreamSource", address="'redis://u:secret@host'")
    assert len(told) == 2 and "secret@" not in "".join(told)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"address": "'redis://u:p@h'"}, "holds a password, for all to see"),
        ({"dialOptions": "{skipVerify: true}"}, "always verified"),
        (
            {"dialOptions": "{cert: {secretKeyRef: {name: r, key: c}}}"},
            "no client certificate is shown",
        ),
    ],
)
def test_what_changes_nothing_of_a_redis_source(spec: dict, told: str) -> None:
    (warning,) = warnings("RedisStreamSource", **spec)
    assert told in warning


# Timers


def test_a_ping_source_that_says_nothing_ticks_every_minute() -> None:
    source = ping()
    assert source.schedule.after(0) == 60 and source.payload is None
    assert source.content_type is None and source.dead_letter_sink is None


def test_its_data_as_text_and_as_bytes() -> None:
    assert ping(data="'{\"a\": 1}'", contentType="application/json").payload == b'{"a": 1}'
    assert ping(dataBase64="AP8=").payload == b"\x00\xff"


@pytest.mark.parametrize(
    ("schedule", "zone", "first"),
    [
        ("'*/5 * * * *'", None, 300),
        ("'30 * * * * *'", None, 30),
        ("'@hourly'", None, 3600),
        ("'@every 90s'", None, 90),
        ("'0 2 * * *'", "Europe/Berlin", 3600),
        ("'CRON_TZ=Europe/Berlin 0 2 * * *'", None, 3600),
        ("'0 0 ? * *'", None, 86_400),
    ],
)
def test_schedules(schedule: str, zone: str | None, first: int) -> None:
    more = {} if zone is None else {"timezone": zone}
    assert ping(schedule=schedule, **more).schedule.after(0) == first


def test_at_a_change_of_the_clocks_nothing_is_left_out_or_doubled() -> None:
    # In Berlin, on 29 March 2026, 02:00 to 03:00 is left out; on 25 October it is there twice.
    schedule = ping(schedule="'30 2 * * *'", timezone="Europe/Berlin").schedule
    spring = schedule.after(1_774_652_400)  # 28 March, 00:00
    gaps = []
    for start in (spring, 1_792_792_800):  # 24 October
        moment = schedule.after(start)
        for _ in range(3):
            following = schedule.after(moment)
            gaps.append(round((following - moment) / 3600, 1))
            moment = following
    assert all(22 <= gap <= 26 for gap in gaps), gaps


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"schedule": "'* * *'"}, "has 3 fields"),
        ({"schedule": "'61 * * * *'"}, "is no schedule"),
        ({"schedule": "'@dayly'"}, 'did you mean "@daily"?'),
        ({"schedule": "'@every'"}, "whole seconds"),
        ({"schedule": "'@every 0.5s'"}, "whole seconds"),
        ({"schedule": "'0 0 30 2 *'"}, "its day-of-month is wrong"),
        ({"timezone": "Europe/Berlyn"}, "is no time zone"),
        (
            {"timezone": "Europe/Berlin", "schedule": "'CRON_TZ=UTC * * * * *'"},
            "stands beside the zone in the schedule",
        ),
        ({"dataBase64": "'%'"}, "is no base64"),
        ({"data": "a", "dataBase64": "AP8="}, 'stands beside "data"'),
        ({"data": "tea", "contentType": "application/json"}, "is no JSON"),
        ({"contentType": "' '"}, "is no media type"),
        ({"delivery": "{retry: 1}"}, 'unknown field "delivery"'),
    ],
)
def test_mistakes_of_a_ping_source(spec: dict, complaint: str) -> None:
    (told,) = complaints("PingSource", **spec)
    assert complaint in told
