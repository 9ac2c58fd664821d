"""A clock that the tests turn."""

import heapq
from itertools import count


class Clock:
    """Time that stands still until a test advances it."""

    def __init__(self):
        self.now = 1000.0
        self._alarms = []
        self._serial = count()

    def time(self):
        return self.now

    def call_at(self, when, callback):
        alarm = Alarm(callback)
        heapq.heappush(self._alarms, (when, next(self._serial), alarm))
        return alarm

    def advance(self, seconds):
        end = self.now + seconds
        while self._alarms and self._alarms[0][0] <= end:
            when, _, alarm = heapq.heappop(self._alarms)
            self.now = max(self.now, when)
            if not alarm.cancelled:
                alarm.callback()
        self.now = end

    @property
    def alarms(self):
        """Those that will still ring."""
        return sum(not alarm.cancelled for _, _, alarm in self._alarms)


class Alarm:
    def __init__(self, callback):
        self.callback = callback
        self.cancelled = False

    def cancel(self):
        self.cancelled = True
