"""What a broker does by itself, once a second: retention, stale cursors, rows nobody owns."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from brokers.base import Fault, Limits
from brokers.embedded.changes import clear_orphan
from brokers.embedded.clock import BrokerTime
from brokers.embedded.commit import Request
from brokers.embedded.cursor import Cursor
from brokers.embedded.requests import Change
from brokers.embedded.retention import Trimmed, excess, trim
from brokers.embedded.room import Room
from brokers.embedded.transaction import Transaction

TICK = 1.0
STALE = 5.0
"""Seconds after which cursors that nothing was settled on are written all the same."""

T = TypeVar("T")
_log = logging.getLogger("brokers.embedded")


class Kept(Protocol):
    """What upkeep needs of its broker."""

    name: str
    head: int
    time: BrokerTime
    cursors: dict[str, Cursor]
    room: Room

    @property
    def fault(self) -> Fault | None:
        """Why storage failed at the last try; None where it did not."""

    def submit(self, request: Request) -> None:
        """Store with the next group."""


class Upkeep:
    """Works in small transactions that share the commits of everything else."""

    def __init__(self, broker: Kept, limits: Limits, orphans: list[int]) -> None:
        self._broker = broker
        self.limits = limits
        self._orphans = orphans
        self._loop = asyncio.get_running_loop()
        self._walk = 0
        self._expires = float("-inf")
        self._trimming = False
        self._clearing = False
        self._written = self._loop.time()
        self._timer = self._loop.call_later(TICK, self._tick)

    def stop(self) -> None:
        """Nothing more is begun."""
        self._timer.cancel()

    def removed(self, subscription: int) -> None:
        """A subscription is gone: its rows are to go, and then what only they kept in the log."""
        self._orphans.append(subscription)

    def needed(self, position: int) -> None:
        """A new subscription reads from `position`: what lies there is looked at again later."""
        self._walk = min(self._walk, position)

    def needless(self, position: int) -> None:
        """A retry at `position` is over, which retention may have passed over till now."""
        self._walk = min(self._walk, position)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK, self._tick)
        broker = self._broker
        for cursor in broker.cursors.values():
            if cursor.rows and cursor.handle is not None:
                cursor.handle.advance()
        if broker.fault:
            return
        now = self._loop.time()
        if now - self._written >= STALE:
            self._written = now
            if any(cursor.now_high() > cursor.written for cursor in broker.cursors.values()):
                self._submit(self.write_cursors, _nothing)
        if self._orphans and not self._clearing:
            self._clearing = True
            self._clear()
        room = broker.room
        if not self._trimming and (
            room.moved
            or broker.time.now() >= self._expires
            or room.refusal() is not None
            or excess(self.limits, room.load.space) > 0
        ):
            self._trimming = True
            self._trim()

    def write_cursors(self, transaction: Transaction) -> None:
        """Write each cursor that has moved on since it was written."""
        for cursor in self._broker.cursors.values():
            if cursor.now_high() > cursor.written:
                transaction.touch(cursor)

    def _clear(self) -> None:
        def then(more: bool) -> None:
            if not more:
                self._orphans.pop(0)
                self._walk = 0
            self._clearing = bool(self._orphans)
            if self._orphans:
                self._clear()

        orphan = self._orphans[0]
        self._submit(lambda transaction: clear_orphan(transaction, orphan), then)

    def _trim(self) -> None:
        self._submit(self._write_trim, self._trimmed)

    def _write_trim(self, transaction: Transaction) -> Trimmed:
        transaction.flush()
        broker = self._broker
        broker.room.sample()
        needed = min((cursor.needs() for cursor in broker.cursors.values()), default=broker.head)
        # The newest event stays: from it the next position is known.
        return trim(
            transaction.connection,
            self._walk,
            min(needed, broker.head),
            transaction.now - self.limits.retention_age,
            excess(self.limits, broker.room.load.space),
        )

    def _trimmed(self, trimmed: Trimmed) -> None:
        self._walk = trimmed.walk
        age = self.limits.retention_age
        self._expires = (trimmed.oldest or self._broker.time.now()) + age
        self._trimming = trimmed.more
        if trimmed.more:
            self._trim()

    def _submit(self, write: Callable[[Transaction], T], then: Callable[[T], None]) -> None:
        future: asyncio.Future[T] = self._loop.create_future()
        future.add_done_callback(self._ended)
        self._broker.submit(Change(write, then, future))

    def _ended(self, future: "asyncio.Future[T]") -> None:
        error = future.exception() if not future.cancelled() else None
        if error is not None:
            self._trimming = self._clearing = False
            _log.warning("upkeep waits for the next second: %s", error)


def _nothing(_: object) -> None:
    pass
