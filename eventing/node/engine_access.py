"""Settings of sources and sinks from their resources and the values of their Secrets. Pure.

Every function raises UserError for settings that contradict each other; it shows no secret.
"""

from collections.abc import Mapping

from brokers.kafka.settings import KafkaSettings, security_of
from brokers.redis.settings import RedisSettings, parse_redis_url
from eventing.errors import UserError
from eventing.resources import (
    KafkaSink,
    KafkaSource,
    PingSource,
    RedisStreamSink,
    RedisStreamSource,
)
from eventing.resources.ping_source import EVERY_MINUTE
from eventing.sources.settings import (
    KafkaSourceSettings,
    PingSourceSettings,
    RedisStreamSourceSettings,
)
from triggers.sink import KafkaSinkSettings, RedisStreamSinkSettings

Values = Mapping[str, str]
"""Of Secrets, by what they are: `user`, `password`, `ca.crt`, …"""


def kafka_source_settings(source: KafkaSource, values: Values) -> KafkaSourceSettings:
    secret = {"protocol": source.protocol, **values}
    kafka = KafkaSettings(source.bootstrap_servers, security_of(_bytes(secret)))
    return KafkaSourceSettings(
        kafka,
        source.spec.topics,
        source.group,
        source.initial_offset == "earliest",
        source.ordered,
        source.key_type,
        source.paused,
    )


def redis_source_settings(source: RedisStreamSource, values: Values) -> RedisStreamSourceSettings:
    redis = parse_redis_url(source.spec.url, _bytes(values))
    if redis.replicas:
        raise UserError("replicas=N in the address counts for what is written; leave it out")
    return RedisStreamSourceSettings(redis, source.spec.stream, source.group, source.at_once)


def ping_source_settings(source: PingSource) -> PingSourceSettings:
    return PingSourceSettings(
        source.schedule,
        source.spec.schedule or EVERY_MINUTE,
        source.spec.timezone or "",
        source.content_type,
        source.payload,
    )


def kafka_sink_settings(sink: KafkaSink, secret: Mapping[str, bytes] | None) -> KafkaSinkSettings:
    spec = sink.spec
    kafka = KafkaSettings(
        sink.bootstrap_servers,
        security_of(secret) if secret is not None else {},
        spec.num_partitions or 1,
        spec.replication_factor or 1,
    )
    return KafkaSinkSettings(kafka, spec.topic, sink.content_mode, sink.makes_topic)


def redis_sink_settings(sink: RedisStreamSink, values: Values) -> RedisStreamSinkSettings:
    redis: RedisSettings = parse_redis_url(sink.spec.url, _bytes(values))
    if redis.cluster and redis.replicas:
        raise UserError("replicas=N can't be waited for in a Redis Cluster; leave it out")
    return RedisStreamSinkSettings(redis, sink.spec.stream)


def _bytes(values: Values) -> dict[str, bytes]:
    return {key: value.encode() for key, value in values.items()}
