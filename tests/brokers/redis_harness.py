"""Redis brokers of one name over a server that others may use as well."""

import asyncio
import re
import uuid
from pathlib import Path

from brokers.base import Limits
from brokers.redis.broker import RedisBroker
from brokers.redis.cluster import RedisCluster
from brokers.redis.settings import parse_redis_url


class RedisHarness:
    """A crash cuts the connections: nothing is written any more, nobody takes leave."""

    own_records = 0
    takeover = 0.0

    def __init__(self, url: str, node: str = "node") -> None:
        self.url = url
        self.name = f"test/{uuid.uuid4().hex[:12]}"
        self._node = node

    async def open(self, limits: Limits | None = None, node: str | None = None) -> RedisBroker:
        broker = RedisBroker(
            self.name, parse_redis_url(self.url), limits, node=self._node if node is None else node
        )
        await broker.start()
        return broker

    async def crash(self, broker: RedisBroker) -> None:
        await asyncio.gather(broker._upkeep.close(), broker._link.close(), broker._watch.close())


def documented_rights(*, cluster: bool = False) -> list[str]:
    """The command of docs/redis.md that makes a user with what a node needs."""
    page = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
    found = re.search(r"```text\n(ACL SETUSER .*?)```", page, re.DOTALL)
    more = re.search(r"for a Redis Cluster also `([^`]*)`", page)
    assert found is not None and more is not None
    return (found[1] + (more[1] if cluster else "")).split()


async def join_the_others(harness: RedisHarness) -> None:
    """What a node does beside its brokers."""
    cluster = RedisCluster(parse_redis_url(harness.url), "node")
    await cluster.start()
    await cluster.announce({})
    assert "node" in [member.name for member in await cluster.members()]
    lease = cluster.lease(f"lease-{uuid.uuid4().hex}")
    await asyncio.wait_for(lease.wait(), 5)
    await lease.close()
    await cluster.close()
