"""A node as far as a cluster sees it, as a process to be killed or paused.

    python cluster_node.py URL NODE LEASE

It prints "held" whenever it comes to hold the lease, and "lost" whenever it holds it no more.
"""

import asyncio
import sys

from brokers.cluster import ANNOUNCE_EVERY, Cluster, Lease
from eventing.errors import StorageError
from eventing.node.engines import make_cluster, parse_engine_url


async def announce(cluster: Cluster) -> None:
    while True:
        try:
            await cluster.announce({})
        except StorageError as error:
            print(error, file=sys.stderr)
        await asyncio.sleep(ANNOUNCE_EVERY)


async def hold(lease: Lease) -> None:
    while True:
        await lease.wait()
        print("held", flush=True)
        await lease.lost()
        print("lost", flush=True)


async def run(url: str, node: str, name: str) -> None:
    cluster = make_cluster(parse_engine_url(url), node)
    await cluster.start()
    await asyncio.gather(announce(cluster), hold(cluster.lease(name)))


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
