"""What failed starts of workers lead to: a pause before the next, and an end to waiting."""

FAILED_STARTS = 3
"""Starts that may fail one after another before those who wait for one give up."""
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0


class Starts:
    """The starts of one revision's workers, as far as they failed in a row.

    After a failure the next start has to wait for FIRST_PAUSE seconds, doubled with each further
    one up to LONGEST_PAUSE; one success ends the row. `total` counts all failures there ever were.
    """

    __slots__ = ("_in_full", "in_a_row", "not_before", "total")

    def __init__(self) -> None:
        self.in_a_row = 0
        self.total = 0
        self.not_before = 0.0
        self._in_full = False

    @property
    def hopeless(self) -> bool:
        """Whether waiting for the next start makes no sense: three failed, or one took all the
        time there is for a start."""
        return self.in_a_row >= FAILED_STARTS or self._in_full

    def failed(self, now: float, *, in_full: bool = False) -> None:
        """A start failed at `now`; `in_full`: by not ending within its time."""
        pause = FIRST_PAUSE * 2.0 ** min(self.in_a_row, 30)
        self.not_before = now + min(pause, LONGEST_PAUSE)
        self.in_a_row += 1
        self.total += 1
        self._in_full = self._in_full or in_full

    def succeeded(self) -> None:
        self.in_a_row = 0
        self.not_before = 0.0
        self._in_full = False
