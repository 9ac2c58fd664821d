"""A Kafka consumer in a thread of its own: records to the event loop, settled offsets to Kafka.

The client's calls block, and its callbacks come in the thread that polls. The thread takes records
in batches and hands each over in one go; it commits what the loop has settled, and nothing above.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from eventing.sources.offset_window import OffsetWindow
from eventing.sources.record_event import Record

log = logging.getLogger("eventing.sources")

MOST_RECORDS = 1000
MOST_BYTES = 32 << 20
"""Of records handed over and not settled, above which no more are taken; half of it lets go on."""
MOST_OPEN = 5000
"""Offsets of a partition behind its oldest unsettled record; above it that partition waits."""
BATCH = 500
POLL_SECONDS = 0.1
PAUSE_AFTER = 1.0
"""Seconds without room after which partitions are paused: that throws away what was fetched ahead,
but lets the client be polled, which it has to be now and then."""
COMMIT_EVERY = 0.5
MEASURE_EVERY = 1.0
REVOKE_SECONDS = 2.0
"""How long a partition that goes to another node waits for what is out of it."""
REQUEST_SECONDS = 10.0

_MEMBERS_ONLY = frozenset(
    (
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
    )
)
"""Answers to a commit from outside of a group that others are at work in."""

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(slots=True, eq=False)
class Assignment:
    """A partition while this node has it. `idle` is set while nothing of it is out to the sink;
    once `revoked` nothing more of it may be begun."""

    place: Place
    window: OffsetWindow = field(default_factory=OffsetWindow)
    idle: threading.Event = field(default_factory=threading.Event)
    revoked: bool = False
    committed: int | None = None
    start: int | None = None
    """Where it began without a committed offset."""

    @property
    def to_commit(self) -> int | None:
        """The offset to commit, where that is another than the last one."""
        settled = self.window.committable
        offset = self.start if settled is None else settled
        return None if offset == self.committed else offset


Taken = list[tuple[Assignment, list[Record]]]


@dataclass(frozen=True, slots=True)
class Listeners:
    """Called on the event loop."""

    took: Callable[[Taken], None]
    revoked: Callable[[list[Assignment]], None]
    heard: Callable[[KafkaError], None]
    ended: Callable[[BaseException | None], None]


class KafkaConsumer:
    """Reads `topics` from when it is made until `close`.

    options: the client's, group included; the group has to share partitions out cooperatively.
    starts: where partitions begin that have no committed offset yet; those it does not name begin
    at their beginning.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        topics: Sequence[str],
        starts: Mapping[Place, int],
        listeners: Listeners,
    ) -> None:
        self.lag = 0
        """Records of this node's partitions that are not settled, as of the last second."""
        self._loop = asyncio.get_running_loop()
        self._options = options
        self._topics = list(topics)
        self._starts = dict(starts)
        self._tell = listeners
        self._assigned: dict[Place, Assignment] = {}
        self._paused: set[Place] = set()
        # Each is counted up by one thread alone.
        self._handed = self._handed_bytes = 0
        self._released = self._released_bytes = 0
        self._room = threading.Event()
        self._room.set()
        self._draining = False
        self._closing = False
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"consumer {name}", daemon=True)
        self._thread.start()

    # On the event loop

    @property
    def partitions(self) -> int:
        return len(self._assigned)

    def release(self, record: Record) -> None:
        """It is settled, or not this node's any more: it takes no room."""
        self._released += 1
        self._released_bytes += _size(record)
        if not self._room.is_set() and not self._over_part(2):
            self._room.set()

    def drain(self) -> None:
        """Take no more records; partitions stay."""
        self._draining = True

    async def close(self, seconds: float) -> bool:
        """Commit what is settled and leave the group. False where Kafka did not answer in time:
        the thread then ends by itself, or with the process."""
        self._draining = self._closing = True
        self._room.set()
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    # In the thread

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._consume()
        except BaseException as caught:
            error = caught
        try:
            self._loop.call_soon_threadsafe(self._ended, error)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.

    def _ended(self, error: BaseException | None) -> None:
        self._over.set()
        self._tell.ended(error)

    def _consume(self) -> None:
        consumer: Any = Consumer({**self._options, "on_commit": self._committed})
        try:
            self._set_starts(consumer)
            consumer.subscribe(
                self._topics, on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
            )
            commit_at = measure_at = time.monotonic()
            while not self._closing:
                if self._over_part(1):
                    self._room.clear()
                    # Room that was made meanwhile has not been told.
                    if not self._over_part(2):
                        self._room.set()
                full = not self._room.wait(PAUSE_AFTER if not self._paused else 0)
                self._pause_and_resume(consumer, full)
                message = consumer.poll(POLL_SECONDS)
                if message is not None:
                    self._hand_over([message, *consumer.consume(BATCH - 1, 0)])
                now = time.monotonic()
                if now >= commit_at:
                    commit_at = now + COMMIT_EVERY
                    self._commit(consumer, self._assigned.values(), wait=False)
                if now >= measure_at:
                    measure_at = now + MEASURE_EVERY
                    self.lag = self._measure(consumer)
            self._commit(consumer, self._assigned.values(), wait=True)
        finally:
            consumer.close()

    def _set_starts(self, consumer: Any) -> None:
        """Commit where a new group begins, so that what comes in from now on is read, whenever
        its partition is given to whom."""
        if not self._starts:
            return
        wanted = [TopicPartition(*place) for place in self._starts]
        known = consumer.committed(wanted, REQUEST_SECONDS)
        for each in known:
            if each.error is not None:
                raise KafkaException(each.error)
            if each.offset >= 0:
                del self._starts[each.topic, each.partition]
        if not self._starts:
            return
        begun = [
            TopicPartition(topic, partition, offset)
            for (topic, partition), offset in self._starts.items()
        ]
        try:
            answers = consumer.commit(offsets=begun, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in _MEMBERS_ONLY:
                raise
            return
        for each in answers:
            if each.error is not None and each.error.code() not in _MEMBERS_ONLY:
                raise KafkaException(each.error)

    def _assign(self, consumer: Any, partitions: list[Any]) -> None:
        new = [each for each in partitions if (each.topic, each.partition) in self._starts]
        known = {
            (each.topic, each.partition): each.offset
            for each in (consumer.committed(new, REQUEST_SECONDS) if new else ())
        }
        for each in partitions:
            place = (each.topic, each.partition)
            assignment = self._assigned[place] = Assignment(place)
            assignment.idle.set()
            if known.get(place, 0) < 0:
                each.offset = assignment.start = self._starts[place]
        self._paused -= {(each.topic, each.partition) for each in partitions}
        if new:
            consumer.incremental_assign(partitions)

    def _revoke(self, consumer: Any, partitions: list[Any]) -> None:
        going = self._leaving(partitions)
        deadline = time.monotonic() + REVOKE_SECONDS
        for assignment in going:
            assignment.idle.wait(max(0.0, deadline - time.monotonic()))
        self._commit(consumer, going, wait=True)
        self._told_revoked(going)

    def _lose(self, consumer: Any, partitions: list[Any]) -> None:
        """They are others' already."""
        self._told_revoked(self._leaving(partitions))

    def _leaving(self, partitions: list[Any]) -> list[Assignment]:
        places = [(each.topic, each.partition) for each in partitions]
        self._paused.difference_update(places)
        going = [self._assigned.pop(place) for place in places if place in self._assigned]
        for assignment in going:
            assignment.revoked = True
        return going

    def _told_revoked(self, going: list[Assignment]) -> None:
        if going:
            self._on_loop(self._tell.revoked, going)

    def _hand_over(self, messages: list[Message]) -> None:
        taken: dict[Place, tuple[Assignment, list[Record]]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_loop(self._tell.heard, error)
                continue
            record = _record(message)
            place = (record.topic, record.partition)
            assignment = self._assigned.get(place)
            if assignment is None:
                continue
            assignment.window.add(record.offset)
            self._handed += 1
            self._handed_bytes += _size(record)
            taken.setdefault(place, (assignment, []))[1].append(record)
        if taken:
            self._on_loop(self._tell.took, list(taken.values()))

    def _over_part(self, part: int) -> bool:
        """Whether more than the n-th part of what there is room for is not settled."""
        records = self._handed - self._released
        size = self._handed_bytes - self._released_bytes
        return records * part >= MOST_RECORDS or size * part >= MOST_BYTES

    def _pause_and_resume(self, consumer: Any, full: bool) -> None:
        wanted = {
            place
            for place, assignment in self._assigned.items()
            if self._draining or full or assignment.window.open >= MOST_OPEN
        }
        if pausing := wanted - self._paused:
            consumer.pause([TopicPartition(*place) for place in pausing])
        if resuming := self._paused - wanted:
            consumer.resume([TopicPartition(*place) for place in resuming])
        self._paused = wanted

    def _commit(self, consumer: Any, assignments: Any, *, wait: bool) -> None:
        offsets = []
        for assignment in assignments:
            offset = assignment.to_commit
            if offset is not None:
                topic, partition = assignment.place
                offsets.append(TopicPartition(topic, partition, offset))
                assignment.committed = offset
        if not offsets:
            return
        try:
            consumer.commit(offsets=offsets, asynchronous=not wait)
        except KafkaException as error:
            self._committed(error.args[0], offsets)

    def _committed(self, error: KafkaError | None, offsets: list[Any]) -> None:
        if error is None:
            return
        # What was not committed is delivered again after a restart, unless the next one succeeds.
        log.debug("offsets were not committed: %s", error)
        for each in offsets:
            assignment = self._assigned.get((each.topic, each.partition))
            if assignment is not None:
                assignment.committed = None

    def _measure(self, consumer: Any) -> int:
        lag = 0
        for place, assignment in self._assigned.items():
            found = consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            settled = assignment.window.committable
            if settled is None:
                settled = consumer.position([TopicPartition(*place)])[0].offset
            if found is not None and found[1] >= 0 and settled >= 0:
                lag += max(0, found[1] - settled)
        return lag

    def _on_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            self._closing = True  # The loop is closed.


def _record(message: Message) -> Record:
    kind, milliseconds = message.timestamp()
    headers: Any = message.headers()
    key, value = message.key(), message.value()
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        milliseconds if kind else None,
        key if isinstance(key, bytes) or key is None else str(key).encode(),
        value if isinstance(value, bytes) or value is None else str(value).encode(),
        headers or (),
    )


def _size(record: Record) -> int:
    return 500 + len(record.value or b"") + len(record.key or b"")
