"""A question about usage, and its answer: lines by period and function, which add up.

Pure: what is stored and what is not yet, what one node tells and what another does, are summed
here alike.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from functions.usage import NOTHING, HourOf, Usage

By = Literal["hour", "day", "month", "total"]
PERIODS: tuple[By, ...] = ("hour", "day", "month", "total")
DAY = 86400


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Usage of the hours that begin at `since` or later and before `until` (Unix seconds), summed
    `by` period and function, and by revision where `by_revision`. `function` is namespace/name,
    None = all."""

    since: float
    until: float
    by: By = "total"
    by_revision: bool = False
    function: str | None = None

    def wants(self, hour: HourOf) -> bool:
        wanted = self.function
        return self.since <= hour.hour < self.until and (
            wanted is None or wanted == f"{hour.namespace}/{hour.function}"
        )


class Line(NamedTuple):
    """What a line of the answer is about. `start`: when its period begins, in Unix seconds, 0 where
    there is one period alone; `revision`: "" where revisions are summed."""

    start: int
    namespace: str
    function: str
    revision: str


Lines = dict[Line, Usage]


def period_start(hour: int, by: By) -> int:
    """The beginning, UTC, of the period that an hour lies in."""
    match by:
        case "hour":
            return hour
        case "day":
            return hour - hour % DAY
        case "month":
            first = datetime.fromtimestamp(hour, UTC).replace(day=1, hour=0, minute=0, second=0)
            return int(first.timestamp())
        case "total":
            return 0


def summed(query: UsageQuery, usage: Mapping[HourOf, Usage]) -> Lines:
    """The lines that answer the query from these hours."""
    lines: Lines = {}
    for key, used in usage.items():
        if query.wants(key):
            revision = key.revision if query.by_revision else ""
            line = Line(period_start(key.hour, query.by), key.namespace, key.function, revision)
            lines[line] = lines.get(line, NOTHING) + used
    return lines


def together(parts: Iterable[Lines]) -> Lines:
    """The sum of several answers to one query, in order."""
    whole: Lines = {}
    for part in parts:
        for line, used in part.items():
            whole[line] = whole.get(line, NOTHING) + used
    return dict(sorted(whole.items()))


def usage_document(usage: Usage) -> dict[str, Any]:
    """In plain JSON values, as the admin API and `-o json` tell it."""
    return {
        "invocations": usage.invocations,
        "failed": usage.failed,
        "executionMilliseconds": usage.execution * 1e3,
        "gbSeconds": usage.gb_seconds,
        "busySeconds": usage.busy,
        "instanceSeconds": usage.instances,
        "idleSeconds": usage.idle,
        "coldStarts": usage.cold_starts,
        "coldStartMilliseconds": usage.cold_start * 1e3,
        "zeroSeconds": usage.zero,
        "avoidedGbSeconds": usage.avoided_gb_seconds,
    }


def lines_document(lines: Lines) -> list[dict[str, Any]]:
    return [{**line._asdict(), **usage_document(usage)} for line, usage in lines.items()]


def read_lines(items: Iterable[Mapping[str, Any]]) -> Lines:
    """What `lines_document` told. Raises KeyError, TypeError or ValueError for anything else."""
    return {
        Line(
            int(item["start"]), str(item["namespace"]), str(item["function"]), str(item["revision"])
        ): Usage(
            invocations=int(item["invocations"]),
            failed=int(item["failed"]),
            execution=float(item["executionMilliseconds"]) / 1e3,
            busy=float(item["busySeconds"]),
            gb_seconds=float(item["gbSeconds"]),
            instances=float(item["instanceSeconds"]),
            idle=float(item["idleSeconds"]),
            cold_starts=int(item["coldStarts"]),
            cold_start=float(item["coldStartMilliseconds"]) / 1e3,
            zero=float(item["zeroSeconds"]),
            avoided_gb_seconds=float(item["avoidedGbSeconds"]),
        )
        for item in items
    }
