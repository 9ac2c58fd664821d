"""A member of a trigger's consumer group: reads in a thread of its own, and filters there.

Records whose headers the filter refuses cost no more than that. What is wanted goes to the event
loop in batches.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from brokers.base import Order
from brokers.kafka.client_options import client_options
from brokers.kafka.faults import ClientErrors, kafka_error, storage_error
from brokers.kafka.progress import Progress, decode
from brokers.kafka.recent import RecentEvents
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.share import Item, Share, Unreadable, item_size
from brokers.kafka.transactions import Stale
from eventing.errors import InvalidEvent
from eventing.event import Event
from eventing.kafka_encoding import decode_attributes, decode_record, is_event

QUEUE_EVENTS = 4000
QUEUE_BYTES = 8 << 20
BATCH = 500
PATIENCE = 0.25
"""Seconds a look for records takes at most: so soon the thread sees that it is to end."""
REQUEST_SECONDS = 5.0
ANSWER_SECONDS = 1.0
FLUSH_SECONDS = 3.0
"""Seconds that giving up a partition waits for outcomes that are there already."""

_FETCHING: dict[str, Any] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    # Tells that the marks of transactions at the end have been read too.
    "enable.partition.eof": True,
    # What the client reads ahead of us is memory too.
    "queued.min.messages": 2000,
    "queued.max.messages.kbytes": QUEUE_BYTES >> 10,
    "fetch.queue.backoff.ms": 20,
    "fetch.error.backoff.ms": 100,
    "max.poll.interval.ms": 300_000,
}

_log = logging.getLogger("brokers.kafka")

Arrived = Sequence[tuple[Share, list[Item], int]]
"""For each partition what was read that is wanted, and how far."""


class Filters(Protocol):
    """Asked in the consumer's thread."""

    def accepts(self, partition: int, offset: int, event: Event) -> bool:
        """Whether the trigger wants the event stored there."""


class Member(Protocol):
    """Whose consumer it is; called on the event loop."""

    def assigned(self, shares: Sequence[Share]) -> None: ...

    def revoked(self, shares: Sequence[Share]) -> None: ...

    def arrived(self, batches: Arrived, events: int, size: int) -> None: ...

    def flush(self, flushed: threading.Event) -> None:
        """Set it once the outcomes there are now have been stored."""


@dataclass(frozen=True, slots=True)
class Group:
    """Which group reads which topic, and how; what waits for its time is in the topic `deliveries`,
    partition by partition. `starts`: the offset by partition where nothing was
    committed yet, 0 where it names none."""

    topic: str
    deliveries: str
    group: str
    order: Order
    starts: Mapping[int, int]
    options: Mapping[str, Any]


class GroupConsumer:
    """Runs from `start` to `stop`."""

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        group: Group,
        member: Member,
        filters: Filters,
        recent: RecentEvents,
    ) -> None:
        self.heard = ClientErrors()
        self.fault = ""
        """Why it reads nothing; empty while it does."""
        self.lock = threading.Lock()
        """Held while shares are taken away, and while it is seen whether they are there."""
        self._group = group
        self._member = member
        self._filters = filters
        self._recent = recent
        self._servers = settings.bootstrap_servers
        self._options = {
            **client_options(settings, client_id, self.heard),
            **_FETCHING,
            **group.options,
            "group.id": group.group,
        }
        self._loop = asyncio.get_running_loop()
        self._ending = threading.Event()
        self._reset = False
        self._room = threading.Event()
        self._questions: SimpleQueue[tuple[list[int], Future[list[TopicPartition]]]] = SimpleQueue()
        self._sent_events = self._sent_bytes = 0
        self._taken_events = self._taken_bytes = 0
        self._paused = False
        self._shares: dict[int, Share] = {}
        self._generation: Any = None
        self._consumer: Any = None
        self._thread = threading.Thread(target=self._run, name=f"read {group.group}", daemon=True)

    # On the event loop.

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    async def stop(self) -> None:
        """Leave the group; its partitions are given up in order."""
        self._ending.set()
        self._room.set()
        while self._thread.is_alive():  # noqa: ASYNC110 - a thread sets no event of the loop
            await asyncio.sleep(0.005)

    def taken(self, events: int, size: int) -> None:
        """So much of what arrived has been taken out of memory."""
        self._taken_events += events
        self._taken_bytes += size
        if not self._room.is_set() and not self._full(0.5):
            self._room.set()

    def reread(self) -> None:
        """Forget all that is known of the partitions, and begin again with what is committed."""
        self._reset = True

    async def committed(self, partitions: Sequence[int]) -> dict[int, tuple[int, str]]:
        """Offset and metadata that the group has committed, by partition, of those that have one.
        Raises StorageError."""
        answer: Future[list[TopicPartition]] = Future()
        self._questions.put((list(partitions), answer))
        what = f"the offsets of group {self._group.group} can't be read"
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                found = await asyncio.wrap_future(answer)
        except (KafkaException, TimeoutError) as error:
            raise storage_error(error, what, self._servers, self.heard) from None
        return {
            each.partition: (each.offset, each.metadata or "") for each in found if each.offset >= 0
        }

    def _full(self, part: float = 1.0) -> bool:
        return (
            self._sent_events - self._taken_events >= QUEUE_EVENTS * part
            or self._sent_bytes - self._taken_bytes >= QUEUE_BYTES * part
        )

    # In the thread of a transaction.

    def send_offsets(
        self, producer: Any, offsets: Sequence[tuple[Share, int, str]], seconds: float
    ) -> None:
        """Add the offsets to the producer's transaction, as this member of the group. Raises Stale
        where a share is not this node's any more."""
        with self.lock:
            generation = self._generation
            if generation is None or not all(share.alive for share, _, _ in offsets):
                raise Stale
        # Without the lock, for it may take its time. Should a share be taken away meanwhile,
        # Kafka refuses the offsets of a generation that has passed.
        places = [
            _place(self._group.topic, share.partition, offset, metadata)
            for share, offset, metadata in offsets
        ]
        producer.send_offsets_to_transaction(places, generation, seconds)

    # In its own thread.

    def _run(self) -> None:
        try:
            self._consumer = Consumer(self._options)
            self._consumer.subscribe(
                [self._group.topic],
                on_assign=self._assign,
                on_revoke=self._revoke,
                on_lost=self._lose,
            )
            while not self._ending.is_set():
                self._read()
        except Exception:
            _log.exception("group %s is not read any more", self._group.group)
            self.fault = f"group {self._group.group} is not read any more: see the log"
        finally:
            self._end()

    def _end(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            consumer.close()
        except (KafkaException, RuntimeError) as error:
            _log.warning("group %s was not left in order: %s", self._group.group, error)

    def _read(self) -> None:
        first = self._poll()
        if self._reset:
            self._begin_again()
        elif first is not None:
            self._hand_over([first, *self._consumer.consume(BATCH, 0)])
            if self._full():
                self._hold_back()

    def _poll(self) -> Any:
        consumer = self._consumer
        # Read before the poll: then what the poll may take away is not taken for this
        # generation's, and a transaction with an older generation is refused by Kafka.
        generation = consumer.consumer_group_metadata()
        first = consumer.poll(PATIENCE)
        self._generation = generation
        if not self._questions.empty():
            self._answer()
        return first

    def _answer(self) -> None:
        """What the group has committed. The client takes no such question from another thread
        while it is polled: that one would wait for good (librdkafka 2.16)."""
        while not self._questions.empty():
            partitions, answer = self._questions.get()
            if answer.set_running_or_notify_cancel():
                wanted = [TopicPartition(self._group.topic, each) for each in partitions]
                try:
                    answer.set_result(self._consumer.committed(wanted, ANSWER_SECONDS))
                except KafkaException as error:
                    answer.set_exception(error)

    def _hold_back(self) -> None:
        """Wait until memory has room again. For longer than a moment the partitions are paused,
        since whoever does not poll is taken for dead."""
        self._room.clear()
        if not self._full(0.5) or self._room.wait(PATIENCE):
            return
        consumer = self._consumer
        consumer.pause(consumer.assignment())
        while not self._room.is_set() and not self._reset:
            first = self._poll()
            if first is not None:
                # Of a partition that came meanwhile.
                self._hand_over([first])
                consumer.pause(consumer.assignment())
        if not self._ending.is_set():
            consumer.resume(consumer.assignment())

    def _hand_over(self, messages: list[Any]) -> None:
        found: dict[int, tuple[Share, list[Item], int]] = {}
        events = size = 0
        shares = self._shares
        for message in messages:
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                self._failed(error)
                continue
            partition, offset = message.partition(), message.offset()
            share = shares.get(partition)
            if share is None:
                continue
            entry = found.get(partition)
            items = [] if entry is None else entry[1]
            if error is not None:
                found[partition] = (share, items, offset)
                continue
            item = self._item(message, share, partition, offset)
            if item is not _NOTHING:
                items.append((offset, item))
                events += 1
                size += item_size(item)
            found[partition] = (share, items, offset + 1)
        if found:
            self.fault = ""
            self._sent_events += events
            self._sent_bytes += size
            self._call(self._member.arrived, list(found.values()), events, size)

    def _item(self, message: Any, share: Share, partition: int, offset: int) -> Any:
        """The Item's second half, or _NOTHING."""
        again = offset < share.resumes_at
        if again and offset not in share.progress.open:
            return _NOTHING
        known = self._recent.get(partition, offset)
        if known is None:
            return self._decoded(message, again, partition, offset)
        if self._filters.accepts(partition, offset, known):
            return Event(known.attributes, message.value())
        return None if again else _NOTHING

    def _decoded(self, message: Any, again: bool, partition: int, offset: int) -> Any:
        headers, value = message.headers(), message.value()
        try:
            attributes = decode_attributes(headers)
            if attributes is None:
                event = decode_record(headers, value)
            else:
                event = Event(attributes, value)
                self._recent.remember(partition, offset, attributes)
        except InvalidEvent as error:
            if value is None and not is_event(headers):
                return None if again else _NOTHING  # A tombstone.
            return Unreadable(
                str(error),
                message.key(),
                tuple(headers or ()),
                value,
                message.timestamp()[1] / 1000,
            )
        if self._filters.accepts(partition, offset, event):
            return event
        return None if again else _NOTHING

    def _failed(self, error: Any) -> None:
        told = storage_error(error, f"group {self._group.group} reads nothing", self._servers)
        if str(told) != self.fault:
            self.fault = str(told)
            _log.error("%s; it is tried again", told)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.

    # Partitions come and go.

    def _assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        shares = self._recover(consumer, [each.partition for each in partitions])
        for share in shares:
            self._shares[share.partition] = share
        self._call(self._member.assigned, shares)
        consumer.incremental_assign(
            [
                TopicPartition(self._group.topic, share.partition, share.progress.low)
                for share in shares
            ]
        )

    def _recover(self, consumer: Any, partitions: list[int]) -> list[Share]:
        """What is committed of the partitions. It waits for transactions that are open."""
        wanted = [TopicPartition(self._group.topic, each) for each in partitions]
        while True:
            try:
                committed = consumer.committed(wanted, REQUEST_SECONDS)
                shares = [self._share(place) for place in committed]
                self._tell_gone(consumer, shares)
                for share in shares:
                    _, share.end_of_waiting = self._ends(consumer, self._group.deliveries, share)
                return shares
            except KafkaException as error:
                self._failed(kafka_error(error))
                if self._ending.wait(PATIENCE):
                    return []

    def _share(self, place: TopicPartition) -> Share:
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset < 0:
            progress = Progress(self._group.starts.get(place.partition, 0))
        else:
            progress = decode(place.offset, place.metadata).progress
        return Share(place.partition, progress, self._group.order)

    def _tell_gone(self, consumer: Any, shares: list[Share]) -> None:
        """Retention may have taken events before the trigger saw them."""
        for share in shares:
            low, _ = self._ends(consumer, self._group.topic, share)
            gone = sum(offset < low for offset in share.progress.open)
            gone += max(0, low - share.progress.next)
            if gone:
                _log.error(
                    "up to %d events of topic %s, partition %d, were removed by the topic's "
                    "retention before group %s had them; raise its retention.ms",
                    gone,
                    self._group.topic,
                    share.partition,
                    self._group.group,
                )
            if low > share.progress.low:
                share.progress.open = {each for each in share.progress.open if each >= low}
                share.recovered &= share.progress.open
                share.progress.next = max(share.progress.next, low)
                share.resumes_at = share.read_to = max(share.progress.low, low)
                share.resumes_at = share.progress.next

    def _ends(self, consumer: Any, topic: str, share: Share) -> tuple[int, int]:
        place = TopicPartition(topic, share.partition)
        ends: tuple[int, int] | None = consumer.get_watermark_offsets(place, REQUEST_SECONDS)
        if ends is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return ends

    def _revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        if self._shares:
            flushed = threading.Event()
            self._call(self._member.flush, flushed)
            flushed.wait(FLUSH_SECONDS)
        self._take_away(consumer, partitions)

    def _lose(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._take_away(consumer, partitions)

    def _take_away(self, consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        gone = []
        with self.lock:
            for each in partitions:
                share = self._shares.pop(each.partition, None)
                if share is not None:
                    share.alive = False
                    gone.append(share)
        self._call(self._member.revoked, gone)
        consumer.incremental_unassign(
            [TopicPartition(self._group.topic, each.partition) for each in partitions]
        )

    def _begin_again(self) -> None:
        self._reset = False
        places = [TopicPartition(self._group.topic, each) for each in self._shares]
        if places:
            self._take_away(self._consumer, places)
            self._assign(self._consumer, places)


_NOTHING: Any = object()


def _place(topic: str, partition: int, offset: int, metadata: str) -> TopicPartition:
    return TopicPartition(topic, partition, offset, metadata)
