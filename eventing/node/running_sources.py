"""The sources of a wiring at work, and replaced where their settings change."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brokers.cluster import ANNOUNCE_EVERY, Lease, Member
from eventing.errors import StorageError, UserError
from eventing.node.wiring import READY, Condition, SourcePlan
from eventing.resources import Identity
from eventing.sources.outlet import End, Outlet, SourceRoute
from eventing.sources.ping_source import PingSource
from eventing.sources.settings import (
    KafkaSourceSettings,
    PingSourceSettings,
    RedisStreamSourceSettings,
)
from eventing.sources.source import Source
from triggers.dispatcher import Observer

log = logging.getLogger("eventing.node")

MOVE_GRACE = 2.0
"""Seconds that a source that is removed or replaced has for what is out."""
_PLURAL = {"KafkaSource": "kafkasources", "PingSource": "pingsources"}

FindRoute = Callable[[SourcePlan], SourceRoute | None]
"""What a source's plan means now; None while its sink is not there."""
FindLease = Callable[[str], Awaitable[Lease]]
FindMembers = Callable[[], Awaitable[list[Member]]]


class _Running:
    def __init__(self, plan: SourcePlan, outlet: Outlet, source: Source) -> None:
        self.plan = plan
        self.outlet = outlet
        self.source = source


class Sources:
    """Use from the event loop only; `run` one at a time. `find_lease` and `find_members` are to be
    set before the first source runs."""

    def __init__(self, data: Path, find_route: FindRoute) -> None:
        self.node = ""
        """The name of this node."""
        self.find_lease: FindLease | None = None
        self.find_members: FindMembers | None = None
        self._data = data
        self._find_route = find_route
        self._running: dict[Identity, _Running] = {}
        self._learning: asyncio.Task[None] | None = None

    def direct(self, plans: Mapping[Identity, SourcePlan]) -> None:
        """Send what comes from now on where these plans say: for those whose settings stay."""
        for identity, running in self._running.items():
            plan = plans.get(identity)
            if plan is not None:
                running.outlet.route = self._find_route(plan)
                if plan.settings == running.plan.settings:
                    running.plan = plan

    async def run(
        self, plans: Mapping[Identity, SourcePlan], observer: Observer | None = None
    ) -> None:
        """Have these at work. A source whose sink is not there is not begun; one whose sink goes
        keeps what it has taken until it is there again."""
        self.direct(plans)
        going = [
            identity
            for identity, running in self._running.items()
            if identity not in plans or plans[identity].settings != running.plan.settings
        ]
        leaving = [self._running.pop(identity).source for identity in going]
        await asyncio.gather(*(source.stop(MOVE_GRACE) for source in leaving))
        for identity, plan in plans.items():
            if identity not in self._running:
                self._begin(identity, plan, observer)

    def observe(self, observer: Observer | None) -> None:
        """Have every attempt told to it, or to nobody."""
        for running in self._running.values():
            running.outlet.observer = observer

    def renew_leases(self) -> None:
        """Leases are another engine's from now on."""
        for running in self._running.values():
            running.source.renew_lease()

    async def stop(self, grace: float) -> bool:
        """Take nothing more in, end what is out within `grace` seconds. True if all of it did."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        running, self._running = self._running, {}
        ended = await asyncio.gather(*(each.source.stop(grace) for each in running.values()))
        return all(ended)

    def condition(self, identity: Identity) -> Condition:
        """Whether a source that has a plan takes events in, and why not."""
        running = self._running.get(identity)
        if running is None:
            return Condition(False, "SinkNotReady", "its sink is not open")
        fault = running.source.fault
        if fault is not None:
            return Condition(False, fault.reason, fault.message)
        if running.outlet.route is None:
            return Condition(False, "SinkNotReady", "its sink is not open; what was taken waits")
        return READY

    def status(self, identity: Identity) -> dict[str, Any]:
        """Figures of this node's part, as JSON values."""
        running = self._running.get(identity)
        if running is None:
            return {}
        counters = {_camel(name): count for name, count in asdict(running.outlet.counters).items()}
        return {
            **running.source.status(),
            **counters,
            "inFlight": running.outlet.in_flight,
            "obstacle": running.outlet.obstacle,
        }

    def ticks(self) -> dict[str, float]:
        """The last moments of the timers, for the other nodes to learn."""
        return {
            str(identity): running.source.settled
            for identity, running in self._running.items()
            if isinstance(running.source, PingSource) and running.source.settled
        }

    async def fire(self, identity: Identity, seconds: float) -> tuple[str, End]:
        """Have a PingSource send an event now: its id, and how it ended within `seconds`. Raises
        LookupError where there is none of this name; UserError, where it has no sink."""
        running = self._running.get(identity)
        if running is None or not isinstance(running.source, PingSource):
            raise LookupError(f"there is no {identity}")
        if running.outlet.route is None:
            raise UserError(f"{identity} is not ready: its sink is not there")
        firing = asyncio.ensure_future(running.source.fire())
        try:
            return await asyncio.wait_for(firing, seconds)
        except TimeoutError:
            reason = running.outlet.obstacle or f"its sink has not answered within {seconds:g} s"
            return "", End("abandoned", reason)

    def _begin(self, identity: Identity, plan: SourcePlan, observer: Observer | None) -> None:
        route = self._find_route(plan)
        if route is None:
            return
        outlet = Outlet(str(identity))
        outlet.route = route
        outlet.observer = observer
        source = self._make(identity, plan, outlet)
        self._running[identity] = _Running(plan, outlet, source)
        if isinstance(source, PingSource) and self._learning is None:
            self._learning = asyncio.get_running_loop().create_task(self._learn(), name="ticks")

    def _make(self, identity: Identity, plan: SourcePlan, outlet: Outlet) -> Source:
        # The clients of engines are imported only where something needs them.
        assert self.find_lease is not None
        name = str(identity)
        kind = _PLURAL.get(identity.kind, "")
        source = f"/apis/v1/namespaces/{identity.namespace}/{kind}/{identity.name}"
        match plan.settings:
            case KafkaSourceSettings():
                from eventing.sources.kafka_source import KafkaSource

                client_id = f"eventing {self.node} {name}"
                return KafkaSource(name, plan.settings, outlet, source=source, client_id=client_id)
            case RedisStreamSourceSettings():
                from eventing.sources.redis_stream_source import RedisStreamSource

                return RedisStreamSource(
                    name,
                    plan.settings,
                    outlet,
                    find_lease=self.find_lease,
                    lease=name,
                    client_id=f"eventing:{self.node}:{name}",
                )
            case PingSourceSettings():
                return PingSource(
                    name,
                    plan.settings,
                    outlet,
                    source=source,
                    find_lease=self.find_lease,
                    lease=name,
                    memory=self._data / "ticks" / identity.namespace / identity.name,
                )

    async def _learn(self) -> None:
        """What other nodes tell of their timers, while this one stands by."""
        while True:
            await asyncio.sleep(ANNOUNCE_EVERY)
            if self.find_members is None:
                continue
            try:
                members = await self.find_members()
            except StorageError:
                continue
            for member in members:
                ticks = member.document.get("ticks", {})
                for identity, running in self._running.items():
                    if isinstance(running.source, PingSource) and str(identity) in ticks:
                        running.source.learn(float(ticks[str(identity)]))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
