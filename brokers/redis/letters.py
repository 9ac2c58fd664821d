"""A dead letter as an entry of a stream of its own: its event's fields, and beside them why.

The entry `0-17` is the dead letter 17.
"""

from typing import Final

from brokers.base import DeadLetter, Failure
from brokers.redis.entry import Fields, decode_entry, encode_entry
from eventing.errors import InvalidEvent
from eventing.event import Event

PREFIX: Final = b"letter_"


def encode_letter(
    trigger: str, event: Event, failure: Failure, *, attempts: int, position: int
) -> list[str | bytes]:
    """The fields of a new letter, but for when: the server adds `letter_at` (milliseconds)."""
    return [
        "letter_trigger",
        trigger,
        "letter_position",
        str(position),
        "letter_attempts",
        str(attempts),
        "letter_destination",
        failure.destination,
        "letter_code",
        str(failure.code),
        "letter_reason",
        failure.reason,
        "letter_data",
        failure.data,
        *encode_entry(event),
    ]


def letter_entry(id: int) -> bytes:
    """The id of the letter's entry."""
    return b"0-%d" % id


def decode_letter(entry: bytes, fields: Fields) -> DeadLetter:
    """The letter of an entry. Raises InvalidEvent for one that somebody else wrote."""
    pairs = iter(fields)
    why = {
        name.removeprefix(PREFIX).decode(): value
        for name, value in zip(pairs, pairs, strict=True)
        if name.startswith(PREFIX)
    }
    try:
        failure = Failure(
            why["destination"].decode(),
            int(why["code"]),
            why["reason"].decode(errors="replace"),
            why["data"],
        )
        return DeadLetter(
            int(entry.partition(b"-")[2]),
            why["trigger"].decode(),
            decode_entry(fields),
            failure,
            int(why["attempts"]),
            int(why["at"]) / 1000,
            int(why["position"]),
        )
    except (KeyError, ValueError) as error:
        raise InvalidEvent(f"entry {entry.decode()} is no dead letter: {error!r}") from None
