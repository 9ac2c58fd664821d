"""How far a source has come in one partition: the offset that may be committed.

Touched by two threads: the event loop adds and settles, the consumer's thread asks what to commit.
"""

import threading
from collections import deque


class OffsetWindow:
    """The records of one assignment of a partition that were handed out, oldest first.

    `next` is the offset after the last one that was added; a window that nothing was added to
    commits nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: deque[int] = deque()
        self._settled: set[int] = set()
        self._next: int | None = None

    def add(self, offset: int) -> None:
        """A record was taken; offsets rise."""
        with self._lock:
            self._open.append(offset)
            self._next = offset + 1

    def settle(self, offset: int) -> None:
        """It is over, in whatever order."""
        with self._lock:
            self._settled.add(offset)
            while self._open and self._open[0] in self._settled:
                self._settled.discard(self._open.popleft())

    @property
    def open(self) -> int:
        """Records between the oldest unsettled one and the newest, which is what it remembers."""
        return len(self._open)

    @property
    def committable(self) -> int | None:
        """The offset below which all is settled; None before the first record."""
        with self._lock:
            return self._open[0] if self._open else self._next
