"""The CloudEvents HTTP binding: binary, structured and batched messages (HTTP binding 1.0.2).

Requests and responses alike: a message is a list of headers, names in any case, and a body.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from eventing.errors import InvalidEvent
from eventing.event import Event, check_values, invalid_name, is_attribute_name, shown
from eventing.json_format import decode_json, decode_json_batch, encode_json, encode_json_batch

Headers = Sequence[tuple[bytes, bytes]]

JSON_TYPE: Final = b"application/cloudevents+json"
JSON_BATCH_TYPE: Final = b"application/cloudevents-batch+json"
_ANY_FORMAT: Final = b"application/cloudevents"


def decode_http(headers: Headers, body: bytes, content_type: bytes | None = None) -> list[Event]:
    """The events of a message: one, or those of a batch. Raises InvalidEvent.

    `content_type` spares the search among the headers where the caller knows it (b"" for none).
    The mode follows from Content-Type; in a structured or batched message `ce-` headers count for
    nothing. In a binary one:

    - Content-Type is `datacontenttype` as it stands; a header `ce-datacontenttype` is refused
      (section 3.1.1), and so is an attribute given twice.
    - Values are freed of enclosing double quotes, then percent-decoded once (section 3.1.3.2). A
      `%` that begins no escape stands for itself; bytes beyond ASCII are taken as UTF-8.
    - An empty body is no data: HTTP cannot tell no data from empty data.
    """
    if content_type is None:
        content_type = _content_type(headers)
    if content_type[:23].lower() == _ANY_FORMAT:
        return _decode_format(content_type, body)
    attributes: dict[str, str] = {}
    known = _ATTRIBUTE_OF.get
    for name, value in headers:
        attribute = known(name)
        if attribute is None:
            attribute = _attribute_of(name)
        if not attribute:
            continue
        if attribute in attributes:
            raise InvalidEvent(
                f"{_place(attribute)} is given more than once; send each attribute once"
            )
        try:
            text = value.decode()
            if ("%" in text or '"' in text) and attribute != "datacontenttype":
                text = _unescape(value)
        except UnicodeDecodeError:
            raise InvalidEvent(
                f"{_place(attribute)} is {shown(value)}, which is no UTF-8; "
                "percent-encode the value's UTF-8 bytes"
            ) from None
        attributes[attribute] = text
    if "specversion" not in attributes:
        raise InvalidEvent(
            "the message carries no CloudEvent: header 'ce-specversion' is missing; send the "
            "attributes as headers ce-specversion, ce-id, ce-source and ce-type, or the whole "
            "event as JSON under Content-Type: application/cloudevents+json"
        )
    check_values(attributes, _place)
    return [Event(attributes, body or None)]


def carries_event(headers: Headers) -> bool:
    """Whether a message means to be a CloudEvent, valid or not (section 3): it has the content
    type of an event format, or a `ce-specversion`."""
    if _content_type(headers)[:23].lower() == _ANY_FORMAT:
        return True
    return any(name.lower() == b"ce-specversion" for name, _ in headers)


def encode_http_binary(event: Event) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A binary message; `event` must be a valid one. No data and empty data look the same.

    Data that is itself an event in an event format goes out structured: its content type, as the
    message's own, would be read as the mode.
    """
    headers = []
    for attribute, value in event.attributes.items():
        raw = value.encode()
        if attribute == "datacontenttype":
            if raw[:23].lower() == _ANY_FORMAT:
                return encode_http_structured(event)
            headers.append((b"content-type", raw))
            continue
        if raw.translate(None, _SAFE):
            raw = b"".join([_ESCAPED[byte] for byte in raw])
        headers.append((b"ce-" + attribute.encode(), raw))
    return headers, event.data or b""


def encode_http_structured(event: Event) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A structured message in JSON; `event` must be a valid one."""
    return [(b"content-type", JSON_TYPE)], encode_json(event)


def encode_http_batch(events: Iterable[Event]) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A batched message in JSON; every event must be a valid one."""
    return [(b"content-type", JSON_BATCH_TYPE)], encode_json_batch(events)


def _content_type(headers: Headers) -> bytes:
    for name, value in headers:
        if name.lower() == b"content-type":
            return value
    return b""


def _decode_format(content_type: bytes, body: bytes) -> list[Event]:
    media_type = content_type.partition(b";")[0].rstrip().lower()
    if media_type == JSON_TYPE:
        return [decode_json(body)]
    if media_type == JSON_BATCH_TYPE:
        return decode_json_batch(body)
    raise InvalidEvent(
        f"header 'content-type' is {shown(content_type.decode('latin-1'))}, an event format not "
        f"known here; send {JSON_TYPE.decode()} or {JSON_BATCH_TYPE.decode()}"
    )


def _place(attribute: str) -> str:
    if attribute == "datacontenttype":
        return "header 'content-type'"
    return f"header 'ce-{attribute}'"


_ATTRIBUTE_OF: Final[dict[bytes, str]] = {b"content-type": "datacontenttype"}
"""Header name -> attribute name, "" for a header that is none; filled as names are met."""

_MOST_NAMES_KEPT: Final = 512
_LONGEST_NAME_KEPT: Final = 64


def _attribute_of(header: bytes) -> str:
    """The attribute a header holds, "" for none. Raises InvalidEvent for a name it can't have."""
    name = header.lower()
    attribute = ""
    if name == b"content-type":
        attribute = "datacontenttype"
    elif name.startswith(b"ce-"):
        attribute = name[3:].decode("latin-1")
        if attribute == "datacontenttype":
            raise InvalidEvent(
                "header 'ce-datacontenttype' has no place in a binary message; "
                "send the data's content type as Content-Type"
            )
        if not is_attribute_name(attribute):
            raise invalid_name(f"header {shown(header.decode('latin-1'))}", attribute)
    # Senders choose the names, so what is kept of them has a bound.
    if len(_ATTRIBUTE_OF) < _MOST_NAMES_KEPT and len(header) <= _LONGEST_NAME_KEPT:
        _ATTRIBUTE_OF[header] = attribute
    return attribute


_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL).fullmatch
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)

_SAFE: Final = bytes(byte for byte in range(0x21, 0x7F) if byte not in b'"%')
_ESCAPED: Final = [bytes((byte,)) if byte in _SAFE else b"%%%02X" % byte for byte in range(256)]


def _unescape(value: bytes) -> str:
    quoted = _QUOTED(value)
    if quoted is not None:
        value = _QUOTED_PAIR.sub(rb"\1", quoted[1])
    return unquote_to_bytes(value).decode()
