"""Attributes of the records stored last: triggers that read the same one decode it once.

Of records in binary mode alone: their value is the event's data as it is.
"""

from eventing.event import Event

KEPT = 4096
"""At least so many events are remembered, at most twice as many."""


class RecentEvents:
    """By partition and offset, an event without its data. Used from any thread: what one of them
    misses because another just wrote is decoded once more."""

    def __init__(self) -> None:
        self._newer: dict[tuple[int, int], Event] = {}
        self._older: dict[tuple[int, int], Event] = {}

    def remember(self, partition: int, offset: int, attributes: dict[str, str]) -> Event:
        """Keep the attributes; returns the event without data."""
        event = Event(attributes)
        if len(self._newer) >= KEPT:
            self._older, self._newer = self._newer, {}
        self._newer[partition, offset] = event
        return event

    def get(self, partition: int, offset: int) -> Event | None:
        """The event without its data, where it is remembered."""
        place = (partition, offset)
        return self._newer.get(place) or self._older.get(place)
