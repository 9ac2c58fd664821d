"""How many worker processes a node may have: one count, shared by all pools without a bound."""

import os
from typing import Protocol


def default_workers() -> int:
    """Four a CPU this process may use, at least 8."""
    return max(8, 4 * available_cpus())


def available_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


class Borrower(Protocol):
    """A pool, as the budget sees it."""

    def idle_since(self) -> float | None:
        """Since when its longest idle worker has been so; None: it has none to spare."""

    def give_up_idle(self) -> None:
        """Drain that worker. Its place comes back when it has exited."""


class WorkerBudget:
    """At most `limit` workers, and never a deadlock.

    A pool always gets the workers it is entitled to (its first, or its minimum), even above the
    limit: the one that has been idle longest elsewhere is drained to make up for it. So a node can
    be over its limit by what is entitled, never by more.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = default_workers() if limit is None else limit
        self._taken: dict[Borrower, int] = {}
        self._total = 0

    @property
    def taken(self) -> int:
        """Workers there are now, in all pools, those on their way out included."""
        return self._total

    def take(self, borrower: Borrower, *, entitled: bool) -> bool:
        """Whether `borrower` may start one more worker; where true, `give_back` has to follow."""
        if self._total >= self.limit:
            if not entitled:
                return False
            self._reclaim(borrower)
        self._taken[borrower] = self._taken.get(borrower, 0) + 1
        self._total += 1
        return True

    def give_back(self, borrower: Borrower) -> None:
        """One worker of `borrower` has exited."""
        self._total -= 1
        self._taken[borrower] -= 1
        if not self._taken[borrower]:
            del self._taken[borrower]

    def _reclaim(self, borrower: Borrower) -> None:
        idle = [
            (since, other)
            for other in self._taken
            if other is not borrower and (since := other.idle_since()) is not None
        ]
        if idle:
            min(idle, key=lambda pair: pair[0])[1].give_up_idle()
