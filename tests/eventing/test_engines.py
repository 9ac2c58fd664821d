"""Which engine a broker lives in: URLs, classes, ConfigMaps, Secrets, and their mistakes."""

import asyncio
from textwrap import dedent

import pytest

from brokers.kafka.settings import KafkaSettings, security_of
from brokers.local_cluster import LocalCluster
from brokers.redis.settings import RedisSettings, parse_redis_url
from eventing.errors import UserError
from eventing.node.engines import EMBEDDED, parse_engine_url, same_place, shared_engine
from eventing.node.wiring import Wiring, resolve
from eventing.resources import Identity, load_text

CONFIGURED = """
    apiVersion: eventing.knative.dev/v1
    kind: Broker
    metadata:
      name: default
      annotations: {eventing.knative.dev/broker.class: Kafka}
    spec:
      config: {apiVersion: v1, kind: ConfigMap, name: kafka-broker-config}
    ---
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: kafka-broker-config}
    data:
      default.topic.partitions: "3"
      default.topic.replication.factor: "2"
      bootstrap.servers: "kafka-1:9092,kafka-2:9092"
      auth.secret.ref.name: kafka-auth
    """
SECRET = """
    ---
    apiVersion: v1
    kind: Secret
    metadata: {name: kafka-auth}
    stringData: {protocol: SASL_SSL, sasl.mechanism: SCRAM-SHA-512, user: me, password: hush}
    """


def wired(text: str, url: str = "embedded") -> Wiring:
    loaded = load_text(dedent(text), "wiring.yaml")
    assert loaded.errors == []
    return resolve(loaded.resources, engine=parse_engine_url(url))


def of_class(name: str) -> str:
    return f"""
        apiVersion: eventing.knative.dev/v1
        kind: Broker
        metadata:
          name: default
          annotations: {{eventing.knative.dev/broker.class: {name}}}
        """


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("embedded", EMBEDDED),
        ("kafka://k", KafkaSettings("k:9092")),
        ("kafka://a:1,b:2?partitions=3&replication=2", KafkaSettings("a:1,b:2", {}, 3, 2)),
        ("kafka://[::1]:9", KafkaSettings("[::1]:9")),
        ("kafkas://k:9093", KafkaSettings("k:9093", {"security.protocol": "ssl"})),
        (
            "kafka://me:h%40@k:1",
            KafkaSettings(
                "k:1",
                {
                    "security.protocol": "sasl_plaintext",
                    "sasl.mechanism": "PLAIN",
                    "sasl.username": "me",
                    "sasl.password": "h@",
                },
            ),
        ),
        ("redis://r:6380/2", RedisSettings("redis://r:6380/2")),
        ("rediss://me:h%40@r", RedisSettings("rediss://r", "me", "h@")),
        ("redis://r?replicas=1&cluster=true", RedisSettings("redis://r", replicas=1, cluster=True)),
        ("unix:///run/redis.sock", RedisSettings("unix:///run/redis.sock")),
    ],
)
def test_a_url_says_where_an_engine_is(url: str, settings: object) -> None:
    assert parse_engine_url(url) == settings


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rabbit://r", "it must be embedded, kafka://host:port or redis://host:port"),
        ("kafka://", "a Kafka address is kafka://host:port"),
        ("kafka://k:x", "'k:x' in the Kafka address is no host:port"),
        ("kafka://k?partitions=0", "partitions=0 in the Kafka address"),
        ("kafka://k?acks=1", "acks=1 in the Kafka address"),
        ("redis://r:x", "the port of the Redis address is no number"),
        ("redis://r/db", "the number of a database"),
        ("redis://r?replicas=some", "replicas=some in the Redis address"),
    ],
)
def test_a_mistaken_url_is_told_with_what_may_stand_there(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        parse_engine_url(url)


@pytest.mark.parametrize("url", ["kafka://me:hush@k:x", "redis://me:hush@r:x", "redis://:hush@r/d"])
def test_no_message_and_no_repr_shows_a_password(url: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_engine_url(url)
    assert "hush" not in str(refused.value)
    assert "hush" not in repr(parse_engine_url("kafka://me:hush@k"))
    assert "hush" not in repr(parse_engine_url("redis://me:hush@r"))


def test_one_line_moves_a_broker_to_kafka() -> None:
    assert wired(of_class("Embedded")).brokers["default/default"].engine == EMBEDDED
    assert wired(of_class("Kafka")).brokers["default/default"].engine == KafkaSettings()


def test_a_broker_without_a_class_lives_where_the_node_says() -> None:
    everywhere = wired("", "kafka://k:1")
    assert everywhere.brokers["default/default"].engine == KafkaSettings("k:1")
    knatives = wired(of_class("MTChannelBasedBroker"), "kafka://k:1")
    assert knatives.brokers["default/default"].engine == KafkaSettings("k:1")
    assert wired(of_class("Embedded"), "kafka://k:1").brokers["default/default"].engine == EMBEDDED


def test_a_class_without_an_address_takes_the_nodes_where_it_is_of_that_engine() -> None:
    assert wired(of_class("Kafka"), "kafka://k:1").brokers[
        "default/default"
    ].engine == KafkaSettings("k:1")
    assert wired(of_class("Redis"), "kafka://k:1").brokers["default/default"].engine == (
        RedisSettings()
    )


def test_a_config_map_and_its_secret_say_which_kafka() -> None:
    engine = wired(CONFIGURED + SECRET).brokers["default/default"].engine
    assert engine == KafkaSettings(
        "kafka-1:9092,kafka-2:9092",
        {
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "me",
            "sasl.password": "hush",
        },
        3,
        2,
    )


def test_a_broker_whose_secret_is_missing_is_not_ready_and_nowhere_else_instead() -> None:
    wiring = wired(CONFIGURED)
    condition = wiring.conditions[Identity("Broker", "default", "default")]
    assert (condition.ready, condition.reason) == (False, "SecretNotFound")
    assert wiring.brokers == {}


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ({"protocol": b"TLS"}, "protocol is 'TLS'"),
        ({"protocol": b"SASL_SSL", "user": b"me"}, "the key password is missing"),
        ({"protocol": b"SASL_SSL", "sasl.mechanism": b"OAUTHBEARER"}, "sasl.mechanism is"),
        ({"protocol": b"SSL", "user.crt": b"x"}, "user.crt and user.key go together"),
        ({"passwort": b"hush"}, "passwort is no key of a Kafka secret"),
        ({"protocol": b"SASL_SSL", "user": b"\xff", "password": b"x"}, "user is no UTF-8 text"),
    ],
)
def test_a_mistaken_secret_is_told_by_key(secret: dict[str, bytes], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        security_of(secret)
    assert "hush" not in str(refused.value)


def test_a_redis_secret_goes_before_what_the_address_says() -> None:
    settings = parse_redis_url("redis://a:b@r", {"user": b"me", "password": b"hush"})
    assert (settings.user, settings.password) == ("me", "hush")


def test_nodes_meet_in_the_engine_that_was_named_or_else_in_the_first_brokers() -> None:
    kafka, redis = KafkaSettings("k:1"), RedisSettings()
    assert shared_engine(kafka, {"a/a": redis}) == kafka
    assert shared_engine(EMBEDDED, {"a/b": redis, "a/a": EMBEDDED, "a/c": kafka}) == redis
    assert shared_engine(EMBEDDED, {"a/a": EMBEDDED}) == EMBEDDED


def test_how_a_brokers_topic_is_made_does_not_matter_to_who_meets_there() -> None:
    few, many = KafkaSettings("k:1"), KafkaSettings("k:1", {}, 30, 1, {"retention.ms": "1"})
    assert shared_engine(few, {}) == shared_engine(many, {})
    other = KafkaSettings("k:1", {"sasl.password": "hush"})
    assert shared_engine(few, {}) != shared_engine(other, {})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("kafka://a:1,b:2", "kafkas://me:hush@b:2,c:3?partitions=30", True),
        ("kafka://a:1", "kafka://b:1", False),
        ("redis://r", "rediss://:hush@r:6379/0?replicas=2", True),
        ("redis://r", "redis://r/1", False),
        ("redis://r", "redis://r:6380", False),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?replicas=1", True),
        ("unix:///run/redis.sock", "unix:///run/other.sock", False),
        ("embedded", "embedded", True),
        ("embedded", "redis://r", False),
        ("kafka://k", "redis://k", False),
    ],
)
def test_the_place_of_an_engine_is_where_its_server_is(one: str, other: str, same: bool) -> None:
    assert same_place(parse_engine_url(one), parse_engine_url(other)) is same


def test_a_node_on_its_own_sees_itself_and_holds_every_lease() -> None:
    async def main() -> None:
        cluster = LocalCluster("alone")
        await cluster.start()
        await cluster.announce({"workers": 1})
        (member,) = await cluster.members()
        assert (member.name, member.document) == ("alone", {"workers": 1})
        lease = cluster.lease("cron")
        await lease.wait()
        assert lease.held and not lease.lost().done()
        await lease.close()
        assert not lease.held and lease.lost().done()
        await cluster.close()
        assert await cluster.members() == []

    asyncio.run(main())
