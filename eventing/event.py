"""The event: one form from ingress to worker, and the rules every event obeys.

Its encodings stand beside it, in eventing.json_format and eventing.http_encoding.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from eventing.errors import InvalidEvent

CORE_ATTRIBUTES = frozenset(
    ("specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time")
)


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent (CloudEvents 1.0).

    `attributes` holds every context attribute in its canonical string form, `specversion`,
    `datacontenttype` and extensions included; `data` the payload's bytes, or None where there is
    none. Never changed after it is made: to alter one, build another.
    """

    attributes: dict[str, str]
    data: bytes | None = None


def validate_event(event: Event) -> None:
    """Hold an event made by someone's code to all the rules a decoded one has passed.

    Raises InvalidEvent; its message names the attribute and the way to mend it.
    """
    for name, value in event.attributes.items():
        if not isinstance(name, str) or not is_attribute_name(name):
            raise invalid_name(f"attribute {shown(name)}", name)
        if not isinstance(value, str):
            raise InvalidEvent(
                f"attribute {name!r} is of type {type(value).__name__}; attributes are strings: "
                'give its canonical string form, such as "5", "true" or "2018-04-05T17:31:00Z"'
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidEvent(
                f"attribute {name!r} holds a lone surrogate, which is no character; "
                "decode its source as UTF-8"
            ) from None
    check_values(event.attributes, lambda name: f"attribute {name!r}")
    if event.data is not None and not isinstance(event.data, bytes):
        raise InvalidEvent(
            f"data is of type {type(event.data).__name__}; give bytes, or None for no data"
        )


def check_values(attributes: Mapping[str, str], place: Callable[[str], str]) -> None:
    """Hold attribute values to CloudEvents 1.0.2, section 3.1 and 3.2.

    `place` says where an attribute stands, for the message of the InvalidEvent. Beyond the spec's
    letter: `datacontenttype` may be anything that can stand in a Content-Type header, and control
    characters in strings pass, as they do in the official Python and Go SDKs.
    """
    get = attributes.get
    if get("specversion") != "1.0" or not (get("id") and get("source") and get("type")):
        raise _unmet_requirement(attributes, place)
    time = get("time")
    if time is not None and not _is_timestamp(time):
        raise InvalidEvent(
            f"{place('time')} is {shown(time)}, which is no RFC 3339 timestamp; "
            'write it like "2018-04-05T17:31:00Z", or leave it out'
        )
    media_type = get("datacontenttype")
    if media_type is not None and not _is_header_text(media_type):
        raise InvalidEvent(
            f"{place('datacontenttype')} is {shown(media_type)}, which is no media type; "
            'write it like "application/json", or leave it out'
        )
    if get("subject") == "":
        raise InvalidEvent(f"{place('subject')} is empty; give it a value, or leave it out")
    schema = get("dataschema")
    if schema is not None and _ABSOLUTE_URI(schema) is None:
        raise InvalidEvent(
            f"{place('dataschema')} is {shown(schema)}, which is no absolute URI; "
            'write it like "https://example.com/schema", or leave it out'
        )


def is_attribute_name(name: str) -> bool:
    """Whether it is made of a-z and 0-9 alone and not the reserved "data" (section 3)."""
    return name.isascii() and name.isalnum() and name == name.lower() and name != "data"


def invalid_name(place: str, name: object) -> InvalidEvent:
    if name == "data":
        return InvalidEvent(
            f"{place}: no attribute may be called 'data'; the data travels on its own, "
            "rename the attribute"
        )
    return InvalidEvent(
        f"{place}: an attribute name consists of lower-case letters a-z and digits 0-9 alone; "
        "rename the attribute"
    )


def declares_json(datacontenttype: str) -> bool:
    """Whether data of this content type is JSON: `*/json` or `*/*+json` (JSON format 3.1.1)."""
    if datacontenttype == "application/json":
        return True
    media_type = datacontenttype.partition(";")[0].rstrip().lower()
    subtype = media_type.partition("/")[2]
    return subtype == "json" or subtype.endswith("+json")


def shown(value: object) -> str:
    """A value as error messages show it: quoted, escaped, and cut after 60 characters."""
    text = repr(value)
    return text if len(text) <= 62 else f"{text[:60]}…{text[-1]}"


_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+").fullmatch

_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
).fullmatch


def _is_timestamp(value: str) -> bool:
    if _TIMESTAMP(value) is None:
        return False
    try:
        datetime.fromisoformat(value)
        return True
    except ValueError:
        pass
    # RFC 3339 knows leap seconds and lower-case letters, datetime does not.
    upper = value.upper()
    if upper[17:19] == "60":
        upper = f"{upper[:17]}59{upper[19:]}"
    try:
        datetime.fromisoformat(upper)
        return True
    except ValueError:
        return False


def _is_header_text(value: str) -> bool:
    return value.isascii() and value.isprintable() and value != "" and value == value.strip(" ")


def _unmet_requirement(attributes: Mapping[str, str], place: Callable[[str], str]) -> InvalidEvent:
    for name in ("specversion", "id", "source", "type"):
        value = attributes.get(name)
        if value is None:
            return InvalidEvent(
                f"{place(name)} is missing; every CloudEvent has specversion, id, source and type"
            )
        if value == "":
            return InvalidEvent(f"{place(name)} is empty; give it a value")
    return InvalidEvent(
        f"{place('specversion')} is {shown(attributes['specversion'])}; "
        'this is CloudEvents 1.0: send "1.0"'
    )
