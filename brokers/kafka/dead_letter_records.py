"""A dead letter as a record: its event, and what became of it in headers beside."""

import uuid
from collections.abc import Sequence

from brokers.base import DeadLetter, Failure
from brokers.kafka.kept_event import (
    Record,
    decoded,
    encoded,
    facts_of,
    failure_facts,
    failure_of,
    keep,
    kept,
    missing_fact,
    tombstone,
)
from eventing.errors import InvalidEvent
from eventing.event import Event


def new_key() -> bytes:
    """A key that no other letter has."""
    return uuid.uuid4().hex.encode()


def unreadable_key(partition: int, offset: int) -> bytes:
    """The key of the letter about a record that could not be read: the same on every node."""
    return f"unreadable-{partition}-{offset}".encode()


def letter_record(
    key: bytes,
    trigger: str,
    event: Event,
    failure: Failure,
    *,
    attempts: int,
    at: float,
    position: int,
) -> Record:
    """The record of a new letter, for the dead-letter topic's partition 0."""
    facts = {
        "trigger": encoded(trigger),
        **failure_facts(failure),
        "attempts": b"%d" % attempts,
        "at": repr(float(at)).encode(),
        "position": b"%d" % position,
    }
    return keep(key, event, facts)


def drop_record(key: bytes) -> Record:
    """The tombstone that removes a letter."""
    return tombstone(key)


def trigger_of(headers: Sequence[tuple[str, bytes | None]] | None) -> str:
    """The trigger of a letter, from the headers alone; "" for one of the broker itself."""
    return facts_of(headers).get("trigger", b"").decode(errors="replace")


def decode_letter(
    id: int, headers: Sequence[tuple[str, bytes | None]] | None, value: bytes | None
) -> DeadLetter:
    """The letter of a record. Raises InvalidEvent for a record that is none."""
    event, facts = kept(headers, value)
    try:
        return DeadLetter(
            id=id,
            trigger=decoded(facts["trigger"]),
            event=event,
            failure=failure_of(facts),
            attempts=int(facts["attempts"]),
            at=float(facts["at"]),
            position=int(facts["position"]),
        )
    except KeyError as missing:
        raise missing_fact(missing) from None
    except ValueError as error:
        raise InvalidEvent(f"a header of the dead letter can't be read: {error}") from None
