"""Nodes that share a Redis or a Valkey keep the contract of every cluster."""

from dataclasses import dataclass

import pytest
from broker_contract import awaited
from cluster_contract import ClusterContract, joined, new_name
from redis_service import StartRedis

from brokers.redis.connecting import make_client
from brokers.redis.settings import parse_redis_url
from eventing.errors import StorageError


@dataclass(frozen=True, slots=True)
class RedisNodes:
    url: str


class TestRedisCluster(ClusterContract):
    @pytest.fixture
    def harness(self, redis_url: str) -> RedisNodes:
        return RedisNodes(redis_url)


@awaited
async def test_what_is_no_document_of_a_table_is_passed_over(redis_url: str) -> None:
    table = new_name("table")
    client = make_client(parse_redis_url(redis_url))
    async with joined(RedisNodes(redis_url)) as cluster:
        for field, value in (("none", b"{no json"), ("list", b"[1]"), (b"\xff", b"{}")):
            await client.execute_command("HSET", f"eventing:{{nodes}}:table:{table}", field, value)
        await cluster.store(table, {"key": {"version": 1}})
        assert await cluster.documents(table) == {"key": {"version": 1}}
    await client.aclose()


def test_tables_survive_a_restart_are_gone_with_the_data_and_an_error_without_redis(
    start_redis: StartRedis,
) -> None:
    server = start_redis()

    @awaited
    async def test() -> None:
        async with joined(RedisNodes(server.url)) as cluster:
            await cluster.store("table", {"key": {"version": 1}})
            server.kill()
            with pytest.raises(StorageError, match="can't be reached"):
                await cluster.documents("table")
            with pytest.raises(StorageError, match="can't be reached"):
                await cluster.store("table", {"key": None})
            server.start()
            assert await cluster.documents("table") == {"key": {"version": 1}}
            client = make_client(parse_redis_url(server.url))
            await client.execute_command("FLUSHALL")
            await client.aclose()
            assert await cluster.documents("table") == {}

    test()
