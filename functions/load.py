"""The load of one revision over time: calls in hand and calls a second, averaged over windows.

Kept in buckets, as Knative's metrics are, but as exact integrals: a call of 1 ms a minute counts
for what it is, and is never missed between two samples.
"""

from collections import deque
from math import ceil
from typing import NamedTuple


class _Bucket(NamedTuple):
    area: float
    arrivals: int


class Load:
    """Calls in hand (`level`) since `now`, remembered for `window` seconds.

    `granularity` is the length of a bucket in seconds; windows are rounded up to whole buckets.
    Times are seconds of one steady clock and never run backwards.
    """

    __slots__ = (
        "_area",
        "_arrivals",
        "_at",
        "_closed",
        "_end",
        "_granularity",
        "level",
    )

    def __init__(self, window: float, now: float, granularity: float = 1.0) -> None:
        self.level = 0
        self._granularity = granularity
        self._closed: deque[_Bucket] = deque(maxlen=ceil(round(window / granularity, 6)))
        self.restart(now)

    def restart(self, now: float) -> None:
        """Forget the past: averages run over the time since `now` until that fills their window.

        For a revision that wakes from zero, so that the time it was away doesn't thin out what
        meets it now.
        """
        self._closed.clear()
        self._at = now
        self._end = now + self._granularity
        self._area = 0.0
        self._arrivals = 0

    def enter(self, now: float) -> None:
        """A call has come in."""
        if now >= self._end:
            self._roll(now)
        self._area += self.level * (now - self._at)
        self._at = now
        self._arrivals += 1
        self.level += 1

    def leave(self, now: float) -> None:
        """A call has been answered."""
        if now >= self._end:
            self._roll(now)
        self._area += self.level * (now - self._at)
        self._at = now
        self.level -= 1

    def concurrency(self, now: float, window: float) -> float:
        """Average count of calls in hand over the last `window` seconds."""
        area, _, span = self._sums(now, window)
        return area / span if span > 0 else float(self.level)

    def rate(self, now: float, window: float) -> float:
        """Calls that came in a second, over the last `window` seconds."""
        _, arrivals, span = self._sums(now, window)
        # The first instant of a burst is no rate yet.
        return arrivals / max(span, self._granularity)

    def _sums(self, now: float, window: float) -> tuple[float, int, float]:
        if now >= self._end:
            self._roll(now)
        open_span = now - (self._end - self._granularity)
        area = self._area + self.level * (now - self._at)
        arrivals = self._arrivals
        count = min(len(self._closed), ceil(round(window / self._granularity, 6)))
        for index in range(-count, 0):
            bucket = self._closed[index]
            area += bucket.area
            arrivals += bucket.arrivals
        return area, arrivals, open_span + count * self._granularity

    def _roll(self, now: float) -> None:
        """Close the open bucket, and those of the time in which nothing changed."""
        area = self._area + self.level * (self._end - self._at)
        self._closed.append(_Bucket(area, self._arrivals))
        skipped = int((now - self._end) / self._granularity)
        quiet = _Bucket(self.level * self._granularity, 0)
        self._closed.extend([quiet] * min(skipped, self._closed.maxlen or 0))
        self._at = self._end + skipped * self._granularity
        self._end = self._at + self._granularity
        self._area = 0.0
        self._arrivals = 0
