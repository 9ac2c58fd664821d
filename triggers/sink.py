"""The contract of a sink in another engine: a Service with a life, and what it is set to."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from brokers.base import Fault
from brokers.kafka.settings import KafkaSettings
from brokers.redis.settings import RedisSettings
from functions.base import Service


@dataclass(frozen=True, slots=True)
class KafkaSinkSettings:
    """`makes_topic`: it is made where it is missing, as `kafka` says."""

    kafka: KafkaSettings
    topic: str
    mode: Literal["binary", "structured"] = "binary"
    makes_topic: bool = False


@dataclass(frozen=True, slots=True)
class RedisStreamSinkSettings:
    redis: RedisSettings
    stream: str


SinkSettings = KafkaSinkSettings | RedisStreamSinkSettings


class Sink(Service, Protocol):
    """Open from when it is made until `close`. Stored = 202; what can never be stored = 413 or 400;
    an engine that does not take it now = 503, with the reason."""

    @property
    def fault(self) -> Fault | None:
        """Why it takes nothing."""

    def status(self) -> dict[str, Any]:
        """Figures of this node's part, as JSON values."""

    async def close(self, seconds: float) -> None:
        """Wait up to `seconds` for what is out; what is not answered then is answered 503."""
