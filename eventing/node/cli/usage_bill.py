"""What usage costs: two prices, and a bill of lines and their sum. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime

from eventing.node.cli.usage_sources import Found
from eventing.node.usage_query import By, Line, Lines
from functions.usage import NOTHING, Usage

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a GB-second and of a million invocations, in `currency`."""

    gb_second: float
    million: float
    currency: str

    def cost(self, usage: Usage) -> float:
        return usage.gb_seconds * self.gb_second + usage.invocations / MILLION * self.million

    def avoided(self, usage: Usage) -> float:
        """What a worker that is always there would have cost while there was none."""
        return usage.avoided_gb_seconds * self.gb_second


@dataclass(frozen=True, slots=True)
class Bill:
    """What was found, priced. `since` and `until`: Unix seconds."""

    found: Found
    prices: Prices
    since: float
    until: float
    by: By
    by_revision: bool

    @property
    def lines(self) -> Lines:
        return self.found.lines

    @property
    def total(self) -> Usage:
        return sum(self.lines.values(), NOTHING)


def period_name(line: Line, by: By) -> str:
    """A period as RFC 3339 begins it: 2026-11-01T13:00Z, 2026-11-01, 2026-11."""
    start = datetime.fromtimestamp(line.start, UTC)
    match by:
        case "hour":
            return start.strftime("%Y-%m-%dT%H:%MZ")
        case "day":
            return start.strftime("%Y-%m-%d")
        case "month":
            return start.strftime("%Y-%m")
        case "total":
            return ""
