"""How many calls to send ahead to a worker that runs them one at a time.

Each wake-up of a process costs more than a short handler does, so short handlers get a queue in
their socket; a call behind a slow one had better wait where any worker can take it.
"""

AHEAD = 0.002
"""Seconds of work a worker may have in its socket."""
DEEPEST = 32

_FALL = 0.5
_RISE = 1 / 16


class Pipeline:
    """Learns a function's service time, and from it `depth`: calls in one worker, 1 … 32.

    What the pool can measure is never too short, only too long, by the time a result lay unread
    while the node was busy. So the estimate follows shorter times quickly and longer ones slowly:
    it settles near the shorter ones of what is seen, and yet a handler that really has become
    slow is at depth 1 after one call of more than some 32 ms. With nothing known the depth is 1.

    The price: calls sent ahead of one that turns out to be slow wait behind it until it has ended
    or its timeout has it killed, even where another worker has become idle.
    """

    __slots__ = ("_seconds", "depth")

    def __init__(self) -> None:
        self.depth = 1
        self._seconds = 0.0

    def observe(self, seconds: float) -> None:
        """A call took at most this long."""
        estimate = self._seconds
        if estimate:
            gap = seconds - estimate
            estimate += gap * (_FALL if gap < 0 else _RISE)
        else:
            estimate = seconds
        # A handler quicker than the clock's step is still no division by zero.
        self._seconds = estimate = max(estimate, 1e-7)
        ahead = int(AHEAD / estimate)
        self.depth = 1 if ahead < 1 else min(ahead, DEEPEST)
