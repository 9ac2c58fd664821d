"""One trigger's view of the log: what was read for it, bounded in memory, and what is out."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

from brokers.base import Delivery, Order, Outcome, Place, Retry, Router
from brokers.receivers import Receivers
from brokers.redis.entry import decode_entry
from brokers.redis.keys import id_of, position_of
from brokers.redis.link import Argument
from brokers.redis.ordering import KeyOrder, key_of
from brokers.redis.recent import RecentEvents
from brokers.redis.settling import Acknowledge, Settle, unreadable_letter
from brokers.redis.waiting import unpack_waiting
from brokers.redis.writer import Kept, milliseconds_until
from eventing.errors import InvalidEvent, UserError
from eventing.event import Event

QUEUE_EVENTS: Final = 1000
QUEUE_BYTES: Final = 8 << 20
HUNGRY_BELOW: Final = 250
LONGEST_TIMER: Final = 3600.0
FORMER_ROUTERS: Final = 8

_log = logging.getLogger("brokers.redis")


class Home(Protocol):
    """What a subscription needs of its broker."""

    stream: str
    recent: RecentEvents

    @property
    def has_several(self) -> bool:
        """Whether other subscriptions read the same events."""

    def current_router(self) -> Router: ...

    def store(self, request: Kept) -> None:
        """Settle it, however long it takes."""

    def stored(self, events: Sequence[Event], positions: list[int]) -> None:
        """They are in the stream now."""

    def hungry(self) -> None:
        """A subscription can be read for."""

    def attend(self) -> None:
        """A subscription has to be looked after."""

    async def replay(
        self, subscription: "RedisSubscription", start: Place, end: Place | None
    ) -> int:
        """Hand out again, durably."""


class RedisSubscription:
    """Hands out deliveries from two queues in memory, refilled as they run low.

    `_ready` holds what was handed out before, or had to wait; `_queue` the log's next events, in
    order. `token` is the consumer's name in Redis: once Redis has dropped it, all that was handed
    out under it is another's, and settling it changes nothing.
    """

    def __init__(self, home: Home, name: str, order: Order, token: str, read_to: int) -> None:
        self.name = name
        self.mode: Order = order
        self.token = token
        self.in_flight: dict[int, Delivery] = {}
        self.apart: set[int] = set()
        """Of what is open here, that which has its place beside the stream."""
        self.open: set[int] = set()
        """All that Redis holds for this consumer: in memory, out, or being settled."""
        self.closed = False
        self.lost = False
        """Whether Redis holds nothing under the token any more: it has to be opened anew."""
        self.owned = order == "unordered"
        """Whether this node is to hand out."""
        self.behind = True
        """Whether the log may have more than was read."""
        self.due = False
        self.recover_after: int | None = None
        """Where to go on reading what Redis holds for this consumer; None = all is known."""
        self.recovery = 0
        """How often it began to."""
        self.to_fetch: dict[str, list[int]] = {}
        """By key, parked ones whose turn it is."""
        self.read_to = read_to
        self.order = KeyOrder() if order == "ordered" else None
        self._home = home
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Delivery] = deque()
        self._queue: deque[Delivery] = deque()
        self._bytes = 0
        self._former: list[tuple[int, Router]] = []
        self._receivers = Receivers(self._take)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._unsettled = 0
        self._settled: asyncio.Future[None] | None = None

    # What receivers call.

    async def receive(self, limit: int) -> list[Delivery]:
        """See the contract. Cancelled when the subscription is detached or the broker closes."""
        return await self._receivers.receive(limit)

    def settle(self, outcomes: Sequence[Outcome]) -> "asyncio.Future[list[tuple[int, ...]]]":
        """See the contract. Where an answer of Redis was lost, the outcomes are settled all the
        same, and the positions of their replies are not told."""
        future: asyncio.Future[list[tuple[int, ...]]] = self._loop.create_future()
        try:
            request = Settle(self, outcomes, future)
        except UserError as error:
            future.set_exception(error)
            return future
        if not request.over:
            future.set_result([()] * len(outcomes))
            return future
        self._unsettled += 1
        self._home.store(request)
        return future

    async def replay(self, start: Place, end: Place | None = None) -> int:
        """See the contract."""
        return await self._home.replay(self, start, end)

    # What the reader asks and tells.

    @property
    def has_room(self) -> bool:
        """Whether memory takes more."""
        return len(self._queue) + len(self._ready) < HUNGRY_BELOW and self._bytes < QUEUE_BYTES // 2

    @property
    def wants(self) -> bool:
        """Whether there is something to be read for it now."""
        if self.closed or self.lost or not self.owned:
            return False
        if self.to_fetch:
            return True
        if not self.has_room:
            return False
        return self.due or self.recover_after is not None or self.wants_new

    @property
    def wants_new(self) -> bool:
        """Whether it takes the log's next events: after all that it had before."""
        return (
            self.behind
            and self.recover_after is None
            and (self.order is None or not self.order.full)
        )

    def take_new(self, entries: list[list[Any]], *, full: bool) -> None:
        """Entries that this consumer reads for the first time."""
        self._admit(entries)
        if not full:
            self.behind = False
        self._wake()

    def take_held(self, entries: list[list[Any]], *, full: bool) -> None:
        """Entries that Redis holds for this consumer, of a former life of this node or another."""
        if self.recover_after is None:
            return
        if entries:
            self.recover_after = _position_or_none(entries[-1][0]) or self.recover_after
        known = self.open
        fresh = [entry for entry in entries if _position_or_none(entry[0]) not in known]
        self._admit(fresh)
        if not full:
            self.recover_after = None
        self._wake()

    def take_due(self, places: Sequence[Any], bodies: Sequence[Any], next_in: int) -> None:
        """Deliveries whose time has come; `next_in` milliseconds come the next (below 0: none)."""
        self.due = next_in == 0
        self.arm(next_in)
        for place, body in zip(places, bodies, strict=True):
            position = int(place)
            delivery = self._read_body(position, body)
            self.open.add(position)
            self.apart.add(position)
            if delivery is None:
                continue
            retried = delivery.failure is not None
            if self.order is None or retried or self.order.admit(delivery):
                self._push(delivery)
        self._wake()

    def take_fetched(self, key: str, positions: list[int], bodies: list[Any]) -> None:
        """Parked ones whose turn it is, and those behind them."""
        order = self.order
        if order is None:
            return
        found: dict[int, Delivery] = {}
        for position, body in zip(positions, bodies, strict=True):
            delivery = self._read_body(position, body) if body is not None else None
            if delivery is not None:
                found[position] = delivery
        first = positions[0]
        order.fetched(key, {each: found[each] for each in positions[1:] if each in found})
        if first in found:
            self._push(found[first])
        else:
            # It was deleted from the stream by someone: there is nothing to deliver.
            self._acknowledge([first], [id_of(first)], [])
            self._release(key)
        self._wake()

    # What the broker tells.

    def recover(self) -> None:
        """Redis may hold for this consumer what this node does not know of."""
        self.recover_after = 0
        self.recovery += 1
        self.behind = True

    def take_over(self, retried_keys: Sequence[str]) -> None:
        """Ordered only: it is this node that hands out from now on; retries of these keys wait."""
        if self.order is None:
            return
        for key in retried_keys:
            self.order.hold(key)
        self.owned = True
        self.recover()

    def arm(self, next_in: int) -> None:
        """The next retry is due in so many milliseconds; below 0: there is none."""
        if next_in < 0 or self.closed:
            return
        at = self._loop.time() + min(LONGEST_TIMER, next_in / 1000)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._is_due)

    def _is_due(self) -> None:
        self._timer = None
        if not self.closed:
            self.due = True
            if self.wants:
                self._home.hungry()

    def router_changes(self, boundary: int, former: Router) -> None:
        """Events up to the boundary are the former router's."""
        if not self._former or self._former[-1][0] < boundary:
            self._former.append((boundary, former))
            del self._former[:-FORMER_ROUTERS]

    def reopen(self, token: str, read_to: int) -> None:
        """Begin anew as another consumer: what was in memory or out is whoever has it now."""
        self.token = token
        self.read_to = read_to
        self.in_flight.clear()
        self.open.clear()
        self.apart.clear()
        self._ready.clear()
        self._queue.clear()
        self._bytes = 0
        self.to_fetch.clear()
        self.recover_after = None
        self.lost = False
        self.behind = True
        if self.order is not None:
            self.order = KeyOrder()
            self.owned = False

    def resume_after(self) -> int:
        """The position after which a new consumer group has to begin, so that nothing is lost of
        what this node knows."""
        entries = [position for position in self.open if position not in self.apart]
        return min(entries) - 1 if entries else self.read_to

    def stop(self) -> None:
        """Hand out nothing more and end the waits of receivers. What was settled still counts."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._receivers.close()

    def replied(self, events: Sequence[Event], positions: list[int]) -> None:
        """See settling.Home."""
        self._home.stored(events, positions)

    async def all_settled(self, within: float) -> None:
        """Until what it was asked to settle is stored, at most so many seconds."""
        if self._unsettled:
            self._settled = self._loop.create_future()
            await asyncio.wait([self._settled], timeout=within)

    def forget(self) -> None:
        """Whoever holds a delivery of it still: its outcome counts for nothing."""
        self.in_flight.clear()

    # What requests tell.

    def over(self, request: Settle) -> None:
        """The outcomes are stored, or were passed over."""
        self._unsettled -= 1
        if not self._unsettled and self._settled is not None and not self._settled.done():
            self._settled.set_result(None)
        if request.token != self.token:
            return
        open, apart, order = self.open, self.apart, self.order
        for outcome in request.over:
            position = outcome.delivery.position
            open.discard(position)
            if apart:
                apart.discard(position)
            if type(outcome) is Retry:
                self.arm(milliseconds_until(outcome.at))
            elif order is not None:
                key = key_of(outcome.delivery)
                if key is not None:
                    self._release(key)
        if order is not None:
            self._wake()
            if self.wants:
                self._home.hungry()

    def refused(self, request: Acknowledge) -> None:
        """Entries that are not for it are acknowledged."""
        if request.token == self.token:
            self.open.difference_update(request.positions)

    def fenced(self, token: str) -> None:
        """Redis does not count this consumer any more."""
        if token == self.token and not self.lost and not self.closed:
            self.lost = True
            self._home.attend()

    # Inside.

    def _admit(self, entries: list[list[Any]]) -> None:
        recent, open, order = self._home.recent, self.open, self.order
        accepts = self._home.current_router().accepts
        name = self.name
        shared = self._home.has_several
        refused: list[int] = []
        refused_ids: list[bytes] = []
        unreadable: list[tuple[bytes, list[Argument]]] = []
        for id, fields in entries:
            if fields is None:
                # Deleted from the stream by someone before it was settled.
                refused_ids.append(id)
                continue
            position = 0
            try:
                position = position_of(id)
                event = recent.get(position)
                if event is None:
                    event = decode_entry(fields)
                    if shared:
                        recent.add(position, event)
            except (InvalidEvent, ValueError) as error:
                reason = str(error)
                letter = unreadable_letter(self._home.stream, id, position, fields, reason)
                unreadable.append((id, letter))
                refused.append(position)
                open.add(position)
                continue
            open.add(position)
            if position > self.read_to:
                self.read_to = position
            if self._former and position <= self._former[-1][0]:
                wanted = self._former_router(position).accepts(name, event)
            else:
                wanted = accepts(name, event)
            if not wanted:
                refused.append(position)
                refused_ids.append(id)
                continue
            delivery = Delivery(event, position)
            if order is None or order.admit(delivery):
                self._queue.append(delivery)
                if event.data:
                    self._bytes += len(event.data)
        if refused_ids or unreadable:
            self._acknowledge(refused, refused_ids, unreadable)

    def _former_router(self, position: int) -> Router:
        for boundary, router in self._former:
            if position <= boundary:
                return router
        return self._home.current_router()

    def _acknowledge(
        self,
        positions: list[int],
        ids: list[bytes],
        unreadable: list[tuple[bytes, list[Argument]]],
    ) -> None:
        self._home.store(Acknowledge(self, positions, ids, unreadable))

    def _read_body(self, position: int, body: Any) -> Delivery | None:
        """The delivery of a body beside the stream, or of an entry's fields."""
        try:
            if isinstance(body, bytes):
                return unpack_waiting(position, body)
            return Delivery(decode_entry(body), position)
        except (InvalidEvent, ValueError, TypeError) as error:
            _log.error(
                "trigger %s: what waits at position %d in Redis is no delivery and is left there: "
                "%s",
                self.name,
                position,
                error,
            )
            return None

    def _release(self, key: str) -> None:
        assert self.order is not None
        successor = self.order.release(key)
        if isinstance(successor, int):
            self.to_fetch[key] = [successor, *self.order.upcoming(key)]
            self._home.hungry()
        elif successor is not None:
            self._push(successor)

    def _push(self, delivery: Delivery) -> None:
        self._ready.append(delivery)
        self._bytes += len(delivery.event.data or b"")

    def _take(self, limit: int) -> list[Delivery]:
        batch: list[Delivery] = []
        in_flight = self.in_flight
        for source in (self._ready, self._queue):
            while source and len(batch) < limit:
                delivery = source.popleft()
                if delivery.event.data:
                    self._bytes -= len(delivery.event.data)
                in_flight[delivery.position] = delivery
                batch.append(delivery)
        if batch and self.wants:
            self._home.hungry()
        return batch

    def _wake(self) -> None:
        if self._ready or self._queue:
            self._receivers.wake()


def _position_or_none(id: bytes) -> int | None:
    try:
        return position_of(id)
    except ValueError:
        return None
