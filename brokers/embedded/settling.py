"""What subscriptions make durable: outcomes, and what is parked beyond memory."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from brokers.base import Dead, Delivery, Done, Outcome, Retry
from brokers.embedded import retries
from brokers.embedded.commit import Request
from brokers.embedded.transaction import Transaction, encoded, weight
from eventing.event import Event

if TYPE_CHECKING:
    from brokers.embedded.subscription import EmbeddedSubscription

FAR = 1e11
"""A time no retry is after (Unix seconds): what is later, or no number, is cut to it."""


class Settle(Request):
    """Outcomes of one subscription's deliveries, with their replies, all or none."""

    __slots__ = (
        "_encoded",
        "_from_gaps",
        "_from_rows",
        "_future",
        "_outcomes",
        "_positions",
        "_scheduled",
        "_sub",
        "_taken",
        "_to_rows",
        "size",
    )
    kept = True

    def __init__(
        self,
        sub: "EmbeddedSubscription",
        outcomes: Sequence[Outcome],
        future: "asyncio.Future[list[tuple[int, ...]]]",
    ) -> None:
        """Raises InvalidEvent or EventTooLarge where a reply can't be stored."""
        self._sub = sub
        self._outcomes = outcomes
        self._future = future
        self.size = 64
        self._encoded: dict[int, list[bytes]] = {}
        for index, outcome in enumerate(outcomes):
            if type(outcome) is Done:
                if outcome.replies:
                    self._encode(index, outcome.replies)
            elif type(outcome) is Dead:
                self._encode(index, (outcome.delivery.event,))

    def _encode(self, index: int, events: Sequence[Event]) -> None:
        self._encoded[index] = encoded(events)
        self.size += weight(events)

    def write(self, transaction: Transaction) -> None:
        self._taken: list[Outcome] = []
        self._positions: list[tuple[int, ...]] = []
        self._scheduled: list[tuple[float, int]] = []
        self._from_gaps: list[int] = []
        self._from_rows: list[int] = []
        self._to_rows = 0
        cursor = self._sub.cursor
        in_flight = self._sub.in_flight
        gaps = cursor.gaps
        for index, outcome in enumerate(self._outcomes):
            delivery = outcome.delivery
            position = delivery.position
            current = in_flight.get(position)
            if current is None or not (current is delivery or _same_attempt(current, delivery)):
                self._positions.append(())
                continue
            del in_flight[position]
            self._taken.append(outcome)
            if position in gaps:
                gaps.remove(position)
                self._from_gaps.append(position)
            else:
                self._from_rows.append(position)
                if type(outcome) is not Retry:
                    transaction.free(position)
            replies: tuple[int, ...] = ()
            if type(outcome) is Retry:
                self._schedule(transaction, outcome)
            elif type(outcome) is Dead:
                transaction.bury(cursor, delivery, outcome.failure, self._encoded[index][0])
            elif index in self._encoded and type(outcome) is Done:
                first = transaction.append(outcome.replies, self._encoded[index])
                replies = tuple(range(first, first + len(outcome.replies)))
            self._positions.append(replies)
        for position in self._from_rows:
            transaction.remove(cursor, position)
        cursor.rows += self._to_rows - len(self._from_rows)
        cursor.settling += self._over()
        if self._taken:
            transaction.touch(cursor)

    def _over(self) -> int:
        return len(self._taken) - self._to_rows

    def _schedule(self, transaction: Transaction, outcome: Retry) -> None:
        delivery = outcome.delivery
        attempt = delivery.attempt + 1 if outcome.stage == delivery.stage else 1
        due = self._sub.broker_time(outcome.at if outcome.at < FAR else FAR)
        transaction.schedule(
            self._sub.cursor, delivery, attempt, outcome.stage, due, outcome.failure
        )
        self._scheduled.append((due, delivery.position))
        self._to_rows += 1

    def undo(self) -> None:
        self._sub.cursor.gaps.update(self._from_gaps)
        self._sub.cursor.rows -= self._to_rows - len(self._from_rows)
        self._sub.cursor.settling -= self._over()
        for outcome in self._taken:
            self._sub.in_flight[outcome.delivery.position] = outcome.delivery

    def committed(self, transaction: Transaction) -> None:
        sub = self._sub
        sub.cursor.settling -= self._over()
        for position in self._from_rows:
            sub.retries.settled(position)
        for due, position in self._scheduled:
            sub.retries.add(due, position)
        if sub.order is not None:
            sub.release([done.delivery for done in self._taken if type(done) is not Retry])
        if self._scheduled or sub.order is not None:
            sub.advance()
        if not self._future.done():
            self._future.set_result(self._positions)

    def failed(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)


def _same_attempt(one: Delivery, other: Delivery) -> bool:
    return one.attempt == other.attempt and one.stage == other.stage


class Spill(Request):
    """Events parked behind busy keys, more than memory holds: from the cursor into rows."""

    __slots__ = ("_deliveries", "_sub", "size")
    kept = True

    def __init__(self, sub: "EmbeddedSubscription", deliveries: list[Delivery]) -> None:
        self._sub = sub
        self._deliveries = deliveries
        self.size = 128 * len(deliveries)

    def write(self, transaction: Transaction) -> None:
        cursor = self._sub.cursor
        for delivery in self._deliveries:
            cursor.gaps.remove(delivery.position)
            transaction.schedule(cursor, delivery, 1, "subscriber", None, None)
        cursor.rows += len(self._deliveries)
        transaction.touch(cursor)

    def undo(self) -> None:
        self._sub.cursor.rows -= len(self._deliveries)
        self._sub.cursor.gaps.update(delivery.position for delivery in self._deliveries)

    def committed(self, transaction: Transaction) -> None:
        sub = self._sub
        if sub.order is not None and not sub.closed:
            sub.order.spilled(self._deliveries)
            sub.advance()


class LoadRetries(Request):
    """Reads the next page of a subscription's retry timetable, in step with its writes."""

    __slots__ = ("_rows", "_sub")
    kept = True

    def __init__(self, sub: "EmbeddedSubscription") -> None:
        self._sub = sub
        self._rows: list[tuple[float, int]] = []

    def write(self, transaction: Transaction) -> None:
        horizon = self._sub.retries.horizon
        if horizon is None or self._sub.closed:
            return
        transaction.flush()
        self._rows = transaction.connection.execute(
            "SELECT due, seq FROM deliveries WHERE sub = ? AND due IS NOT NULL"
            " AND (due, seq) > (?, ?) ORDER BY due, seq LIMIT ?",
            (self._sub.cursor.id, *horizon, retries.PAGE),
        ).fetchall()

    def committed(self, transaction: Transaction) -> None:
        if not self._sub.closed:
            self._sub.loaded_retries(self._rows)
            self._sub.advance()
