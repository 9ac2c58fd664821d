"""A call on a route that has a fault, a timeout or retries: what happens to it until its answer.

The order is Istio's and Envoy's: the fault's delay and abort; then the timeout, over all tries;
then each try: its own limit, the choice of a revision, that revision's bounds.
"""

from collections.abc import Callable
from enum import Enum
from math import inf
from typing import Protocol

from functions.base import Call, Response
from functions.clock import Alarm, Clock
from functions.traffic import fault as faults
from functions.traffic.destination import Destination, Done, Passing, answer
from functions.traffic.retry import backoff
from functions.traffic.route import Route

SHORTEST = 0.001
"""Seconds a try is given at the least, where the limit falls due as it is handed over."""


class Crossroads(Protocol):
    """The router, as a call on its way needs it."""

    clock: Clock
    random: Callable[[], float]
    delayed: int
    aborted: int
    paused: dict["Passage", None]
    closed: bool

    def choose(self, call: Call, ordered: bool, now: float) -> Destination | None: ...

    def choose_on(self, route: Route, call: Call, ordered: bool) -> Destination | None: ...

    def mirror(self, route: Route, call: Call) -> None: ...

    def unhealthy(self, call: Call, now: float) -> Response: ...


class Limit(Enum):
    CALL = "timeout"
    TRY = "perTryTimeout"


class Passage:
    """Answers its call once. A Passenger of destinations, and told of its limits by its route.

    Past a limit the answer is 504, and what the revision may yet answer is dropped. An ordered
    call waits until the revision has let go of it, so that no two of a key ever run at once: what
    it answers after all counts, and only where that is nothing it is the 504. Either way the
    revision was told the time that is left as its own limit, so it comes free by itself.

    The delivery's own timeout counts for the tries together: none begins after it.
    """

    # Most calls need none of these: class attributes spare setting them for each.
    _due = inf
    _try_due = inf
    _over: Limit | None = None
    _passing: Passing | None = None
    _where: Destination | None = None
    """The revision it is at, or waits for."""
    _waits = False
    _retries = 0
    _retried_from: Destination | None = None
    """In whose max_retries it counts."""
    _alarm: Alarm | None = None

    def __init__(
        self, router: Crossroads, route: Route, call: Call, done: Done, ordered: bool, now: float
    ) -> None:
        self._router = router
        self._route = route
        self._call = call
        self._done: Done | None = done
        self._ordered = ordered
        self._entered = now
        self._spent = 0.0

    # -- Its way

    def begin(self, now: float) -> None:
        fault = self._route.fault
        if fault is None:
            self._forward(now)
            return
        router = self._router
        wait = faults.delay(fault, router.random()) if fault.delay_percentage else 0.0
        if not wait:
            self._meet_abort()
            return
        router.delayed += 1
        limit = self._call.timeout
        if limit is not None and limit <= wait:
            self._pause(now + limit, self._lost_in_delay)
        else:
            self._spent = wait
            self._pause(now + wait, self._meet_abort)

    def _meet_abort(self) -> None:
        self._resume()
        fault = self._route.fault
        if fault is not None and fault.abort_percentage:
            response = faults.abort(fault, self._router.random())
            if response is not None:
                self._router.aborted += 1
                self._end(response)
                return
        self._forward(self._router.clock.time())

    def _lost_in_delay(self) -> None:
        self._resume()
        reason = f"timed out after {self._call.timeout:g} s, in the delay of the TrafficPolicy"
        self._end(Response(0, reason=reason))

    def _forward(self, now: float) -> None:
        route, router = self._route, self._router
        if route.deadlines is not None:
            self._due = route.deadlines.add(self, now)
        if now == self._entered:
            destination = router.choose_on(route, self._call, self._ordered)
        else:
            destination = router.choose(self._call, self._ordered, now)
        self._try(destination, now)
        if route.mirrors:
            router.mirror(route, self._call)

    def _try(self, destination: Destination | None, now: float) -> None:
        if destination is None:
            self._end(self._router.unhealthy(self._call, now))
            return
        if self._route.try_deadlines is not None:
            self._try_due = self._route.try_deadlines.add(self, now)
        self._where = destination
        if destination.in_flight < destination.most:
            self.go(destination, now)
        else:
            destination.admit(self, now)

    # -- A Passenger

    def go(self, destination: Destination, now: float) -> None:
        self._waits = False
        call = self._call
        own = call.timeout
        due = self._due
        if self._try_due < due:
            due = self._try_due
        limit = due - now
        if own is not None and own - self._spent < limit:
            limit = own - self._spent
        if limit != inf and limit != own:
            limit = limit if limit > SHORTEST else SHORTEST
            # `_replace` and `_make` take twice as long.
            event, attempt, trigger, _, ttl, path, format = call
            call = Call(event, attempt, trigger, limit, ttl, path, format)
        # Kept before it is handed over: the answer may come at once.
        passing = self._passing = Passing(destination, self._answered, now)
        destination.send(call, passing)

    def wait(self, destination: Destination) -> None:
        self._waits = True

    def refuse(self, response: Response) -> None:
        self._end(response)

    def choose_again(self, now: float) -> None:
        self._leave_try()
        self._try(self._router.choose(self._call, self._ordered, now), now)

    # -- What ends a try

    def _answered(self, response: Response) -> None:
        status = response.status
        if 200 <= status < 300:
            self._end(response)
            return
        over, self._over = self._over, None
        destination = self._where
        now = self._router.clock.time()
        if status:
            over = None
        elif over is None:
            # Perhaps the revision kept the limit it was given before the alarm rang here.
            over = self._limit_reached(now)
            if over is not None and destination is not None:
                destination.timeouts += 1
        self._leave_try()
        if over is not None:
            response = self._timed_out(over, destination)
        if over is Limit.CALL or not self._retry(destination, response, over, now):
            self._end(response)

    def _limit_reached(self, now: float) -> Limit | None:
        if now >= self._due:
            return Limit.CALL
        return Limit.TRY if now >= self._try_due else None

    def expire(self, now: float) -> None:
        self._expired(Limit.CALL, now)

    def expire_try(self, now: float) -> None:
        self._expired(Limit.TRY, now)

    def _expired(self, over: Limit, now: float) -> None:
        if self._passing is not None and self._ordered:
            destination = self._where
            if self._over is None and destination is not None:
                destination.timeouts += 1
            if self._over is not Limit.CALL:
                self._over = over
            return
        if self._passing is not None:
            self._passing.give_up(now)
        elif self._waits and self._where is not None:
            self._where.timeouts += 1
        destination = self._where
        self._leave_try()
        response = self._timed_out(over, destination)
        if over is Limit.TRY and self._retry(destination, response, over, now):
            return
        self._end(response)

    def _timed_out(self, over: Limit, at: Destination | None) -> Response:
        if over is Limit.CALL:
            limits = self._route.deadlines
        else:
            limits = self._route.try_deadlines
        seconds = limits.seconds if limits is not None else 0.0
        where = f"{at.revision} " if at is not None else ""
        reason = f"TrafficPolicy: {where}timed out after {seconds:g} s ({over.value})"
        return Response(504, reason=reason)

    def _leave_try(self) -> None:
        """It is neither at a revision nor waiting for one any more."""
        if self._waits and self._where is not None:
            self._where.waiting.pop(self, None)
            self._waits = False
        self._where = self._passing = None
        if self._route.try_deadlines is not None:
            self._route.try_deadlines.discard(self)
            self._try_due = inf

    # -- Retries

    def _retry(
        self, destination: Destination | None, response: Response, over: Limit | None, now: float
    ) -> bool:
        """Whether it will be tried again."""
        self._count_out_of_retries()
        route, retries = self._route, self._route.retries
        if retries is None or route.retriable is None or destination is None:
            return False
        if self._router.closed:
            return False
        if self._retries >= retries.attempts:
            return False
        if not route.retriable(response.status, over is not None):
            return False
        when = now + backoff(retries, self._retries + 1, self._router.random())
        limit = self._call.timeout
        if when >= self._due or (limit is not None and when >= self._entered + limit):
            return False
        if destination.retries_out >= destination.limits.retries:
            destination.retries_overflowed += 1
            return False
        destination.retries_out += 1
        destination.retried += 1
        self._retried_from = destination
        self._retries += 1
        self._spent = when - self._entered
        self._pause(when, self._again)
        return True

    def _count_out_of_retries(self) -> None:
        if self._retried_from is not None:
            self._retried_from.retries_out -= 1
            self._retried_from = None

    def _again(self) -> None:
        self._resume()
        now = self._router.clock.time()
        self._try(self._router.choose(self._call, self._ordered, now), now)

    # -- Pauses and the end

    def _pause(self, until: float, then: Callable[[], None]) -> None:
        self._router.paused[self] = None
        self._alarm = self._router.clock.call_at(until, then)

    def _resume(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
            self._router.paused.pop(self, None)

    def _end(self, response: Response) -> None:
        done = self._done
        if done is None:
            return
        self._done = None
        if self._alarm is not None:
            self._resume()
        if self._where is not None:
            self._leave_try()
        if self._retried_from is not None:
            self._count_out_of_retries()
        if self._route.deadlines is not None:
            self._route.deadlines.discard(self)
        answer(done, response)
