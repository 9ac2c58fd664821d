"""Deadlines of one and the same length for many calls: one alarm in all, not one for each."""

from collections.abc import Callable
from typing import Generic, TypeVar

from functions.clock import Alarm, Clock

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls `expire(item, now)` for each item that has not been discarded `seconds` after it was
    added. Equal lengths keep the order of adding that of falling due, so the oldest item's alarm
    serves all; adding and discarding cost a dict's entry."""

    __slots__ = ("_alarm", "_clock", "_due", "_expire", "seconds")

    def __init__(self, clock: Clock, seconds: float, expire: Callable[[T, float], None]) -> None:
        self.seconds = seconds
        self._clock = clock
        self._expire = expire
        self._due: dict[T, float] = {}
        self._alarm: Alarm | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, item: T, now: float) -> float:
        """Returns when it will be due."""
        self._due[item] = due = now + self.seconds
        if self._alarm is None:
            self._alarm = self._clock.call_at(due, self._ring)
        return due

    def discard(self, item: T) -> None:
        """Also where it isn't there any more. The alarm stays: cancelling one a call would cost
        more than one that rings for nothing."""
        self._due.pop(item, None)

    def _ring(self) -> None:
        self._alarm = None
        now = self._clock.time()
        expired = []
        following: float | None = None
        for item, due in self._due.items():
            if due > now:
                following = due
                break
            expired.append(item)
        for item in expired:
            # One that expires may have discarded another.
            if self._due.pop(item, None) is not None:
                self._expire(item, now)
        if following is not None:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = self._clock.call_at(following, self._ring)
