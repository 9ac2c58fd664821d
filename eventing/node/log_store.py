"""The last log lines of every function, in memory and bounded, for `eventing logs`."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from functions.output_lines import LogLine

LINES = 2_000
"""Kept of each function."""
CHARACTERS = 1 << 20
"""Kept of each function at the most, should its lines be long."""


@dataclass(slots=True)
class _Kept:
    lines: deque[LogLine] = field(default_factory=deque)
    characters: int = 0


class LogStore:
    """Lines by function, as `namespace/name`; "" holds what projects print while imported."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def add(self, line: LogLine) -> None:
        kept = self._kept.get(line.function)
        if kept is None:
            kept = self._kept[line.function] = _Kept()
        kept.lines.append(line)
        kept.characters += len(line.text)
        while len(kept.lines) > LINES or kept.characters > CHARACTERS:
            kept.characters -= len(kept.lines.popleft().text)

    def lines(self, function: str, count: int = LINES) -> Iterator[LogLine]:
        """The last `count` lines of a function, oldest first."""
        kept = self._kept.get(function)
        lines = kept.lines if kept is not None else ()
        skipped = max(0, len(lines) - count)
        for index, line in enumerate(lines):
            if index >= skipped:
                yield line


def line_document(line: LogLine) -> dict[str, Any]:
    """A line in plain JSON values, as the admin API and the activity record tell it."""
    return {
        "at": line.at,
        "function": line.function,
        "stream": line.stream,
        "level": line.level,
        "event": {"id": line.event_id, "source": line.event_source},
        "text": line.text,
    }
