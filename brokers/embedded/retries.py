"""Which retries of a subscription come next: the nearest in memory, the rest in storage."""

import heapq

PAGE = 1000

Due = tuple[float, int]
"""When a retry is due (broker time), and its position."""


class RetryQueue:
    """Holds positions only, at most twice `PAGE` of them, however many wait in storage.

    Every row due up to `horizon` is known here: waiting, or handed on and not settled yet. Rows
    beyond it are in storage alone until `load` brings them. None = there are none beyond.
    """

    def __init__(self, stored: bool) -> None:
        """`stored`: whether there are rows in storage to load."""
        self._heap: list[Due] = []
        self._held: set[int] = set()
        self.horizon: Due | None = (float("-inf"), 0) if stored else None

    def add(self, due: float, position: int) -> None:
        """A row has been written."""
        self._held.discard(position)
        if self.horizon is not None and (due, position) > self.horizon:
            return
        heapq.heappush(self._heap, (due, position))
        if len(self._heap) > 2 * PAGE:
            self._heap = heapq.nsmallest(PAGE, self._heap)
            self.horizon = self._heap[-1]

    def load(self, rows: list[Due]) -> None:
        """Take the next `PAGE` rows above `horizon`; fewer mean that there are no more."""
        waiting = {position for _, position in self._heap}
        for due, position in rows:
            if position not in self._held and position not in waiting:
                heapq.heappush(self._heap, (due, position))
        self.horizon = rows[-1] if len(rows) == PAGE else None

    def take(self, now: float, limit: int) -> list[int]:
        """Positions now due, to be handed on: each is held until `settled` or added again."""
        taken: list[int] = []
        heap = self._heap
        while heap and heap[0][0] <= now and len(taken) < limit:
            position = heapq.heappop(heap)[1]
            self._held.add(position)
            taken.append(position)
        return taken

    def put_back(self, now: float, positions: list[int]) -> None:
        """Positions taken that could not be handed on after all."""
        for position in positions:
            self._held.discard(position)
            heapq.heappush(self._heap, (now, position))

    def settled(self, position: int) -> None:
        """The row is gone."""
        self._held.discard(position)

    def next_due(self) -> float | None:
        """When the first one known is due."""
        return self._heap[0][0] if self._heap else None

    def wants_load(self) -> bool:
        """Whether rows in storage may be due before long: those known have run out."""
        return self.horizon is not None and not self._heap
