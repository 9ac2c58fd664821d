"""The bounds of a bill as people write them: whole hours, UTC."""

import re
import time
from datetime import UTC, datetime

from eventing.node.cli.moments import Seconds, parse_span

_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)


def parse_bound(text: str, now: float) -> float:
    """Unix seconds of a month, a date or a time (UTC where it names no zone: hours of usage are
    UTC), or of a duration, which is so long before `now`. Raises ValueError."""
    written = f"{text}-01" if _MONTH.fullmatch(text) else text.upper()
    try:
        at = datetime.fromisoformat(written)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        pass
    # A number alone would be seconds, where a year was meant.
    if not text.isdigit():
        try:
            return max(0.0, now - parse_span(text))
        except ValueError:
            pass
    raise ValueError(
        f"{text!r} is neither a date such as 2026-11-01, 2026-11 or 2026-11-01T13:00Z (UTC), nor a "
        "duration such as 7d or 12h"
    )


class Bound(Seconds):
    """An option that bounds a bill, in Unix seconds."""

    name = "date"

    def read(self, text: str) -> float:
        return parse_bound(text, time.time())
