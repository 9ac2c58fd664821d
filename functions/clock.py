"""The time a pool lives by: a steady clock and one way to be called later."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    def time(self) -> float:
        """Seconds of CLOCK_MONOTONIC, the clock that `Response.started` is told in."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        """Call back on the event loop once `time()` has reached `when`, or soon after."""


class LoopClock:
    """The real one, on the running event loop.

    Its time is not the loop's: uvloop's stands still within a turn and counts in milliseconds.
    """

    __slots__ = ("_loop", "time")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.time = time.monotonic

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        return self._loop.call_later(max(0.0, when - time.monotonic()), callback)
