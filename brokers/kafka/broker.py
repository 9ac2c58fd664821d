"""The Kafka broker: the contract of brokers/base.py over a topic, docs/kafka.md tells how.

An event's way: `publish` (publishing.py), Kafka, group_consumer.py (filter), subscription.py; what
is settled goes through commit.py, one transaction for all triggers of the broker.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any

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
from brokers.kafka import replaying
from brokers.kafka.backlog import Backlog
from brokers.kafka.cluster import nodes_topic
from brokers.kafka.commit import GroupCommit
from brokers.kafka.dead_letter_records import drop_record, letter_record
from brokers.kafka.dead_letter_records import new_key as new_letter_key
from brokers.kafka.dead_letter_topic import DeadLetterTopic, dead_letter_topic
from brokers.kafka.delivery_records import delivery_record, new_key
from brokers.kafka.follower import Follower
from brokers.kafka.group_protocol import choose_protocol, group_options, shorten_session
from brokers.kafka.messages import headers_of, value_of
from brokers.kafka.messages import place_of as place_in
from brokers.kafka.names import broker_topic, deliveries_topic, trigger_group
from brokers.kafka.positions import first_offset, place_of, position_of
from brokers.kafka.producer import RecordProducer
from brokers.kafka.progress import decode
from brokers.kafka.publishing import Change, Publisher
from brokers.kafka.reachability import Reachability
from brokers.kafka.recent import RecentEvents
from brokers.kafka.registry import Registry, registry_topic, removal_record, subscription_record
from brokers.kafka.routers import Routers
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.subscription import KafkaSubscription
from brokers.kafka.topic_reader import Stretch, TopicReader
from brokers.kafka.topics import Topic, Topics
from brokers.kafka.transactions import OutRecord, Produced
from brokers.kafka.turns import TransactionsInTurn
from brokers.kafka.vanished import VanishedNodes
from eventing.errors import InvalidEvent, StorageError, SubscriptionInUse
from eventing.event import Event
from eventing.kafka_encoding import decode_record, looks_structured

TICK = 1.0
REFRESH = 2.0
"""Seconds between two looks for subscriptions that other nodes made or removed."""
PARTITIONS = 30.0
"""Seconds between two looks for partitions that were added to the topic."""
CLOSE_SECONDS = 5.0

_log = logging.getLogger("brokers.kafka")


class KafkaBroker:
    """A broker in a Kafka topic: at least once, replies exactly once in the log.

    Several nodes may have it open; `node` tells them apart, and two with the same name fence each
    other.
    """

    def __init__(
        self, name: str, settings: KafkaSettings, limits: Limits | None = None, *, node: str
    ) -> None:
        self.name = name
        self.settings = settings
        self.node = node
        self.client_id = f"eventing-{node}"
        self.topic = broker_topic(name)
        self.routers = Routers()
        self.recent = RecentEvents()
        self.subscriptions: dict[str, KafkaSubscription] = {}
        self.ends: dict[int, int] = {}
        """By partition, the end of what this node knows to be stored."""
        self._limits = limits or Limits()
        self._started = False
        self._partitions = 0
        self._changing: dict[str, asyncio.Lock] = {}
        self._letters_changing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """See the contract. Makes the topics that are missing. `reason` of the StorageError is one
        of brokers/kafka/faults.py."""
        settings = self.settings
        self.topics = Topics(settings, self.client_id)
        self.reader = TopicReader(settings, self.client_id)
        prefix = f"eventing-{self.topic}-"
        self._transactions = TransactionsInTurn(settings, self.client_id, f"{prefix}{self.node}")
        self._vanished = VanishedNodes(settings, self.client_id, self.topics, self.reader, prefix)
        try:
            await self._open()
        except BaseException:
            await self._transactions.close()
            await self.reader.close()
            await self.topics.close()
            raise
        self._started = True

    async def _open(self) -> None:
        settings = self.settings
        copies = settings.replication_factor
        letters, registry = (
            dead_letter_topic(self.topic, copies),
            registry_topic(self.topic, copies),
        )
        main = Topic(self.topic, settings.partitions, copies, settings.topic_options)
        await self.topics.ensure([main, letters, registry, nodes_topic(copies)])
        self._partitions = await self.topics.partitions(self.topic)
        limit = await self.topics.max_message_bytes(self.topic)
        self._protocol = await choose_protocol(self.topics)
        await self._transactions.open()
        self.letters = letters.name
        self._registry_topic = registry.name
        self._registry = Registry(self.topics, self.reader, registry.name)
        self._letters = DeadLetterTopic(self.topics, self.reader, letters.name)
        await self._registry.refresh()
        self._producer = RecordProducer(settings, self.client_id)
        self.commits = GroupCommit(self._transactions)
        self.follower = Follower(settings, self.client_id)
        self._publisher = Publisher(self.topic, limit, self._producer, self.commits, self.stored)
        self._reachability = Reachability(
            self.topics,
            (self._producer.heard, *self._transactions.heard),
            self._producer.give_up,
            self._transactions.outlived_kafka,
        )
        self._backlog = Backlog(self.name, self._limits)
        self._run(self._reachability.watch(), "reachability")
        self._run(self._vanished.watch(), "vanished")
        self._run(self._commit_progress(), "progress")
        self._run(self._refresh(), "registry")
        self._run(self._count_backlog(), "backlog")

    def _run(self, work: Coroutine[Any, Any, None], what: str) -> None:
        name = f"kafka {what} {self.name}"
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    async def close(self) -> None:
        """See the contract. Within some seconds, also when Kafka is away."""
        if not self._started:
            return
        self._started = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        subscriptions = list(self.subscriptions.values())
        for subscription in subscriptions:
            subscription.stop()
        self.commits.give_up_after(CLOSE_SECONDS)
        await asyncio.gather(*(each.detach() for each in subscriptions))
        self.subscriptions.clear()
        await self.commits.close()
        await self.follower.close()
        await self.reader.close()
        await self._producer.close(CLOSE_SECONDS)
        await self.topics.close()

    def set_router(self, router: Router) -> None:
        """See the contract. Events of other nodes count as stored when they are read."""
        self.routers.set(router, self.ends)

    def set_limits(self, limits: Limits) -> None:
        """See the contract. Of the limits `max_backlog` alone counts; the rest is the topic's."""
        self._limits = limits
        if self._started:
            self._backlog.limits = limits

    # Writing.

    @property
    def fault(self) -> Fault | None:
        """See the contract."""
        return self._reachability.fault if self._started else None

    def publish(self, events: Sequence[Event]) -> "asyncio.Future[list[int]]":
        """See the contract. Further raises EventTooLarge through the future. Where the connection
        is lost before Kafka's answer, an event may be stored although an error was raised."""
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        if not self._started:
            future.set_exception(StorageError(f"broker {self.name!r} is not open"))
        elif not events:
            future.set_result([])
        elif self._reachability.fault is not None:
            future.set_exception(self._reachability.fault.error())
        elif (full := self._backlog.refusal()) is not None:
            future.set_exception(full)
        else:
            self._backlog.added(len(events), future)
            self._publisher.publish(events, future)
        return future

    def check(self, event: Event) -> None:
        """Raises EventTooLarge where the topic can't take it."""
        self._publisher.check(event)

    def stored(self, places: Sequence[tuple[int, int]], events: Sequence[Event]) -> None:
        """They are in the topic now: published, or as replies."""
        ends = self.ends
        for partition, offset in places:
            if offset >= ends.get(partition, 0):
                ends[partition] = offset + 1
        if self.subscriptions:
            remember = self.recent.remember
            for (partition, offset), event in zip(places, events, strict=True):
                if not looks_structured(event.attributes.get("datacontenttype")):
                    remember(partition, offset, event.attributes)
        router = self.routers.current if self.routers.known else None
        if router is not None and router.observed:
            for event in events:
                router.route(event)

    async def _change(self, records: Sequence[Produced]) -> None:
        change = Change(records)
        self.commits.submit(change)
        await change.done

    # Subscriptions.

    async def subscribe(
        self, name: str, *, order: Order = "unordered", start: Place | None = None
    ) -> KafkaSubscription:
        """See the contract. One that has committed offsets but was not made here, such as a
        trigger of a Knative cluster, goes on where those are."""
        _ = self.routers.current
        async with self._lock(name):
            if name in self.subscriptions:
                raise RuntimeError(f"subscription {name!r} of broker {self.name!r} is open already")
            group = trigger_group(name, self.name)
            deliveries = deliveries_topic(group, self._partitions, self.settings.replication_factor)
            await self.topics.ensure([deliveries])
            await self.topics.enlarge(deliveries.name, self._partitions)
            await self._registry.refresh()
            if name not in self._registry.known():
                starts = await self._offsets(start)
                document = {"starts": {str(each): starts[each] for each in starts}}
                record = subscription_record(name, document)
                await self._change([OutRecord(self._registry_topic, 0, *record)])
                await self._registry.refresh()
            known = self._registry.known().get(name, {}).get("starts", {})
            protocol = self._protocol
            if protocol == "consumer" and not await shorten_session(self.topics, group):
                protocol = "classic"
            subscription = KafkaSubscription(
                self,
                name,
                order,
                group=group,
                deliveries=deliveries.name,
                starts={int(partition): int(offset) for partition, offset in known.items()},
                options=group_options(protocol),
            )
            self.subscriptions[name] = subscription
            return subscription

    def _lock(self, name: str) -> asyncio.Lock:
        return self._changing.setdefault(name, asyncio.Lock())

    async def _offsets(self, start: Place | None) -> dict[int, int]:
        """By partition the first offset that is not before the place; None = the end."""
        partitions = range(self._partitions)
        if start is None:
            return await self.topics.highs(self.topic, partitions)
        if isinstance(start, At):
            return await self.topics.offsets_at(self.topic, partitions, start.seconds)
        return {partition: first_offset(start, partition) for partition in partitions}

    async def detach(self, name: str) -> None:
        """See the contract."""
        async with self._lock(name):
            await self._detach(name)

    async def _detach(self, name: str) -> None:
        subscription = self.subscriptions.get(name)
        if subscription is not None:
            await subscription.detach()
            self.subscriptions.pop(name, None)

    async def unsubscribe(self, name: str) -> int:
        """See the contract."""
        async with self._lock(name):
            await self._registry.refresh()
            if name not in self._registry.known():
                raise LookupError(f"broker {self.name!r} has no subscription {name!r}")
            await self._detach(name)
            group = trigger_group(name, self.name)
            ends = await self._ends()
            left = (await self._committed(name, ends)).lag
            if not await self.topics.delete_group(group):
                raise SubscriptionInUse(
                    f"trigger {name} of broker {self.name} is open on another node; it is removed "
                    "once no node has it"
                )
            await self._change([OutRecord(self._registry_topic, 0, *removal_record(name))])
            await self.topics.delete([deliveries_topic(group, 1, 1).name])
            await self._registry.refresh()
            return left

    def known_subscriptions(self) -> list[str]:
        """See the contract."""
        return sorted(self._registry.known())

    async def replay(self, subscription: KafkaSubscription, start: Place, end: Place | None) -> int:
        """`Subscription.replay`."""
        stretches = await self._stretches(start, end)
        return await replaying.replay(self, subscription, stretches, self._change)

    # Dead letters.

    async def dead_letters(
        self, trigger: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """See the contract."""
        return await self._letters.page(trigger, after=after, limit=limit)

    async def dead_letter(self, id: int) -> DeadLetter | None:
        """See the contract."""
        return await self._letters.fetch(id)

    async def keep(self, event: Event, failure: Failure) -> None:
        """See the contract. One over what the topic takes is kept as well: made smaller, it can be
        redriven."""
        if not self._started:
            raise StorageError(f"broker {self.name!r} is not open")
        key = new_letter_key()
        record = letter_record(key, "", event, failure, attempts=1, at=time.time(), position=0)
        await self._change([OutRecord(self.letters, 0, *record)])

    async def redrive(self, id: int, event: Event | None = None) -> bool:
        """See the contract."""
        if event is not None:
            self.check(event)
        async with self._letters_changing:
            letter = await self._letters.fetch(id)
            key = self._letters.key_of(id)
            if letter is None or key is None:
                return False
            again = event or letter.event
            if letter.trigger:
                record: Produced = await self._again(letter, again)
            else:
                record = self._publisher.encode(again)
            await self._change([record, OutRecord(self.letters, 0, *drop_record(key))])
            await self._letters.refresh()
            return True

    async def _again(self, letter: DeadLetter, event: Event) -> OutRecord:
        await self._registry.refresh()
        if letter.trigger not in self._registry.known():
            raise LookupError(f"broker {self.name!r} has no subscription {letter.trigger!r}")
        group = trigger_group(letter.trigger, self.name)
        partition = place_of(letter.position)[0] % self._partitions
        record = delivery_record(new_key(), event, letter.position)
        return OutRecord(deliveries_topic(group, 1, 1).name, partition, *record)

    async def drop(self, ids: Sequence[int]) -> int:
        """See the contract."""
        async with self._letters_changing:
            await self._letters.refresh()
            keys = [key for id in dict.fromkeys(ids) if (key := self._letters.key_of(id))]
            if keys:
                await self._change([OutRecord(self.letters, 0, *drop_record(key)) for key in keys])
                await self._letters.refresh()
            return len(keys)

    # Looking in.

    async def read(self, start: Place = 1, end: Place | None = None) -> AsyncIterator[Stored]:
        """See the contract. Partitions are merged by when their records were stored."""
        messages = self.reader.merged(self.topic, await self._stretches(start, end))
        try:
            async for message in messages:
                try:
                    event = decode_record(headers_of(message), value_of(message))
                except InvalidEvent:
                    continue
                position = position_of(*place_in(message))
                yield Stored(position, message.timestamp()[1] / 1000, event)
        finally:
            await messages.aclose()

    async def _stretches(self, start: Place, end: Place | None) -> dict[int, Stretch]:
        firsts = await self._offsets(start)
        lasts = await self._ends()
        if end is not None:
            wanted = await self._offsets(end if isinstance(end, At) else end + 1)
            lasts = {each: min(lasts[each], wanted[each]) for each in lasts}
        return {each: Stretch(firsts[each], max(firsts[each], lasts[each])) for each in lasts}

    async def _ends(self) -> dict[int, int]:
        return await self.topics.highs(self.topic, range(self._partitions))

    async def stats(self) -> BrokerStats:
        """See the contract. `head` is the highest position of any partition; the client can't ask
        for a topic's bytes."""
        marks = await self.topics.watermarks(self.topic, range(self._partitions))
        await self._letters.refresh()
        ends = {partition: mark.high for partition, mark in marks.items()}
        dead = self._letters.counts()
        names = sorted(self._registry.known())
        found = await asyncio.gather(*(self._stats_of(name, ends, dead) for name in names))
        events = sum(mark.high - mark.low for mark in marks.values())
        head = max((position_of(each, end - 1) for each, end in ends.items() if end > 0), default=0)
        return BrokerStats(head, events, 0, dict(zip(names, found, strict=True)))

    async def _stats_of(
        self, name: str, ends: Mapping[int, int], dead: Mapping[str, int]
    ) -> SubscriptionStats:
        committed = await self._committed(name, ends)
        return SubscriptionStats(
            committed.lag,
            committed.in_flight,
            committed.retrying,
            dead.get(name, 0),
            committed.share,
        )

    async def _committed(self, name: str, ends: Mapping[int, int]) -> SubscriptionStats:
        """Of all nodes: this one's shares as they are, those of others as they are committed."""
        group = trigger_group(name, self.name)
        starts = self._registry.known().get(name, {}).get("starts", {})
        subscription = self.subscriptions.get(name)
        own = subscription.shares if subscription is not None else {}
        lag = retrying = share = 0
        in_flight = sum(each.in_flight for each in own.values())
        others = [partition for partition in ends if partition not in own]
        offsets: Mapping[int, tuple[int, str]] = {}
        if others and subscription is not None:
            offsets = await subscription.committed(others)
        elif others:
            offsets = await self.topics.group_offsets(group, self.topic)
        for partition, end in ends.items():
            if partition in own:
                mine = own[partition]
                lag += mine.now().lag(end)
                share += mine.now().lag(end)
                retrying += sum(1 for entry in mine.waiting if not entry.out)
                continue
            offset, metadata = offsets.get(partition, (int(starts.get(str(partition), 0)), ""))
            progress = decode(offset, metadata).progress
            lag += progress.lag(end)
            retrying += progress.waiting
        return SubscriptionStats(lag, in_flight, retrying, 0, share)

    # By itself.

    async def _commit_progress(self) -> None:
        """What was read and refused is committed once a second."""
        while True:
            await asyncio.sleep(TICK)
            for subscription in tuple(self.subscriptions.values()):
                subscription.commit_progress()

    async def _refresh(self) -> None:
        looked = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(REFRESH)
            try:
                await self._registry.refresh()
                if asyncio.get_running_loop().time() - looked > PARTITIONS:
                    looked = asyncio.get_running_loop().time()
                    await self._see_partitions()
            except StorageError as error:
                _log.debug("broker %s: %s", self.name, error)

    async def _see_partitions(self) -> None:
        partitions = await self.topics.partitions(self.topic)
        if partitions > self._partitions:
            for subscription in tuple(self.subscriptions.values()):
                await self.topics.enlarge(subscription.deliveries, partitions)
            self._partitions = partitions

    async def _count_backlog(self) -> None:
        while True:
            if self._limits.max_backlog is not None:
                try:
                    begun = self._backlog.begin()
                    ends = await self._ends()
                    names = self.known_subscriptions()
                    found = [(await self._committed(name, ends)).lag for name in names]
                    self._backlog.counted(max(found, default=0), begun)
                except StorageError as error:
                    _log.debug("broker %s: %s", self.name, error)
            await asyncio.sleep(TICK)
