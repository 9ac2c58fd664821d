"""The CloudEvents JSON format, and its batches (JSON event format 1.0.2).

Data survives as a JSON value: numbers keep every digit, insignificant white space goes.
"""

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from eventing.errors import InvalidEvent
from eventing.event import (
    CORE_ATTRIBUTES,
    Event,
    check_values,
    declares_json,
    invalid_name,
    is_attribute_name,
    shown,
    validate_event,
)

_ABSENT: Final = object()
_INT32: Final = range(-(2**31), 2**31)


def decode_json(body: bytes) -> Event:
    """One event from a JSON object. Raises InvalidEvent.

    - A member `data` without `datacontenttype` means JSON, and "application/json" becomes the
      event's attribute: the spec holds both forms to be the same event, and without it no other
      encoding could tell what the data is. Without `data` nothing is added.
    - `data` is kept as canonical JSON bytes; under a content type other than JSON a string is
      kept as its UTF-8. `null` there is the JSON value null where the content type is JSON, and
      no data otherwise.
    - Extension integers and booleans become their canonical strings; `null` means absent.
    - `data` may be nested 253 levels deep.
    """
    members = _parse(body)
    if isinstance(members, dict) and isinstance(members.get("data"), _NUMBERS_WITHIN):
        return _event(members, _with_exact_numbers(members, body))
    return _event(members, members)


def decode_json_batch(body: bytes) -> list[Event]:
    """The events of a JSON array, which may be empty. Raises InvalidEvent for the first bad one,
    naming its index."""
    batch = _parse(body)
    if not isinstance(batch, list):
        raise InvalidEvent(
            f"a batch is a JSON array of events, not {_kind(batch)}; wrap the events in [ ], "
            "or send one event as application/cloudevents+json"
        )
    events = []
    for index, (members, exact) in enumerate(
        zip(batch, _with_exact_numbers(batch, body), strict=True)
    ):
        try:
            events.append(_event(members, exact))
        except InvalidEvent as error:
            raise InvalidEvent(f"event [{index}] of the batch: {error}") from None
    return events


def decode_object(members: object) -> Event:
    """One event from a JSON object that is parsed already, or was computed. Raises InvalidEvent."""
    event = _event(members, members)
    validate_event(event)  # strings that never were JSON text can hold what no JSON can
    return event


def encode_json(event: Event) -> bytes:
    """The event as a JSON object; `event` must be a valid one.

    JSON data goes into `data` as it is, text of UTF-8 into `data` as a string, all other data,
    and data without a content type, into `data_base64`. `knativeerrorcode` is written as an
    integer.
    """
    return orjson.dumps(_members(event, parsed=False))


def encode_json_batch(events: Iterable[Event]) -> bytes:
    """The events as a JSON array."""
    return orjson.dumps([_members(event, parsed=False) for event in events])


def encode_object(event: Event) -> dict[str, Any]:
    """As encode_json, but as Python values: what an expression over the event sees."""
    return _members(event, parsed=True)


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"the body is no valid JSON in UTF-8: {error}") from None


def _event(members: object, exact: Any) -> Event:
    """`exact` is `members` again, with numbers that orjson can write without loss."""
    if not isinstance(members, dict):
        raise InvalidEvent(
            f"an event in JSON is an object, not {_kind(members)}; "
            'send {"specversion": "1.0", "id": …, "source": …, "type": …, "data": …}'
        )
    attributes: dict[str, str] = {}
    for name, value in members.items():
        if name in CORE_ATTRIBUTES:
            if isinstance(value, str):
                attributes[name] = value
            elif value is not None:
                raise InvalidEvent(f"member {name!r} is {_kind(value)}; it must be a JSON string")
        elif name not in ("data", "data_base64"):
            if not isinstance(name, str) or not is_attribute_name(name):
                raise invalid_name(f"member {shown(name)}", name)
            if value is not None:
                attributes[name] = value if isinstance(value, str) else _canonical(name, value)
    data = _data(members, exact, attributes)
    check_values(attributes, _place)
    return Event(attributes, data)


def _place(name: str) -> str:
    return f"member {name!r}"


def _canonical(name: str, value: object) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    if type(value) is int:
        if value in _INT32:
            return str(value)
        raise InvalidEvent(
            f"member {name!r} is {value}, beyond the 32-bit integers an attribute can hold; "
            "write it as a string"
        )
    raise InvalidEvent(
        f"member {name!r} is {_kind(value)}; an attribute is a JSON string, integer or boolean: "
        "write it as a string, or move it into data"
    )


def _data(members: dict[str, Any], exact: Any, attributes: dict[str, str]) -> bytes | None:
    content = members.get("data", _ABSENT)
    encoded = members.get("data_base64")
    if encoded is not None:
        if content is not _ABSENT and content is not None:
            raise InvalidEvent(
                "members 'data' and 'data_base64' are both given; "
                "keep 'data' for JSON and text, 'data_base64' for anything else"
            )
        return _from_base64(encoded)
    if content is _ABSENT:
        return None
    media_type = attributes.get("datacontenttype")
    if media_type is None:
        attributes["datacontenttype"] = "application/json"
    elif not declares_json(media_type):
        if content is None:
            return None
        if isinstance(content, str):
            return _utf8(content)
    try:
        return orjson.dumps(exact["data"])
    except TypeError as error:
        raise InvalidEvent(
            f"member 'data' cannot be kept as JSON ({error}); it may be nested 253 levels deep: "
            "flatten it, or send it as 'data_base64'"
        ) from None


def _from_base64(encoded: object) -> bytes:
    if not isinstance(encoded, str):
        raise InvalidEvent(
            f"member 'data_base64' is {_kind(encoded)}; it must be a JSON string of Base64"
        )
    try:
        return a2b_base64(encoded, strict_mode=True)
    except ValueError as error:
        raise InvalidEvent(
            f"member 'data_base64' is no Base64 ({error}); "
            "use the standard alphabet with padding, without line breaks (RFC 4648, section 4)"
        ) from None


def _utf8(content: str) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError:
        # JSON in bytes cannot hold one, but an object made by an expression can.
        raise InvalidEvent("member 'data' holds a lone surrogate, which is no character") from None


_NUMBERS_WITHIN: Final = (dict, list, float)
_LONG_NUMBER: Final = b"0" * 16
_DIGITS_AS_ZERO: Final = bytes(48 if byte in b"0123456789." else byte for byte in range(256))


def _with_exact_numbers(parsed: Any, body: bytes) -> Any:
    """`parsed`, or where `body` may hold numbers that a double or a 64-bit integer cannot, the
    same again with every number as it was written.

    A double gives back any number of up to 15 digits, so longer runs of digits are the sign.
    """
    if _LONG_NUMBER not in body.translate(_DIGITS_AS_ZERO):
        return parsed
    try:
        return json.loads(body, parse_int=orjson.Fragment, parse_float=orjson.Fragment)
    except RecursionError:
        # Deeper than orjson writes anyway; the writing reports it.
        return parsed


def _members(event: Event, *, parsed: bool) -> dict[str, Any]:
    members: dict[str, Any] = dict(event.attributes)
    code = members.get("knativeerrorcode")
    if code is not None:
        members["knativeerrorcode"] = _integer(code)
    data = event.data
    if data is None:
        return members
    media_type = event.attributes.get("datacontenttype")
    if media_type is not None:
        if declares_json(media_type):
            try:
                content = orjson.loads(data)
            except orjson.JSONDecodeError:
                pass  # the sender's claim is not true of the bytes: keep the bytes
            else:
                members["data"] = content if parsed else orjson.Fragment(data)
                return members
        elif (text := _text(media_type, data)) is not None:
            members["data"] = text
            return members
    members["data_base64"] = b2a_base64(data, newline=False).decode()
    return members


def _integer(code: str) -> int | str:
    # "-0", "007" and the like would come back as another string.
    if code.removeprefix("-").isdecimal() and code.isascii() and len(code) <= 11:
        number = int(code)
        if number in _INT32 and str(number) == code:
            return number
    return code


def _text(media_type: str, data: bytes) -> str | None:
    """`data` as a string where its content type says it is text in UTF-8, and it is."""
    kind, _, parameters = media_type.lower().partition(";")
    kind = kind.rstrip()
    if not kind.startswith("text/") and not kind.endswith(("/xml", "+xml")):
        return None
    if "charset" in parameters and "utf-8" not in parameters:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


_KINDS: Final[Mapping[type, str]] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a fractional number",
    bool: "a boolean",
    type(None): "null",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)
