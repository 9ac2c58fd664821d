"""A broker's dead letters: a stream of their own, of which entry `0-17` is the letter 17."""

import builtins
from collections.abc import Sequence
from typing import Final

from brokers.base import DeadLetter, Failure
from brokers.redis.entry import encode_entry
from brokers.redis.keys import letters_key
from brokers.redis.letters import decode_letter, encode_letter, letter_entry
from brokers.redis.link import Argument, Link
from brokers.redis.waiting import pack_waiting
from brokers.redis.writer import encode_events
from eventing.errors import InvalidEvent
from eventing.event import Event

PAGE: Final = 100
DROPPED_AT_ONCE: Final = 250


class DeadLetters:
    """Every method raises StorageError. Entries that somebody else wrote there are passed over."""

    def __init__(self, broker: str, link: Link) -> None:
        self._stream = letters_key(broker)
        self._link = link

    async def list(self, trigger: str | None, after: int, limit: int) -> builtins.list[DeadLetter]:
        """Those with an id above `after`, oldest first."""
        found: builtins.list[DeadLetter] = []
        while len(found) < limit:
            count = min(PAGE, max(limit - len(found), 10))
            entries = await self._link.ask(
                "XRANGE", self._stream, letter_entry(after + 1), "+", "COUNT", count
            )
            for entry, fields in entries:
                after = int(entry.partition(b"-")[2])
                try:
                    letter = decode_letter(entry, fields)
                except InvalidEvent:
                    continue
                if trigger is None or letter.trigger == trigger:
                    found.append(letter)
            if len(entries) < count:
                break
        return found[:limit]

    async def get(self, id: int) -> DeadLetter | None:
        """The one of this id, or None."""
        if id < 1:
            return None
        entry = letter_entry(id)
        try:
            for found in await self._link.ask("XRANGE", self._stream, entry, entry):
                return decode_letter(*found)
        except InvalidEvent:
            pass
        return None

    async def keep(self, event: Event, failure: Failure, max_bytes: int | None) -> bool:
        """Add one of the broker's own. False: the broker holds its `max_bytes` already. Raises
        InvalidEvent or EventTooLarge for an event that the log would not take: the letter could not
        be redriven."""
        encode_events([event])
        fields = encode_letter("", event, failure, attempts=1, position=0)
        ceiling = -1 if max_bytes is None else max_bytes
        return bool(await self._link.run("keep", ceiling, *fields))

    async def redrive(self, letter: DeadLetter, event: Event) -> bool:
        """Take the letter out, and have the event delivered to its trigger, or, where it is the
        broker's own, stored in the log. False: it is there no more. Raises LookupError where the
        trigger is gone."""
        rest: list[Argument] = list(encode_entry(event))
        if letter.trigger:
            rest = [pack_waiting(event, 1, "subscriber", None)]
        entry = letter_entry(letter.id)
        answer = await self._link.run("redrive", entry, letter.id, letter.trigger, *rest)
        if answer == -1:
            raise LookupError(
                f"dead letter {letter.id} was of trigger {letter.trigger!r}, which is gone; make "
                "the trigger again, or drop the dead letter"
            )
        return bool(answer)

    async def drop(self, ids: Sequence[int]) -> int:
        """Remove them; how many there were."""
        count = 0
        for first in range(0, len(ids), DROPPED_AT_ONCE):
            chunk = [letter_entry(id) for id in ids[first : first + DROPPED_AT_ONCE] if id > 0]
            if chunk:
                count += await self._link.run("drop", *chunk)
        return count
