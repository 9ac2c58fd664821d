"""What a subscription makes durable: outcomes, and what is moved out of the log's way."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from brokers.base import Dead, Delivery, Done, Outcome, Retry
from brokers.kafka.commit import GroupOffsets, Request
from brokers.kafka.dead_letter_records import letter_record, new_key, unreadable_key
from brokers.kafka.delivery_records import delivery_record, log_key
from brokers.kafka.group_consumer import GroupConsumer
from brokers.kafka.kept_event import Record, tombstone
from brokers.kafka.positions import position_of
from brokers.kafka.share import Handed, Share, Unreadable
from brokers.kafka.transactions import OutRecord, Place, Produced
from brokers.kafka.unreadable import unreadable_event, unreadable_failure
from brokers.kafka.waiting import Entry, entry_of
from eventing.errors import EventTooLarge, StorageError
from eventing.event import Event
from eventing.kafka_encoding import encode_record

FAR = 1e11
"""A time no retry is after (Unix seconds): what is later, or no number, is cut to it."""


class Home(Protocol):
    """What settling needs of its subscription."""

    name: str
    topic: str
    deliveries: str
    letters: str

    def offsets(self) -> GroupOffsets | None: ...

    def reset(self) -> None: ...

    def applied(self, share: Share, key: bytes, offset: int, entry: Entry | None) -> None:
        """A record of the deliveries topic was committed."""

    def released(self, deliveries: Sequence[Delivery]) -> None:
        """They are settled for good."""

    def spilled(self, share: Share, deliveries: list[Delivery]) -> None:
        """They wait in the deliveries topic."""

    def check(self, event: Event) -> None:
        """Raises UserError where the broker's topic can't take it."""

    def stored(self, places: Sequence[Place], events: Sequence[Event]) -> None:
        """They are in the broker's log."""


Positions = list[tuple[int, ...]]


class Settle(Request):
    """Outcomes of one subscription's deliveries, with their replies, all or none."""

    kept = True

    def __init__(
        self, home: Home, outcomes: Sequence[Outcome], future: "asyncio.Future[Positions]"
    ) -> None:
        """Raises UserError where a reply can't be stored."""
        self.source = home
        self.size = 64
        self._home = home
        self._outcomes = outcomes
        self._future = future
        self._taken: list[tuple[int, Outcome, Handed]] = []
        self._stored: list[tuple[int, Outcome, Handed]] = []
        for outcome in outcomes:
            if type(outcome) is Done:
                for reply in outcome.replies:
                    home.check(reply)
                    self.size += len(reply.data or b"") + 256
            else:
                self.size += len(outcome.delivery.event.data or b"") + 256

    def take(self) -> None:
        for index, outcome in enumerate(self._outcomes):
            delivery = outcome.delivery
            if type(delivery) is Handed and delivery.out and delivery.share.alive:
                delivery.out = False
                share = delivery.share
                share.in_flight -= 1
                if delivery.entry is None:
                    share.progress.open.discard(delivery.offset)
                self._taken.append((index, outcome, delivery))

    def records(self) -> list[Produced]:
        records: list[Produced] = []
        self._stored = []
        for taken in self._taken:
            _, outcome, delivery = taken
            if not delivery.share.alive:
                continue
            self._stored.append(taken)
            delivery.share.touched = True
            if type(outcome) is Done:
                for reply in outcome.replies:
                    key, headers, value = encode_record(reply)
                    records.append(OutRecord(self._home.topic, -1, key, headers, value))
            elif type(outcome) is Retry:
                records.append(self._waiting(delivery, self._retry(outcome, delivery)))
                continue
            elif type(outcome) is Dead:
                records.append(OutRecord(self._home.letters, 0, *self._letter(outcome, delivery)))
            if delivery.entry is not None:
                records.append(self._waiting(delivery, tombstone(delivery.entry.key)))
        return records

    def _waiting(self, delivery: Handed, record: Record) -> OutRecord:
        return OutRecord(self._home.deliveries, delivery.share.partition, *record)

    def _retry(self, retry: Retry, delivery: Handed) -> Record:
        key = delivery.entry.key if delivery.entry is not None else log_key(delivery.offset)
        later = _later(retry, delivery)
        return delivery_record(
            key,
            later.event,
            later.position,
            attempt=later.attempt,
            stage=later.stage,
            failure=later.failure,
            due=_due(retry),
        )

    def _letter(self, dead: Dead, delivery: Handed) -> Record:
        return letter_record(
            new_key(),
            self._home.name,
            delivery.event,
            dead.failure,
            attempts=delivery.attempt,
            at=time.time(),
            position=delivery.position,
        )

    def committed(self, places: Sequence[Place]) -> None:
        positions: Positions = [()] * len(self._outcomes)
        over: list[Handed] = []
        at = 0
        for index, outcome, delivery in self._stored:
            share = delivery.share
            if type(outcome) is Retry:
                key = delivery.entry.key if delivery.entry is not None else log_key(delivery.offset)
                offset = places[at][1]
                at += 1
                entry = entry_of(key, offset, _later(outcome, delivery), _due(outcome))
                self._home.applied(share, key, offset, entry)
                continue
            if type(outcome) is Done:
                end = at + len(outcome.replies)
                positions[index] = tuple(position_of(*place) for place in places[at:end])
                if outcome.replies:
                    self._home.stored(places[at:end], outcome.replies)
                at = end
            else:
                at += 1
            if delivery.entry is not None:
                self._home.applied(share, delivery.entry.key, places[at][1], None)
                at += 1
            over.append(delivery)
        self._home.released(over)
        if not self._future.done():
            self._future.set_result(positions)

    def failed(self, error: Exception) -> None:
        if isinstance(error, EventTooLarge):
            self._undo()
        if not self._future.done():
            self._future.set_exception(error)

    def _undo(self) -> None:
        for _, _, delivery in self._taken:
            if delivery.share.alive:
                delivery.out = True
                delivery.share.in_flight += 1
                if delivery.entry is None:
                    delivery.share.progress.open.add(delivery.offset)

    def unclear(self, error: StorageError) -> None:
        """The deliveries come again where they were not settled."""
        if not self._future.done():
            self._future.set_result([()] * len(self._outcomes))


def _later(retry: Retry, delivery: Delivery) -> Delivery:
    attempt = delivery.attempt + 1 if retry.stage == delivery.stage else 1
    return Delivery(delivery.event, delivery.position, attempt, retry.stage, retry.failure)


def _due(retry: Retry) -> float:
    return retry.at if retry.at < FAR else FAR


class Spill(Request):
    """Events parked behind busy keys, more than memory holds: out of the log's way."""

    kept = True

    def __init__(self, home: Home, share: Share, deliveries: list[Delivery]) -> None:
        self.source = home
        self.size = sum(len(each.event.data or b"") + 256 for each in deliveries)
        self._home = home
        self._share = share
        self._deliveries = deliveries

    def take(self) -> None:
        for delivery in self._deliveries:
            assert type(delivery) is Handed
            self._share.progress.open.discard(delivery.offset)

    def records(self) -> list[Produced]:
        if not self._share.alive:
            return []
        self._share.touched = True
        return [
            OutRecord(
                self._home.deliveries,
                self._share.partition,
                *delivery_record(_key(each), each.event, each.position),
            )
            for each in self._deliveries
        ]

    def committed(self, places: Sequence[Place]) -> None:
        for delivery, place in zip(self._deliveries, places, strict=False):
            key = _key(delivery)
            later = Delivery(delivery.event, delivery.position)
            entry = entry_of(key, place[1], later, None)
            self._home.applied(self._share, key, place[1], entry)
        if self._share.alive:
            self._home.spilled(self._share, self._deliveries)

    def failed(self, error: Exception) -> None:
        """Only a broker that is closed gives up."""


def _key(delivery: Delivery) -> bytes:
    assert type(delivery) is Handed
    return log_key(delivery.offset)


class KeepUnreadable(Request):
    """A record that is no event, kept as a dead letter of the broker itself."""

    kept = True

    def __init__(self, home: Home, share: Share, offset: int, found: Unreadable) -> None:
        self.source = home
        self.size = len(found.value or b"") + 512
        self._home = home
        self._share = share
        self._offset = offset
        self._found = found

    def take(self) -> None:
        self._share.progress.open.discard(self._offset)

    def records(self) -> list[Produced]:
        if not self._share.alive:
            return []
        self._share.touched = True
        partition, topic = self._share.partition, self._home.topic
        letter = letter_record(
            unreadable_key(partition, self._offset),
            "",
            unreadable_event(topic, partition, self._offset, self._found),
            unreadable_failure(topic, partition, self._offset, self._found.reason),
            attempts=1,
            at=time.time(),
            position=position_of(partition, self._offset),
        )
        return [OutRecord(self._home.letters, 0, *letter)]

    def committed(self, places: Sequence[Place]) -> None:
        """It is kept."""

    def failed(self, error: Exception) -> None:
        """Only a broker that is closed gives up."""


class Settled(Request):
    """Nothing but how far a subscription has come."""

    kept = True

    def __init__(self, home: Home) -> None:
        self.source = home

    def take(self) -> None:
        """Its offsets are all there is to it."""

    def records(self) -> list[Produced]:
        return []

    def committed(self, places: Sequence[Place]) -> None:
        """It is committed."""

    def failed(self, error: Exception) -> None:
        """Only a broker that is closed gives up."""


class TransactionOffsets:
    """The offsets of one subscription, as of one moment."""

    def __init__(
        self,
        consumer: GroupConsumer,
        offsets: Sequence[tuple[Share, int, str]],
        then: Callable[[], None],
    ) -> None:
        self._consumer = consumer
        self._offsets = offsets
        self._then = then

    def send(self, producer: object, seconds: float) -> None:
        """See Offsets."""
        self._consumer.send_offsets(producer, self._offsets, seconds)

    def committed(self) -> None:
        """See GroupOffsets."""
        for share, offset, metadata in self._offsets:
            share.committed = (offset, metadata)
            share.touched = False
        self._then()
