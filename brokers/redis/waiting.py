"""What a trigger keeps of a delivery beside the stream: a retry, or a dead letter driven again.

It holds the event whole, so that the log may be trimmed meanwhile. A delivery that is replayed has
nothing of its own: its body is empty, and its event is the log's.
"""

from typing import Final

import msgpack

from brokers.base import Delivery, Failure, Stage
from brokers.redis.entry import decode_entry, encode_entry, texts
from eventing.event import Event

REPLAYED: Final = b""


def pack_waiting(event: Event, attempt: int, stage: Stage, failure: Failure | None) -> bytes:
    """The body of a delivery that waits."""
    why = None
    if failure is not None:
        why = [failure.destination, failure.code, failure.reason, failure.data]
    packed: bytes = msgpack.packb([attempt, stage, why, texts(encode_entry(event))])
    return packed


def unpack_waiting(position: int, body: bytes) -> Delivery:
    """The delivery of a body. Raises InvalidEvent or ValueError for what is none."""
    attempt, stage, why, fields = msgpack.unpackb(body)
    failure = None if why is None else Failure(*why)
    return Delivery(decode_entry(fields), position, attempt, stage, failure)
