"""One route of a policy made ready: which calls it is for, where they go, what is done to them."""

from collections.abc import Callable
from typing import Protocol

from functions.clock import Clock
from functions.traffic.deadlines import Deadlines
from functions.traffic.destination import Destination
from functions.traffic.match import compile_matches
from functions.traffic.policy import HttpRoute
from functions.traffic.retry import compile_conditions
from functions.traffic.split import Split


class Timed(Protocol):
    """A call that is told when its time is over."""

    def expire(self, now: float) -> None:
        """The route's timeout."""

    def expire_try(self, now: float) -> None:
        """The limit of its present try."""


class Route:
    """`plain` where a call needs no watching on its way: neither timeout nor retries nor fault.

    A call keeps the route it began on, for all it says but the split: the next try goes to where
    the route of that moment says.
    """

    __slots__ = (
        "deadlines",
        "fault",
        "matches",
        "mirrors",
        "name",
        "plain",
        "retriable",
        "retries",
        "split",
        "try_deadlines",
    )

    def __init__(
        self,
        of: HttpRoute,
        split: Split[Destination],
        mirrors: list[tuple[Destination, float]],
        clock: Clock,
    ) -> None:
        self.name = of.name
        self.matches = compile_matches(of.matches)
        self.split = split
        self.mirrors = mirrors
        self.fault = of.fault
        self.retries = of.retries if of.retries and of.retries.attempts > 0 else None
        self.retriable: Callable[[int, bool], bool] | None = None
        self.deadlines: Deadlines[Timed] | None = None
        self.try_deadlines: Deadlines[Timed] | None = None
        if of.timeout is not None:
            self.deadlines = Deadlines(clock, of.timeout, lambda call, now: call.expire(now))
        if of.retries is not None:
            self.retriable = compile_conditions(of.retries.retry_on)
            limit = of.retries.per_try_timeout
            if limit is not None:
                self.try_deadlines = Deadlines(clock, limit, lambda call, now: call.expire_try(now))
        self.plain = (
            of.fault is None
            and self.deadlines is None
            and self.retries is None
            and self.try_deadlines is None
        )
