"""Schedules of a PingSource: cron lines, `@daily` and its like, `@every 10s`, time zones.

Pure: a schedule says which moment comes after another, in Unix seconds.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from eventing.resources.durations import parse_go_duration
from eventing.resources.nearest import suggestion

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every"
_ZONES = ("CRON_TZ=", "TZ=")


class Schedule(Protocol):
    def after(self, moment: float) -> float:
        """The first moment of the schedule that is later, both in Unix seconds; infinity where
        there is none."""


@dataclass(frozen=True, slots=True)
class _Cron:
    """A cron line of five or six fields. At a change of the clocks it keeps to Debian's cron:
    what falls into the hour left out comes right after it, what falls into the hour that is there
    twice comes once; lines with a `*` for minute or hour go on by elapsed time."""

    line: str
    zone: tzinfo

    def after(self, moment: float) -> float:
        start = datetime.fromtimestamp(math.floor(moment), self.zone)
        try:
            return next(CronSim(self.line, start)).timestamp()
        except StopIteration:
            return math.inf


@dataclass(frozen=True, slots=True)
class _Every:
    """Multiples of an interval since the Unix epoch, so that all nodes see the same moments."""

    seconds: int

    def after(self, moment: float) -> float:
        return float((math.floor(moment) // self.seconds + 1) * self.seconds)


def parse_schedule(text: str, timezone: str = "") -> Schedule:
    """The schedule of a cron line (five fields, or six with the seconds first), a name such as
    `@daily`, or `@every` with a Go duration of whole seconds. `CRON_TZ=zone` may stand before it,
    and counts above `timezone`; without both it is UTC. Raises ValueError with what to write."""
    zone_name = zone_of(text)
    line = text.strip()
    if zone_name is not None:
        line = line.partition(" ")[2].strip()
    zone = _zone(zone_name or timezone)
    word, _, rest = line.partition(" ")
    if word == _EVERY:
        return _every(rest.strip())
    if line.startswith("@"):
        if line not in _NAMED:
            raise ValueError(f'"{line}" is no schedule; {suggestion(line, (*_NAMED, _EVERY))}')
        line = _NAMED[line]
    fields = line.split()
    if len(fields) not in (5, 6):
        raise ValueError(
            f'"{line}" has {len(fields)} fields; a schedule has five (minute, hour, day of month, '
            'month, day of week), as in "*/5 * * * *", or six with the seconds first'
        )
    # Some crons write "?" for "any".
    schedule = _Cron(" ".join("*" if field == "?" else field for field in fields), zone)
    try:
        first = schedule.after(0.0)
    except CronSimError as error:
        part = str(error).removeprefix("Bad ")
        raise ValueError(f'"{line}" is no schedule: its {part} is wrong') from None
    if first == math.inf:
        raise ValueError(f'"{line}" never happens: there is no such day')
    return schedule


def zone_of(text: str) -> str | None:
    """The zone that stands in a schedule itself."""
    for prefix in _ZONES:
        if text.strip().startswith(prefix):
            return text.strip().partition(" ")[0].removeprefix(prefix)
    return None


def check_zone(name: str) -> str:
    """What is wrong with the name of a time zone; empty where nothing is."""
    try:
        _zone(name)
    except ValueError as error:
        return str(error)
    return ""


def _zone(name: str) -> tzinfo:
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ValueError(
            f'"{name}" is no time zone known here; write an IANA name such as "Europe/Berlin"'
        ) from None


def _every(text: str) -> Schedule:
    seconds = parse_go_duration(text) if text else 0.0
    if seconds < 1 or seconds != int(seconds):
        raise ValueError(f'"{_EVERY} {text}": it has to be whole seconds, as in "{_EVERY} 10s"')
    return _Every(int(seconds))
