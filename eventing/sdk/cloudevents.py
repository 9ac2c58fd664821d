"""Between the runtime's Event and the official SDK's CloudEvent, in both directions."""

import base64
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from cloudevents.core.v1.event import CloudEvent

from eventing.event import Event

_REQUIRED: Final = ("id", "source", "type")
_NAME = re.compile(r"[a-z0-9]+")
_JSON = re.compile(r"(application|text)/([a-zA-Z0-9.-]+\+)?json\s*(;.*)?", re.IGNORECASE)
_TEXT = re.compile(r"text/.*|application/([a-zA-Z0-9.-]+\+)?xml\s*(;.*)?", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class MalformedReply(ValueError):
    """What the handler returned makes no valid CloudEvent; the message says why."""


def _slots_match() -> bool:
    """Whether a CloudEvent is nothing but its two fields, so that it may be filled directly."""
    probe = CloudEvent({"id": "1", "source": "/", "type": "t"})
    return set(vars(probe)) == {"_attributes", "_data"}


_FILLABLE = _slots_match()


def to_cloudevent(event: Event) -> CloudEvent:
    """The CloudEvent a handler gets: `time` is a datetime, and absent where the event has none.

    Data is what `datacontenttype` says: parsed for JSON, str for text and XML, bytes for the
    rest. Without `datacontenttype`, and where JSON doesn't parse, it is what the bytes will make:
    JSON (only without one), else text, else bytes. An Event was validated when it came in, so the
    constructor is passed by: it costs 20 µs and would invent a `time`.
    """
    attributes: dict[str, Any] = event.attributes.copy()
    moment = attributes.get("time")
    if moment is not None:
        attributes["time"] = parse_time(moment)
    data = _decode(event.data, attributes.get("datacontenttype"))
    if _FILLABLE:
        made = CloudEvent.__new__(CloudEvent)
        made._attributes = attributes
        made._data = data
        return made
    made = CloudEvent(attributes, data)
    if moment is None:
        made.get_attributes().pop("time", None)
    return made


def parse_time(value: str) -> datetime:
    """An RFC 3339 time; digits below the microsecond are cut, a leap second becomes the 59th."""
    text = value.upper()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.fromisoformat(text.replace(":60", ":59", 1))
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def is_json(content_type: str) -> bool:
    return _JSON.fullmatch(content_type) is not None


def _decode(data: bytes | None, content_type: str | None) -> Any:
    if not data:
        return None
    if content_type is None or content_type == "application/json" or is_json(content_type):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            return _text(data)
    return _text(data) if _TEXT.fullmatch(content_type) else data


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def from_cloudevent(event: CloudEvent) -> Event:
    """The Event of what a handler returned. Raises MalformedReply.

    The SDK checks its events when they are made; their attributes can be changed afterwards and
    may hold values of other types, so each is checked and brought to its canonical string here
    (CloudEvents 1.0, "Type System").
    """
    attributes: dict[str, str] = {}
    for name, value in event.get_attributes().items():
        if value is None:
            continue
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == "data":
            raise MalformedReply(
                f"attribute name {name!r} is not allowed: lower-case letters and digits only"
            )
        attributes[name] = _canonical(name, value)
    attributes.setdefault("specversion", "1.0")
    if attributes["specversion"] != "1.0":
        raise MalformedReply(f"specversion {attributes['specversion']!r} is not '1.0'")
    for name in _REQUIRED:
        if not attributes.get(name):
            raise MalformedReply(f"attribute {name!r} is missing or empty")
    data = event.get_data()
    if data is None:
        return Event(attributes, None)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return Event(attributes, bytes(data))
    content_type = attributes.get("datacontenttype")
    if isinstance(data, str) and (content_type is None or not is_json(content_type)):
        attributes.setdefault("datacontenttype", "text/plain; charset=utf-8")
        return Event(attributes, data.encode())
    if isinstance(data, str):
        return Event(attributes, _json_text(data))
    attributes.setdefault("datacontenttype", "application/json")
    return Event(attributes, to_json(data))


def _json_text(data: str) -> bytes:
    """A str whose type is JSON: it is JSON already, or a string value to make JSON of."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return orjson.dumps(data)
    return data.encode()


def _canonical(name: str, value: object) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int):
        text = str(value)
    elif isinstance(value, datetime):
        if value.tzinfo is None:
            raise MalformedReply(f"attribute {name!r} is a time without a time zone")
        text = value.isoformat()
        text = text[:-6] + "Z" if text.endswith("+00:00") else text
    elif isinstance(value, bytes):
        text = base64.b64encode(value).decode()
    else:
        raise MalformedReply(
            f"attribute {name!r} is a {type(value).__name__};"
            " an attribute is a str, bool, int, bytes or datetime"
        )
    if _CONTROL.search(text):
        raise MalformedReply(f"attribute {name!r} holds a control character: {text!r}")
    return text


def to_json(data: object) -> bytes:
    """JSON of dicts, lists, dataclasses and pydantic models. Raises MalformedReply."""
    try:
        return orjson.dumps(data, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        cause = error.__cause__ or error
        raise MalformedReply(f"data of type {type(data).__name__} makes no JSON: {cause}") from None


def _plain(value: Any) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json", by_alias=True)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")
