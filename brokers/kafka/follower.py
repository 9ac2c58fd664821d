"""Follows partitions of the triggers' deliveries topics: from their beginning, and then on."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from brokers.base import Delivery
from brokers.kafka.client_options import client_options
from brokers.kafka.delivery_records import decode_delivery
from brokers.kafka.faults import ClientErrors
from brokers.kafka.settings import KafkaSettings
from eventing.errors import InvalidEvent

PATIENCE = 0.05
"""Seconds a look for records takes at most: so soon the thread hears of partitions to follow."""
BATCH = 500

_log = logging.getLogger("brokers.kafka")

Read = tuple[bytes, int, tuple[Delivery, float | None] | None]
"""A record's key and offset, the delivery and when it is due; None for a tombstone."""


@dataclass(slots=True, eq=False)
class Followed:
    """One partition. `read` is called on the event loop with records in their order and the
    offset up to which all have been read; `reached` once, when that is `end` or above."""

    topic: str
    partition: int
    end: int
    read: Callable[[Sequence[Read], int], None]
    reached: Callable[[], None]
    at: int = field(default=0, init=False)
    told: bool = field(default=False, init=False)


class Follower:
    """One consumer, outside any group, in a thread of its own. Methods are called on the loop."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._options = {
            **client_options(settings, client_id, ClientErrors()),
            "group.id": f"{client_id}-follows",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 4096,
            "fetch.queue.backoff.ms": 20,
            "fetch.error.backoff.ms": 100,
        }
        self._commands: queue.SimpleQueue[Callable[[Any], None]] = queue.SimpleQueue()
        self._followed: dict[tuple[str, int], Followed] = {}
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, followed: Sequence[Followed]) -> None:
        """Read these from their beginning, and on until they are let go."""

        def begin(consumer: Any) -> None:
            for each in followed:
                self._followed[each.topic, each.partition] = each
            consumer.incremental_assign(
                [TopicPartition(each.topic, each.partition, OFFSET_BEGINNING) for each in followed]
            )
            for each in followed:
                if each.end <= 0:
                    self._tell(each, [], 0)

        self._ask(begin)

    def let_go(self, followed: Sequence[Followed]) -> None:
        """Read these no more."""

        def end(consumer: Any) -> None:
            known = [
                each
                for each in followed
                if self._followed.get((each.topic, each.partition)) is each
            ]
            for each in known:
                del self._followed[each.topic, each.partition]
            if known:
                consumer.incremental_unassign(
                    [TopicPartition(each.topic, each.partition) for each in known]
                )

        self._ask(end)

    def _ask(self, command: Callable[[Any], None]) -> None:
        self._commands.put(command)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="follow", daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """Follow nothing any more."""
        self._ending.set()
        while self._thread is not None and self._thread.is_alive():  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)

    def _run(self) -> None:
        consumer = Consumer(self._options)
        try:
            while not self._ending.is_set():
                while not self._commands.empty():
                    self._commands.get()(consumer)
                if not self._followed:
                    self._ending.wait(PATIENCE)
                    continue
                first = consumer.poll(PATIENCE)
                if first is not None:
                    self._take([first, *consumer.consume(BATCH, 0)])
        except Exception:
            _log.exception("what waits for its time is not read any more")
        finally:
            consumer.close()

    def _take(self, messages: list[Any]) -> None:
        found: dict[tuple[str, int], tuple[Followed, list[Read], int]] = {}
        for message in messages:
            place = (message.topic(), message.partition())
            followed = self._followed.get(place)
            if followed is None:
                continue
            error = message.error()
            reads = found[place][1] if place in found else []
            if error is None:
                read = _read(message)
                if read is not None:
                    reads.append(read)
                found[place] = (followed, reads, message.offset() + 1)
            elif error.code() == KafkaError._PARTITION_EOF:
                found[place] = (followed, reads, message.offset())
            else:
                _log.debug("topic %s, partition %d: %s", *place, error)
        for followed, reads, at in found.values():
            self._tell(followed, reads, at)

    def _tell(self, followed: Followed, reads: list[Read], at: int) -> None:
        followed.at = at
        reached = not followed.told and at >= followed.end
        followed.told = followed.told or reached

        def tell() -> None:
            followed.read(reads, at)
            if reached:
                followed.reached()

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.


def _read(message: Any) -> Read | None:
    key = message.key() or b""
    value = message.value()
    offset = message.offset()
    if value is None:
        return key, offset, None
    try:
        return key, offset, decode_delivery(message.headers(), value)
    except InvalidEvent as error:
        _log.error(
            "topic %s, partition %d, offset %d is no delivery that waits and is passed over: %s",
            message.topic(),
            message.partition(),
            offset,
            error,
        )
        return None
