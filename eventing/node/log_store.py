"""The last log lines of every function, in memory and bounded, for `eventing logs`."""

from collections import deque
from collections.abc import Iterator

from functions.output_lines import LogLine

LINES = 2_000
"""Kept of each function."""


class LogStore:
    """Lines by function, as `namespace/name`; "" holds what projects print while imported."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[LogLine]] = {}

    def add(self, line: LogLine) -> None:
        lines = self._lines.get(line.function)
        if lines is None:
            lines = self._lines[line.function] = deque(maxlen=LINES)
        lines.append(line)

    def lines(self, function: str, count: int = LINES) -> Iterator[LogLine]:
        """The last `count` lines of a function, oldest first."""
        lines = self._lines.get(function, ())
        skipped = max(0, len(lines) - count)
        for index, line in enumerate(lines):
            if index >= skipped:
                yield line
