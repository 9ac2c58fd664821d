"""Mirroring: copies of calls for another revision, whose answers are counted and dropped.

A copy can neither slow nor fail the call it is of, and its replies go nowhere.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from functions.base import Call, Response, Service
from functions.traffic.figures import MirrorStats, Tally

MOST_COPIES = 100
"""Copies out at one revision at once; those beyond are dropped."""

_log = logging.getLogger(__name__)


class Mirrored(Protocol):
    """The revision that gets the copies. They take no place that a call of its own could have."""

    revision: str
    service: Service
    in_flight: int
    most: int


class Copies:
    """The copies that one revision gets, and how it did on them."""

    __slots__ = ("_time", "_to", "dropped", "in_flight", "tally")

    def __init__(self, to: Mirrored, time: Callable[[], float]) -> None:
        self.tally = Tally()
        self.in_flight = 0
        self.dropped = 0
        self._to = to
        self._time = time

    def send(self, call: Call) -> None:
        to = self._to
        if self.in_flight >= MOST_COPIES or to.in_flight + self.in_flight >= to.most:
            self.dropped += 1
            return
        self.in_flight += 1
        copy = _Copy(self, self._time())
        try:
            to.service.submit(call, copy.answered)
        except Exception:
            _log.exception("%s: a mirrored call could not be submitted", to.revision)
            copy.answered(Response(0))

    def answered(self, began: float, response: Response) -> None:
        self.in_flight -= 1
        started = response.started
        self.tally.count(response.status, self._time() - (started * 1e-9 if started else began))

    def stats(self) -> MirrorStats:
        return MirrorStats(
            calls=self.tally.calls,
            errors=self.tally.errors,
            refused=self.tally.refused,
            latency=self.tally.latency(),
            in_flight=self.in_flight,
            dropped=self.dropped,
        )


class _Copy:
    __slots__ = ("_began", "_copies")

    def __init__(self, copies: Copies, began: float) -> None:
        self._copies: Copies | None = copies
        self._began = began

    def answered(self, response: Response) -> None:
        copies, self._copies = self._copies, None
        if copies is not None:
            copies.answered(self._began, response)
