"""Reading stretches of a topic on demand, outside any consumer group.

For reading a log, replays, payloads that were left behind, and tables kept in compacted topics.
Only committed records are seen. Blocking calls run in threads of their own; memory is bounded.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from confluent_kafka import KafkaError, Message

from brokers.kafka.assigned_consumer import AssignedConsumer, Stretch
from brokers.kafka.faults import refuses, storage_error
from brokers.kafka.settings import KafkaSettings
from eventing.errors import StorageError

__all__ = ["Stretch", "TopicReader"]

T = TypeVar("T")

_THREADS = 8
_BATCH = 500
_POLL_SECONDS = 0.1
_CLOSE_SECONDS = 5.0
_NEAR = 200
"""Offsets that lie apart by less are read in one go: seeking takes as long as some hundred
records."""
_AHEAD_BYTES = 1 << 20
"""Bytes that one partition may be ahead of the others when they are merged."""
_RECORD_BYTES = 512
"""What a record takes in memory beside its value, roughly."""


class TopicReader:
    """Consumers that are assigned what is to be read, kept warm between two readings for
    `idle` seconds. Methods are called on one event loop; readings may run side by side."""

    def __init__(self, settings: KafkaSettings, client_id: str, *, idle: float = 30.0) -> None:
        self._settings = settings
        self._client_id = client_id
        self._idle_seconds = idle
        self._idle: list[tuple[float, AssignedConsumer]] = []
        self._reading: set[AssignedConsumer] = set()
        self._closing: set[asyncio.Future[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._threads = ThreadPoolExecutor(_THREADS, "eventing-reading")
        self._closed = False
        self._ended = False

    async def batches(
        self, topic: str, stretches: Mapping[int, Stretch], *, deadline: float = 30.0
    ) -> AsyncGenerator[list[Message], None]:
        """The records of these partitions, each partition's in order, those of several mixed.

        Waits for transactions that are open in a stretch, so that it ends at `end` and not before;
        offsets that retention or compaction took are passed over. Raises StorageError where
        nothing came for `deadline` seconds. Close it (`aclose`) where it is not read to its end.
        """
        async with self._assigned(topic, stretches, deadline) as reading:
            while reading.open:
                messages = await reading.next()
                if messages:
                    yield messages

    async def merged(
        self, topic: str, stretches: Mapping[int, Stretch], *, deadline: float = 30.0
    ) -> AsyncGenerator[Message, None]:
        """The same, one by one: partitions merged by their records' timestamps, each kept in
        order."""
        async with self._assigned(topic, stretches, deadline) as reading:
            ahead = {partition: _Ahead() for partition in reading.open}
            while True:
                while any(not ahead[partition].messages for partition in reading.open):
                    held = [each for each in ahead if ahead[each].bytes >= _AHEAD_BYTES]
                    for message in await reading.next(held):
                        ahead[message.partition() or 0].add(message)
                ready = [each for each in ahead.values() if each.messages]
                if not ready:
                    return
                yield min(ready, key=_Ahead.time).take()

    async def fetch(
        self, topic: str, wanted: Mapping[int, Iterable[int]]
    ) -> dict[tuple[int, int], Message]:
        """Single records by partition and offset; those that are gone are left out. Their payloads
        are in memory together: ask for a few. Raises StorageError."""
        runs = {partition: deque(_runs(offsets)) for partition, offsets in wanted.items()}
        found: dict[tuple[int, int], Message] = {}
        while any(runs.values()):
            turn = {partition: left.popleft() for partition, left in runs.items() if left}
            stretches = {each: Stretch(run[0], run[-1] + 1) for each, run in turn.items()}
            places = {(each, offset) for each, run in turn.items() for offset in run}
            async with contextlib.aclosing(self.batches(topic, stretches)) as batches:
                async for batch in batches:
                    for message in batch:
                        place = (message.partition() or 0, message.offset() or 0)
                        if place in places:
                            found[place] = message
        return found

    async def close(self) -> None:
        """End what is being read (StorageError there) and close the consumers; within seconds,
        also when Kafka is away."""
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        for consumer in (*self._reading, *(idle for _, idle in self._idle)):
            self._end(consumer)
        self._idle.clear()
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_SECONDS)
        self._threads.shutdown(wait=False)
        self._ended = True

    @contextlib.asynccontextmanager
    async def _assigned(
        self, topic: str, stretches: Mapping[int, Stretch], deadline: float
    ) -> AsyncIterator["_Reading"]:
        """A consumer that reads these; given back afterwards, and closed where reading failed."""
        stretches = {each: part for each, part in stretches.items() if part.start < part.end}
        if not stretches:
            yield _Reading(self, None, topic, deadline)
            return
        consumer = await self._consumer()
        self._reading.add(consumer)
        try:
            await self.run(lambda: consumer.assign(topic, stretches))
            with contextlib.suppress(GeneratorExit):
                yield _Reading(self, consumer, topic, deadline)
            await self.run(consumer.release)
        except BaseException:
            self._reading.discard(consumer)
            self._end(consumer)
            raise
        self._reading.discard(consumer)
        self._keep(consumer)

    async def _consumer(self) -> AssignedConsumer:
        if self._idle:
            return self._idle.pop()[1]
        return await self.run(lambda: AssignedConsumer(self._settings, self._client_id))

    async def run(self, call: Callable[[], T]) -> T:
        """Make this call in a thread."""
        if self._closed:
            raise self.closed_error()
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def closed_error(self) -> StorageError:
        return StorageError(
            f"the connection to Kafka at {self._settings.bootstrap_servers} is closed"
        )

    def read_error(self, error: KafkaError, topic: str, consumer: AssignedConsumer) -> StorageError:
        what = f"topic {topic!r} can't be read"
        return storage_error(error, what, self._settings.bootstrap_servers, consumer.heard)

    def _keep(self, consumer: AssignedConsumer) -> None:
        if self._closed:
            self._end(consumer)
            return
        self._idle.append((time.monotonic(), consumer))
        if self._expiry is None:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(self._idle_seconds, self._expire)

    def _expire(self) -> None:
        """Close the consumers that nobody has needed for a while; the one given back last is the
        first to be taken again."""
        old = time.monotonic() - self._idle_seconds
        while self._idle and self._idle[0][0] <= old:
            self._end(self._idle.pop(0)[1])
        self._expiry = None
        if self._idle:
            wait = max(0.1, self._idle[0][0] - old)
            self._expiry = asyncio.get_running_loop().call_later(wait, self._expire)

    def _end(self, consumer: AssignedConsumer) -> None:
        if self._ended:
            consumer.close()
            return
        closing = asyncio.get_running_loop().run_in_executor(self._threads, consumer.close)
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


class _Reading:
    """What is being read now, by this consumer; None where there is nothing to read."""

    def __init__(
        self, reader: TopicReader, consumer: AssignedConsumer | None, topic: str, deadline: float
    ) -> None:
        self._reader = reader
        self._consumer = consumer
        self._topic = topic
        self._deadline = deadline

    @property
    def open(self) -> set[int]:
        """Partitions that are not read to the end of their stretch yet."""
        return set() if self._consumer is None else self._consumer.open

    async def next(self, held: Collection[int] = ()) -> list[Message]:
        """The next records of partitions that are not `held`, none where a stretch turned out to
        be at its end. Raises StorageError where nothing comes."""
        consumer = self._consumer
        if consumer is None:
            return []
        began = time.monotonic()
        count = len(consumer.open)
        while True:
            messages = await self._reader.run(lambda: consumer.read(_BATCH, _POLL_SECONDS, held))
            if messages or len(consumer.open) < count:
                return messages
            heard = consumer.heard.since(began)
            if heard is not None and refuses(heard):
                raise self._reader.read_error(heard, self._topic, consumer)
            if time.monotonic() - began > self._deadline:
                raise self._overdue(consumer)

    def _overdue(self, consumer: AssignedConsumer) -> StorageError:
        if consumer.heard.recent is not None:
            timeout = KafkaError(KafkaError._TIMED_OUT)
            return self._reader.read_error(timeout, self._topic, consumer)
        return StorageError(
            f"topic {self._topic!r} can't be read to its end: nothing came of partition "
            f"{min(consumer.open)} for {self._deadline:g} s; a transaction may be open in it, "
            "which Kafka ends after its producer's transaction.timeout.ms"
        )


class _Ahead:
    """Records of one partition that wait for those of the others."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.bytes = 0

    def add(self, message: Message) -> None:
        self.messages.append(message)
        self.bytes += len(message) + _RECORD_BYTES

    def take(self) -> Message:
        message = self.messages.popleft()
        self.bytes -= len(message) + _RECORD_BYTES
        return message

    def time(self) -> int:
        return int(self.messages[0].timestamp()[1])


def _runs(offsets: Iterable[int]) -> Iterable[list[int]]:
    """Groups of offsets that lie near each other, in order."""
    run: list[int] = []
    for offset in sorted(set(offsets)):
        if run and offset - run[-1] > _NEAR:
            yield run
            run = []
        run.append(offset)
    if run:
        yield run
