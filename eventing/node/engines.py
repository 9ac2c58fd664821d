"""Which engine keeps a broker's events: read from a URL or from resources, and opened.

The clients of Kafka and Redis are imported only where a broker asks for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from brokers.base import Broker, Limits
from brokers.cluster import Cluster
from brokers.embedded import EmbeddedBroker
from brokers.kafka.settings import PARTITIONS, KafkaSettings, parse_kafka_url, security_of
from brokers.local_cluster import LocalCluster
from brokers.redis.settings import RedisSettings, parse_redis_url, shown_address
from eventing.errors import UserError
from eventing.resources import Engine
from eventing.resources.broker_config import TOPIC_OPTION

EMBEDDED_URL = "embedded"
REDIS_PORT = 6379


@dataclass(frozen=True, slots=True)
class Embedded:
    """SQLite in the node's data folder."""

    def __str__(self) -> str:
        return "the embedded broker"


EngineSettings = Embedded | KafkaSettings | RedisSettings
EMBEDDED = Embedded()


def parse_engine_url(url: str) -> EngineSettings:
    """What `--broker` says: `embedded`, `kafka://…`, `kafkas://…`, `redis://…`, `rediss://…`,
    `unix://…`. Raises UserError."""
    scheme = url.partition(":")[0]
    if url == EMBEDDED_URL:
        return EMBEDDED
    if scheme in ("kafka", "kafkas"):
        return parse_kafka_url(url)
    if scheme in ("redis", "rediss", "unix"):
        return parse_redis_url(url)
    raise UserError("it must be embedded, kafka://host:port or redis://host:port")


def engine_name(settings: EngineSettings) -> Engine:
    """The engine's name, as the resources call it."""
    match settings:
        case Embedded():
            return "embedded"
        case KafkaSettings():
            return "kafka"
        case RedisSettings():
            return "redis"


def engine_settings(
    engine: Engine | None,
    config: Mapping[str, str],
    secret: Mapping[str, bytes] | None,
    default: EngineSettings,
) -> EngineSettings:
    """The settings of a broker of this engine: what its ConfigMap says, and for the rest what
    `default` says where it is of the same engine. None = of the default's. Raises UserError."""
    match engine or engine_name(default):
        case "kafka":
            base = default if isinstance(default, KafkaSettings) else KafkaSettings()
            return _kafka(base, config, secret)
        case "redis":
            base_redis = default if isinstance(default, RedisSettings) else RedisSettings()
            return _redis(base_redis, config, secret)
        case _:
            return EMBEDDED


def _kafka(
    base: KafkaSettings, config: Mapping[str, str], secret: Mapping[str, bytes] | None
) -> KafkaSettings:
    options = {
        key.removeprefix(TOPIC_OPTION): value
        for key, value in config.items()
        if key.startswith(TOPIC_OPTION)
    }
    return KafkaSettings(
        config.get("bootstrap.servers", base.bootstrap_servers),
        security_of(secret) if secret is not None else base.security,
        int(config.get("default.topic.partitions", base.partitions)),
        int(config.get("default.topic.replication.factor", base.replication_factor)),
        options or base.topic_options,
    )


def _redis(
    base: RedisSettings, config: Mapping[str, str], secret: Mapping[str, bytes] | None
) -> RedisSettings:
    if "redis.address" in config:
        return parse_redis_url(config["redis.address"], secret)
    if secret is None:
        return base
    own = parse_redis_url(base.address, secret)
    return replace(base, user=own.user, password=own.password, ca=own.ca)


def make_broker(
    key: str, settings: EngineSettings, limits: Limits, *, data: Path, node: str
) -> Broker:
    """The broker of this name, not started yet."""
    match settings:
        case KafkaSettings():
            from brokers.kafka.broker import KafkaBroker

            return KafkaBroker(key, settings, limits, node=node)
        case RedisSettings():
            from brokers.redis.broker import RedisBroker

            return RedisBroker(key, settings, limits, node=node)
        case Embedded():
            return EmbeddedBroker(key, data / "brokers" / f"{key}.db", limits)


def make_cluster(settings: EngineSettings, node: str) -> Cluster:
    """The nodes that share this engine, not started yet."""
    match settings:
        case KafkaSettings():
            from brokers.kafka.cluster import KafkaCluster

            return KafkaCluster(settings, node)
        case RedisSettings():
            from brokers.redis.cluster import RedisCluster

            return RedisCluster(settings, node)
        case Embedded():
            return LocalCluster(node)


def shown_engine(settings: EngineSettings) -> str:
    """The engine and where it is, for people: without what is secret."""
    match settings:
        case KafkaSettings():
            return f"Kafka at {settings.bootstrap_servers}"
        case RedisSettings():
            return f"Redis at {shown_address(settings)}"
        case Embedded():
            return "embedded"


def same_place(one: EngineSettings, other: EngineSettings) -> bool:
    """Whether what was stored with these settings is found with those. One server in common is
    enough: a list of bootstrap servers may grow and shrink with its Kafka."""
    if isinstance(one, KafkaSettings) and isinstance(other, KafkaSettings):
        return bool(_servers(one) & _servers(other))
    if isinstance(one, RedisSettings) and isinstance(other, RedisSettings):
        return _database(one) == _database(other)
    return one == other


def _servers(settings: KafkaSettings) -> set[str]:
    return {server.strip() for server in settings.bootstrap_servers.split(",")}


def _database(settings: RedisSettings) -> tuple[str, int, str]:
    parts = urlsplit(settings.address)
    if parts.scheme == "unix":
        return "", 0, parts.path
    return parts.hostname or "", parts.port or REDIS_PORT, parts.path.strip("/") or "0"


def shared_engine(default: EngineSettings, brokers: Mapping[str, EngineSettings]) -> EngineSettings:
    """The engine through which nodes see each other: that of `--broker`, else that of the first
    broker by name that has one, else none but this node is seen.

    How to get there is all that counts: what is set for a broker's own events is left out."""
    shared = (default, *(brokers[key] for key in sorted(brokers)))
    found = next((each for each in shared if not isinstance(each, Embedded)), EMBEDDED)
    match found:
        case KafkaSettings():
            return replace(found, partitions=PARTITIONS, topic_options={})
        case RedisSettings():
            return replace(found, replicas=0)
        case Embedded():
            return found
