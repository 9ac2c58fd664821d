"""What one evaluation of a transform may take, and how it is stopped at it.

Steps, depth and time are counted at every step of the evaluator. A built-in function or a regular
expression is one step, however long it takes: there a CPU timer of the process interrupts it, in
the main thread only, as Python runs signal handlers nowhere else.
"""

import signal
import threading
from dataclasses import dataclass
from time import thread_time
from typing import Any, Final

_CHECK_EVERY: Final = 64
_TICK: Final = 0.02


@dataclass(frozen=True, slots=True)
class Limits:
    """steps: how many parts of the expression may be evaluated, counting each time.
    depth: how deep evaluations may lie within each other (one call of a function takes 3 to 6).
    seconds: of CPU time.
    characters: of any one string on the way.
    items: of any one array on the way.
    """

    steps: int = 100_000
    depth: int = 400
    seconds: float = 0.25
    characters: int = 16 << 20
    items: int = 1_000_000


class LimitExceeded(BaseException):
    """Not an Exception, so that nothing within the evaluator takes it for one of its own."""


class Budget:
    """What is left of the limits in one evaluation."""

    __slots__ = ("_deadline", "_depth", "_limits", "_steps")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deadline = thread_time() + limits.seconds
        self._steps = 0
        self._depth = 0

    def enter(self, *_: object) -> None:
        """Before a part is evaluated."""
        self._depth += 1
        if self._depth > self._limits.depth:
            raise LimitExceeded(
                f"it goes more than {self._limits.depth} levels deep; a function that calls "
                "itself last takes no depth"
            )
        self.step()

    def step(self) -> None:
        self._steps += 1
        if self._steps > self._limits.steps:
            raise LimitExceeded(f"it takes more than {self._limits.steps:,} steps")
        if self._steps % _CHECK_EVERY == 0 and self.time_is_over():
            raise self.out_of_time()

    def time_is_over(self) -> bool:
        return thread_time() > self._deadline

    def out_of_time(self) -> LimitExceeded:
        return LimitExceeded(f"it takes more than {self._limits.seconds} s of CPU time")

    def exit(self) -> None:
        self._depth -= 1

    def leave(self, expression: object, input_: object, environment: object, result: Any) -> None:
        """After a part was evaluated to `result`."""
        self.exit()
        if isinstance(result, str):
            check_length(len(result), self._limits)
        elif isinstance(result, list) and len(result) > self._limits.items:
            raise LimitExceeded(f"an array grows beyond {self._limits.items:,} items")


def check_length(characters: float, limits: Limits) -> None:
    """Raises LimitExceeded for a string too long."""
    if characters > limits.characters:
        raise LimitExceeded(f"a string grows beyond {limits.characters:,} characters")


class Watchdog:
    """Raises LimitExceeded into whatever the main thread runs, when a budget's time is over.

    It takes SIGVTALRM over the first time it is needed, unless something else has it; then, and in
    other threads, it does nothing.
    """

    def __init__(self) -> None:
        self._budget: Budget | None = None

    def start(self, budget: Budget) -> bool:
        """Whether it watches; then `stop` has to follow.

        LimitExceeded may be raised in the very clause that calls `stop`, so whoever catches it
        calls it again: the next tick is far enough.
        """
        if threading.current_thread() is not threading.main_thread() or self._budget:
            return False
        handler = signal.getsignal(signal.SIGVTALRM)
        if handler == signal.SIG_DFL:
            # For good: with the default back in place, a late signal would end the process.
            signal.signal(signal.SIGVTALRM, self._expire)
        elif handler != self._expire:
            return False
        self._budget = budget
        signal.setitimer(signal.ITIMER_VIRTUAL, _TICK, _TICK)
        return True

    def stop(self) -> None:
        """From here on it raises nothing."""
        self._budget = None
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _expire(self, *_: object) -> None:
        # At every tick anew: what is raised while the garbage collector runs is lost.
        if self._budget and self._budget.time_is_over():
            raise self._budget.out_of_time()
