"""One trigger's view of the log: live from memory while it keeps up, from storage when behind."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from brokers.base import Delivery, Order, Outcome, Place, Router
from brokers.embedded.changes import Again
from brokers.embedded.clock import BrokerTime
from brokers.embedded.commit import Request
from brokers.embedded.cursor import Cursor
from brokers.embedded.reading import (
    PAGE_EVENTS,
    Logged,
    Reader,
    deliveries_at,
    events_at,
    log_page,
    parked_at,
)
from brokers.embedded.retries import RetryQueue
from brokers.embedded.settling import LoadRetries, Settle, Spill
from brokers.key_order import LOAD_EACH, KeyOrder, KeyRows
from brokers.receivers import Receivers
from eventing.errors import UserError
from eventing.event import Event

QUEUE_EVENTS = 4000
QUEUE_BYTES = 8 << 20
REFILL_EVENTS = 250
READ_AGAIN = 1.0
LONGEST_TIMER = 3600.0

_log = logging.getLogger("brokers.embedded")


class Home(Protocol):
    """What a subscription needs of its broker."""

    time: BrokerTime
    reader: Reader
    head: int
    live: "dict[str, EmbeddedSubscription]"

    def current_router(self) -> Router:
        """The router of now."""

    def submit(self, request: Request) -> None:
        """Store with the next group."""

    async def replay(
        self, subscription: "EmbeddedSubscription", start: Place, end: Place | None
    ) -> int:
        """Hand out again, durably."""


class EmbeddedSubscription:
    """Hands out deliveries from two queues in memory, refilled as they run low.

    `_ready` holds what was handed out before, or had to wait: due retries, what was in flight at
    a crash, events whose key has become free. `_queue` holds the log's next events, in order. A
    live subscription is offered every event it wants right after its commit. When its queue is
    full it falls behind: it loses nothing, but reads the log from its position page by page,
    until it has reached the newest event and is live again.
    """

    def __init__(self, home: Home, cursor: Cursor, order: Order, key_rows: list[KeyRows]) -> None:
        self.cursor = cursor
        self.in_flight: dict[int, Delivery] = {}
        self.retries = RetryQueue(stored=cursor.rows > 0)
        self.order: KeyOrder | None = None
        if order == "ordered":
            self.order = KeyOrder()
            self.order.restore(key_rows)
        self.closed = False
        self._home = home
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Delivery] = deque()
        self._ready_bytes = 0
        self._queue: deque[Delivery] = deque()
        self._queue_bytes = 0
        self._recovered = deque(sorted(cursor.gaps))
        self._read_to = cursor.high
        self._live = False
        self._reading = False
        self._loading = False
        self._receivers = Receivers(self._take)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    # What receivers call.

    async def receive(self, limit: int) -> list[Delivery]:
        """See the contract. Cancelled when the subscription is detached or the broker closes."""
        return await self._receivers.receive(limit)

    def settle(self, outcomes: Sequence[Outcome]) -> "asyncio.Future[list[tuple[int, ...]]]":
        """See the contract. An outcome of a delivery that is not in flight here (settled before,
        or forgotten by `detach`) is passed over: nothing of it is stored, its positions are ()."""
        future: asyncio.Future[list[tuple[int, ...]]] = self._loop.create_future()
        try:
            self._home.submit(Settle(self, outcomes, future))
        except UserError as error:
            future.set_exception(error)
        return future

    async def replay(self, start: Place, end: Place | None = None) -> int:
        """See the contract."""
        return await self._home.replay(self, start, end)

    # What the broker calls.

    def high(self) -> int:
        """The position up to which every event has been handed out or refused."""
        if self._queue:
            return self._queue[0].position - 1
        return self._home.head if self._live else self._read_to

    def offer(self, position: int, event: Event) -> None:
        """An event it wants has been stored; called only while it is live."""
        size = len(event.data or b"")
        queue = self._queue
        if queue and (len(queue) >= QUEUE_EVENTS or self._queue_bytes + size > QUEUE_BYTES):
            self._read_to = position - 1
            self._live = False
            del self._home.live[self.cursor.name]
            return
        queue.append(Delivery(event, position))
        self._queue_bytes += size
        self._receivers.wake()

    def advance(self) -> None:
        """See what can be handed out, or has to be read, now."""
        if self.closed:
            return
        if self.order is not None:
            self._spill(self.order)
        self._refill()
        self._arm()
        if self._ready or self._queue:
            self._receivers.wake()

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Ordered only: these are settled for good; the next of their keys may go out."""
        if self.order is not None and not self.closed:
            for delivery in deliveries:
                successor = self.order.release(delivery)
                if successor is not None:
                    self._push(successor)

    def broker_time(self, at: float) -> float:
        """The broker time of `at` (Unix seconds)."""
        return self._home.time.of(at)

    def stop(self) -> None:
        """Hand out nothing more and end the waits of receivers. What was settled still counts."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._receivers.close()

    def forget(self) -> None:
        """Give up what is in memory: storage tells it all again to the next one."""
        self.cursor.high = self.high()
        self.cursor.handle = None
        self._home.live.pop(self.cursor.name, None)
        self._live = False
        self.in_flight.clear()
        self._ready.clear()
        self._queue.clear()

    def replayed(self, added: list[Again]) -> None:
        """Rows were added to be handed out once more."""
        self.cursor.rows += len(added)
        if self.closed:
            return
        for position, key, due in added:
            if due is not None:
                self.retries.add(due, position)
            elif self.order is not None and key is not None:
                self.order.stored(key, 1)
        self.advance()

    def waiting_rows(self) -> int:
        """How many of its rows wait for their time."""
        handed = sum(1 for position in self.in_flight if position not in self.cursor.gaps)
        parked = self.order.in_rows if self.order is not None else 0
        return max(0, self.cursor.rows - handed - parked)

    def loaded_retries(self, rows: list[tuple[float, int]]) -> None:
        """A page of the retry timetable has been read."""
        self._loading = False
        self.retries.load(rows)

    # Taking from memory.

    def _take(self, limit: int) -> list[Delivery]:
        batch: list[Delivery] = []
        in_flight = self.in_flight
        ready = self._ready
        while ready and len(batch) < limit:
            delivery = ready.popleft()
            self._ready_bytes -= len(delivery.event.data or b"")
            in_flight[delivery.position] = delivery
            batch.append(delivery)
        queue = self._queue
        gaps = self.cursor.gaps
        order = self.order
        while queue and len(batch) < limit:
            if order is not None and order.full:
                break
            delivery = queue.popleft()
            event = delivery.event
            if event.data:
                self._queue_bytes -= len(event.data)
            position = delivery.position
            gaps.add(position)
            if order is None or order.admit(delivery):
                in_flight[position] = delivery
                batch.append(delivery)
        if order is not None:
            self._spill(order)
        if not self._live or self._recovered or self.cursor.rows:
            self._refill()
            self._arm()
        return batch

    def _spill(self, order: KeyOrder) -> None:
        if order.has_spill():
            self._home.submit(Spill(self, order.take_spill()))

    def _push(self, delivery: Delivery) -> None:
        self._ready.append(delivery)
        self._ready_bytes += len(delivery.event.data or b"")

    # Refilling from storage: one read at a time.

    def _refill(self) -> None:
        if self._reading or self.closed:
            return
        if self._has_room():
            if self.retries.wants_load() and not self._loading:
                self._loading = True
                self._home.submit(LoadRetries(self))
            due = self.retries.take(self._home.time.now(), PAGE_EVENTS)
            if due:
                self._read_due(due)
                return
            if self._recovered:
                self._read_recovered()
                return
            keys = self.order.take_wanted() if self.order is not None else []
            if keys:
                self._read_parked(keys)
                return
        # Nothing overtakes what was outstanding before: order by key would not hold.
        if not self._live and not self._recovered:
            self._catch_up()

    def _has_room(self) -> bool:
        return len(self._ready) < REFILL_EVENTS and self._ready_bytes < QUEUE_BYTES // 2

    def _read(
        self, future: "asyncio.Future[Any]", take: Callable[[Any], None], back: Callable[[], None]
    ) -> None:
        """`take` the answer; on a fault do `back` and read again later."""
        self._reading = True

        def arrived(future: "asyncio.Future[Any]") -> None:
            self._reading = False
            if self.closed or future.cancelled():
                return
            error = future.exception()
            if error is None:
                take(future.result())
                self.advance()
            else:
                _log.warning("trigger %r reads again: %s", self.cursor.name, error)
                back()
                self._reading = True
                self._loop.call_later(READ_AGAIN, self._read_again)

        future.add_done_callback(arrived)

    def _read_again(self) -> None:
        self._reading = False
        self.advance()

    def _read_due(self, positions: list[int]) -> None:
        def take(page: tuple[list[Delivery], int]) -> None:
            found, covered = page
            for delivery in found:
                self._push(delivery)
            self.retries.put_back(self._home.time.now(), positions[covered:])

        def back() -> None:
            self.retries.put_back(self._home.time.now(), positions)

        reader = self._home.reader
        self._read(reader.run(deliveries_at, self.cursor.id, positions), take, back)

    def _read_recovered(self) -> None:
        recovered = self._recovered
        positions = [recovered.popleft() for _ in range(min(PAGE_EVENTS, len(recovered)))]

        def take(page: tuple[list[Delivery], int]) -> None:
            found, covered = page
            recovered.extendleft(reversed(positions[covered:]))
            for delivery in found:
                if self.order is None or self.order.recover(delivery):
                    self._push(delivery)

        def back() -> None:
            recovered.extendleft(reversed(positions))

        self._read(self._home.reader.run(events_at, positions), take, back)

    def _read_parked(self, keys: list[str]) -> None:
        order = self.order
        assert order is not None

        def take(parked: dict[str, list[Delivery]]) -> None:
            for key, deliveries in parked.items():
                first = order.loaded(key, deliveries)
                if first is not None:
                    self._push(first)

        reader = self._home.reader
        self._read(
            reader.run(parked_at, self.cursor.id, keys, LOAD_EACH), take, lambda: order.want(keys)
        )

    def _catch_up(self) -> None:
        head = self._home.head
        if self._read_to >= head:
            self._live = True
            self._home.live[self.cursor.name] = self
        elif len(self._queue) < REFILL_EVENTS and self._queue_bytes < QUEUE_BYTES // 2:
            self._read(
                self._home.reader.run(log_page, self._read_to, head), self._take_page, _nothing
            )

    def _take_page(self, page: tuple[list[Logged], int]) -> None:
        events, reaches = page
        accepts = self._home.current_router().accepts
        name, own = self.cursor.name, self.cursor.id
        for position, event, only in events:
            if only == own or (only is None and accepts(name, event)):
                self._queue.append(Delivery(event, position))
                self._queue_bytes += len(event.data or b"")
        self._read_to = reaches

    # Waking up for retries.

    def _arm(self) -> None:
        """Set the timer to the next retry. A clock set forward is seen by the broker's tick."""
        due = self.retries.next_due()
        if self._timer is not None:
            if due is not None and due >= self._timer_due:
                return
            self._timer.cancel()
            self._timer = None
        # Where memory is full or a read is under way, its end comes back here.
        if due is not None and not self._reading and self._has_room():
            self._timer_due = due
            delay = max(0.001, due - self._home.time.now())
            self._timer = self._loop.call_later(min(delay, LONGEST_TIMER), self._due)

    def _due(self) -> None:
        self._timer = None
        self.advance()


def _nothing() -> None:
    """A page of the log is simply read again."""
