"""Broker time: Unix time that a clock set back doesn't hold up."""

from collections.abc import Callable


class BrokerTime:
    """Runs with the wall clock, and with the monotonic one while the wall clock is set back.

    So a delay counted in it is never stretched; a clock set forward (or a machine that slept)
    makes what is due by the wall clock due at once.
    """

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._ahead = wall() - monotonic()

    def now(self) -> float:
        """The time, in Unix seconds; never less than it was before."""
        monotonic = self._monotonic()
        ahead = self._wall() - monotonic
        if ahead > self._ahead:
            self._ahead = ahead
        return monotonic + self._ahead

    def of(self, at: float) -> float:
        """The broker time of `at`, a moment told by the wall clock as it stands now."""
        return self.now() + (at - self._wall())
