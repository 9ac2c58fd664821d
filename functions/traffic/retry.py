"""Which answers a route tries again by itself, and how long it waits before. Pure functions.

These tries are within one attempt of the delivery, whose own retries come after them.
"""

from collections.abc import Callable

from eventing.errors import UserError
from functions.traffic.policy import Retries

MOST_BACKOFFS = 10
"""Times the backoff that a wait never exceeds."""

_NO_ANSWER = frozenset({"5xx", "gateway-error", "connect-failure", "refused-stream", "reset"})
_BY_NAME: dict[str, Callable[[int], bool]] = {
    "5xx": lambda status: status >= 500,
    "gateway-error": lambda status: 502 <= status <= 504,
    "retriable-4xx": lambda status: status == 409,
}


def compile_conditions(retry_on: frozenset[str]) -> Callable[[int, bool], bool]:
    """`retriable(status, timed_out)`: whether a try that ended so is worth another one.

    timed_out: it ended at the limit of a try. That is no answer at all, to everything but
    `connect-failure` and `refused-stream`, and a 504 to who names that status.
    Raises UserError for a condition there isn't.
    """
    for name in retry_on - _NO_ANSWER - _BY_NAME.keys():
        if not (name.isascii() and name.isdigit()):
            raise UserError(
                f"retryOn: {name!r} is not supported; use a status, or "
                + ", ".join(sorted(_NO_ANSWER | _BY_NAME.keys()))
            )
    statuses = frozenset(int(name) for name in retry_on if name.isascii() and name.isdigit())
    predicates = [_BY_NAME[name] for name in retry_on if name in _BY_NAME]
    no_answer = not _NO_ANSWER.isdisjoint(retry_on)

    def retriable(status: int, timed_out: bool) -> bool:
        if timed_out:
            return "reset" in retry_on or any(holds(504) for holds in predicates) or 504 in statuses
        if status == 0:
            return no_answer
        return status in statuses or any(holds(status) for holds in predicates)

    return retriable


def backoff(retries: Retries, retry: int, draw: float) -> float:
    """Seconds before the `retry`-th retry (1, 2, …): as in Envoy a random part of the exponential
    bound, so that calls which failed together don't come back together."""
    # Beyond 2^10 the bound has long been reached; larger exponents would only overflow.
    bound = min(2.0 ** min(retry, 10) - 1, MOST_BACKOFFS) * retries.backoff
    return draw * bound
