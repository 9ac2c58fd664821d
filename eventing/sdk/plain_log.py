"""The log of a function in a container: plain lines on standard error, with the event they tell of.

A container's platform adds the time and keeps them.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, TextIO, cast

from eventing.sdk import output

if TYPE_CHECKING:
    from eventing.event import Event


class _Format(logging.Formatter):
    """`INFO thumbnail [event id] text`."""

    def format(self, record: logging.LogRecord) -> str:
        return _line(f"{record.levelname} {record.name}", super().format(record), output.current())


def start() -> None:
    """Log from INFO up, unless the user's code has configured logging; print line by line."""
    for stream in (sys.stdout, sys.stderr):
        # A pipe is written in blocks otherwise, and the last lines of a crash are lost.
        cast("TextIO", stream).reconfigure(  # type: ignore[attr-defined]
            line_buffering=True, errors="backslashreplace"
        )
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format())
    root.addHandler(handler)
    if root.level == logging.WARNING:
        root.setLevel(logging.INFO)


def line(level: str, text: str, event: Event | None = None) -> None:
    """Say something in the runtime's own name."""
    sys.stderr.write(_line(f"{level} eventing.serve", text, event) + "\n")


def _line(head: str, text: str, event: Event | None) -> str:
    if event is None:
        return f"{head} {text}"
    id = event.attributes.get("id", "")
    return f"{head} [{id if id.isprintable() else ascii(id)}] {text}"
