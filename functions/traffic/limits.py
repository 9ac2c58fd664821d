"""How many calls may be out at one revision, and how many may wait for a place there."""

import sys
from dataclasses import dataclass

from functions.base import Response
from functions.traffic.policy import ConnectionPool

UNBOUNDED = sys.maxsize
MOST_WAITING = 100_000
"""Calls that may wait for one revision where the policy sets no bound of its own."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A ConnectionPool with its zeros spelled out: bounds of what is in flight, of what waits for
    a place beyond that, and of the retries that are out at once."""

    in_flight: int = UNBOUNDED
    waiting: int = MOST_WAITING
    retries: int = UNBOUNDED

    @classmethod
    def of(cls, pool: ConnectionPool | None) -> "Limits":
        if pool is None:
            return cls()
        return cls(
            pool.max_requests or UNBOUNDED,
            pool.max_pending or MOST_WAITING,
            pool.max_retries or UNBOUNDED,
        )


def overflow(revision: str, limits: Limits) -> Response:
    """The answer to a call for which there is no place, not even to wait in."""
    reason = (
        f"TrafficPolicy: {revision} is full: {limits.in_flight} calls in flight and "
        f"{limits.waiting} waiting (connectionPool)"
    )
    return Response(503, reason=reason)
