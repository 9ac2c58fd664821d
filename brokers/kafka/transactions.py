"""Transactions: records and a group's offsets, all or none.

One at a time. Records are produced on the event loop; what blocks, in a thread.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from brokers.kafka.client_options import client_options
from brokers.kafka.client_thread import ClientThread, Hung
from brokers.kafka.faults import ClientErrors, kafka_error, produce_error, storage_error
from brokers.kafka.producer import COMMON
from brokers.kafka.reports import SLOWEST, Reports
from brokers.kafka.settings import KafkaSettings
from eventing.errors import EventTooLarge, StorageError
from eventing.kafka_encoding import Headers

TRANSACTION_SECONDS = 10.0
"""After which Kafka ends the transaction of a node that vanished."""
REQUEST_SECONDS = 5.0
COMMIT_SECONDS = 30.0
HUNG_SECONDS = 12.0
"""After which a call that should have returned by REQUEST_SECONDS never will."""

YOUNG_SECONDS = 2.0
"""A producer younger than that is not made anew: one that hears of a Kafka broker that is away
would be at every transaction."""

_log = logging.getLogger("brokers.kafka")

Place = tuple[int, int]
"""Partition and offset of a record."""
Refusal = tuple[KafkaError, str]
"""Why a record was not taken, and for which topic it was."""


class OutRecord(NamedTuple):
    """A record to be produced; partition -1 = that of its key, any without one."""

    topic: str
    partition: int
    key: bytes | None
    headers: Headers
    value: bytes | None


Produced = tuple[str, int, bytes | None, Headers, bytes | None]
"""The same as a plain one: made for every event, and made four times as fast."""


class Offsets(Protocol):
    """Offsets of one consumer group that belong to a transaction."""

    def send(self, producer: Any, seconds: float) -> None:
        """Add them. Called in a thread. Raises Stale, KafkaException. May never return."""


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
        self._opened_at = 0.0
        self._broken = False
        self._outlived = False
        self._producing: asyncio.Future[None] | None = None
        self._thread = ClientThread("kafka commit")

    async def open(self) -> None:
        """Be ready, and end what an earlier owner of the id has open. Raises StorageError."""
        if self._producer is not None:
            return
        options = {
            **client_options(self._settings, self._client_id, self.heard),
            **COMMON,
            "transactional.id": self._id,
            "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
            # As long as handing over a group takes: without it the first record goes alone, and
            # the transaction takes twice the time and a third more CPU.
            "linger.ms": 0.5,
        }
        # In a list, so that the thread that empties it ends the client.
        holder: list[Any] = [Producer(options)]
        try:
            begin = partial(holder[0].init_transactions, REQUEST_SECONDS)
            await self._thread.run(HUNG_SECONDS, begin)
        except (KafkaException, Hung) as error:
            del begin
            await self._drop(holder)
            raise self._error(error, "no transaction can be begun") from None
        except BaseException:
            await asyncio.shield(self._drop(holder))
            raise
        self.heard.clear()
        self._outlived = False
        self._opened_at = asyncio.get_running_loop().time()
        self._producer = holder[0]
        self._reports = Reports(self._producer, self._broke)

    async def commit(self, records: Sequence[Produced], offsets: Sequence[Offsets]) -> list[Place]:
        """Store all of it; returns where the records are.

        Raises NotCommitted, Stale, EventTooLarge (nothing was stored), or Unclear. Not to be
        cancelled.
        """
        if self._producer is not None and (self._broken or self._lost_connection()):
            await self._discard()
        try:
            await self.open()
        except StorageError as error:
            raise NotCommitted(error) from None
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            await self._discard()
            raise NotCommitted(self._error(error, "no transaction can be begun")) from None
        try:
            places, refused = await self._produce(records)
        except KafkaException as error:
            await self._discard()
            raise NotCommitted(self._error(error, "a transaction failed")) from None
        if refused:
            cause = await self._first_cause(refused)
            await self._abort()
            # Its numbering of records is out of step now.
            await self._discard()
            if isinstance(cause, EventTooLarge):
                raise cause
            raise NotCommitted(cause)
        await self._send(offsets)
        await self._commit()
        return places

    def outlived_kafka(self) -> None:
        """Kafka as a whole was away since. The producer may take for a group's coordinator what
        librdkafka has given up meanwhile (a Kafka broker that was missing once in what the cluster
        tells of itself), and wait for that without end: it is not used again."""
        self._outlived = True

    async def tidy(self) -> None:
        """Have another producer in the place of such a one, whose threads are busy with brokers
        that are no more. Not while a transaction is under way."""
        if self._outlived:
            await self._discard()
            with contextlib.suppress(StorageError):
                await self.open()

    def _lost_connection(self) -> bool:
        """Then what it knows of the groups' coordinators may be wrong for good: see
        client_thread.py."""
        if self._outlived:
            return True
        try:
            self._producer.poll(0)
        except KafkaException:
            return True
        young = asyncio.get_running_loop().time() - self._opened_at < YOUNG_SECONDS
        return self.heard.recent is not None and not young

    def _broke(self, error: KafkaError) -> None:
        self._broken = True
        if self._producing is not None and not self._producing.done():
            self._producing.set_exception(KafkaException(error))

    async def _send(self, offsets: Sequence[Offsets]) -> None:
        """Raises Stale, NotCommitted."""
        try:
            for each in offsets:
                await self._thread.run(
                    HUNG_SECONDS, partial(each.send, self._producer, REQUEST_SECONDS)
                )
        except Stale:
            await self._abort()
            raise
        except Hung as error:
            self._abandon()
            raise NotCommitted(self._error(error, "a group's offsets were not taken")) from None
        except KafkaException as error:
            cause = kafka_error(error)
            await self._abort()
            if _is_stale(cause):
                raise Stale from None
            raise NotCommitted(self._error(cause, "a transaction failed")) from None

    async def _commit(self) -> None:
        """Raises NotCommitted, Unclear."""
        try:
            await self._persist(self._producer.commit_transaction)
        except Hung as error:
            self._abandon()
            raise Unclear(self._error(error, "a transaction's end is not known")) from None
        except KafkaException as error:
            cause = kafka_error(error)
            if cause.txn_requires_abort():
                await self._abort()
                raise NotCommitted(self._error(cause, "a transaction failed")) from None
            await self._discard()
            raise Unclear(self._error(cause, "a transaction's end is not known")) from None

    async def _produce(self, records: Sequence[Produced]) -> tuple[list[Place], list[Refusal]]:
        """Raises KafkaException where the producer can't be used any more."""
        places: list[Place] = [(-1, -1)] * len(records)
        refused: list[Refusal] = []
        left = len(records)
        all_there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._producing = all_there

        def report(index: int, error: KafkaError | None, message: Message) -> None:
            nonlocal left
            left -= 1
            if error is None:
                places[index] = (message.partition(), message.offset())  # type: ignore[assignment]
            else:
                refused.append((error, message.topic() or "?"))
            if left == 0 and not all_there.done():
                all_there.set_result(None)

        produce = self._producer.produce
        for index, record in enumerate(records):
            topic, partition, key, headers, value = record
            told = partial(report, index)
            try:
                produce(topic, value, key, partition, told, None, 0, headers)
            except BufferError:
                await _put(self._producer, record, told)
            except KafkaException as error:
                refused.append((error.args[0], topic))
                left -= len(records) - index
                break
        if self._reports is not None:
            self._reports.expect()
        try:
            if left > 0:
                await all_there
            elif all_there.done():
                all_there.exception()
        finally:
            # What breaks the producer later is told by the call that meets it.
            self._producing = None
        return places, refused

    async def _first_cause(self, refused: Sequence[Refusal]) -> StorageError | EventTooLarge:
        """Of several records the one that took the others along. Where all of them were only
        taken along, the client tells why when it is asked to commit, which it can't any more."""
        causes = [each for each in refused if each[0].code() not in _TAKEN_ALONG]
        if causes:
            error, topic = causes[0]
        else:
            error, topic = refused[0]
            try:
                await self._persist(self._producer.commit_transaction)
            except (KafkaException, Hung) as failure:
                error = kafka_error(failure)
        return produce_error(error, topic, self._settings.bootstrap_servers, self.heard)

    async def _abort(self) -> None:
        try:
            await self._persist(self._producer.abort_transaction)
        except Hung:
            self._abandon()
        except KafkaException:
            # The next one with this id ends it.
            await self._discard()

    async def _persist(self, call: Callable[[float], object]) -> None:
        """Call again where the same call is what the client asks for. Raises KafkaException,
        Hung."""

        def persist() -> None:
            deadline = time.monotonic() + COMMIT_SECONDS
            while True:
                try:
                    call(REQUEST_SECONDS)
                    return
                except KafkaException as error:
                    if not kafka_error(error).retriable() or time.monotonic() > deadline:
                        raise

        await self._thread.run(COMMIT_SECONDS + HUNG_SECONDS, persist)

    def _abandon(self) -> None:
        """Leave the producer to the thread that hangs with it."""
        if self._reports is not None:
            self._reports.stop()
        self._producer = self._reports = self._producing = None
        self._broken = False

    async def _discard(self) -> None:
        if self._producer is None:
            return
        holder = [self._producer]
        self._abandon()
        await self._drop(holder)

    async def _drop(self, holder: list[Any]) -> None:
        """End the client's threads: that happens when its last reference goes."""
        try:
            await self._thread.run(HUNG_SECONDS, holder.clear)
        except Hung:
            _log.warning("a producer of Kafka at %s does not end", self._settings.bootstrap_servers)

    async def close(self) -> None:
        """Not while a transaction is under way."""
        if self._producer is not None:
            await self._discard()
        self._thread.close()

    def _error(self, error: BaseException | KafkaError, what: str) -> StorageError:
        return storage_error(error, what, self._settings.bootstrap_servers, self.heard)


async def _put(
    producer: Any, record: Produced, told: Callable[[KafkaError | None, Message], None]
) -> None:
    """Once the reports of others have made room for it. Raises KafkaException."""
    topic, partition, key, headers, value = record
    while True:
        producer.poll(0)
        await asyncio.sleep(SLOWEST)
        try:
            producer.produce(topic, value, key, partition, told, None, 0, headers)
            return
        except BufferError:
            continue


_TAKEN_ALONG = frozenset((KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT))

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
