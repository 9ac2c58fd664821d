"""Counts what one revision uses: a pool tells it, the metering takes the figures away.

On the pool's hot path it is four additions; its methods are for when workers come and go.
"""

from collections.abc import Callable

from functions.usage import DEFAULT_MEMORY, GB, Usage


class Meter:
    """Of one pool, from its making to the end of its last worker. Use on the event loop only.

    `memory` in bytes, None = DEFAULT_MEMORY. Times are seconds of one steady clock, the pool's.

    The pool adds to `invocations`, `failed`, `execution` and `busy` (see Usage) itself, since a
    method would cost each call as much again.
    """

    __slots__ = (
        "_at",
        "_cold_start",
        "_cold_starts",
        "_instances",
        "_ready",
        "_ready_seconds",
        "_retired",
        "_settle",
        "_workers",
        "_zero",
        "busy",
        "execution",
        "failed",
        "invocations",
        "memory",
    )

    def __init__(self, memory: int | None, now: float) -> None:
        self.memory = DEFAULT_MEMORY if memory is None else memory
        self._settle: Callable[[float], None] | None = None
        self._workers = 0
        self._ready = 0
        self._retired = False
        self._at = now
        self._clear()

    def _clear(self) -> None:
        self.invocations = 0
        self.failed = 0
        self.execution = 0.0
        self.busy = 0.0
        self._cold_starts = 0
        self._cold_start = 0.0
        self._instances = 0.0
        self._ready_seconds = 0.0
        self._zero = 0.0

    # What the pool tells

    def follow(self, settle: Callable[[float], None]) -> None:
        """Before figures are taken, `settle(now)` is called, to add what calls that still run have
        used so far."""
        self._settle = settle

    def cold_start(self, seconds: float) -> None:
        """A call woke the function, and its handler was entered so long after it came in."""
        self._cold_starts += 1
        self._cold_start += seconds

    def worker_launched(self, now: float) -> None:
        self._roll(now)
        self._workers += 1

    def worker_ready(self, now: float) -> None:
        self._roll(now)
        self._ready += 1

    def worker_gone(self, was_ready: bool, now: float) -> None:
        self._roll(now)
        self._workers -= 1
        self._ready -= was_ready

    def retired(self, now: float) -> None:
        """The pool takes no more calls: from now on having no worker avoids no cost."""
        self._roll(now)
        self._retired = True

    # What the metering takes

    @property
    def over(self) -> bool:
        """Whether there is nothing more to come."""
        return self._retired and not self._workers

    def take(self, now: float) -> Usage:
        """What was used since this was called last."""
        if self._settle is not None:
            self._settle(now)
        self._roll(now)
        usage = Usage(
            invocations=self.invocations,
            failed=self.failed,
            execution=self.execution,
            busy=self.busy,
            gb_seconds=self.busy * self.memory / GB,
            instances=self._instances,
            # Sums of the same moments in another order may differ in their last digit.
            idle=max(0.0, self._ready_seconds - self.busy),
            cold_starts=self._cold_starts,
            cold_start=self._cold_start,
            zero=self._zero,
            avoided_gb_seconds=self._zero * self.memory / GB,
        )
        self._clear()
        return usage

    def _roll(self, now: float) -> None:
        passed = now - self._at
        self._at = now
        if self._workers:
            self._instances += passed * self._workers
            self._ready_seconds += passed * self._ready
        elif not self._retired:
            self._zero += passed
