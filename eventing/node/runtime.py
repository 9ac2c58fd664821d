"""Makes a wiring real: brokers, pools, targets and dispatchers, and changes them while they run.

Order matters and is kept here alone: a trigger's filter is in place before its subscription, new
code serves before the old one is drained, a broker closes after all that settles in it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from brokers.base import At, Broker, Subscription
from eventing.errors import StorageError, SubscriptionInUse
from eventing.event import Event
from eventing.node.activity import Activity, ObservedRouter
from eventing.node.engines import Embedded, EngineSettings, make_broker, same_place
from eventing.node.running_functions import FindLauncher, LetGo, OnReady, RunningFunctions
from eventing.node.running_remotes import RunningRemotes
from eventing.node.running_sinks import Sinks
from eventing.node.running_sources import Sources
from eventing.node.wiring import (
    READY,
    BrokerPlan,
    Condition,
    Destination,
    Key,
    SourcePlan,
    TriggerPlan,
    Wiring,
)
from eventing.resources import Identity, Resource
from eventing.sources.outlet import SourceRoute
from functions.base import Service
from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.path import AtPath
from functions.http.target import DEFAULT_TIMEOUT, HttpTarget
from functions.metering import Metering
from functions.traffic.router import TrafficRouter
from triggers.broker_target import BrokerTarget
from triggers.dispatcher import Dispatcher, Route
from triggers.filter_index import FilterIndex
from triggers.transform_target import TransformTarget

log = logging.getLogger("eventing.node")

IN_FLIGHT_FUNCTION = 256
"""Deliveries of one trigger that are out to a function at once, those waiting for it included."""
IN_FLIGHT_HTTP = 100
MOVE_GRACE = 0.5
"""Seconds that a trigger that is removed, or changes its order, has for what is in flight."""
CLOSING = 30.0
"""Seconds that a broker may take to close: above what the engines take to store what is left."""
KEEP_REMOVED = 60.0
"""Seconds that a removed trigger may come back in and go on where it was: a checkout or a copy has
files away for a moment."""

OPENING = "Opening"
"""The reason of a broker that is not open yet."""


Meet = Callable[[Iterable[Resource]], Awaitable[bool]]


@dataclass(slots=True)
class RunningTrigger:
    plan: TriggerPlan
    subscription: Subscription
    dispatcher: Dispatcher | None = None


@dataclass(frozen=True, slots=True)
class _Ends:
    """What the destination of a plan is now, and its dead-letter sink where it has one."""

    destination: Destination
    target: Service
    sink: Service | None = None
    sink_destination: str = ""


class Relearned(Exception):
    """Another wiring is to be run by now: what other nodes know was learned only once a broker that
    they share was open. It is, and nothing reaches it yet."""


class UnopenedBroker:
    """Stands for a broker whose storage is not open: senders are told to come again (503), not that
    there is no such broker."""

    def __init__(self, why: StorageError) -> None:
        self._why = why

    def publish(self, events: Sequence[Event]) -> "asyncio.Future[list[int]]":
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        future.set_exception(self._why)
        return future


class Runtime:
    """What runs of a node. Use from its event loop only; `rewire` one at a time."""

    def __init__(
        self,
        data: Path,
        find_launcher: FindLauncher,
        let_go: LetGo,
        on_ready: OnReady,
        metering: Metering,
        activity: Activity,
        *,
        scale_to_zero_grace: float,
    ) -> None:
        self.name = ""
        """Of the node, among those of its engine; to be set before the first `rewire`."""
        self.meet: Meet = _nobody
        """Asked once a broker that other nodes share is open, before anything reaches it: whether
        what they know of these resources was learned only now."""
        self.brokers: dict[Key, Broker] = {}
        self.functions = RunningFunctions(
            find_launcher, let_go, on_ready, metering, scale_to_zero_grace=scale_to_zero_grace
        )
        self.remotes = RunningRemotes(self._http_target)
        self.triggers: dict[Key, RunningTrigger] = {}
        self.faults: dict[Key, Condition] = {}
        """Of brokers that could not be opened."""
        self.trigger_faults: dict[Key, Condition] = {}
        """Of triggers whose broker is open and whose subscription could not be."""
        self.opening: set[Key] = set()
        """Brokers on their way to be open, or open while their triggers are not yet: what came in
        now, a new trigger would not see."""
        self.sinks = Sinks()
        self.sources = Sources(data, self._source_route)
        self.wiring = Wiring()
        self._wanted = self.wiring
        self._halfway = False
        self._data = data
        self._engines: dict[Key, EngineSettings] = {}
        self._activity = activity
        self._routers: dict[Key, ObservedRouter] = {}
        self.client = HttpClient()
        """What calls containers and URIs."""
        self._pausing: set[Dispatcher] = set()
        self._absent: dict[tuple[Key, Key], float] = {}
        self._background: set[asyncio.Task[Any]] = set()

    async def rewire(self, wiring: Wiring, deleted: Key | None = None) -> None:
        """Run this wiring from now on. What is in flight ends where it began. Of other triggers
        than the one `deleted` that are not in it, what waits for them is kept a while. Raises
        StorageError where something of it could not be done; the rest runs, and `mend` does it.
        Raises Relearned: to be called again, with another."""
        self._wanted, self._halfway = wiring, True
        self.sinks.node = self.sources.node = self.name
        await self._leave_engines(wiring)
        for key in [key for key in self.faults if key not in wiring.brokers]:
            del self.faults[key]
        for key, broker in self.brokers.items():
            if key in wiring.brokers:
                broker.set_limits(wiring.brokers[key].limits)
        await self._open_brokers(
            plan for key, plan in wiring.brokers.items() if key not in self.brokers
        )
        self.functions.renew(wiring.functions)
        self.remotes.renew(wiring.remotes)
        self.sinks.open(wiring.sinks)
        self.wiring = wiring
        for key in self.brokers:
            self._route(key)
        # All in one turn of the loop: a replaced pool refuses what is still sent to it.
        moved = [key for key in self.triggers if self._moved(key)]
        for key, running in self.triggers.items():
            if key not in moved:
                self._direct(running, wiring.triggers[key])
            elif running.dispatcher is not None and key in wiring.triggers:
                running.dispatcher.route = (
                    self._route_of(wiring.triggers[key]) or running.dispatcher.route
                )
        self.sources.direct(wiring.sources)
        leaving = [self.triggers[key].dispatcher for key in moved]
        await asyncio.gather(*(each.stop(MOVE_GRACE) for each in leaving if each is not None))
        for key in moved:
            await self._remove_trigger(key)
        self.trigger_faults = {
            key: fault for key, fault in self.trigger_faults.items() if key in wiring.triggers
        }
        await self._run_triggers(wiring.triggers.values())
        self.opening.clear()
        await self.sources.run(wiring.sources, self._observer)
        await self._close_brokers()
        self.functions.retire(wiring.functions)
        self.sinks.retire(wiring.sinks)
        self._halfway = False
        await self._conclude(deleted)

    async def mend(self) -> None:
        """Do what storage did not allow so far and that alone, and what is to be done a while
        after a change. Raises StorageError where some of it is still to be done, and Relearned:
        `rewire` is to do it."""
        if self._halfway:
            await self.rewire(self._wanted)
            return
        wiring, self._halfway = self.wiring, True
        await self._open_brokers([wiring.brokers[key] for key in self.faults])
        opened = self.opening & self.brokers.keys()
        for key in opened:
            self._route(key)
        await self._run_triggers(
            plan
            for key, plan in wiring.triggers.items()
            if plan.broker in opened or key in self.trigger_faults
        )
        self.opening.clear()
        if opened:
            # Others were held, since they send to these.
            for key, running in self.triggers.items():
                self._direct(running, wiring.triggers[key])
            await self.sources.run(wiring.sources, self._observer)
        self._halfway = False
        await self._conclude()

    async def _conclude(self, deleted: Key | None = None) -> None:
        await self.forget_removed(deleted)
        for key, fault in self.trigger_faults.items():
            raise StorageError(f"trigger {key}: {fault.message}", fault.reason)

    @property
    def needs_mending(self) -> bool:
        """Whether there is something for `mend` to do."""
        return bool(self._halfway or self.faults or self.trigger_faults or self._absent)

    def router(self, key: Key) -> TrafficRouter | None:
        """What spreads the calls of a function, and handles them as its policy asks; None where
        there is neither a policy nor a choice."""
        return self.functions.router(key) or self.remotes.router(key)

    def observe(self, on: bool) -> None:
        """Have every dispatcher tell the activity hub of its attempts, or stop that."""
        for running in self.triggers.values():
            if running.dispatcher is not None:
                running.dispatcher.observer = self._activity if on else None
        self.sources.observe(self._activity if on else None)

    @property
    def _observer(self) -> Activity | None:
        return self._activity if self._activity.listening else None

    def find_broker(self, namespace: str, name: str) -> "Broker | UnopenedBroker | None":
        """The broker that takes events for the ingress; None where there is none of the name."""
        key = f"{namespace}/{name}"
        if key in self.opening:
            return UnopenedBroker(
                StorageError(f"broker {key} is being opened; send the event again", OPENING)
            )
        broker = self.brokers.get(key)
        if broker is not None:
            return broker
        condition = self.faults.get(key) or self.wiring.conditions.get(
            Identity("Broker", namespace, name)
        )
        if condition is not None and not condition.ready:
            message = f"broker {key} is not ready: {condition.message}"
            return UnopenedBroker(StorageError(message, condition.reason))
        return None

    def broker_condition(self, key: Key) -> Condition | None:
        """Why a broker that the wiring has stores no events now; None where it does."""
        if key in self.faults:
            return self.faults[key]
        if key in self.opening:
            return Condition(False, OPENING, "it is being opened")
        fault = self.brokers[key].fault if key in self.brokers else None
        return Condition(False, fault.reason, fault.message) if fault is not None else None

    def obstacles(self) -> dict[Key, str]:
        """Why brokers take no events: they are not open, or can't reach the engine they share with
        other nodes. A full disk under an embedded one is not among them: each answer tells of it,
        and no other node could take over."""
        shared = [key for key in self.brokers if not isinstance(self._engines[key], Embedded)]
        return {
            key: condition.message
            for key in (*self.faults, *self.opening, *shared)
            if (condition := self.broker_condition(key)) is not None
        }

    def unrouted(self, broker: Key) -> int:
        """Events of the broker that no trigger wanted, since the wiring last changed."""
        return self._routers[broker].unrouted if broker in self._routers else 0

    def condition(self, identity: Identity) -> Condition:
        """Whether a source or a sink is at work, as it runs here."""
        told = self.wiring.conditions[identity]
        if told.ready and identity in self.wiring.sources:
            return self.sources.condition(identity)
        sink = self.sinks.running().get(identity)
        if told.ready and sink is not None:
            fault = sink.fault
            return READY if fault is None else Condition(False, fault.reason, fault.message)
        return told

    async def stop(self, grace: float, leave: Callable[[], Awaitable[None]]) -> bool:
        """End what is in flight within `grace` seconds, settle, `leave` the other nodes, close.
        True if all of it ended; the rest is delivered again after the next start. Whatever fails,
        every broker is closed."""
        try:
            return await self._end(grace, leave)
        finally:
            await asyncio.gather(*(self._close_broker(key) for key in tuple(self.brokers)))

    async def _end(self, grace: float, leave: Callable[[], Awaitable[None]]) -> bool:
        dispatchers = [each.dispatcher for each in self.triggers.values() if each.dispatcher]
        dispatchers += self._pausing
        ended = await asyncio.gather(
            self.sources.stop(grace), *(dispatcher.stop(grace) for dispatcher in dispatchers)
        )
        await leave()
        self.remotes.close()
        await self.functions.close(0.0 if not all(ended) else 2.0)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.sinks.close(2.0)
        await self.client.close()
        return all(ended)

    # Brokers

    async def _open_brokers(self, plans: Iterable[BrokerPlan]) -> None:
        plans = list(plans)
        # Where one fails as none may, or this is cancelled, no other is left to itself.
        async with asyncio.TaskGroup() as group:
            for plan in plans:
                group.create_task(self._open_broker(plan), name=f"open {plan.key}")
        # They are listed in the order of the wiring, whichever was open first.
        order = dict.fromkeys([*self._wanted.brokers, *self.brokers])
        self.brokers = {key: self.brokers[key] for key in order if key in self.brokers}
        shared = [each.key for each in plans if not isinstance(each.engine, Embedded)]
        opened = self.brokers.keys() & shared
        if opened and await self.meet(self._wanted.resources.values()):
            raise Relearned

    async def _open_broker(self, plan: BrokerPlan) -> None:
        key = plan.key
        broker = make_broker(key, plan.engine, plan.limits, data=self._data, node=self.name)
        if key not in self.faults:
            self.opening.add(key)
        try:
            await broker.start()
        except StorageError as error:
            self.opening.discard(key)
            fault = Condition(False, error.reason, str(error))
            # Once, however often it is tried, and whatever its words are the next time.
            if key not in self.faults or self.faults[key].reason != fault.reason:
                log.error("broker %s: %s", key, error)
            self.faults[key] = fault
            return
        if self.faults.pop(key, None) is not None:
            log.info("broker %s is open now", key)
        self.brokers[key] = broker
        self.opening.add(key)
        self._engines[key] = plan.engine

    async def _leave_engines(self, wiring: Wiring) -> None:
        """Close brokers that are to be reached in another way, or live elsewhere, from now on."""
        for key in tuple(self.brokers):
            plan = wiring.brokers.get(key)
            if plan is None or plan.engine == self._engines[key]:
                continue
            self.opening.add(key)
            triggers = [name for name, each in self.triggers.items() if each.plan.broker == key]
            dispatchers = [self.triggers[name].dispatcher for name in triggers]
            await asyncio.gather(*(each.stop(MOVE_GRACE) for each in dispatchers if each))
            for name in triggers:
                await self._remove_trigger(name)
            if same_place(plan.engine, self._engines[key]):
                log.info("broker %s is opened anew: the settings of its engine have changed", key)
            else:
                log.warning("broker %s moves to another engine; what it holds now stays there", key)
            await self._close_broker(key)

    async def _close_brokers(self) -> None:
        for key in [key for key in self.brokers if key not in self.wiring.brokers]:
            engine = self._engines[key]
            await self._close_broker(key)
            where = self._data / "brokers" if isinstance(engine, Embedded) else "its engine"
            log.info("broker %s is closed; its events stay in %s", key, where)

    async def _close_broker(self, key: Key) -> None:
        """Whatever keeps it from closing holds nothing else up: it is as after a crash then."""
        self._routers.pop(key, None)
        del self._engines[key]
        broker = self.brokers.pop(key)
        try:
            async with asyncio.timeout(CLOSING):
                await broker.close()
        except TimeoutError:
            log.error("broker %s does not close within %g s; it is left as it is", key, CLOSING)
        except Exception:
            log.exception("broker %s did not close in order", key)

    def _route(self, broker: Key) -> None:
        filters = {
            key: plan.filter for key, plan in self.wiring.triggers.items() if plan.broker == broker
        }
        router = ObservedRouter(broker, FilterIndex(filters), self._activity)
        self._routers[broker] = router
        self.brokers[broker].set_router(router)

    # Triggers

    def _moved(self, key: Key) -> bool:
        """Whether a running trigger has no place in the wiring as it runs now."""
        plan = self.wiring.triggers.get(key)
        running = self.triggers[key].plan
        return plan is None or (plan.broker, plan.order) != (running.broker, running.order)

    async def _run_triggers(self, plans: Iterable[TriggerPlan]) -> None:
        """Those whose broker is open."""
        async with asyncio.TaskGroup() as group:
            for plan in plans:
                if plan.broker in self.brokers:
                    group.create_task(self._run_trigger(plan), name=f"subscribe {plan.key}")

    async def _run_trigger(self, plan: TriggerPlan) -> None:
        key = plan.key
        running = self.triggers.get(key)
        if running is None:
            broker = self.brokers[plan.broker]
            start = At(plan.start) if plan.start is not None else None
            try:
                subscription = await broker.subscribe(key, order=plan.order, start=start)
            except StorageError as error:
                self.trigger_faults[key] = Condition(False, error.reason, str(error))
                return
            if self.trigger_faults.pop(key, None) is not None:
                log.info("trigger %s takes events now", key)
            running = self.triggers[key] = RunningTrigger(plan, subscription)
        self._direct(running, plan)

    def _direct(self, running: RunningTrigger, plan: TriggerPlan) -> None:
        """Send what the trigger takes from now on where the plan says, or hold it."""
        running.plan = plan
        route = self._route_of(plan)
        if route is None:
            if running.dispatcher is not None:
                self._in_background(self._pause(running.dispatcher), f"pause {plan.key}")
                running.dispatcher = None
        elif running.dispatcher is None:
            running.dispatcher = Dispatcher(plan.key, running.subscription, route)
            running.dispatcher.observer = self._observer
        else:
            running.dispatcher.route = route

    async def _pause(self, dispatcher: Dispatcher) -> None:
        """Its subscription stays open, so what is out has to be settled, however long it takes."""
        self._pausing.add(dispatcher)
        await dispatcher.stop(None)
        self._pausing.discard(dispatcher)

    async def _remove_trigger(self, key: Key) -> None:
        running = self.triggers.pop(key)
        broker = self.brokers.get(running.plan.broker)
        if broker is None:
            return
        await broker.detach(key)

    async def forget_removed(self, at_once: Key | None = None) -> None:
        """Give up what waits for triggers that are there no longer, whether they went now or while
        the node was down: after KEEP_REMOVED seconds, the one of `at_once` now. Raises
        StorageError."""
        now = asyncio.get_running_loop().time()
        absent = {
            (key, name): self._absent.get((key, name), now)
            for key, broker in self.brokers.items()
            for name in broker.known_subscriptions()
            if self.wiring.subscriptions.get(name) != key
        }
        for (_, name), since in absent.items():
            if since == now and name != at_once:
                log.warning(
                    "trigger %s is gone; should it come back within %g s, it goes on where it was",
                    name,
                    KEEP_REMOVED,
                )
        self._absent = absent
        for (key, name), since in tuple(absent.items()):
            if name == at_once or now - since >= KEEP_REMOVED:
                absent[key, name] = now - KEEP_REMOVED  # where it fails, it is tried again soon
                try:
                    left = await self.brokers[key].unsubscribe(name)
                except SubscriptionInUse:
                    # Another node has it in its files still; whoever is the last removes it.
                    absent[key, name] = now
                    continue
                except LookupError:
                    pass  # another node was faster
                else:
                    self._tell_removed(name, key, left)
                del absent[key, name]

    def _tell_removed(self, trigger: Key, broker: Key, left: int) -> None:
        log.warning(
            "trigger %s is removed, with up to %d events of broker %s not delivered to it; they "
            "stay in the log for 'eventing replay'",
            trigger,
            left,
            broker,
        )

    # Targets

    def _ends_of(self, plan: TriggerPlan | SourcePlan) -> _Ends | None:
        """None while one of them is not there."""
        if plan.destination is None:
            return None
        ordered = isinstance(plan, TriggerPlan) and plan.order == "ordered"
        target = self._service(plan.destination, ordered=ordered)
        if target is None:
            return None
        if plan.sink is None:
            return _Ends(plan.destination, target)
        sink = self._service(plan.sink)
        if sink is None:
            return None
        return _Ends(plan.destination, target, sink, str(plan.sink))

    def _route_of(self, plan: TriggerPlan) -> Route | None:
        ends = self._ends_of(plan)
        if ends is None:
            return None
        return Route(
            ends.target,
            str(ends.destination),
            plan.policy,
            plan.transform,
            ends.sink,
            ends.sink_destination,
            IN_FLIGHT_HTTP if ends.destination.kind == "uri" else IN_FLIGHT_FUNCTION,
        )

    def _source_route(self, plan: SourcePlan) -> SourceRoute | None:
        ends = self._ends_of(plan)
        if ends is None:
            return None
        destination = ends.destination
        return SourceRoute(
            ends.target,
            str(destination),
            plan.policy,
            self.brokers[destination.name] if destination.kind == "broker" else None,
            ends.sink,
            ends.sink_destination,
            plan.sink is not None and plan.sink.kind == "broker",
            plan.extensions,
        )

    def _service(self, destination: Destination, *, ordered: bool = False) -> Service | None:
        match destination.kind:
            case "function":
                function = self.functions.service(destination.name, ordered=ordered)
                if function is None or not (destination.path or destination.format):
                    return function
                return AtPath(function, destination.path, destination.format)
            case "uri" if destination.function:
                return self.remotes.service(destination, ordered=ordered)
            case "uri":
                return self._http_target(destination)
            case "broker":
                broker = self.brokers.get(destination.name)
                return BrokerTarget(broker) if broker is not None else None
            case "kafka-sink":
                return self.sinks.find(Identity("KafkaSink", *destination.name.split("/")))
            case "redis-stream-sink":
                return self.sinks.find(Identity("RedisStreamSink", *destination.name.split("/")))
            case "transform":
                plan = self.wiring.transforms[destination.name]
                sink = self._service(plan.sink) if plan.sink is not None else None
                return TransformTarget(plan.expression, sink, plan.reply, discard=plan.discard)

    def _http_target(self, destination: Destination) -> HttpTarget:
        return HttpTarget(
            Address.parse(destination.name, security=destination.security),
            client=self.client,
            format=destination.format,
            timeout=destination.timeout or DEFAULT_TIMEOUT,
            most=destination.timeout or inf,
        )

    def _in_background(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _nobody(resources: Iterable[Resource]) -> bool:
    return False
