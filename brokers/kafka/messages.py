"""Parts of a message that was read, as they are once it is known to be no error."""

from collections.abc import Sequence
from typing import cast

from confluent_kafka import Message

RecordHeaders = Sequence[tuple[str, bytes | None]]


def headers_of(message: Message) -> RecordHeaders | None:
    """Its headers; None for a record without any."""
    return cast(RecordHeaders | None, message.headers())


def value_of(message: Message) -> bytes | None:
    """Its value; None for a tombstone, or an event without data."""
    return message.value()


def place_of(message: Message) -> tuple[int, int]:
    """Its partition and offset."""
    return cast(tuple[int, int], (message.partition(), message.offset()))
