"""What a revision has used: the figures of a bill, as values that add up."""

from dataclasses import dataclass, fields
from operator import add, attrgetter
from typing import NamedTuple

GB = 1 << 30
"""Bytes of a gigabyte in GB-seconds, as AWS Lambda and Google Cloud Run count it."""
DEFAULT_MEMORY = 128 << 20
"""Bytes that a worker without a memory limit counts for: what AWS Lambda gives where nothing is
said."""
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one revision over some time. Times are in seconds.

    invocations: attempts that a handler was entered for; failed: those of them whose answer was not
        2xx: an error, a timeout, a crash.
    execution: the sum, over calls, of the time from the handler's entry to its answer.
    busy: the sum, over workers, of the time in which at least one call ran in them. It is
        `execution` where calls run one at a time, and less where they share a worker.
    gb_seconds: `busy` times the memory of a worker.
    instances: the sum, over workers, of the time they existed, their starts included; idle: the
        part of it in which they were ready and ran nothing.
    cold_starts: calls that met no ready worker and woke the function; cold_start: how long they
        took in all, from acceptance to the handler's entry.
    zero: the time without any worker; avoided_gb_seconds: `zero` times the memory of a worker: what
        one that is always there would have taken up for nothing.
    """

    invocations: int = 0
    failed: int = 0
    execution: float = 0.0
    busy: float = 0.0
    gb_seconds: float = 0.0
    instances: float = 0.0
    idle: float = 0.0
    cold_starts: int = 0
    cold_start: float = 0.0
    zero: float = 0.0
    avoided_gb_seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*map(add, self.figures(), other.figures()))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self != NOTHING

    def figures(self) -> tuple[float, ...]:
        """All of it, in the order of FIGURES."""
        return _figures(self)


FIGURES = tuple(field.name for field in fields(Usage))
_figures = attrgetter(*FIGURES)
NOTHING = Usage()


class HourOf(NamedTuple):
    """Whose usage, and in which hour: its beginning, UTC, in Unix seconds."""

    hour: int
    namespace: str
    function: str
    revision: str


def hour_of(at: float) -> int:
    """The beginning of the hour that a time in Unix seconds lies in."""
    return int(at // HOUR) * HOUR
