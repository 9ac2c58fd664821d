"""The traffic of one function: every call goes to one of its revisions, by weights and policy."""

import logging
from collections.abc import Callable, Mapping
from math import inf, isfinite
from random import Random

from eventing.errors import UserError
from functions.base import Call, Response, Service
from functions.clock import Clock, LoopClock
from functions.traffic.destination import Destination, Done, Passing, answer
from functions.traffic.figures import Figures, TrafficStats
from functions.traffic.match import Attributes
from functions.traffic.outlier import counts_as_out, most_ejected
from functions.traffic.passage import Passage
from functions.traffic.policy import HttpRoute, Mirror, Policy, Weighted
from functions.traffic.route import Route
from functions.traffic.split import Share, Split

_log = logging.getLogger(__name__)

_Splits = dict[tuple[Weighted, ...], Split[Destination]]


class TrafficRouter:
    """A Service over the revisions of a function. Each call is answered once.

    Which revision: that of the first route that matches, by weight and at random a call. By way of
    `ordered` every partition key has a revision of its own instead (functions/traffic/split.py);
    events without a key have no order among them, and go at random there too.

    What it answers itself names the TrafficPolicy in its reason: 504 at a timeout, 503 where a
    revision is full or all are out (then with `retry_after`, so the delivery waits for the first
    to come back), and the status of an abort. Such a 503 is not retried here.

    services: by the name of the revision; all that can be routed to, and those that are to keep
    their counts though they get no calls just now.
    split: the function's own, for calls and routes that have none.
    random: draws at least 0 and below 1.

    Made on the running event loop, unless it is given a clock.
    Raises UserError for revisions there are none of and weights that are none, as `update` does.
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        split: tuple[Weighted, ...],
        policy: Policy | None = None,
        *,
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        self.clock = clock or LoopClock()
        self.random = random or Random().random  # noqa: S311 - which revision is no secret
        self.delayed = 0
        self.aborted = 0
        self.paused: dict[Passage, None] = {}
        self._time = self.clock.time
        self._unhealthy = 0
        self.closed = False
        self._destinations: dict[str, Destination] = {}
        self._splits: _Splits = {}
        self._routes: list[Route] = []
        self._only: Route | None = None
        self._with_traffic: list[Destination] = []
        self._back_at = inf
        self._ordered = _Ordered(self)
        self.update(services, split, policy)

    # -- Service

    def submit(self, call: Call, done: Done) -> None:
        now = self._time()
        if now >= self._back_at:
            self._readmit(now)
        route = self._only or self._find(call.event.attributes)
        if not route.plain:
            self._accompany(route, call, done, False, now)
            return
        destination = route.split.pick(self.random())
        if destination is not None and destination.in_flight < destination.most:
            destination.in_flight += 1
            destination.service.submit(call, Passing(destination, done, now).answered)
        else:
            self._find_place(destination, call, done, False, now)
        if route.mirrors:
            self.mirror(route, call)

    @property
    def ordered(self) -> Service:
        """The same traffic, for who asks for order by key."""
        return self._ordered

    def submit_ordered(self, call: Call, done: Done) -> None:
        now = self._time()
        if now >= self._back_at:
            self._readmit(now)
        attributes = call.event.attributes
        route = self._only or self._find(attributes)
        if not route.plain:
            self._accompany(route, call, done, True, now)
            return
        key = attributes.get("partitionkey")
        split = route.split
        destination = split.pick(self.random()) if key is None else split.pick_for(key)
        if destination is not None and destination.in_flight < destination.most:
            destination.in_flight += 1
            destination.service.submit(call, Passing(destination, done, now).answered)
        else:
            self._find_place(destination, call, done, True, now)
        if route.mirrors:
            self.mirror(route, call)

    def _find_place(
        self, destination: Destination | None, call: Call, done: Done, ordered: bool, now: float
    ) -> None:
        if destination is None:
            done(self.unhealthy(call, now))
        else:
            destination.admit(_Queued(self, call, done, ordered), now)

    def _accompany(self, route: Route, call: Call, done: Done, ordered: bool, now: float) -> None:
        if self.closed:
            done(_shut_down())
            return
        Passage(self, route, call, done, ordered, now).begin(now)

    def mirror(self, route: Route, call: Call) -> None:
        for destination, share in route.mirrors:
            if share >= 1 or self.random() < share:
                destination.copies.send(call)

    def _find(self, attributes: Attributes) -> Route:
        for route in self._routes:
            if route.matches is None or route.matches(attributes):
                return route
        raise AssertionError("the last route takes every call")

    # -- Crossroads

    def choose(self, call: Call, ordered: bool, now: float) -> Destination | None:
        """The revision for a call at this moment; None where all it may go to are out."""
        if now >= self._back_at:
            self._readmit(now)
        route = self._only or self._find(call.event.attributes)
        return self.choose_on(route, call, ordered)

    def choose_on(self, route: Route, call: Call, ordered: bool) -> Destination | None:
        """The same, where it is known that this is its route."""
        key = call.event.attributes.get("partitionkey") if ordered else None
        split = route.split
        return split.pick(self.random()) if key is None else split.pick_for(key)

    def unhealthy(self, call: Call, now: float) -> Response:
        self._unhealthy += 1
        route = self._only or self._find(call.event.attributes)
        waits = {each.revision: each.outlier.back_at - now for each in route.split.values}
        out = ", ".join(f"{name} ejected for {wait:.0f} s more" for name, wait in waits.items())
        reason = f"TrafficPolicy: no revision is healthy: {out} (outlierDetection)"
        return Response(503, reason=reason, retry_after=max(0.0, min(waits.values())))

    # -- Changes

    def update(
        self,
        services: Mapping[str, Service],
        split: tuple[Weighted, ...],
        policy: Policy | None = None,
    ) -> None:
        """From now on, these. A call that is out ends at the revision where it is; one that waits
        for a revision that is no more goes to another. Counts and ejections stay with the revision.

        Where it raises, all is as before.
        """
        policy = policy or Policy()
        routes = [*policy.routes, HttpRoute()]
        for route in routes:
            _check(route.split or split, route.mirrors, services)
        destinations = {
            name: self._destinations.get(name)
            or Destination(name, service, self._time, self._earned_ejection)
            for name, service in services.items()
        }
        splits: _Splits = {}
        made = [self._route(route, split, splits, destinations) for route in routes]

        gone = [each for name, each in self._destinations.items() if name not in destinations]
        self._destinations = destinations
        self._splits = splits
        self._routes = made
        self._only = made[0] if made[0].matches is None else None
        self._with_traffic = list({id(d): d for s in splits.values() for d in s.values}.values())
        now = self._time()
        for name, service in services.items():
            destination = destinations[name]
            destination.service = service
            destination.configure(policy.revisions.get(name, policy.destination))
            if destination.detection is None and destination.outlier.out:
                destination.outlier.readmit(now)
        self._refresh()
        for destination in gone:
            while destination.waiting:
                passenger, _ = destination.waiting.popitem(last=False)
                passenger.choose_again(now)
        for destination in destinations.values():
            destination.flow()

    def _route(
        self,
        route: HttpRoute,
        default: tuple[Weighted, ...],
        splits: _Splits,
        destinations: Mapping[str, Destination],
    ) -> Route:
        weights = route.split or default
        if weights not in splits:
            splits[weights] = Split(
                Share(each.revision, each.weight, destinations[each.revision]) for each in weights
            )
        mirrors = [
            (destinations[each.revision], each.percentage / 100)
            for each in route.mirrors
            if each.percentage > 0
        ]
        return Route(route, splits[weights], mirrors, self.clock)

    def close(self) -> None:
        """Take no more calls, and answer those that are at no revision: 503."""
        self.closed = True
        for route in self._routes:
            route.plain = False  # so that the shortest way need not ask whether it is closed
        for passage in tuple(self.paused):
            passage.refuse(_shut_down())
        for destination in self._destinations.values():
            while destination.waiting:
                passenger, _ = destination.waiting.popitem(last=False)
                passenger.refuse(_shut_down())

    # -- Ejections

    def _earned_ejection(self, destination: Destination) -> None:
        detection = destination.detection
        if detection is None or self._destinations.get(destination.revision) is not destination:
            return
        out = sum(each.outlier.out for each in self._with_traffic if each is not destination)
        if out >= most_ejected(detection, len(self._with_traffic)):
            return
        now = self._time()
        destination.outlier.eject(now, detection)
        destination.suspected = False
        self._refresh()
        _log.warning(
            "TrafficPolicy: revision %s ejected for %.0f s: %s",
            destination.revision,
            destination.outlier.back_at - now,
            destination.outlier.why,
        )

    def _readmit(self, now: float) -> None:
        for destination in self._destinations.values():
            if destination.outlier.back_at <= now:
                destination.outlier.readmit(now)
                _log.info("TrafficPolicy: revision %s takes calls again", destination.revision)
        self._refresh()

    def _refresh(self) -> None:
        """Every split without those that are out, unless too few would be left."""
        revisions = self._with_traffic
        ejected = [each for each in self._destinations.values() if each.outlier.out]
        healthy = sum(not each.outlier.out for each in revisions)
        out = {
            id(each)
            for each in ejected
            if each.detection and counts_as_out(each.detection, healthy, len(revisions))
        }
        for split in self._splits.values():
            split.refresh(lambda destination: id(destination) in out)
        self._back_at = min((each.outlier.back_at for each in ejected), default=inf)

    # -- What can be seen

    def figures(self, revision: str) -> Figures:
        """Its counts so far, to compare with later ones; all zero for one it doesn't know."""
        destination = self._destinations.get(revision)
        return destination.tally.figures() if destination is not None else Figures()

    def stats(self) -> TrafficStats:
        now = self._time()
        return TrafficStats(
            delayed=self.delayed,
            aborted=self.aborted,
            unhealthy=self._unhealthy,
            revisions={name: each.stats(now) for name, each in self._destinations.items()},
        )


class _Ordered:
    __slots__ = ("submit",)

    def __init__(self, router: TrafficRouter) -> None:
        self.submit = router.submit_ordered


class _Queued:
    """A call without limits of its own that waits for a place at a revision."""

    __slots__ = ("_call", "_done", "_ordered", "_router")

    def __init__(self, router: TrafficRouter, call: Call, done: Done, ordered: bool) -> None:
        self._router = router
        self._call = call
        self._done = done
        self._ordered = ordered

    def go(self, destination: Destination, now: float) -> None:
        destination.send(self._call, Passing(destination, self._done, now))

    def wait(self, destination: Destination) -> None: ...

    def refuse(self, response: Response) -> None:
        answer(self._done, response)

    def choose_again(self, now: float) -> None:
        destination = self._router.choose(self._call, self._ordered, now)
        if destination is None:
            self.refuse(self._router.unhealthy(self._call, now))
        else:
            destination.admit(self, now)


def _shut_down() -> Response:
    return Response(503, reason="the function is shutting down", retry_after=1.0)


def _check(
    split: tuple[Weighted, ...], mirrors: tuple[Mirror, ...], services: Mapping[str, Service]
) -> None:
    for each in split:
        if not (isfinite(each.weight) and each.weight >= 0):
            raise UserError(
                f"traffic: the weight of {each.revision} is {each.weight!r}; give a number of 0 "
                "or more"
            )
    if not any(each.weight for each in split):
        raise UserError("traffic: no revision has a weight above 0, so no call could go anywhere")
    for name in [*(each.revision for each in split), *(each.revision for each in mirrors)]:
        if name not in services:
            raise UserError(
                f"traffic: there is no revision {name!r}; there are {', '.join(sorted(services))}"
            )
