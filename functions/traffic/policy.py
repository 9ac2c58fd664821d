"""What is asked of the calls between a trigger and a function's revisions. Values alone.

Names and meaning are those of Istio's VirtualService (routes) and DestinationRule (pools and
outliers), networking.istio.io/v1; where an event is no HTTP request the docstrings say what counts.
All times in seconds, all percentages from 0 to 100.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


class Pattern(Protocol):
    """A compiled regular expression, as `re` has it or one that takes time linear in the text."""

    def fullmatch(self, text: str, /) -> object | None:
        """Something where it matches all of the text, else None."""


@dataclass(frozen=True, slots=True)
class StringMatch:
    """How one attribute has to be: `exact` or `prefix` compare the text, `regex` has to match all
    of it (compiled when the policy is loaded)."""

    kind: Literal["exact", "prefix", "regex"]
    text: str
    pattern: Pattern | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """Every attribute has to match, and none of `without` may (an absent attribute matches
    nothing)."""

    attributes: Mapping[str, StringMatch] = field(default_factory=dict)
    without: Mapping[str, StringMatch] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Weighted:
    """A share of the calls for one revision. The weights of a route are relative to one another."""

    revision: str
    weight: float


@dataclass(frozen=True, slots=True)
class Retries:
    """Tries after the first within one attempt of the delivery, as Istio's HTTPRetry.

    attempts: retries at the most. per_try_timeout: None = the route's own limit alone. backoff:
    before the first retry, doubled for each, at most ten times that. retry_on: which answers are
    tried again: "5xx", "gateway-error" (502, 503, 504), "connect-failure", "refused-stream" and
    "reset" (no answer at all: status 0, a crash included), "retriable-4xx" (409), or a status.
    """

    attempts: int = 2
    per_try_timeout: float | None = None
    retry_on: frozenset[str] = frozenset({"connect-failure", "refused-stream", "503"})
    backoff: float = 0.025


@dataclass(frozen=True, slots=True)
class Fault:
    """Made on purpose: a delay before the call, and an answer in its place. Each by its own die."""

    delay: float = 0.0
    delay_percentage: float = 0.0
    abort_status: int = 0
    abort_percentage: float = 0.0


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of a share of the calls for another revision; its answers are counted and dropped."""

    revision: str
    percentage: float = 100.0


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """Calls that any of `matches` matches (none = all of them), and what is done with them."""

    name: str = ""
    matches: tuple[Match, ...] = ()
    split: tuple[Weighted, ...] = ()
    """Empty = the function's own traffic split."""
    timeout: float | None = None
    """Of the call with all its retries; None = the delivery's and the function's own."""
    retries: Retries | None = None
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When a revision is taken out for a while.

    consecutive_5xx: answers of 5xx or none at all in a row (0 = off); consecutive_gateway: of 502,
    503, 504 or none at all (0 = off). interval: seconds between two looks at who comes back.
    base_ejection: seconds out, times how often it was ejected before. max_ejection_percent: of the
    revisions of the function that have traffic; at least one may always be ejected, as in Envoy,
    unless this is 0. min_health_percent: below this share of healthy revisions none is ejected and
    all get their traffic again.
    """

    consecutive_5xx: int = 5
    consecutive_gateway: int = 0
    interval: float = 10.0
    base_ejection: float = 30.0
    max_ejection_percent: float = 10.0
    min_health_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """Bounds of the calls to one revision; 0 = no bound.

    max_requests (http2MaxRequests, or tcp.maxConnections where that is smaller): in flight at once.
    max_pending (http1MaxPendingRequests): waiting for a place beyond those; what is above is
    answered 503 at once. max_retries (maxRetries): retries out at once.
    """

    max_requests: int = 0
    max_pending: int = 0
    max_retries: int = 0


@dataclass(frozen=True, slots=True)
class DestinationPolicy:
    """Of the calls to one revision (or to every one that has no policy of its own)."""

    outlier_detection: OutlierDetection | None = None
    connection_pool: ConnectionPool | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """All that is asked for one function. The first route that matches counts; a call that none
    matches goes by the function's own traffic split, without retries, faults and mirrors."""

    routes: tuple[HttpRoute, ...] = ()
    destination: DestinationPolicy = field(default_factory=DestinationPolicy)
    revisions: Mapping[str, DestinationPolicy] = field(default_factory=dict)
    """Over `destination`, by revision."""

    @property
    def targets(self) -> frozenset[str]:
        """The revisions that its routes and mirrors name."""
        routed = {each.revision for route in self.routes for each in route.split}
        return frozenset(routed.union(m.revision for route in self.routes for m in route.mirrors))
