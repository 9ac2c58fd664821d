"""An entry of a Redis stream as an event, as Knative's RedisStreamSource makes it. Pure.

An entry that claims to be a CloudEvent (it has a field `ce_specversion`) is that event; any other
becomes one of type `dev.knative.sources.redisstream` whose data is the JSON array of its fields.
"""

from dataclasses import dataclass

import orjson

from brokers.redis.entry import Fields, decode_entry
from eventing.errors import InvalidEvent
from eventing.event import Event
from eventing.sources.source import UNREADABLE

TYPE = "dev.knative.sources.redisstream"
_CLAIM = b"ce_specversion"


@dataclass(frozen=True, slots=True)
class Entry:
    """`id` as Redis gives it, such as 1526919030474-0; names and values of the fields by turns."""

    id: str
    fields: Fields


def entry_event(entry: Entry, source: str) -> Event:
    """The entry's event; `source` is that of plain ones. Raises InvalidEvent for one that claims
    to be a CloudEvent and is none, and for fields that are no text, which JSON can't hold."""
    if _CLAIM in entry.fields[::2]:
        return decode_entry(entry.fields)
    try:
        texts = [text.decode() for text in entry.fields]
    except UnicodeDecodeError:
        raise InvalidEvent(
            "a field is no UTF-8 text, which the JSON array of an event can't hold; "
            "write CloudEvents (ce_specversion, …, data) where data is binary"
        ) from None
    return _event(entry, source, TYPE, texts)


def unreadable_event(entry: Entry, source: str, stream: str, reason: str) -> Event:
    """What is kept of an entry that can't become an event: its fields as far as they are text,
    where it stood, and why."""
    texts = [text.decode(errors="backslashreplace") for text in entry.fields]
    event = _event(entry, source, UNREADABLE, texts)
    attributes = {**event.attributes, "stream": stream, "entry": entry.id, "reason": reason}
    return Event(attributes, event.data)


def _event(entry: Entry, source: str, type: str, texts: list[str]) -> Event:
    attributes = {
        "specversion": "1.0",
        "id": entry.id,
        "source": source,
        "type": type,
        "datacontenttype": "application/json",
    }
    return Event(attributes, orjson.dumps(texts))
