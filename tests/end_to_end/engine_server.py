"""The engine that the nodes of a test share."""

from dataclasses import dataclass

from kafka_server import KafkaServer
from redis_server import RedisServer


@dataclass(frozen=True, slots=True)
class Engine:
    """A server of this test's own, and its address for `--broker`."""

    server: KafkaServer | RedisServer
    url: str
