"""Puts what the tests here share within reach of their imports."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engine_server import Engine
from kafka_properties import QUICK_GROUPS
from kafka_service import StartKafka
from redis_service import StartRedis


@pytest.fixture(params=["kafka", "redis"])
def engine(
    request: pytest.FixtureRequest, start_kafka: StartKafka, start_redis: StartRedis
) -> Engine:
    if request.param == "redis":
        server = start_redis()
        return Engine(server, server.url)
    kafka = start_kafka(properties=QUICK_GROUPS)
    return Engine(kafka, f"kafka://{kafka.bootstrap_servers}?partitions=6")
