"""A node steps the rollouts whose lease it has, and gives up what it does not step any more."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from brokers.local_cluster import LocalCluster, LocalLease
from eventing.errors import StorageError
from eventing.node.rollout_leases import RolloutLeases


class Engine:
    """Gives leases, once it is there; `given` are all of them."""

    def __init__(self) -> None:
        self.given: list[LocalLease] = []
        self.there = asyncio.Event()
        self.failing = False

    async def lease(self, name: str) -> LocalLease:
        await self.there.wait()
        if self.failing:
            raise StorageError("it is closed")
        lease = LocalCluster("node").lease(name)
        self.given.append(lease)
        return lease


def run(work: Callable[[Engine, RolloutLeases], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        engine = Engine()
        async with asyncio.timeout(20):
            await work(engine, RolloutLeases(engine.lease))

    asyncio.run(main())


async def held(leases: RolloutLeases, name: str) -> None:
    while not leases.held(name):
        await asyncio.sleep(0.001)


def test_it_is_asked_for_once_and_held_when_it_is_given() -> None:
    async def work(engine: Engine, leases: RolloutLeases) -> None:
        assert not leases.held("one")
        await asyncio.sleep(0)
        assert not leases.held("one")
        engine.there.set()
        await held(leases, "one")
        assert len(engine.given) == 1
        await engine.given[0].close()
        assert not leases.held("one"), "it is lost"
        await leases.close()

    run(work)


def test_what_is_not_kept_is_given_up_also_before_it_is_given() -> None:
    async def work(engine: Engine, leases: RolloutLeases) -> None:
        engine.there.set()
        await held(leases, "one")
        await held(leases, "two")
        leases.keep(["two"])
        await engine.given[0].lost()
        assert engine.given[1].held
        engine.there.clear()
        assert not leases.held("three")
        await leases.close()
        assert [each.held for each in engine.given] == [False, False]

    run(work)


def test_where_asking_fails_it_is_asked_again() -> None:
    async def work(engine: Engine, leases: RolloutLeases) -> None:
        engine.failing = True
        engine.there.set()
        for _ in range(10):
            assert not leases.held("one")
            await asyncio.sleep(0)
        engine.failing = False
        await held(leases, "one")
        await leases.close()

    run(work)
