"""Events that were lately stored or read, so that each is decoded once for all triggers."""

from collections import deque
from typing import Final

from eventing.event import Event

RECENT_EVENTS: Final = 4000
RECENT_BYTES: Final = 8 << 20


class RecentEvents:
    """The newest events by position, as many as it has room for."""

    def __init__(self) -> None:
        self._events: dict[int, Event] = {}
        self._order: deque[int] = deque()
        self._bytes = 0
        self.get = self._events.get
        """The event at a position, or None."""

    def add(self, position: int, event: Event) -> None:
        """Keep it a while."""
        events = self._events
        if position in events:
            return
        if event.data:
            self._bytes += len(event.data)
        events[position] = event
        self._order.append(position)
        while len(events) > RECENT_EVENTS or self._bytes > RECENT_BYTES:
            oldest = events.pop(self._order.popleft())
            if oldest.data:
                self._bytes -= len(oldest.data)
