"""Where a source's events go: to its sink, again after a failure, to the dead-letter sink, or up.

A source hands an event in and is told once of its end. What is tried again and when is decided by
triggers/delivery.py, as for a trigger; a sink that is a broker is tried until it takes the event.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

from brokers.base import Broker, Dead, Delivery, Done, Failure, Outcome, Retry
from eventing.errors import BrokerFull, StorageError, UserError
from eventing.event import Event
from functions.base import Call, Response, Service
from triggers.dead_letter import dead_letter_event
from triggers.delivery import (
    DEFAULT_TTL,
    TTL_ATTRIBUTE,
    DeliveryPolicy,
    decide,
    outgoing,
    retryable,
    time_to_live,
)
from triggers.dispatcher import Attempt, Observer

log = logging.getLogger("eventing.sources")

IN_FLIGHT = 100
"""Events of a source that are out to a sink at once, where nothing asks for fewer."""
FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
"""Seconds until a broker that can't store now is tried again: doubled each time, up to a limit."""
UNREADABLE_CODE = 422
"""The `knativeerrorcode` of a record that can't become an event."""


@dataclass(frozen=True, slots=True)
class SourceRoute:
    """Where a source's events go, and how. Replaced whole when the wiring changes.

    `destination` and `sink_destination` name the addresses in dead letters and for people. `broker`
    is the sink where that is a broker; `sink_is_broker` says so of the dead-letter sink.
    `extensions` are set on every event.
    """

    target: Service
    destination: str
    policy: DeliveryPolicy = field(default_factory=DeliveryPolicy)
    broker: Broker | None = None
    sink: Service | None = None
    sink_destination: str = ""
    sink_is_broker: bool = False
    extensions: Mapping[str, str] = field(default_factory=dict)


How = Literal["taken", "dead-lettered", "given up", "abandoned"]


class End(NamedTuple):
    """How it ended with an event; "abandoned" = it has not: the outlet was closed before."""

    how: How
    reason: str = ""

    @property
    def settled(self) -> bool:
        return self.how != "abandoned"


@dataclass(slots=True)
class Counters:
    """Since the source began: events by how they ended, and attempts that failed."""

    taken: int = 0
    failed_attempts: int = 0
    dead_lettered: int = 0
    given_up: int = 0


class Sending:
    """One event on its way; `cancel` lets go of it, and its end is told to nobody."""

    __slots__ = ("cancelled", "delivery", "done", "timer", "waits")

    def __init__(self, delivery: Delivery, done: Callable[[End], None]) -> None:
        self.delivery = delivery
        self.done = done
        self.timer: asyncio.TimerHandle | None = None
        self.waits = 0
        self.cancelled = False

    def cancel(self) -> None:
        """Nothing more is tried; an attempt that is out goes on without counting."""
        self.cancelled = True
        if self.timer is not None:
            self.timer.cancel()


class Outlet:
    """The way out of the source of this name. Without a `route` events wait."""

    def __init__(self, source: str, *, clock: Callable[[], float] = time.time) -> None:
        self.source = source
        self.counters = Counters()
        self.observer: Observer | None = None
        self.obstacle = ""
        """Why the sink does not take what is tried; empty while it does."""
        self._route: SourceRoute | None = None
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._open: set[Sending] = set()
        self._held: list[Sending] = []
        self._out = 0
        self._draining = False
        self._changed: asyncio.Future[None] | None = None
        self._keeping: set[asyncio.Task[None]] = set()

    # What it is told

    @property
    def route(self) -> SourceRoute | None:
        return self._route

    @route.setter
    def route(self, route: SourceRoute | None) -> None:
        self._route = route
        if route is not None:
            held, self._held = self._held, []
            for sending in held:
                self._loop.call_soon(self._attempt, sending)
        self._tell_change()

    @property
    def in_flight(self) -> int:
        """Events handed in whose end has not come."""
        return len(self._open)

    async def room(self, limit: int = IN_FLIGHT) -> None:
        """Until fewer than `limit` are in flight, or the outlet is closed."""
        while len(self._open) >= limit and not self._draining:
            await self._change()

    async def drain(self, grace: float) -> bool:
        """Try nothing again, wait up to `grace` seconds for the attempts that are out, and let go
        of the rest: their end is "abandoned". True if none was."""
        self._draining = True
        for sending in [each for each in self._open if each.timer is not None]:
            self._abandon(sending)
        for sending in self._held:
            self._abandon(sending)
        self._held = []
        self._tell_change()
        deadline = self._loop.time() + grace
        while self._out and (left := deadline - self._loop.time()) > 0:
            await asyncio.wait([self._change()], timeout=left)
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        ended = not self._out
        for sending in tuple(self._open):
            self._abandon(sending)
        return ended

    # Single events

    def submit(self, event: Event, done: Callable[[End], None]) -> Sending:
        """Bring it to the sink; `done` is called once, on the loop and after this has returned."""
        return self._begin(Delivery(event, 0), done)

    async def deliver(self, event: Event) -> End:
        """The same, awaited. Cancelled, it lets go of the event."""
        return await self._awaited(partial(self.submit, event))

    async def refuse(self, event: Event, reason: str) -> End:
        """What can't be an event, told by one that can: to the dead-letter sink, else kept by the
        broker that is the sink, else given up."""
        destination = self._route.destination if self._route is not None else ""
        failure = Failure(destination, UNREADABLE_CODE, reason)

        def begin(done: Callable[[End], None]) -> Sending:
            return self._begin(Delivery(event, 0, 1, "dead_letter", failure), done)

        return await self._awaited(begin)

    async def _awaited(self, begin: Callable[[Callable[[End], None]], Sending]) -> End:
        ended: asyncio.Future[End] = self._loop.create_future()

        def done(end: End) -> None:
            if not ended.done():
                ended.set_result(end)

        sending = begin(done)
        try:
            return await ended
        except asyncio.CancelledError:
            self._let_go(sending)
            raise

    # Batches

    async def publish(self, events: Sequence[Event]) -> bool:
        """Bring them to the sink in order: to a broker all in one, else one after the other.
        Whether all are settled; False where the outlet was closed before."""
        waits = 0
        while not self._draining:
            route = self._route
            if route is None:
                await self._change()
                continue
            if route.broker is None or any(_spent(event) for event in events):
                return await self._one_by_one(events)
            entering = [_entering(_extended(event, route)) for event in events]
            try:
                await self._stored(route.broker, entering)
            except UserError:
                # One of them is never taken; the others are.
                return await self._one_by_one(events)
            except (StorageError, BrokerFull) as error:
                waits += 1
                self.counters.failed_attempts += 1
                self._tell_obstacle(str(error))
                after = error.retry_after if isinstance(error, BrokerFull) else None
                await self._pause(_wait(waits, after))
                continue
            self.counters.taken += len(events)
            self._tell_obstacle("")
            return True
        return False

    async def _one_by_one(self, events: Sequence[Event]) -> bool:
        for event in events:
            if not (await self.deliver(event)).settled:
                return False
        return True

    async def _stored(self, broker: Broker, events: Sequence[Event]) -> None:
        """Cancelled, it leaves the broker at it: the events may be stored."""
        future = broker.publish(events)
        future.add_done_callback(_heard)
        self._out += 1
        try:
            await asyncio.wait([future])
        finally:
            self._out -= 1
            self._tell_change()
        future.result()

    async def _pause(self, seconds: float) -> None:
        deadline = self._loop.time() + seconds
        while not self._draining and (left := deadline - self._loop.time()) > 0:
            await asyncio.wait([self._change()], timeout=left)

    # Attempts

    def _begin(self, delivery: Delivery, done: Callable[[End], None]) -> Sending:
        sending = Sending(delivery, done)
        self._open.add(sending)
        self._loop.call_soon(self._attempt, sending)
        return sending

    def _attempt(self, sending: Sending) -> None:
        sending.timer = None
        if sending.cancelled:
            return
        if self._draining:
            self._abandon(sending)
            return
        route = self._route
        if route is None:
            self._held.append(sending)
            return
        delivery = sending.delivery
        event, target = _extended(delivery.event, route), route.target
        if delivery.stage == "dead_letter" and delivery.failure is not None:
            if route.sink is None:
                self._give_up(sending, route, delivery.failure)
                return
            event, target = dead_letter_event(event, delivery.failure), route.sink
        call = Call(
            outgoing(event), delivery.attempt, self.source, route.policy.timeout, _hops(event)
        )
        self._out += 1
        target.submit(call, partial(self._answered, sending, route, time.monotonic_ns()))

    def _answered(
        self, sending: Sending, route: SourceRoute, began_ns: int, response: Response
    ) -> None:
        self._out -= 1
        self._tell_change()
        if sending.cancelled:
            return
        delivery = sending.delivery
        at_sink = delivery.stage == "dead_letter"
        outcome = decide(
            delivery,
            response,
            route.policy,
            destination=route.destination,
            has_sink=route.sink is not None,
            now=self._clock(),
        )
        is_broker = route.sink_is_broker if at_sink else route.broker is not None
        if is_broker and not isinstance(outcome, Done) and retryable(response.status):
            sending.waits += 1
            outcome = Retry(
                delivery,
                self._clock() + _wait(sending.waits, response.retry_after),
                delivery.failure or Failure(route.destination, response.status, response.reason),
                delivery.stage,
            )
        self._observe(delivery, route, response, outcome, began_ns)
        match outcome:
            case Done():
                self._tell_obstacle("")
                if at_sink:
                    self.counters.dead_lettered += 1
                    reason = delivery.failure.reason if delivery.failure is not None else ""
                    self._end(sending, End("dead-lettered", reason))
                else:
                    self.counters.taken += 1
                    self._end(sending, End("taken"))
            case Retry(at=at, failure=failure, stage=stage):
                self.counters.failed_attempts += 1
                if is_broker:
                    self._tell_obstacle(response.reason)
                attempt = delivery.attempt + 1 if stage == delivery.stage else 1
                sending.delivery = Delivery(delivery.event, 0, attempt, stage, failure)
                self._again(sending, at - self._clock())
            case Dead(failure=failure):
                self.counters.failed_attempts += 1
                self._give_up(sending, route, failure)

    def _again(self, sending: Sending, seconds: float) -> None:
        if self._draining:
            self._abandon(sending)
            return
        sending.timer = self._loop.call_later(max(0.0, seconds), self._attempt, sending)

    def _give_up(self, sending: Sending, route: SourceRoute, failure: Failure) -> None:
        if route.broker is not None:
            event = outgoing(_extended(sending.delivery.event, route))
            keeping = self._loop.create_task(self._keep(sending, event, route.broker, failure))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)
        else:
            self._drop(sending, failure.reason)

    async def _keep(self, sending: Sending, event: Event, broker: Broker, failure: Failure) -> None:
        """Among the dead letters of the broker that is the sink."""
        waits = 0
        while not (self._draining or sending.cancelled):
            try:
                await broker.keep(event, failure)
            except (StorageError, BrokerFull) as error:
                waits += 1
                self._tell_obstacle(str(error))
                await self._pause(_wait(waits, None))
            except UserError as error:
                self._drop(sending, f"{failure.reason}; and the broker can't keep it: {error}")
                return
            else:
                self.counters.dead_lettered += 1
                self._end(sending, End("dead-lettered", failure.reason))
                return
        self._abandon(sending)

    def _drop(self, sending: Sending, reason: str) -> None:
        self.counters.given_up += 1
        event = sending.delivery.event.attributes
        log.error(
            "source %s gave up event %s of %s: %s",
            self.source,
            event["id"],
            event["source"],
            reason,
        )
        self._end(sending, End("given up", reason))

    # Ends

    def _end(self, sending: Sending, end: End) -> None:
        if sending in self._open:
            self._open.discard(sending)
            self._tell_change()
            sending.done(end)

    def _abandon(self, sending: Sending) -> None:
        sending.cancel()
        self._end(sending, End("abandoned"))

    def _let_go(self, sending: Sending) -> None:
        sending.cancel()
        self._open.discard(sending)
        self._tell_change()

    def let_go(self, sendings: Sequence[Sending]) -> None:
        """Of events that are somebody else's by now."""
        for sending in sendings:
            self._let_go(sending)

    # Telling

    def _tell_obstacle(self, obstacle: str) -> None:
        """Once when it begins, and once when it is over."""
        if obstacle and not self.obstacle:
            log.warning("source %s waits for its sink: %s", self.source, obstacle)
        if self.obstacle and not obstacle:
            log.info("source %s goes on", self.source)
        self.obstacle = obstacle

    def _observe(
        self,
        delivery: Delivery,
        route: SourceRoute,
        response: Response,
        outcome: Outcome,
        began_ns: int,
    ) -> None:
        if self.observer is None:
            return
        at_sink = delivery.stage == "dead_letter"
        destination = route.sink_destination if at_sink else route.destination
        seconds = (time.monotonic_ns() - began_ns) / 1e9
        self.observer.attempt(
            Attempt(
                self.source,
                delivery,
                destination,
                response,
                outcome,
                self._clock(),
                seconds,
                began_ns,
            )
        )

    def _tell_change(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _change(self) -> "asyncio.Future[None]":
        if self._changed is None or self._changed.done():
            self._changed = self._loop.create_future()
        return self._changed


def _extended(event: Event, route: SourceRoute) -> Event:
    if not route.extensions:
        return event
    return Event({**event.attributes, **route.extensions}, event.data)


def _hops(event: Event) -> int:
    """Brokers it may still pass through, as a target counts them: it takes one off."""
    return time_to_live(event) if TTL_ATTRIBUTE in event.attributes else DEFAULT_TTL + 1


def _spent(event: Event) -> bool:
    return _hops(event) <= 1


def _entering(event: Event) -> Event:
    """The event as it enters a broker's log."""
    return Event({**event.attributes, TTL_ATTRIBUTE: str(_hops(event) - 1)}, event.data)


def _wait(waits: int, retry_after: float | None) -> float:
    seconds: float = min(FIRST_WAIT * 2.0 ** min(waits - 1, 16), LONGEST_WAIT)
    return max(seconds, min(retry_after or 0.0, 60.0))


def _heard(future: "asyncio.Future[Any]") -> None:
    """Nobody may be waiting any more: its error is not to be reported as never seen."""
    if not future.cancelled():
        future.exception()
