"""A record of Kafka as an event, as Knative's KafkaSource makes it. Pure.

A record that claims to be a CloudEvent is that event; any other becomes one of type
`dev.knative.kafka.event` whose data is the record's value.
"""

import math
import re
import struct
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from eventing.errors import InvalidEvent
from eventing.event import Event, validate_event
from eventing.kafka_encoding import decode_record, is_event
from eventing.sources.settings import KeyType
from eventing.sources.source import UNREADABLE

TYPE = "dev.knative.kafka.event"
_HEADER = "kafkaheader"
_CONTENT_TYPE = "content-type"
_NO_NAME = re.compile("[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Record:
    """What a source needs of a record. `milliseconds` is its timestamp since the Unix epoch; None
    where it has none."""

    topic: str
    partition: int
    offset: int
    milliseconds: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    def __str__(self) -> str:
        return f"the record at offset {self.offset} of partition {self.partition} of {self.topic!r}"


def record_event(record: Record, source: str, key_type: KeyType = "string") -> Event:
    """The record's event; `source` is that of plain ones, without the topic. Raises InvalidEvent
    for a record that claims to be a CloudEvent and is none.

    Every event tells where it came from: `knativekafkapartition` and `knativekafkaoffset`.
    """
    if is_event(record.headers):
        event = decode_record(record.headers, record.value)
        return Event({**event.attributes, **_place(record)}, event.data)
    event = _plain(record, source, key_type)
    validate_event(event)
    return event


def unreadable_event(record: Record, source: str, reason: str) -> Event:
    """What is kept of a record that can't become an event: all of it, where it stood, and why."""
    event = _plain(record, source, "string")
    attributes = {**event.attributes, "type": UNREADABLE, "topic": record.topic}
    attributes |= {"partition": str(record.partition), "offset": str(record.offset)}
    attributes["reason"] = reason
    unreadable = Event(attributes, event.data)
    try:
        validate_event(unreadable)
    except InvalidEvent:
        attributes.pop("datacontenttype", None)
    return unreadable


def _plain(record: Record, source: str, key_type: KeyType) -> Event:
    attributes = {
        "specversion": "1.0",
        "id": f"partition:{record.partition}/offset:{record.offset}",
        "source": f"{source}#{record.topic}",
        "type": TYPE,
        "subject": f"partition:{record.partition}#{record.offset}",
    }
    if record.milliseconds is not None:
        attributes["time"] = _time(record.milliseconds)
    for name, value in record.headers:
        if value is None:
            continue
        text = value.decode(errors="replace")
        if name.lower() == _CONTENT_TYPE:
            attributes["datacontenttype"] = text.lower()
        else:
            attributes[_HEADER + _NO_NAME.sub("", name.lower())] = text
    if record.key:
        attributes["partitionkey"] = attributes["key"] = _READERS[key_type](record.key)
    return Event({**attributes, **_place(record)}, record.value)


def _place(record: Record) -> dict[str, str]:
    return {
        "knativekafkapartition": str(record.partition),
        "knativekafkaoffset": str(record.offset),
    }


def _time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Keys as Kafka's own serializers write them; what has another length is read as text.


def _string(key: bytes) -> str:
    return key.decode(errors="replace")


def _integer(key: bytes) -> str:
    return str(struct.unpack(">i", key)[0]) if len(key) == 4 else _string(key)


def _floating(key: bytes) -> str:
    if len(key) == 8:
        return _number(struct.unpack(">d", key)[0])
    if len(key) != 4:
        return _string(key)
    value = struct.unpack(">f", key)[0]
    # The fewest digits that make the same 32 bits.
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        if not math.isfinite(value) or struct.pack(">f", short) == key:
            return _number(short)
    return _number(value)


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _bytes(key: bytes) -> str:
    return b64encode(key).decode()


_READERS: dict[KeyType, Callable[[bytes], str]] = {
    "string": _string,
    "int": _integer,
    "float": _floating,
    "byte-array": _bytes,
}
