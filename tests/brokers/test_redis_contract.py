"""Redis and Valkey keep the contract of every broker."""

import pytest
from broker_contract import BrokerContract
from redis_harness import RedisHarness


class TestRedisBroker(BrokerContract):
    @pytest.fixture
    def harness(self, redis_url: str) -> RedisHarness:
        return RedisHarness(redis_url)
