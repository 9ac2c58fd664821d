"""What is measured of the calls to one revision: cheap cumulative counts, and snapshots of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_BUCKETS = 64


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts since the revision was first known; the difference of two covers the time between.

    calls: answered, or given up at a limit. errors: of them 5xx, or no answer at all. refused: any
    other that is not 2xx. seconds: their times in all, each from the handler's start where that is
    told, else from when the call was handed over; squares: of these times.
    """

    calls: int = 0
    errors: int = 0
    refused: int = 0
    seconds: float = 0.0
    squares: float = 0.0

    def __sub__(self, earlier: "Figures") -> "Figures":
        return Figures(
            self.calls - earlier.calls,
            self.errors - earlier.errors,
            self.refused - earlier.refused,
            self.seconds - earlier.seconds,
            self.squares - earlier.squares,
        )

    @property
    def failed(self) -> int:
        return self.errors + self.refused

    @property
    def mean(self) -> float:
        """Seconds; 0 without calls."""
        return self.seconds / self.calls if self.calls else 0.0

    @property
    def variance(self) -> float:
        """Of the times, in seconds squared; 0 below two calls."""
        if self.calls < 2:
            return 0.0
        return max(0.0, (self.squares - self.seconds * self.mean) / (self.calls - 1))


class Tally:
    """Figures as they grow. A bucket of times holds those below a power of two microseconds."""

    __slots__ = ("buckets", "calls", "errors", "refused", "seconds", "squares")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.refused = 0
        self.seconds = 0.0
        self.squares = 0.0
        self.buckets = [0] * _BUCKETS

    def count(self, status: int, seconds: float) -> None:
        self.calls += 1
        self.seconds += seconds
        self.squares += seconds * seconds
        self.buckets[int(seconds * 1e6).bit_length()] += 1
        if not 200 <= status < 300:
            self.failed(status)

    def failed(self, status: int) -> None:
        if status == 0 or status >= 500:
            self.errors += 1
        else:
            self.refused += 1

    def figures(self) -> Figures:
        return Figures(self.calls, self.errors, self.refused, self.seconds, self.squares)

    def latency(self) -> "Latency":
        calls = self.calls
        return Latency(
            self.seconds / calls if calls else 0.0, self._quantile(0.5), self._quantile(0.99)
        )

    def _quantile(self, share: float) -> float:
        """Seconds below which that share of the times lies, as if they lay evenly in a bucket."""
        rank = share * self.calls
        for index, count in enumerate(self.buckets):
            if count and rank <= count:
                low = 1 << (index - 1) if index else 0
                return (low + ((1 << index) - low) * rank / count) * 1e-6
            rank -= count
        return 0.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds. The mean is exact; the others are read off buckets that double in width."""

    mean: float = 0.0
    p50: float = 0.0
    p99: float = 0.0


@dataclass(frozen=True, slots=True)
class MirrorStats:
    """The copies a revision got of calls that went to others; none of it is in its other figures.

    dropped: copies not sent, since too many were out already.
    """

    calls: int
    errors: int
    refused: int
    latency: Latency
    in_flight: int
    dropped: int


@dataclass(frozen=True, slots=True)
class RevisionStats:
    """One revision at one moment, and its counts since it was first known.

    calls, errors, refused: as in Figures. in_flight: calls at the revision now, those nobody waits
    for any more included; waiting: for a place there.
    ejected_for: seconds it is out for yet, 0 = it is in; ejections: how often it was.
    retried: answers that were not passed on but tried again; retries_overflowed: those that would
    have been, had not max_retries been reached. timed_out: tries given up at a limit of the route;
    late: answers that came after that. overflowed: calls answered 503 since the revision was full.
    """

    calls: int
    errors: int
    refused: int
    latency: Latency
    in_flight: int
    waiting: int
    ejected_for: float
    ejections: int
    retried: int
    retries_overflowed: int
    timed_out: int
    late: int
    overflowed: int
    mirror: MirrorStats


@dataclass(frozen=True, slots=True)
class TrafficStats:
    """All of a function's traffic.

    delayed, aborted: faults made on purpose, before a revision was chosen. unhealthy: calls
    answered 503 since every revision they could have gone to was out.
    """

    delayed: int = 0
    aborted: int = 0
    unhealthy: int = 0
    revisions: Mapping[str, RevisionStats] = field(default_factory=dict)
