"""What each kind of source is set to. Pure values; equal ones make the same source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from brokers.kafka.settings import KafkaSettings
from brokers.redis.settings import RedisSettings
from eventing.resources.schedule import Schedule

KeyType = Literal["string", "int", "float", "byte-array"]


@dataclass(frozen=True, slots=True)
class KafkaSourceSettings:
    """`earliest`: a group that is new begins with what the topics hold, not with the next record.
    `ordered`: the records of a partition go one after another. `paused`: it takes none."""

    kafka: KafkaSettings
    topics: tuple[str, ...]
    group: str
    earliest: bool
    ordered: bool
    key_type: KeyType
    paused: bool = False


@dataclass(frozen=True, slots=True)
class RedisStreamSourceSettings:
    """`at_once`: entries that are out to a sink that is no broker at once; 1 keeps their order,
    0 = the source is paused."""

    redis: RedisSettings
    stream: str
    group: str
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class PingSourceSettings:
    """`text` is the schedule as it was written, with its zone, for people. `data`: None = none."""

    schedule: Schedule = field(compare=False)
    text: str
    timezone: str
    content_type: str | None
    data: bytes | None


SourceSettings = KafkaSourceSettings | RedisStreamSourceSettings | PingSourceSettings

Extensions = Mapping[str, str]
