"""The KafkaSource at work: the records of its topics, each an event at the sink at least once.

One consumer group over all nodes. The offset that is committed never passes a record that is not
settled: taken by the sink or the dead-letter sink, kept by its broker, or given up and logged.
"""

import asyncio
import logging
from collections import deque
from itertools import islice
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from brokers.base import Fault
from brokers.kafka.client_options import client_options
from brokers.kafka.faults import (
    NOT_AUTHORIZED,
    UNREACHABLE,
    ClientErrors,
    kafka_error,
    reason_of,
    storage_error,
)
from brokers.kafka.group_protocol import choose_protocol, group_options, shorten_session
from brokers.kafka.topics import Topics
from eventing.errors import InvalidEvent, StorageError
from eventing.event import Event
from eventing.sources.kafka_consumer import Assignment, KafkaConsumer, Listeners, Place, Taken
from eventing.sources.outlet import End, Outlet, Sending
from eventing.sources.record_event import Record, record_event, unreadable_event
from eventing.sources.settings import KafkaSourceSettings

log = logging.getLogger("eventing.sources")

AGAIN_SECONDS = 2.0
"""Between two tries at what Kafka does not let it do."""
PUBLISHED_AT_ONCE = 256
CLOSE_SECONDS = 5.0


class _Lane:
    """The records of one assignment of a partition, in order."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.queue: deque[Record] = deque()
        self.out: dict[Sending, Record] = {}
        self.begun = 0
        self.more = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class KafkaSource:
    """See eventing/sources/source.py. `source` is the attribute of plain records' events, `name`
    that of the source for people, `client_id` that of the clients in Kafka."""

    def __init__(
        self,
        name: str,
        settings: KafkaSourceSettings,
        outlet: Outlet,
        *,
        source: str,
        client_id: str,
    ) -> None:
        self._name = name
        self._settings = settings
        self._outlet = outlet
        self._source = source
        self._client_id = client_id
        self._heard = ClientErrors()
        self._fault: Fault | None = None
        self._suspect = asyncio.Event()
        self._denied: KafkaError | None = None
        self._lanes: dict[Assignment, _Lane] = {}
        self._consumer: KafkaConsumer | None = None
        self._topics: Topics | None = None
        self._stopping = False
        self._unreadable = 0
        self._last: BaseException | None = None
        self._consumer_ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        if not settings.paused:
            self._task = self._loop.create_task(self._run(), name=f"source {name}")

    @property
    def fault(self) -> Fault | None:
        """See the contract."""
        return self._fault

    def status(self) -> dict[str, Any]:
        """See the contract."""
        consumer = self._consumer
        return {
            "from": ", ".join(self._settings.topics),
            "group": self._settings.group,
            "state": "paused" if self._settings.paused else "running",
            "partitions": consumer.partitions if consumer is not None else 0,
            "lag": consumer.lag if consumer is not None else None,
            "unreadable": self._unreadable,
        }

    def renew_lease(self) -> None:
        """It needs none: the group shares the partitions out."""

    async def stop(self, grace: float) -> bool:
        """See the contract."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._consumer is not None:
            self._consumer.drain()
        for lane in self._lanes.values():
            lane.more.set()
        ended = await self._outlet.drain(grace)
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=1.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._consumer is not None and not await self._consumer.close(CLOSE_SECONDS):
            log.warning(
                "source %s ends without Kafka: what it could not commit comes again", self._name
            )
        if self._topics is not None:
            await self._topics.close()
        return ended

    # Its engine

    async def _run(self) -> None:
        while True:
            try:
                await self._open()
            except StorageError as error:
                self._failed(Fault.of(error))
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            self._recovered()
            await self._watch()
            self._consumer = None
            await asyncio.sleep(AGAIN_SECONDS)

    async def _open(self) -> None:
        """Raises StorageError where its topics can't be read now."""
        if self._topics is None:
            self._topics = self._client()
        starts = await self._starts(self._topics)
        protocol = await choose_protocol(self._topics)
        if protocol == "consumer" and not await shorten_session(self._topics, self._settings.group):
            protocol = "classic"
        self._heard = ClientErrors(self._hears)
        self._consumer_ended.clear()
        self._denied = None
        options = {
            **client_options(self._settings.kafka, self._client_id, self._heard),
            **group_options(protocol),
            "group.id": self._settings.group,
            "enable.auto.commit": False,
            # A new group's beginning is committed before; this is for offsets that retention took.
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": 16 << 10,
            "topic.metadata.refresh.interval.ms": 5_000,
        }
        listeners = Listeners(self._took, self._revoked, self._told, self._over)
        self._consumer = KafkaConsumer(
            self._name, options, self._settings.topics, starts, listeners
        )

    def _client(self) -> Topics:
        try:
            return Topics(self._settings.kafka, self._client_id)
        except KafkaException as error:
            # Such as a certificate that is none.
            servers = self._settings.kafka.bootstrap_servers
            raise storage_error(error, "the settings can't be used", servers) from None

    async def _starts(self, topics: Topics) -> dict[Place, int]:
        """Where a group that is new begins; also sees that the topics are there."""
        starts: dict[Place, int] = {}
        for topic in self._settings.topics:
            partitions = range(await topics.partitions(topic))
            if not self._settings.earliest:
                ends = await topics.highs(topic, partitions)
                starts |= {(topic, partition): end for partition, end in ends.items()}
        return starts

    async def _watch(self) -> None:
        """While the consumer runs: find out what is the matter when it complains."""
        assert self._topics is not None
        ended = asyncio.ensure_future(self._consumer_ended.wait())
        try:
            while not ended.done():
                suspect = asyncio.ensure_future(self._suspect.wait())
                wait = AGAIN_SECONDS if self._fault is not None else None
                await asyncio.wait((ended, suspect), timeout=wait, return_when="FIRST_COMPLETED")
                suspect.cancel()
                self._suspect.clear()
                if self._stopping:
                    return
                await self._examine(self._topics)
        finally:
            ended.cancel()
        if self._last is not None:
            self._failed(self._explained(self._last))

    async def _examine(self, topics: Topics) -> None:
        try:
            for topic in self._settings.topics:
                await topics.partitions(topic)
        except StorageError as error:
            self._failed(Fault.of(error))
            return
        denied = self._denied
        if denied is not None:
            self._failed(self._explained(denied))
        else:
            self._recovered()

    def _explained(self, error: BaseException | KafkaError) -> Fault:
        what = f"the consumer group {self._settings.group!r} can't read"
        servers = self._settings.kafka.bootstrap_servers
        told = storage_error(kafka_error(error), what, servers, self._heard)
        return Fault.of(told)

    def _failed(self, fault: Fault) -> None:
        """Once, however often it is tried, and whatever its words are the next time."""
        if self._fault is None or self._fault.reason != fault.reason:
            log.error("source %s: %s; it is tried again", self._name, fault.message)
        self._fault = fault

    def _recovered(self) -> None:
        if self._fault is not None:
            log.info("source %s takes records now", self._name)
        self._fault = None

    # What the consumer tells

    def _hears(self, error: KafkaError) -> None:
        """In the consumer's thread."""
        try:
            self._loop.call_soon_threadsafe(self._told, error)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.

    def _told(self, error: KafkaError) -> None:
        if reason_of(error) == NOT_AUTHORIZED:
            self._denied = error
        if reason_of(error) != UNREACHABLE or error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._suspect.set()

    def _over(self, error: BaseException | None) -> None:
        self._last = error
        for lane in list(self._lanes.values()):
            self._forget(lane)
        self._consumer_ended.set()

    def _took(self, taken: Taken) -> None:
        self._denied = None
        for assignment, records in taken:
            lane = self._lanes.get(assignment)
            if lane is None:
                lane = self._lanes[assignment] = _Lane(assignment)
                lane.task = self._loop.create_task(
                    self._serve(lane), name=f"source {self._name} {assignment.place}"
                )
            lane.queue.extend(records)
            lane.more.set()
            if assignment.revoked:
                self._forget(lane)

    def _revoked(self, going: list[Assignment]) -> None:
        for assignment in going:
            lane = self._lanes.get(assignment)
            if lane is not None:
                self._forget(lane)

    def _forget(self, lane: _Lane) -> None:
        """What is out of it is another node's by now."""
        del self._lanes[lane.assignment]
        lane.assignment.revoked = True
        if lane.task is not None:
            lane.task.cancel()
        self._outlet.let_go(tuple(lane.out))
        for record in (*lane.queue, *lane.out.values()):
            self._release(record)

    def _release(self, record: Record) -> None:
        if self._consumer is not None:
            self._consumer.release(record)

    # The way out

    async def _serve(self, lane: _Lane) -> None:
        while not (self._stopping or lane.assignment.revoked):
            if not lane.queue:
                lane.more.clear()
                await lane.more.wait()
                continue
            route = self._outlet.route
            if route is not None and route.broker is not None:
                await self._publish(lane)
            elif self._settings.ordered:
                await self._one(lane)
            else:
                await self._spread(lane)

    async def _publish(self, lane: _Lane) -> None:
        """A batch into the broker that is the sink, up to the first record that is no event."""
        events: list[Event] = []
        reason = ""
        for record in islice(lane.queue, PUBLISHED_AT_ONCE):
            try:
                events.append(self._event(record))
            except InvalidEvent as error:
                reason = str(error)
                break
        if events:
            self._busy(lane, 1)
            try:
                if not await self._outlet.publish(events):
                    return
                for _ in events:
                    self._settle(lane, lane.queue.popleft())
            finally:
                self._busy(lane, -1)
        if reason:
            await self._refuse(lane, lane.queue[0], reason)

    async def _one(self, lane: _Lane) -> None:
        event = await self._first_event(lane)
        if event is None:
            return
        self._busy(lane, 1)
        try:
            if (await self._outlet.deliver(event)).settled:
                self._settle(lane, lane.queue.popleft())
        finally:
            self._busy(lane, -1)

    async def _spread(self, lane: _Lane) -> None:
        """Begin one more, while others are out."""
        await self._outlet.room()
        if self._stopping or lane.assignment.revoked:
            return
        event = await self._first_event(lane)
        if event is None:
            return
        record = lane.queue.popleft()
        self._busy(lane, 1)
        sending: Sending | None = None

        def done(end: End) -> None:
            if sending is not None:
                lane.out.pop(sending, None)
            self._busy(lane, -1)
            if end.settled:
                self._settle(lane, record)
            else:
                self._release(record)

        sending = self._outlet.submit(event, done)
        lane.out[sending] = record

    async def _first_event(self, lane: _Lane) -> Event | None:
        """Of the lane's first record; None where that is no event, which then has been refused."""
        record = lane.queue[0]
        try:
            return self._event(record)
        except InvalidEvent as error:
            await self._refuse(lane, record, str(error))
            return None

    async def _refuse(self, lane: _Lane, record: Record, reason: str) -> None:
        self._unreadable += 1
        told = f"{record} is no event: {reason}"
        log.warning("source %s: %s", self._name, told)
        event = unreadable_event(record, self._source, reason)
        self._busy(lane, 1)
        try:
            if (await self._outlet.refuse(event, told)).settled:
                self._settle(lane, lane.queue.popleft())
        finally:
            self._busy(lane, -1)

    def _event(self, record: Record) -> Event:
        return record_event(record, self._source, self._settings.key_type)

    def _settle(self, lane: _Lane, record: Record) -> None:
        lane.assignment.window.settle(record.offset)
        self._release(record)

    def _busy(self, lane: _Lane, more: int) -> None:
        lane.begun += more
        if lane.begun:
            lane.assignment.idle.clear()
        else:
            lane.assignment.idle.set()
