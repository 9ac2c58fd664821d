"""A Redis Cluster of three servers keeps the contract as one server does: each broker's keys are in
one slot.
"""

import asyncio
from collections.abc import Iterator

import pytest
import redis
from broker_contract import (
    ALL,
    BrokerContract,
    awaited,
    ids,
    opened,
    publish,
    receive,
    settle_all,
)
from cluster_contract import LoneContract
from redis_harness import RedisHarness, documented_rights, join_the_others
from redis_shards import Shards, redis_shards

from brokers.redis.keys import base_key


@pytest.fixture(scope="module")
def shards() -> Iterator[Shards]:
    with redis_shards() as made:
        yield made


@pytest.mark.service("redis")
class TestShardedRedisBroker(BrokerContract):
    @pytest.fixture
    def harness(self, shards: Shards) -> RedisHarness:
        return RedisHarness(shards.url)

    @awaited
    async def test_brokers_spread_over_the_servers_and_each_is_on_one(
        self, harness: RedisHarness, shards: Shards
    ) -> None:
        holders = set()
        for _ in range(8):
            own = RedisHarness(shards.url)
            broker = await opened(own)
            await broker.subscribe("a")
            await publish(broker, 1)
            await broker.close()
            keys = {
                server.port: _keys(server.port, base_key(own.name)) for server in shards.servers
            }
            (holder,) = [port for port, found in keys.items() if found]
            holders.add(holder)
        assert len(holders) > 1

    @awaited
    async def test_the_documented_rights_are_enough(
        self, harness: RedisHarness, shards: Shards
    ) -> None:
        for server in shards.servers:
            with redis.Redis(port=server.port) as client:
                client.execute_command(*documented_rights(cluster=True))
        harness.url = harness.url.replace("redis://", "redis://eventing:password@")
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1)
        await settle_all(a, await receive(a, 1))
        await broker.close()
        await join_the_others(harness)

    @awaited
    async def test_a_slot_that_moves_to_another_server_is_followed(
        self, harness: RedisHarness, shards: Shards
    ) -> None:
        broker = await opened(harness, ALL)
        a = await broker.subscribe("a")
        await publish(broker, 1)
        await asyncio.to_thread(_move_slot, shards, base_key(harness.name))
        async with asyncio.timeout(30):
            while True:
                try:
                    await publish(broker, 2)
                    break
                except Exception:
                    await asyncio.sleep(0.05)
        assert sorted(set(ids(await receive(a, 2)))) == ["1", "2"]
        await broker.close()


@pytest.mark.service("redis")
class TestShardedRedisNodes(LoneContract):
    @pytest.fixture
    def harness(self, shards: Shards) -> Shards:
        return shards


def _keys(port: int, base: str) -> list[bytes]:
    escaped = base.replace("[", "\\[")
    with redis.Redis(port=port) as client:
        return list(client.scan_iter(match=f"{escaped}:*"))


def _move_slot(shards: Shards, base: str) -> None:
    """As `redis-cli --cluster reshard` does it."""
    clients = [redis.Redis(port=server.port) for server in shards.servers]
    try:
        slot = clients[0].execute_command("CLUSTER", "KEYSLOT", base)
        share = -(-16_384 // len(clients))
        source = clients[slot // share]
        target = clients[(slot // share + 1) % len(clients)]
        source_id, target_id = (
            each.execute_command("CLUSTER", "MYID").decode() for each in (source, target)
        )
        target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        port = target.connection_pool.connection_kwargs["port"]
        while keys := source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
        for each in (target, source, *clients):
            each.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
    finally:
        for client in clients:
            client.close()
