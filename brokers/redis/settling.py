"""Outcomes of one trigger's deliveries on their way to Redis."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from brokers.base import Dead, Delivery, Done, Failure, Outcome, Retry
from brokers.redis.entry import unreadable_event
from brokers.redis.keys import id_of, place_of, position_of
from brokers.redis.letters import encode_letter
from brokers.redis.link import Argument, packed
from brokers.redis.waiting import pack_waiting
from brokers.redis.writer import encode_events, milliseconds_until, pack_or_refuse
from eventing.event import Event


class Home(Protocol):
    """What outcomes need of their subscription."""

    name: str
    token: str
    in_flight: dict[int, Delivery]
    apart: set[int]

    def over(self, request: "Settle") -> None: ...

    def replied(self, events: Sequence[Event], positions: list[int]) -> None:
        """Replies are in the broker's log."""

    def refused(self, request: "Acknowledge") -> None: ...

    def fenced(self, token: str) -> None: ...


GONE = -1
"""What scripts answer a consumer that does not count any more."""


def is_gone(answer: Any) -> bool:
    """Whether the answer of a script says that the consumer does not count any more."""
    return bool(answer) and answer[0] == GONE


class Acknowledge:
    """Entries that are nothing to this trigger: its filter refused them, or they are no events."""

    __slots__ = ("ids", "positions", "sub", "token", "unreadable")

    def __init__(
        self,
        sub: Home,
        positions: list[int],
        ids: list[bytes],
        unreadable: list[tuple[bytes, list[Argument]]],
    ) -> None:
        """`positions` are those of `ids` and, where they have one, of the unreadable."""
        self.sub = sub
        self.token = sub.token
        self.positions = positions
        self.ids = ids
        self.unreadable = unreadable

    def pack(self) -> tuple[int, bytes]:
        """See Kept."""
        arguments: list[Argument] = [self.sub.name, self.token, len(self.ids), *self.ids, 0]
        for id, letter in self.unreadable:
            arguments += ("unreadable", id, len(letter), *letter)
        return len(arguments), packed(arguments)

    def stored(self, answer: list[Any]) -> None:
        """See Kept."""
        if is_gone(answer):
            self.sub.fenced(self.token)
        else:
            self.sub.refused(self)

    def failed(self, error: Exception) -> None:
        """See Kept: they are read again."""


class Settle:
    """Outcomes with their replies, all or none. Those of deliveries that are not in flight here are
    passed over."""

    __slots__ = (
        "_answered",
        "_future",
        "_more",
        "_parts",
        "apart",
        "entries",
        "over",
        "sub",
        "token",
    )

    def __init__(
        self,
        sub: Home,
        outcomes: Sequence[Outcome],
        future: "asyncio.Future[list[tuple[int, ...]]]",
    ) -> None:
        """Raises InvalidEvent or EventTooLarge where a reply can't be stored, and then takes none
        of them."""
        self.sub = sub
        self.token = sub.token
        self._future = future
        self._answered: list[tuple[int, ...]] = [()] * len(outcomes)
        parts = {
            index: _encoded(outcome, sub.name)
            for index, outcome in enumerate(outcomes)
            if type(outcome) is not Done or outcome.replies
        }
        self.entries: list[int] = []
        self.apart: list[int] = []
        self._more: list[tuple[int, Outcome]] = []
        self.over: list[Outcome] = []
        """Those that were this node's."""
        in_flight = sub.in_flight
        beside = sub.apart
        for index, outcome in enumerate(outcomes):
            delivery = outcome.delivery
            position = delivery.position
            current = in_flight.get(position)
            if current is None or not (current is delivery or _same_attempt(current, delivery)):
                continue
            del in_flight[position]
            self.over.append(outcome)
            if index in parts:
                self._more.append((index, outcome))
            elif position in beside:
                self.apart.append(position)
            else:
                self.entries.append(position)
        self._parts = parts

    def pack(self) -> tuple[int, bytes]:
        """See Kept."""
        arguments: list[Argument] = [self.sub.name, self.token, len(self.entries)]
        arguments += map(id_of, self.entries)
        arguments.append(len(self.apart))
        arguments += map(place_of, self.apart)
        bodies = [packed(arguments)]
        count = len(arguments)
        for index, outcome in self._more:
            place = place_of(outcome.delivery.position)
            number, part = self._parts[index]
            if type(outcome) is Retry:
                head = packed(("retry", place, milliseconds_until(outcome.at)))
                count += 3 + number
            elif type(outcome) is Done:
                head = packed(("done", place, len(outcome.replies)))
                count += 3 + number
            else:
                head = packed(("dead", place))
                count += 2 + number
            bodies += (head, part)
        return count, b"".join(bodies)

    def stored(self, answer: list[Any]) -> None:
        """See Kept."""
        if is_gone(answer):
            self.sub.fenced(self.token)
        else:
            for (index, outcome), ids in zip(self._more, answer, strict=True):
                if ids:
                    self._answered[index] = tuple(map(position_of, ids))
                    if type(outcome) is Done:
                        self.sub.replied(outcome.replies, list(self._answered[index]))
        self.sub.over(self)
        if not self._future.done():
            self._future.set_result(self._answered)

    def failed(self, error: Exception) -> None:
        """See Kept."""
        if not self._future.done():
            self._future.set_exception(error)


def unreadable_letter(
    stream: str, id: bytes, position: int, fields: Sequence[bytes], reason: str
) -> list[Argument]:
    """The fields of the letter that tells of an entry that is no event."""
    why = f"entry {id.decode()} of stream {stream} is no event: {reason}"
    failure = Failure(stream, 0, why)
    event = unreadable_event(stream, id, fields)
    return list(encode_letter("", event, failure, attempts=1, position=position))


def _encoded(outcome: Outcome, trigger: str) -> tuple[int, bytes]:
    """What an outcome has to say beyond its place, packed, and how many arguments that is."""
    delivery = outcome.delivery
    if type(outcome) is Done:
        return encode_events(outcome.replies)
    if type(outcome) is Retry:
        attempt = delivery.attempt + 1 if outcome.stage == delivery.stage else 1
        body = pack_waiting(delivery.event, attempt, outcome.stage, outcome.failure)
        return 1, packed((body,))
    assert type(outcome) is Dead
    fields: list[Argument] = list(
        encode_letter(
            trigger,
            delivery.event,
            outcome.failure,
            attempts=delivery.attempt,
            position=delivery.position,
        )
    )
    return 1 + len(fields), pack_or_refuse([len(fields), *fields])


def _same_attempt(one: Delivery, other: Delivery) -> bool:
    return one.attempt == other.attempt and one.stage == other.stage
