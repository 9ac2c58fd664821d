"""One trigger's view of a topic: its shares of the partitions, on this node.

A share is handed out once what waits in the deliveries topic for it has been read.
"""

import asyncio
import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from brokers.base import Delivery, Done, Order, Outcome, Place, SubscriptionStats
from brokers.kafka.commit import GroupCommit
from brokers.kafka.follower import Followed, Follower, Read
from brokers.kafka.group_consumer import Arrived, Group, GroupConsumer
from brokers.kafka.positions import position_of
from brokers.kafka.progress import OPEN_AT_MOST
from brokers.kafka.recent import RecentEvents
from brokers.kafka.routers import Routers
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.settling import KeepUnreadable, Settle, Settled, Spill, TransactionOffsets
from brokers.kafka.share import Handed, Share, Unreadable, item_size
from brokers.kafka.topic_reader import TopicReader
from brokers.kafka.transactions import Place as StoredAt
from brokers.kafka.waiting import Entry, entry_of
from brokers.key_order import LOAD_EACH
from brokers.receivers import Receivers
from eventing.errors import StorageError, UserError
from eventing.event import Event

WAITING_AT_MOST = 100_000
"""Events of a trigger that wait on this node, above which it takes no new ones."""
KEPT_BYTES = 32 << 20
"""Of what waits, kept in memory; the rest is fetched when its time comes."""
READY_AT_MOST = 500
FETCH_AT_ONCE = 64
FETCH_AGAIN = 1.0
LONGEST_TIMER = 3600.0

_log = logging.getLogger("brokers.kafka")


class Home(Protocol):
    """What a subscription needs of its broker."""

    settings: KafkaSettings
    client_id: str
    node: str
    topic: str
    letters: str
    routers: Routers
    recent: RecentEvents
    commits: GroupCommit
    follower: Follower
    reader: TopicReader

    def check(self, event: Event) -> None:
        """Raises UserError where the topic can't take it."""

    def stored(self, places: Sequence[StoredAt], events: Sequence[Event]) -> None:
        """They are in the topic now."""

    async def replay(
        self, subscription: "KafkaSubscription", start: Place, end: Place | None
    ) -> int:
        """Hand out again, durably."""


class KafkaSubscription:
    """See the contract. What is due or was handed out before goes first, then the log's next."""

    def __init__(
        self,
        home: Home,
        name: str,
        order: Order,
        *,
        group: str,
        deliveries: str,
        starts: Mapping[int, int],
        options: Mapping[str, Any],
    ) -> None:
        self.name = name
        self.topic = home.topic
        self.letters = home.letters
        self.deliveries = deliveries
        self.group = group
        self.shares: dict[int, Share] = {}
        self.closed = False
        self._home = home
        self._order = order
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Handed] = deque()
        self._due: list[tuple[float, int, Share, Entry]] = []
        self._pushed = 0
        self._to_fetch: deque[tuple[Share, Entry]] = deque()
        self._fetching: asyncio.Task[None] | None = None
        self._receivers = Receivers(self._take)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._consumer = GroupConsumer(
            home.settings,
            home.client_id,
            Group(home.topic, deliveries, group, order, starts, options),
            self,
            self,
            home.recent,
        )
        self._consumer.start()

    # What receivers call.

    async def receive(self, limit: int) -> list[Delivery]:
        """See the contract. Cancelled when the subscription is detached or the broker closes."""
        return await self._receivers.receive(limit)

    def settle(self, outcomes: Sequence[Outcome]) -> "asyncio.Future[list[tuple[int, ...]]]":
        """See the contract."""
        future: asyncio.Future[list[tuple[int, ...]]] = self._loop.create_future()
        try:
            self._home.commits.submit(Settle(self, outcomes, future))
        except UserError as error:
            future.set_exception(error)
            return future
        if self._order == "ordered":
            # The next of a key need not wait for the transaction: should that never be committed,
            # this one comes again first, and then the next.
            done = [each for each in outcomes if type(each) is Done and not each.replies]
            self.released([each.delivery for each in done])
        return future

    async def replay(self, start: Place, end: Place | None = None) -> int:
        """See the contract."""
        return await self._home.replay(self, start, end)

    # What the broker calls.

    @property
    def fault(self) -> str:
        """Why nothing is read; empty while it is."""
        return self._consumer.fault

    async def detach(self) -> None:
        """Settle what was asked for, and leave the group."""
        self.stop()
        await self._home.commits.drain()
        await self._consumer.stop()
        self._forget(list(self.shares.values()))
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def stop(self) -> None:
        """Hand out nothing more and end the waits of receivers. What was settled still counts."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._receivers.close()

    async def committed(self, partitions: Sequence[int]) -> dict[int, tuple[int, str]]:
        """Offset and metadata that the group has committed, by partition, of those that have one.
        Raises StorageError."""
        return await self._consumer.committed(partitions)

    def commit_progress(self) -> None:
        """Have what was read and refused committed, where anything was since the last time."""
        if self.shares and self.offsets() is not None:
            self._home.commits.submit(Settled(self))

    def stats(self, ends: Mapping[int, int], dead: int) -> SubscriptionStats:
        """Of this node's shares alone."""
        lag = sum(
            share.now().lag(ends.get(partition, 0)) for partition, share in self.shares.items()
        )
        in_flight = sum(share.in_flight for share in self.shares.values())
        return SubscriptionStats(lag, in_flight, self.retrying(), dead, lag)

    def retrying(self) -> int:
        """Deliveries of this node's shares that wait in the deliveries topic and are not out."""
        return sum(1 for share in self.shares.values() for entry in share.waiting if not entry.out)

    # What settling needs.

    def check(self, event: Event) -> None:
        """See Home."""
        self._home.check(event)

    def stored(self, places: Sequence[StoredAt], events: Sequence[Event]) -> None:
        """See settling.Home."""
        self._home.stored(places, events)

    def offsets(self) -> TransactionOffsets | None:
        """See commit.Source: those that have changed since they were committed, and those that
        were touched, since Kafka tells by them whether this node still has the partition."""
        changed = []
        for share in self.shares.values():
            if share.alive:
                offset, metadata = share.now().encode(self._home.node)
                if share.touched or share.committed != (offset, metadata):
                    changed.append((share, offset, metadata))
        return TransactionOffsets(self._consumer, changed, self._advance) if changed else None

    def reset(self) -> None:
        """See commit.Source."""
        self._consumer.reread()

    def applied(self, share: Share, key: bytes, offset: int, entry: Entry | None) -> None:
        """A record of the deliveries topic was committed by this node."""
        if share.alive and not self.closed:
            self._apply(share, key, offset, entry)
            self._advance()

    def released(self, deliveries: Sequence[Delivery]) -> None:
        """They are settled for good: in order, the next of their keys may go out."""
        if self._order != "ordered" or self.closed:
            return
        for delivery in deliveries:
            if type(delivery) is not Handed or delivery.released:
                continue
            order = delivery.share.order
            if order is not None and delivery.share.alive:
                delivery.released = True
                successor = order.release(delivery)
                if successor is not None:
                    self._push(successor)
        self._advance()

    def spilled(self, share: Share, deliveries: list[Delivery]) -> None:
        """They wait in the deliveries topic."""
        if share.order is not None:
            share.order.spilled(deliveries)
            self._advance()

    # What the consumer's thread tells.

    def accepts(self, partition: int, offset: int, event: Event) -> bool:
        """See group_consumer.Filters."""
        return self._home.routers.accepts(self.name, partition, offset, event)

    def assigned(self, shares: Sequence[Share]) -> None:
        """See group_consumer.Member."""
        followed = []
        for share in shares:
            if not share.alive:
                continue
            self.shares[share.partition] = share
            share.followed = Followed(
                self.deliveries,
                share.partition,
                share.end_of_waiting,
                lambda records, at, share=share: self._followed(share, records, at),  # type: ignore[misc]
                lambda share=share: self._loaded(share),  # type: ignore[misc]
            )
            followed.append(share.followed)
        if followed:
            self._home.follower.follow(followed)

    def revoked(self, shares: Sequence[Share]) -> None:
        """See group_consumer.Member."""
        self._forget(shares)

    def _forget(self, shares: Sequence[Share]) -> None:
        gone = set()
        for share in shares:
            share.alive = False
            gone.add(share)
            if self.shares.get(share.partition) is share:
                del self.shares[share.partition]
            self._consumer.taken(*share.weight)
            share.queue.clear()
        self._ready = deque(each for each in self._ready if each.share not in gone)
        self._due = [each for each in self._due if each[2] not in gone]
        heapq.heapify(self._due)
        self._home.follower.let_go([each.followed for each in gone if each.followed is not None])

    def arrived(self, batches: Arrived, events: int, size: int) -> None:
        """See group_consumer.Member."""
        for share, items, read_to in batches:
            if share.alive and not self.closed:
                share.arrived(items, read_to)
            else:
                self._consumer.taken(len(items), sum(item_size(item) for _, item in items))
        self._receivers.wake()

    def flush(self, flushed: threading.Event) -> None:
        """See group_consumer.Member."""
        task = self._loop.create_task(self._home.commits.drain())
        task.add_done_callback(lambda _: flushed.set())

    def _followed(self, share: Share, records: Sequence[Read], at: int) -> None:
        if not share.alive:
            return
        for key, offset, read in records:
            entry = None if read is None else entry_of(key, offset, read[0], read[1])
            self._apply(share, key, offset, entry)
        share.waiting.read_to(at)
        self._advance()

    def _loaded(self, share: Share) -> None:
        if not share.alive:
            return
        share.loaded = True
        if share.order is not None:
            share.order.restore(share.waiting.key_rows())
        for entry in share.waiting:
            if share.order is None or entry.order_key is None or entry.due is not None:
                self._schedule(share, entry)
        self._advance()

    # What waits.

    def _apply(self, share: Share, key: bytes, offset: int, entry: Entry | None) -> None:
        news = share.waiting.apply(key, offset, entry)
        if news is None:
            return
        if share.waiting.bytes > KEPT_BYTES // max(1, len(self.shares)):
            share.waiting.leave_behind(news)
        if not share.loaded:
            return
        if news.due is None and share.order is not None and news.order_key is not None:
            share.waiting.park(news)
            share.order.stored(news.order_key, 1)
        else:
            self._schedule(share, news)

    def _schedule(self, share: Share, entry: Entry) -> None:
        self._pushed += 1
        heapq.heappush(self._due, (entry.due or 0.0, self._pushed, share, entry))

    def _advance(self) -> None:
        """See what can be handed out, spilled or fetched now."""
        if self.closed:
            return
        now = time.time()
        due = self._due
        while due and due[0][0] <= now and self._has_room():
            _, _, share, entry = heapq.heappop(due)
            if share.alive and share.waiting.entries.get(entry.key) is entry and not entry.out:
                self._hand(share, entry)
        if self._order == "ordered":
            for share in self.shares.values():
                self._advance_keys(share)
        if self._to_fetch and self._fetching is None and len(self._ready) < READY_AT_MOST:
            self._fetching = self._loop.create_task(self._fetch(), name=f"fetch {self.name}")
        self._arm(now)
        if self._ready or any(each.queue for each in self.shares.values()):
            self._receivers.wake()

    def _has_room(self) -> bool:
        return len(self._ready) < READY_AT_MOST and len(self._to_fetch) < READY_AT_MOST

    def _advance_keys(self, share: Share) -> None:
        order = share.order
        if order is None or not share.caught_up:
            return
        if order.has_spill():
            self._home.commits.submit(Spill(self, share, order.take_spill()))
        while len(self._ready) < READY_AT_MOST and (keys := order.take_wanted()):
            for key in keys:
                entries = share.waiting.next_parked(key, LOAD_EACH)
                missing = [each for each in entries if each.delivery is None]
                if missing:
                    share.waiting.put_back(key, entries)
                    self._to_fetch.extend((share, each) for each in missing)
                    continue
                deliveries: list[Delivery] = [self._handed(share, each) for each in entries]
                first = order.loaded(key, deliveries)
                if first is not None:
                    self._push(first)

    def _hand(self, share: Share, entry: Entry) -> None:
        if entry.delivery is None:
            self._to_fetch.append((share, entry))
        else:
            self._push(self._handed(share, entry))

    def _handed(self, share: Share, entry: Entry) -> Handed:
        entry.out = True
        kept = entry.delivery
        assert kept is not None
        return Handed(
            kept.event,
            kept.position,
            kept.attempt,
            kept.stage,
            kept.failure,
            share=share,
            entry=entry,
        )

    def _push(self, delivery: Delivery) -> None:
        assert type(delivery) is Handed
        self._ready.append(delivery)

    async def _fetch(self) -> None:
        """Bring payloads that were left behind, a few at a time."""
        try:
            while self._to_fetch and len(self._ready) < READY_AT_MOST and not self.closed:
                wanted = [
                    self._to_fetch.popleft() for _ in range(min(FETCH_AT_ONCE, len(self._to_fetch)))
                ]
                try:
                    await self._bring(wanted)
                except StorageError as error:
                    _log.warning("trigger %r fetches again: %s", self.name, error)
                    self._to_fetch.extendleft(reversed(wanted))
                    await asyncio.sleep(FETCH_AGAIN)
        finally:
            self._fetching = None
        self._advance()

    async def _bring(self, wanted: list[tuple[Share, Entry]]) -> None:
        offsets: dict[int, list[int]] = {}
        for share, entry in wanted:
            if share.alive:
                offsets.setdefault(share.partition, []).append(entry.offset)
        found = await self._home.reader.fetch(self.deliveries, offsets)
        for share, entry in wanted:
            current = share.waiting.entries.get(entry.key)
            message = found.get((share.partition, entry.offset))
            if not share.alive or current is not entry or entry.out or message is None:
                continue
            share.waiting.bring(entry, message)
            if entry.due is None and share.order is not None and entry.order_key is not None:
                share.order.want([entry.order_key])
            else:
                self._push(self._handed(share, entry))
        if self._ready:
            self._receivers.wake()

    def _arm(self, now: float) -> None:
        """Set the timer to the next one that is due."""
        if not self._due or not self._has_room():
            return
        due = self._due[0][0]
        if self._timer is not None:
            if due >= self._timer_due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(
            min(max(0.001, due - now), LONGEST_TIMER), self._time_is_up
        )

    def _time_is_up(self) -> None:
        self._timer = None
        self._advance()

    # Taking from memory.

    def _take(self, limit: int) -> list[Delivery]:
        batch: list[Delivery] = []
        while self._ready and len(batch) < limit:
            delivery = self._ready.popleft()
            if delivery.share.alive:
                delivery.out = True
                delivery.share.in_flight += 1
                batch.append(delivery)
        waiting = sum(len(share.waiting) for share in self.shares.values())
        if waiting < WAITING_AT_MOST:
            for share in tuple(self.shares.values()):
                if len(batch) >= limit:
                    break
                if share.queue and share.loaded:
                    self._take_from(share, limit, batch)
        if self._due or self._order == "ordered":
            self._advance()
        return batch

    def _take_from(self, share: Share, limit: int, batch: list[Delivery]) -> None:
        queue, progress, order = share.queue, share.progress, share.order
        taken = size = 0
        while queue and len(batch) < limit and len(progress.open) < OPEN_AT_MOST:
            if order is not None and order.full:
                break
            offset, item = queue.popleft()
            taken += 1
            size += item_size(item)
            again = offset < share.resumes_at
            if item is None:
                progress.open.discard(offset)
                continue
            if not again:
                progress.next = offset + 1
            progress.open.add(offset)
            if type(item) is Unreadable:
                self._home.commits.submit(KeepUnreadable(self, share, offset, item))
                continue
            assert type(item) is Event
            position = position_of(share.partition, offset)
            delivery = Handed(item, position, share=share, offset=offset)
            if order is None or (order.recover(delivery) if again else order.admit(delivery)):
                delivery.out = True
                share.in_flight += 1
                batch.append(delivery)
        self._consumer.taken(taken, size)
