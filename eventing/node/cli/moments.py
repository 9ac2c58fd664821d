"""Times and durations as people write and read them on the command line."""

import re
import time
from datetime import UTC, datetime

import click

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)", re.ASCII)
_SPAN = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse_span(text: str) -> float:
    """Seconds of a duration such as 90s, 1h30m or 2d; a number alone is seconds. Raises
    ValueError."""
    if re.fullmatch(r"\d+(?:\.\d+)?", text, re.ASCII):
        return float(text)
    if _SPAN.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no duration such as 90s, 1h30m or 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def parse_moment(text: str, now: float) -> float:
    """Unix seconds of an RFC 3339 time (local where it names no zone), or of a duration, which is
    so long before `now`. Raises ValueError."""
    try:
        return now - parse_span(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a duration such as 1h nor a time such as 2026-01-31T12:00:00Z"
        ) from None


def clock(at: float) -> str:
    """The time of day, local, to the millisecond."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S.%f")[:-3]


def moment(at: float) -> str:
    """Date and time in RFC 3339, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def age(at: float) -> str:
    """How long ago, in one unit: 12s, 5m, 3h, 4d."""
    seconds = max(0, int(time.time() - at))
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "m"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"


def took(seconds: float) -> str:
    """A duration with three digits or so: 0.4 ms, 12 ms, 1.2 s, 90 s."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds:.0f} s"


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4
    """An option in seconds; `read` makes them of a text, or raises ValueError."""

    def read(self, text: str) -> float:
        raise NotImplementedError

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        try:
            return self.read(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Span(Seconds):
    """An option that is a duration, in seconds."""

    name = "duration"

    def read(self, text: str) -> float:
        return parse_span(text)


class Moment(Seconds):
    """An option that is a time, in Unix seconds."""

    name = "time"

    def read(self, text: str) -> float:
        return parse_moment(text, time.time())
