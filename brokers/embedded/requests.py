"""What the broker itself makes durable: events, and changes to what it keeps."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from brokers.embedded.commit import Request
from brokers.embedded.room import Room
from brokers.embedded.transaction import Transaction, weight
from eventing.event import Event

T = TypeVar("T")


class Publish(Request):
    """Events for the log, all or none."""

    __slots__ = ("_encoded", "_events", "_first", "_future", "_room", "size")

    def __init__(
        self,
        events: Sequence[Event],
        attributes: Sequence[bytes],
        room: Room,
        future: "asyncio.Future[list[int]]",
    ) -> None:
        self._events = events
        self._encoded = attributes
        self._future = future
        self._room = room
        self.size = weight(events)
        room.accept(self.size, len(events))

    def write(self, transaction: Transaction) -> None:
        self._first = transaction.append(self._events, self._encoded)

    def committed(self, transaction: Transaction) -> None:
        self._room.answered(self.size)
        if not self._future.done():
            first, count = self._first, len(self._events)
            self._future.set_result([first] if count == 1 else [*range(first, first + count)])

    def failed(self, error: Exception) -> None:
        self._room.answered(self.size)
        if not self._future.done():
            self._future.set_exception(error)


class Change(Request, Generic[T]):
    """A change of something else. `write` touches storage only; memory follows in `then`."""

    __slots__ = ("_answer", "_future", "_then", "_write", "kept")

    def __init__(
        self,
        write: Callable[[Transaction], T],
        then: Callable[[T], None],
        future: "asyncio.Future[T]",
        *,
        kept: bool = False,
    ) -> None:
        self._write = write
        self._then = then
        self._future = future
        self.kept = kept

    def write(self, transaction: Transaction) -> None:
        self._answer = self._write(transaction)

    def committed(self, transaction: Transaction) -> None:
        self._then(self._answer)
        if not self._future.done():
            self._future.set_result(self._answer)

    def failed(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)
