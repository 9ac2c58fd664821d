"""Transactions: records and a group's offsets, all or none.

One at a time. Records are produced on the event loop; what blocks, in a thread.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from brokers.kafka.client_options import client_options
from brokers.kafka.faults import ClientErrors, kafka_error, produce_error, storage_error
from brokers.kafka.messages import place_of
from brokers.kafka.producer import COMMON
from brokers.kafka.reports import SLOWEST, Reports
from brokers.kafka.settings import KafkaSettings
from eventing.errors import EventTooLarge, StorageError
from eventing.kafka_encoding import Headers

TRANSACTION_SECONDS = 10.0
"""After which Kafka ends the transaction of a node that vanished."""
REQUEST_SECONDS = 5.0
COMMIT_SECONDS = 30.0

_log = logging.getLogger("brokers.kafka")

Place = tuple[int, int]
"""Partition and offset of a record."""


class OutRecord(NamedTuple):
    """A record to be produced; partition -1 = that of its key, any without one."""

    topic: str
    partition: int
    key: bytes | None
    headers: Headers
    value: bytes | None


class Offsets(Protocol):
    """Offsets of one consumer group that belong to a transaction."""

    def send(self, producer: Any, seconds: float) -> None:
        """Add them. Called in a thread. Raises Stale, KafkaException."""


class Stale(Exception):
    """What the offsets stand for is another node's by now."""


class NotCommitted(Exception):
    """The transaction was aborted; it may be tried again. `error` says why."""

    def __init__(self, error: StorageError) -> None:
        super().__init__(str(error))
        self.error = error


class Unclear(Exception):
    """The connection was lost at the very end: it is committed, or it never will be."""

    def __init__(self, error: StorageError) -> None:
        super().__init__(str(error))
        self.error = error


class Transactions:
    """One transactional producer, made anew where it becomes unusable.

    Whoever opens the same `transactional_id` later ends what this one has open, and fences it.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, transactional_id: str) -> None:
        self.heard = ClientErrors()
        self._settings = settings
        self._client_id = client_id
        self._id = transactional_id
        self._producer: Any = None
        self._reports: Reports | None = None
        self._thread = ThreadPoolExecutor(1, "kafka-commit")

    async def open(self) -> None:
        """Be ready, and end what an earlier owner of the id has open. Raises StorageError."""
        if self._producer is not None:
            return
        options = {
            **client_options(self._settings, self._client_id, self.heard),
            **COMMON,
            "transactional.id": self._id,
            "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
            # Records of a transaction are complete when they are handed over.
            "linger.ms": 0,
        }
        producer = Producer(options)
        try:
            await self._in_thread(producer.init_transactions, REQUEST_SECONDS)
        except KafkaException as error:
            await self._in_thread(_drop, [producer])
            raise self._error(error, "no transaction can be begun") from None
        except BaseException:
            await asyncio.shield(self._in_thread(_drop, [producer]))
            raise
        self._producer = producer
        self._reports = Reports(producer)

    async def commit(self, records: Sequence[OutRecord], offsets: Sequence[Offsets]) -> list[Place]:
        """Store all of it; returns where the records are.

        Raises NotCommitted, Stale, EventTooLarge (nothing was stored), or Unclear. Not to be
        cancelled.
        """
        try:
            await self.open()
        except StorageError as error:
            raise NotCommitted(error) from None
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            await self._discard()
            raise NotCommitted(self._error(error, "no transaction can be begun")) from None
        places, refused = await self._produce(records)
        if refused is not None:
            await self._abort()
            if isinstance(refused, EventTooLarge):
                raise refused
            raise NotCommitted(refused)
        try:
            await self._in_thread(self._finish, offsets)
        except Stale:
            await self._abort()
            raise
        except _Abortable as error:
            await self._abort()
            if _is_stale(error.cause):
                raise Stale from None
            raise NotCommitted(self._error(error.cause, "a transaction failed")) from None
        except Unclear:
            await self._discard()
            raise
        self.heard.clear()
        return places

    async def _produce(
        self, records: Sequence[OutRecord]
    ) -> tuple[list[Place], StorageError | EventTooLarge | None]:
        places: list[Place] = [(-1, -1)] * len(records)
        refused: list[StorageError | EventTooLarge] = []
        left = len(records)
        all_there = asyncio.get_running_loop().create_future()

        def report(index: int, error: KafkaError | None, message: Message) -> None:
            nonlocal left
            left -= 1
            if error is not None:
                refused.append(self._refusal(error, message.topic()))
            else:
                places[index] = place_of(message)
            if left == 0 and not all_there.done():
                all_there.set_result(None)

        for index, (topic, partition, key, headers, value) in enumerate(records):
            told = partial(report, index)
            try:
                await _put(self._producer, (topic, value, key, partition), headers, told)
            except KafkaException as error:
                refused.append(self._refusal(error.args[0], topic))
                left -= len(records) - index
                break
        if self._reports is not None:
            self._reports.expect()
        if left > 0:
            await all_there
        # What is too large explains the rest, which is given up for it.
        refused.sort(key=lambda each: not isinstance(each, EventTooLarge))
        return places, refused[0] if refused else None

    def _refusal(self, error: KafkaError, topic: str | None) -> StorageError | EventTooLarge:
        return produce_error(error, topic or "?", self._settings.bootstrap_servers, self.heard)

    def _finish(self, offsets: Sequence[Offsets]) -> None:
        """In the thread. Raises Stale, _Abortable, Unclear."""
        for each in offsets:
            _persist(partial(each.send, self._producer, REQUEST_SECONDS))
        try:
            _persist(partial(self._producer.commit_transaction, REQUEST_SECONDS))
        except _Abortable as error:
            if error.cause.txn_requires_abort():
                raise
            raise Unclear(self._error(error.cause, "a transaction's end is not known")) from None

    async def _abort(self) -> None:
        abort = partial(self._producer.abort_transaction, REQUEST_SECONDS)
        try:
            await self._in_thread(_persist, abort)
        except _Abortable:
            del abort
            # The next one with this id ends it.
            await self._discard()

    async def _discard(self) -> None:
        if self._reports is not None:
            self._reports.stop()
        holder = [self._producer]
        self._producer = self._reports = None
        await self._in_thread(_drop, holder)

    async def close(self) -> None:
        """Not while a transaction is under way."""
        if self._producer is not None:
            await self._discard()
        self._thread.shutdown(wait=False)

    def _error(self, error: BaseException | KafkaError, what: str) -> StorageError:
        return storage_error(error, what, self._settings.bootstrap_servers, self.heard)

    async def _in_thread(self, function: Callable[..., object], *arguments: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


class _Abortable(Exception):
    def __init__(self, cause: KafkaError) -> None:
        super().__init__(cause.str())
        self.cause = cause


async def _put(
    producer: Any,
    record: tuple[str, bytes | None, bytes | None, int],
    headers: Headers,
    told: Callable[[KafkaError | None, Message], None],
) -> None:
    while True:
        try:
            producer.produce(*record, headers=headers, on_delivery=told)
            return
        except BufferError:
            # Its reports make room.
            producer.poll(0)
            await asyncio.sleep(SLOWEST)


def _persist(call: Callable[[], object]) -> None:
    """Call again where the same call is what the client asks for. Raises _Abortable."""
    deadline = time.monotonic() + COMMIT_SECONDS
    while True:
        try:
            call()
            return
        except KafkaException as error:
            cause = kafka_error(error)
            if not cause.retriable() or time.monotonic() > deadline:
                raise _Abortable(cause) from None


_STALE = frozenset(
    (
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
    )
)


def _is_stale(error: KafkaError) -> bool:
    return error.code() in _STALE


def _drop(holder: list[Any]) -> None:
    """Ends the client's threads: that happens when its last reference goes."""
    holder.clear()
