"""Events into the broker's topic: one by one as single records, several as a transaction."""

import asyncio
from collections.abc import Callable, Sequence

from brokers.kafka.commit import GroupCommit, Request
from brokers.kafka.faults import too_large
from brokers.kafka.positions import position_of
from brokers.kafka.producer import RecordProducer
from brokers.kafka.transactions import Place, Produced
from eventing.errors import EventTooLarge, StorageError
from eventing.event import Event
from eventing.kafka_encoding import Headers, encode_record

DEFAULT_LIMIT = 1_048_588
"""Kafka's own `max.message.bytes`."""
_BATCH_OVERHEAD = 61
"""Bytes of the smallest batch around one record (Kafka protocol, record batch)."""

Told = Callable[[Sequence[Place], Sequence[Event]], None]


class Publisher:
    """Stores events in `topic`; records over `limit` bytes are refused before they are sent."""

    def __init__(
        self,
        topic: str,
        limit: int | None,
        producer: RecordProducer,
        commits: GroupCommit,
        stored: Told,
    ) -> None:
        """`stored` is told of everything that was stored."""
        self._topic = topic
        self._limit = limit or DEFAULT_LIMIT
        self._producer = producer
        self._commits = commits
        self._tell = stored

    def check(self, event: Event) -> None:
        """Raises EventTooLarge where the topic can't take it."""
        self.encode(event)

    def publish(self, events: Sequence[Event], future: "asyncio.Future[list[int]]") -> None:
        """All or none; the future is resolved to the positions."""
        try:
            records = [self.encode(event) for event in events]
        except EventTooLarge as error:
            future.set_exception(error)
            return
        if len(records) == 1:
            self._send(events, records[0], future)
        else:
            self._commits.submit(_Publish(events, records, future, self._tell))

    def _send(
        self,
        events: Sequence[Event],
        record: Produced,
        future: "asyncio.Future[list[int]]",
    ) -> None:
        def done(error: StorageError | EventTooLarge | None, partition: int, offset: int) -> None:
            if error is None:
                self._tell(((partition, offset),), events)
            if future.done():
                return
            if error is None:
                future.set_result([position_of(partition, offset)])
            else:
                future.set_exception(error)

        topic, _, key, headers, value = record
        self._producer.send(topic, key, headers, value, done)

    def encode(self, event: Event) -> Produced:
        """Its record. Raises EventTooLarge."""
        key, headers, value = encode_record(event)
        # Near enough is checked here; the rest Kafka tells.
        if len(event.data or b"") + 16_384 > self._limit or len(headers) > 64:
            size = _size(key, headers, value)
            if size > self._limit:
                raise too_large(self._topic, size, self._limit)
        return self._topic, -1, key, headers, value


def _size(key: bytes | None, headers: Headers, value: bytes | None) -> int:
    own = len(key or b"") + len(value or b"")
    return _BATCH_OVERHEAD + own + sum(len(name) + len(text) + 2 for name, text in headers)


class _Publish(Request):
    """Several events, all or none."""

    def __init__(
        self,
        events: Sequence[Event],
        records: Sequence[Produced],
        future: "asyncio.Future[list[int]]",
        stored: Told,
    ) -> None:
        self.size = sum([len(event.data or b"") for event in events]) + 256 * len(events)
        self._events = events
        self._records = records
        self._future = future
        self._tell = stored

    def take(self) -> None:
        """Nothing to be done before it is stored."""

    def records(self) -> Sequence[Produced]:
        return self._records

    def committed(self, places: Sequence[Place]) -> None:
        self._tell(places, self._events)
        if not self._future.done():
            self._future.set_result([position_of(*place) for place in places])

    def failed(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)


class Change(Request):
    """Records of the broker's own topics, all or none; the future resolves once they are stored."""

    def __init__(self, records: Sequence[Produced]) -> None:
        self.size = sum(len(record[4] or b"") + 256 for record in records)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._records = records

    def take(self) -> None:
        """Nothing to be done before it is stored."""

    def records(self) -> Sequence[Produced]:
        return self._records

    def committed(self, places: Sequence[Place]) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def failed(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
