"""One trigger at work: deliveries out of its subscription, attempts at its target, outcomes back.

Hot path: no task and no future a delivery. What is received in one go is submitted in one go,
and what ends in one turn of the loop is settled in one transaction.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from brokers.base import Dead, Delivery, Done, Outcome, Retry, Subscription
from eventing.errors import InvalidEvent, UserError
from eventing.event import Event, validate_event
from functions.base import Call, Response, Service
from triggers.dead_letter import dead_letter_event
from triggers.delivery import (
    DeliveryPolicy,
    decide,
    incoming_reply,
    outgoing,
    succeeded,
    time_to_live,
)

log = logging.getLogger("eventing.dispatcher")

UNSTORABLE_REPLY = 502
"""The status of an attempt whose reply is no event, or one the broker can't take: it is retried."""


class Transform(Protocol):
    """Turns an event into the one its subscriber gets. Raises UserError where it can't."""

    def apply(self, event: Event) -> Event: ...


@dataclass(frozen=True, slots=True)
class Route:
    """Where a trigger's deliveries go, and how. Replaced whole when the wiring changes.

    `destination` and `sink_destination` name the addresses in dead letters and for people.
    `in_flight` bounds the deliveries that are out at once.
    """

    target: Service
    destination: str
    policy: DeliveryPolicy = field(default_factory=DeliveryPolicy)
    transform: Transform | None = None
    sink: Service | None = None
    sink_destination: str = ""
    in_flight: int = 256


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished attempt, as observers see it. Times in seconds, `at` is Unix time."""

    trigger: str
    delivery: Delivery
    destination: str
    response: Response
    outcome: Outcome
    at: float
    seconds: float
    received_ns: int


class Observer(Protocol):
    """Told of every attempt; must not block."""

    def attempt(self, attempt: Attempt) -> None: ...


@dataclass(slots=True)
class Counters:
    """Since the dispatcher began: attempts by how they ended."""

    attempts: int = 0
    done: int = 0
    retried: int = 0
    dead_lettered: int = 0
    dead: int = 0


class Dispatcher:
    """Runs one trigger's deliveries until it is stopped.

    At most `route.in_flight` deliveries are out and not yet durably settled, which bounds memory
    whatever the subscriber does. `observer` may be set and unset at any time.
    """

    def __init__(
        self,
        trigger: str,
        subscription: Subscription,
        route: Route,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.trigger = trigger
        self.route = route
        self.observer: Observer | None = None
        self.counters = Counters()
        self._subscription = subscription
        self._clock = clock
        self._outstanding = 0
        self._outcomes: list[Outcome] = []
        self._flush_scheduled = False
        self._abandoned = False
        self._changed: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._receiving = self._loop.create_task(self._run(), name=f"dispatcher {trigger}")

    @property
    def outstanding(self) -> int:
        """Deliveries handed out and not yet durably settled."""
        return self._outstanding

    async def stop(self, grace: float | None) -> bool:
        """Take no more, wait up to `grace` seconds (None = for good) for what is out to end and
        settle.

        True if all of it did; the rest is handed out again after the next start, and what its
        attempts may yet answer counts for nothing.
        """
        self._receiving.cancel()
        await asyncio.wait([self._receiving])
        deadline = None if grace is None else self._loop.time() + grace
        while self._outstanding:
            left = None if deadline is None else deadline - self._loop.time()
            if left is not None and left <= 0:
                self._abandoned = True
                return False
            await asyncio.wait([self._change()], timeout=left)
        return True

    async def _run(self) -> None:
        while True:
            room = self.route.in_flight - self._outstanding
            if room <= 0:
                await self._change()
                continue
            deliveries = await self._subscription.receive(room)
            self._outstanding += len(deliveries)
            for delivery in deliveries:
                self._attempt(delivery)

    def _change(self) -> "asyncio.Future[None]":
        if self._changed is None or self._changed.done():
            self._changed = self._loop.create_future()
        return self._changed

    def _attempt(self, delivery: Delivery) -> None:
        route = self.route
        now = time.monotonic_ns()
        try:
            call, service = self._call(delivery, route)
        except UserError as error:
            self._finished(delivery, route, now, Response(500, reason=str(error)))
            return
        except Exception as error:
            # Nobody foresaw it; it costs this event an attempt, and must not end the trigger.
            log.exception("trigger %s: an attempt could not begin", self.trigger)
            self._finished(delivery, route, now, Response(500, reason=f"internal error: {error!r}"))
            return
        service.submit(call, partial(self._finished, delivery, route, now))

    def _call(self, delivery: Delivery, route: Route) -> tuple[Call, Service]:
        stored = delivery.event
        event = outgoing(stored)
        timeout = route.policy.timeout
        ttl = time_to_live(stored)
        if delivery.stage == "dead_letter" and delivery.failure is not None:
            if route.sink is None:
                raise UserError("the dead-letter sink is gone or not ready")
            event = dead_letter_event(event, delivery.failure)
            return Call(event, delivery.attempt, self.trigger, timeout, ttl), route.sink
        if route.transform is not None:
            event = route.transform.apply(event)
        return Call(event, delivery.attempt, self.trigger, timeout, ttl), route.target

    def _finished(
        self, delivery: Delivery, route: Route, received_ns: int, response: Response
    ) -> None:
        if self._abandoned:
            return
        if response.replies and succeeded(response.status):
            response = self._admit_replies(delivery, response)
        now = self._clock()
        outcome = self._decide(delivery, response, route, now)
        self._count(outcome)
        if self.observer is not None:
            seconds = (time.monotonic_ns() - received_ns) / 1e9
            self.observer.attempt(
                Attempt(
                    self.trigger,
                    delivery,
                    route.destination if delivery.stage == "subscriber" else route.sink_destination,
                    response,
                    outcome,
                    now,
                    seconds,
                    received_ns,
                )
            )
        self._outcomes.append(outcome)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _decide(self, delivery: Delivery, response: Response, route: Route, now: float) -> Outcome:
        return decide(
            delivery,
            response,
            route.policy,
            destination=route.destination,
            has_sink=route.sink is not None,
            now=now,
        )

    def _settle_apart(self, outcomes: list[Outcome], error: UserError) -> bool:
        """A reply that can't be stored fails the attempt it answers, not those settled along with
        it. Whether there was something to be done about it."""
        if len(outcomes) > 1:
            for outcome in outcomes:
                self._settle([outcome])
            return True
        done = outcomes[0]
        if type(done) is not Done or not done.replies:
            return False
        response = Response(UNSTORABLE_REPLY, reason=f"its reply can't be stored: {error}")
        self._settle([self._decide(done.delivery, response, self.route, self._clock())])
        return True

    def _admit_replies(self, delivery: Delivery, response: Response) -> Response:
        if delivery.stage == "dead_letter":
            return response
        cause = delivery.event
        ttl = time_to_live(cause)
        if ttl <= 1:
            # As Knative's ingress answers such a reply: 400, so it ends as a dead letter, seen.
            return Response(
                400,
                reason="knativebrokerttl is used up: the replies of this trigger go in a loop",
                started=response.started,
            )
        try:
            for reply in response.replies:
                validate_event(reply)
        except InvalidEvent as error:
            reason = f"its reply is no event: {error}"
            return Response(UNSTORABLE_REPLY, reason=reason, started=response.started)
        replies = tuple(incoming_reply(reply, cause, ttl) for reply in response.replies)
        return Response(response.status, replies, started=response.started)

    def _count(self, outcome: Outcome) -> None:
        counters = self.counters
        counters.attempts += 1
        if type(outcome) is Done:
            if outcome.delivery.stage == "dead_letter":
                counters.dead_lettered += 1
            else:
                counters.done += 1
        elif type(outcome) is Retry:
            counters.retried += 1
        elif type(outcome) is Dead:
            counters.dead += 1

    def _flush(self) -> None:
        self._flush_scheduled = False
        outcomes, self._outcomes = self._outcomes, []
        self._settle(outcomes)

    def _settle(self, outcomes: list[Outcome]) -> None:
        settled = self._subscription.settle(outcomes)
        settled.add_done_callback(partial(self._settled, outcomes))

    def _settled(
        self, outcomes: list[Outcome], settled: "asyncio.Future[list[tuple[int, ...]]]"
    ) -> None:
        error = None if settled.cancelled() else settled.exception()
        if isinstance(error, UserError) and self._settle_apart(outcomes, error):
            return
        if error is not None or settled.cancelled():
            # Only a closed broker gives up settling; its deliveries come again after a restart.
            log.warning("trigger %s: %d outcomes were not stored", self.trigger, len(outcomes))
        self._outstanding -= len(outcomes)
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
