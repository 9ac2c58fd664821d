"""The embedded broker: the contract of brokers/base.py over one SQLite file.

An event's way: `publish`, then commit.py (group commit), `_stored` (routing), subscription.py.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from brokers.base import (
    At,
    BrokerStats,
    DeadLetter,
    Failure,
    Fault,
    Limits,
    Order,
    Place,
    Router,
    Stored,
    SubscriptionStats,
)
from brokers.embedded import changes, reading
from brokers.embedded.changes import Again
from brokers.embedded.clock import BrokerTime
from brokers.embedded.commit import GroupCommit, Request
from brokers.embedded.cursor import Cursor
from brokers.embedded.reading import Reader
from brokers.embedded.recovery import Found, recover
from brokers.embedded.requests import Change, Publish
from brokers.embedded.room import Room
from brokers.embedded.storage import Storage
from brokers.embedded.subscription import EmbeddedSubscription
from brokers.embedded.transaction import Transaction, encoded
from brokers.embedded.upkeep import Upkeep
from brokers.key_order import KeyRows
from eventing.errors import StorageError, UserError
from eventing.event import Event

T = TypeVar("T")


class EmbeddedBroker:
    """A broker in one SQLite file: at least once, durable before it is answered.

    `publish` and `settle` resolve after the commit that holds them was synced to disk. After a
    crash exactly the deliveries in flight at that moment, and those whose settling had not
    resolved, are handed out again. One process at a time may hold the file.
    """

    def __init__(
        self,
        name: str,
        path: Path | str,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`path` is the file (made with its folder where missing), `clock` the wall clock."""
        self.name = name
        self.head = 0
        self.live: dict[str, EmbeddedSubscription] = {}
        self.cursors: dict[str, Cursor] = {}
        self._path = Path(path)
        self._limits = limits or Limits()
        self._clock = clock
        self._router: Router | None = None
        self._commits: GroupCommit | None = None
        self._closed = False

    async def start(self) -> None:
        """See the contract. Takes well below a second with millions of events stored."""
        self._loop = asyncio.get_running_loop()
        recovering = self._loop.run_in_executor(None, recover, self.name, self._path, self._clock)
        try:
            found = await asyncio.shield(recovering)
        except asyncio.CancelledError:
            recovering.add_done_callback(_left)  # its thread goes on
            raise
        self._storage: Storage = found.storage
        self.head = found.head
        self.cursors = found.cursors
        self.time = BrokerTime(self._clock, self._loop.time)
        self.reader = Reader(found.storage)
        self.room = Room(
            self._limits, found.storage, found.space, self._loop.time, self._largest_lag
        )
        self._commits = GroupCommit(found.storage, self._begin, self._stored)
        self._upkeep = Upkeep(self, self._limits, found.orphans)

    async def close(self) -> None:
        """See the contract. Receivers still waiting are cancelled."""
        if self._commits is None or self._closed:
            return
        self._closed = True
        self._upkeep.stop()
        for cursor in self.cursors.values():
            if cursor.handle is not None:
                cursor.handle.stop()
        written: asyncio.Future[None] = self._loop.create_future()
        written.add_done_callback(asyncio.Future.exception)
        self._commits.submit(Change(self._upkeep.write_cursors, _nothing, written, kept=True))
        await self._commits.close()
        await self._loop.run_in_executor(None, self._shut)

    def _shut(self) -> None:
        self.reader.close()
        self._storage.close()

    def set_router(self, router: Router) -> None:
        """See the contract. What is queued for a subscription already stays."""
        self._router = router

    def current_router(self) -> Router:
        """The router of now. Raises RuntimeError where none was set."""
        if self._router is None:
            raise RuntimeError(f"broker {self.name!r} has no router yet: set_router comes first")
        return self._router

    def set_limits(self, limits: Limits) -> None:
        """Hold these limits from now on."""
        self._limits = limits
        if self._commits is not None:
            self.room.change(limits)
            self._upkeep.limits = limits

    # Writing.

    @property
    def fault(self) -> Fault | None:
        """See the contract."""
        return self._commits.fault if self._commits is not None else None

    def submit(self, request: Request) -> None:
        """Store the request with the next group."""
        if self._commits is None:
            request.failed(StorageError(f"broker {self.name!r} has not been started"))
        else:
            self._commits.submit(request)

    async def _change(
        self,
        write: Callable[[Transaction], T],
        then: Callable[[T], None],
        *,
        kept: bool = False,
    ) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.submit(Change(write, then, future, kept=kept))
        return await future

    def publish(self, events: Sequence[Event]) -> "asyncio.Future[list[int]]":
        """See the contract. Further raises InvalidEvent or EventTooLarge through the future."""
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        if self._commits is None:
            future.set_exception(StorageError(f"broker {self.name!r} has not been started"))
            return future
        full = self.room.refusal()
        if full is not None:
            future.set_exception(full)
            return future
        try:
            attributes = encoded(events)
        except UserError as error:
            future.set_exception(error)
            return future
        self._commits.submit(Publish(events, attributes, self.room, future))
        return future

    def _largest_lag(self) -> int:
        return max((cursor.lag(self.head) for cursor in self.cursors.values()), default=0)

    def _begin(self) -> Transaction:
        self.room.sample_if_due()
        self._storage.connection.execute("BEGIN IMMEDIATE")
        return Transaction(self._storage.connection, self.head, self.time.now())

    def _stored(self, transaction: Transaction) -> None:
        for cursor, high in transaction.touched.items():
            cursor.written = high
        if transaction.freed is not None:
            self._upkeep.needless(transaction.freed)
        if transaction.events:
            if self._router is not None:
                self._route(transaction, self._router.route)
            self.head = transaction.head

    def _route(self, transaction: Transaction, route: Callable[[Event], Iterable[str]]) -> None:
        live = self.live
        aimed = transaction.aimed
        position = transaction.base
        for event in transaction.events:
            position += 1
            names = (aimed[position].name,) if position in aimed else route(event)
            for name in names:
                subscription = live.get(name)
                if subscription is not None:
                    subscription.offer(position, event)

    # Subscriptions.

    async def subscribe(
        self, name: str, *, order: Order = "unordered", start: Place | None = None
    ) -> EmbeddedSubscription:
        """See the contract. A `start` past the newest event means the next one. Raises RuntimeError
        where no router was set, or the subscription is open already; StorageError."""
        self.current_router()
        self._refuse_open(name)
        if name not in self.cursors:
            first = None if start is None else await self._position(start)
            await self._change(lambda tx: changes.make(tx, name, first), self._made)
        cursor = self.cursors[name]
        keys: list[KeyRows] = []
        if cursor.rows and order == "ordered":
            keys = await self.reader.run(reading.key_rows, cursor.id)
        elif cursor.rows:
            while await self._change(lambda tx: changes.unpark(tx, cursor), _nothing):
                pass
        self._refuse_open(name)
        subscription = EmbeddedSubscription(self, cursor, order, keys)
        cursor.handle = subscription
        subscription.advance()
        return subscription

    def _refuse_open(self, name: str) -> None:
        cursor = self.cursors.get(name)
        if cursor is not None and cursor.handle is not None:
            raise RuntimeError(f"subscription {name!r} of broker {self.name!r} is open already")

    def _made(self, cursor: Cursor) -> None:
        self.cursors.setdefault(cursor.name, cursor)
        self._upkeep.needed(cursor.high + 1)

    async def detach(self, name: str) -> None:
        """See the contract. Settles asked for before still count, and are waited for."""
        cursor = self.cursors.get(name)
        handle = cursor.handle if cursor is not None else None
        if handle is not None:
            handle.stop()
            await self._change(_nothing, lambda _: handle.forget(), kept=True)

    async def unsubscribe(self, name: str) -> int:
        """See the contract. Raises LookupError where there is none of this name; StorageError."""
        cursor = self.cursors.get(name)
        if cursor is None:
            raise LookupError(f"broker {self.name!r} has no subscription {name!r}")

        def write(transaction: Transaction) -> int:
            transaction.connection.execute("DELETE FROM subscriptions WHERE id = ?", (cursor.id,))
            return cursor.lag(self.head)

        def then(_: int) -> None:
            if self.cursors.pop(name, None) is None:
                return
            if cursor.handle is not None:
                cursor.handle.stop()
                cursor.handle.forget()
            self._upkeep.removed(cursor.id)

        return await self._change(write, then)

    def known_subscriptions(self) -> list[str]:
        """See the contract."""
        return list(self.cursors)

    async def replay(
        self, subscription: EmbeddedSubscription, start: Place, end: Place | None
    ) -> int:
        """`Subscription.replay`, page by page. An event not settled yet is on its way anyway:
        it is neither doubled nor counted."""
        cursor = subscription.cursor
        ordered = subscription.order is not None
        position = max(0, await self._position(start) - 1)
        last = await self._last(end)
        count = 0
        while position < last:
            page, position = await self.reader.run(reading.log_page, position, last)
            accepts = self.current_router().accepts
            wanted = [
                (at, event.attributes.get("partitionkey"))
                for at, event, only in page
                if only == cursor.id or (only is None and accepts(cursor.name, event))
            ]

            def write(tx: Transaction, wanted: list[changes.Keyed] = wanted) -> list[Again]:
                return changes.again(tx, cursor, wanted, ordered)

            added: list[Again] = await self._change(write, subscription.replayed)
            count += len(added)
        return count

    # Dead letters.

    async def dead_letters(
        self, trigger: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """See the contract."""
        return await self.reader.run(reading.dead_letters, trigger, after, limit)

    async def dead_letter(self, id: int) -> DeadLetter | None:
        """The dead letter of this id, or None."""
        return await self.reader.run(reading.dead_letter, id)

    async def keep(self, event: Event, failure: Failure) -> None:
        """See the contract."""
        full = self.room.refusal()
        if full is not None:
            raise full
        (attributes,) = encoded([event])
        await self._change(lambda tx: changes.keep(tx, event, failure, attributes), _nothing)

    async def redrive(self, id: int, event: Event | None = None) -> bool:
        """See the contract. It enters the log anew, at a position of its own, for its trigger
        alone: no filter is asked, and `read` passes over it."""
        if event is not None:
            encoded([event])
        return await self._change(lambda tx: changes.redrive(tx, id, event, self.cursors), _nothing)

    async def drop(self, ids: Sequence[int]) -> int:
        """See the contract."""
        count = 0
        for first in range(0, len(ids), changes.CHUNK):

            def write(tx: Transaction, first: int = first) -> int:
                return changes.drop(tx, ids[first : first + changes.CHUNK])

            count += await self._change(write, _nothing)
        return count

    # Looking in.

    async def read(self, start: Place = 1, end: Place | None = None) -> AsyncIterator[Stored]:
        """See the contract. Without `end` it ends at the newest event there is by then."""
        position = await self._position(start)
        while position <= (last := await self._last(end)):
            page, position = await self.reader.run(reading.stored_page, position, last)
            for stored in page:
                yield stored

    async def _position(self, place: Place) -> int:
        """The first position that is not before the place. A moment's is found by bisection:
        where the clock was set back between two runs, one of the positions that fit."""
        if isinstance(place, At):
            return await self.reader.run(reading.position_at, place.seconds, self.head)
        return place

    async def _last(self, end: Place | None) -> int:
        """The last position, of those there are, that is before the end."""
        if isinstance(end, At):
            return await self._position(end) - 1
        return self.head if end is None else min(end, self.head)

    async def stats(self) -> BrokerStats:
        """See the contract. `events` spans the oldest to the newest of the log; `bytes` are those
        in use, dead letters included, measured each second and estimated in between."""
        first, dead = await self.reader.run(reading.totals)
        return BrokerStats(
            self.head,
            self.head - first + 1 if first else 0,
            self.room.used,
            {
                name: self._stats_of(cursor, dead.get(name, 0))
                for name, cursor in self.cursors.items()
            },
        )

    def _stats_of(self, cursor: Cursor, dead: int) -> SubscriptionStats:
        lag = cursor.lag(self.head)
        if cursor.handle is None:
            return SubscriptionStats(lag, 0, cursor.rows, dead, lag)
        return SubscriptionStats(
            lag, len(cursor.handle.in_flight), cursor.handle.waiting_rows(), dead, lag
        )


def _left(recovering: "asyncio.Future[Found]") -> None:
    """Nobody is going to use it."""
    if not recovering.cancelled() and recovering.exception() is None:
        recovering.result().storage.close()


def _nothing(_: object) -> None:
    """Nothing to do in memory, or nothing to write."""
