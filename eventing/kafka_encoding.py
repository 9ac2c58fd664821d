"""The CloudEvents Kafka protocol binding 1.0.2: a record's headers, value and key, and the event.

Pure: knows nothing of any client library. Shared by the Kafka broker, source and sink.
"""

from collections.abc import Sequence
from typing import Literal

from eventing.errors import InvalidEvent
from eventing.event import Event, check_values, invalid_name, is_attribute_name, shown
from eventing.json_format import decode_json, encode_json

Headers = list[tuple[str, bytes]]
ContentMode = Literal["binary", "structured"]

PARTITION_KEY = "partitionkey"
"""The extension that gives the record its key (CloudEvents partitioning extension)."""
STRUCTURED = b"application/cloudevents+json"
_STRUCTURED_TYPES = b"application/cloudevents"


def encode_record(
    event: Event, mode: ContentMode = "binary"
) -> tuple[bytes | None, Headers, bytes | None]:
    """Key, headers and value of the record; `event` must be a valid one.

    Binary (3.2): every attribute is a header `ce_…` in plain UTF-8, but for `datacontenttype`,
    which is `content-type`; the value is the data, null for none. Structured (3.3): the value is
    the event in JSON format; so is that of an event whose `datacontenttype` is a CloudEvents
    format itself, which in binary mode would be taken for one in structured mode. The key is the
    attribute `partitionkey`, null without it.
    """
    attributes = event.attributes
    key = attributes.get(PARTITION_KEY)
    encoded_key = None if key is None else key.encode()
    if mode == "structured" or looks_structured(attributes.get("datacontenttype")):
        return encoded_key, [("content-type", STRUCTURED)], encode_json(event)
    known = _known_headers
    headers = [known.get(attribute) or _header(*attribute) for attribute in attributes.items()]
    return encoded_key, headers, event.data


_known_headers: dict[tuple[str, str], tuple[str, bytes]] = {}
_KNOWN_AT_MOST = 1000
_OF_ONE_EVENT = frozenset(("id", "subject", "time"))


def _header(name: str, value: str) -> tuple[str, bytes]:
    """Most attributes repeat from event to event: their headers are made once."""
    header = ("content-type" if name == "datacontenttype" else f"ce_{name}", value.encode())
    if name not in _OF_ONE_EVENT and len(value) < 256 and len(_known_headers) < _KNOWN_AT_MOST:
        _known_headers[name, value] = header
    return header


def looks_structured(datacontenttype: str | None) -> bool:
    """Whether an event's data is of a CloudEvents format: its record is in structured mode."""
    return datacontenttype is not None and datacontenttype.startswith("application/cloudevents")


def is_event(headers: Sequence[tuple[str, bytes | None]] | None) -> bool:
    """Whether the headers claim that the record is a CloudEvent, in either mode (3.1)."""
    for name, value in headers or ():
        if name == "ce_specversion":
            return True
        if name == "content-type" and value is not None and value.startswith(_STRUCTURED_TYPES):
            return True
    return False


def decode_record(headers: Sequence[tuple[str, bytes | None]] | None, value: bytes | None) -> Event:
    """The event of a record. Raises InvalidEvent.

    Headers that are neither `ce_…` nor `content-type` are not the event's. A null value is an
    event without data.
    """
    attributes = decode_attributes(headers)
    if attributes is None:
        return decode_json(value or b"")
    return Event(attributes, value)


def decode_attributes(
    headers: Sequence[tuple[str, bytes | None]] | None,
) -> dict[str, str] | None:
    """The attributes of a record in binary mode, from its headers alone; None for one in
    structured mode, whose attributes are in its value. Raises InvalidEvent."""
    attributes: dict[str, str] = {}
    try:
        for name, value in headers or ():
            if name.startswith("ce_"):
                attribute = name[3:]
                if attribute not in _seen and not _check_name(attribute):
                    raise invalid_name(f"header {shown(name)}", attribute)
                attributes[attribute] = value.decode()  # type: ignore[union-attr]
            elif name == "content-type":
                if value is not None and value.startswith(_STRUCTURED_TYPES):
                    _check_structured(value)
                    return None
                attributes["datacontenttype"] = value.decode()  # type: ignore[union-attr]
    except (UnicodeDecodeError, AttributeError):
        raise InvalidEvent(f"header {shown(name)} is {shown(value)}, which is no UTF-8") from None
    check_values(attributes, _place)
    return attributes


def _check_structured(content_type: bytes) -> None:
    media_type = content_type.partition(b";")[0].rstrip()
    if media_type != STRUCTURED:
        raise InvalidEvent(
            f"header 'content-type' is {shown(media_type.decode(errors='replace'))}; of the "
            "structured formats only application/cloudevents+json is understood in a record"
        )


def _place(name: str) -> str:
    return "header 'content-type'" if name == "datacontenttype" else f"header 'ce_{name}'"


_seen: set[str] = set()
_SEEN_AT_MOST = 1000


def _check_name(name: str) -> bool:
    """Names repeat from record to record: each is looked at once."""
    if not is_attribute_name(name) or name == "datacontenttype":
        return False
    if len(_seen) < _SEEN_AT_MOST:
        _seen.add(name)
    return True
