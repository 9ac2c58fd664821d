"""The functions of a node as they run: a pool for every revision, and what spreads calls over them.

A revision's pool is there while calls, a tag or a policy may reach it. New code of a revision
serves before the old one is drained; a revision that nothing is sent to any more ends its calls
and goes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from eventing.node.wiring import Code, FunctionPlan, Key, RevisionPlan
from functions.base import Service
from functions.budget import WorkerBudget
from functions.containers.launcher import ContainerLauncher
from functions.metering import Metering
from functions.pool import Pool
from functions.traffic.policy import Weighted
from functions.traffic.router import TrafficRouter
from functions.worker import Launcher

log = logging.getLogger("eventing.node")

WORKER_START = 60.0
"""Seconds until a worker has to be ready."""
OLD_CODE_GRACE = 600.0
"""Seconds that calls begun on replaced code may take to end, or their timeout where longer."""

FindLauncher = Callable[[Key, RevisionPlan], Launcher]
LetGo = Callable[[], Awaitable[None]]
"""Told whenever something that ran before is in use no more."""
OnReady = Callable[[Key, str], None]


class RunningFunctions:
    """Use from one event loop. `on_ready` is told once of each revision that has an instance, or
    needs none to begin with."""

    def __init__(
        self,
        find_launcher: FindLauncher,
        let_go: LetGo,
        on_ready: OnReady,
        metering: Metering,
        *,
        scale_to_zero_grace: float,
    ) -> None:
        self._find_launcher = find_launcher
        self._metering = metering
        self._let_go = let_go
        self._on_ready = on_ready
        self._grace = scale_to_zero_grace
        self._budget = WorkerBudget()
        self._plans: dict[Key, FunctionPlan] = {}
        self._pools: dict[Key, dict[str, Pool]] = {}
        self._routers: dict[Key, TrafficRouter] = {}
        self._ready: set[tuple[Key, str]] = set()
        self._alive: dict[Pool, tuple[RevisionPlan, Launcher]] = {}
        """All pools, those included that only end their calls."""
        self._background: set[asyncio.Task[Any]] = set()

    def renew(self, plans: Mapping[Key, FunctionPlan]) -> None:
        """Run these from now on; those that are not among them go on until `retire`."""
        for key, plan in plans.items():
            before = self._plans.get(key)
            if before == plan:
                continue
            pools = self._pools.setdefault(key, {})
            replaced: list[tuple[Pool, Pool]] = []
            for name, wanted in plan.revisions.items():
                old = before.revisions.get(name) if before is not None else None
                if old == wanted and name in pools:
                    continue
                pool = self._start(key, wanted)
                if name in pools:
                    replaced.append((pools[name], pool))
                pools[name] = pool
            self._plans[key] = plan
            self._spread(key, plan)
            for pool, successor in replaced:
                # Calls that no worker has begun run on the new code.
                pool.drain(successor)
                self._retire(key, pool)
            gone = [name for name in pools if name not in plan.revisions]
            for name in gone:
                pool = pools.pop(name)
                pool.drain(self.service(key))
                self._retire(key, pool)

    def redirect(self, key: Key, shares: tuple[Weighted, ...]) -> None:
        """Spread a function's calls so from now on; its revisions run already."""
        plan = self._plans[key] = replace(self._plans[key], shares=shares)
        self._spread(key, plan)

    def retire(self, plans: Iterable[Key]) -> None:
        """Let go of functions that are not among these: their calls end first."""
        for key in set(self._plans) - set(plans):
            del self._plans[key]
            self._routers.pop(key, None)
            for pool in self._pools.pop(key).values():
                self._retire(key, pool)

    def service(self, key: Key, *, ordered: bool = False) -> Service | None:
        """What takes the function's calls; `ordered`: those of one key go to one revision. None
        where there is no such function."""
        plan = self._plans.get(key)
        if plan is None:
            return None
        router = self._routers.get(key)
        if router is None:
            return self._pools[key][plan.shares[0].revision]
        return router.ordered if ordered else router

    def pools(self, key: Key) -> Mapping[str, Pool]:
        """By revision."""
        return self._pools.get(key, {})

    def router(self, key: Key) -> TrafficRouter | None:
        return self._routers.get(key)

    def plan(self, key: Key) -> FunctionPlan | None:
        """As it runs now."""
        return self._plans.get(key)

    def __contains__(self, key: Key) -> bool:
        return key in self._plans

    def __iter__(self) -> Iterator[Key]:
        return iter(self._plans)

    @property
    def workers(self) -> int:
        """Instances that take calls."""
        return sum(pool.ready for pools in self._pools.values() for pool in pools.values())

    def code_in_use(self) -> set[Code]:
        """Every version of code that a pool runs, or still has calls on."""
        return {plan.code for plan, _ in self._alive.values() if plan.code is not None}

    @property
    def launchers(self) -> set[Launcher]:
        """Those that a pool uses, or still has calls with."""
        return {launcher for _, launcher in self._alive.values()}

    async def close(self, grace: float) -> None:
        """End every instance within `grace` seconds."""
        for router in self._routers.values():
            router.close()
        await asyncio.gather(*(pool.close(grace) for pool in self._alive))
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    # Inside

    def _start(self, key: Key, plan: RevisionPlan) -> Pool:
        scale = replace(plan.scale, grace=self._grace)
        self._ready.discard((key, plan.name))
        launcher = self._find_launcher(key, plan)
        namespace, _, function = key.partition("/")
        pool = Pool(
            plan.revision,
            launcher,
            scale,
            budget=self._budget,
            start_timeout=_start_timeout(launcher),
            meter=self._metering.meter(namespace, function, plan.name, plan.revision.memory),
            on_change=partial(self._changed, key, plan.name),
        )
        self._alive[pool] = plan, launcher
        pool.start()
        if not scale.min and not scale.initial:
            self._tell_ready(key, plan.name)
        return pool

    def _spread(self, key: Key, plan: FunctionPlan) -> None:
        services = {name: self._pools[key][name] for name in plan.revisions}
        router = self._routers.get(key)
        if router is not None:
            router.update(services, plan.shares, plan.policy)
        if len(plan.revisions) == 1 and plan.policy is None:
            # Calls that are still with the router know their way.
            self._routers.pop(key, None)
        elif router is None:
            self._routers[key] = TrafficRouter(services, plan.shares, plan.policy)

    def _changed(self, key: Key, name: str, pool: Pool) -> None:
        if pool.ready:
            self._tell_ready(key, name)

    def _tell_ready(self, key: Key, name: str) -> None:
        if (key, name) not in self._ready:
            self._ready.add((key, name))
            self._on_ready(key, name)

    def _retire(self, key: Key, pool: Pool) -> None:
        """Let its calls end, then let go of what ran it."""

        async def drain() -> None:
            await pool.close(max(OLD_CODE_GRACE, pool.revision.timeout))
            del self._alive[pool]
            await self._let_go()

        self._in_background(drain(), f"drain {key} {pool.revision.revision}")

    def _in_background(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _start_timeout(launcher: Launcher) -> float:
    return launcher.start_timeout if isinstance(launcher, ContainerLauncher) else WORKER_START
