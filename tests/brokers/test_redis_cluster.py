"""Nodes that share a Redis or a Valkey keep the contract of every cluster."""

from dataclasses import dataclass

import pytest
from cluster_contract import ClusterContract


@dataclass(frozen=True, slots=True)
class RedisNodes:
    url: str


class TestRedisCluster(ClusterContract):
    @pytest.fixture
    def harness(self, redis_url: str) -> RedisNodes:
        return RedisNodes(redis_url)
