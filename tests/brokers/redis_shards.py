"""A Redis Cluster of three servers, each with a third of the slots."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import redis
from redis_server import RedisServer
from redis_service import own_redis

SLOTS = 16_384
SERVERS = 3


class Shards:
    """`url` is for `--broker`; `servers` in the order of their slots."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self.servers = servers
        self.url = f"{servers[0].url}?cluster=true"


@contextmanager
def redis_shards() -> Iterator[Shards]:
    """Started, with all slots served; skips or fails the test where that cannot be."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(own_redis(appendfsync="everysec", options=_options()))
            for _ in range(SERVERS)
        ]
        clients = [stack.enter_context(redis.Redis(port=server.port)) for server in servers]
        share = -(-SLOTS // SERVERS)
        for number, client in enumerate(clients):
            first = number * share
            last = min(SLOTS, first + share) - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in servers[1:]:
            bus = clients[servers.index(server)].config_get("cluster-port")["cluster-port"]
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", server.port, int(bus))
        _wait_until_whole(clients)
        yield Shards(servers)


def _options() -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bus = probe.getsockname()[1]
    return {"cluster-enabled": "yes", "cluster-port": str(bus), "cluster-node-timeout": "2000"}


def _wait_until_whole(clients: list[redis.Redis]) -> None:
    end = time.monotonic() + 30
    while True:
        told = [client.execute_command("CLUSTER INFO") for client in clients]
        if all(
            each["cluster_state"] == "ok" and each["cluster_known_nodes"] == str(SERVERS)
            for each in told
        ):
            return
        assert time.monotonic() < end, told
        time.sleep(0.05)
