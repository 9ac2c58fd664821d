"""An event as the fields of a stream's entry, and back.

Every attribute is a field `ce_…` in plain UTF-8, but for `datacontenttype`, which is a field of
that name; the data is the field `data`, left out where there is none. On reading `content-type`
says the same as `datacontenttype`. Other fields are not the event's.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Final

from eventing.errors import InvalidEvent
from eventing.event import Event, check_values, invalid_name, is_attribute_name, shown

UNREADABLE: Final = "dev.eventing.record.unreadable"
"""Type of the event that stands for an entry that is none."""

Fields = Sequence[bytes]
"""Names and values by turns, as Redis answers them."""

_DATA: Final = b"data"
_CONTENT_TYPE: Final = (b"datacontenttype", b"content-type", b"ce_datacontenttype")
_KNOWN_AT_MOST: Final = 1000

_field_of: dict[str, str] = {"datacontenttype": "datacontenttype"}
_attribute_of: dict[bytes, str] = dict.fromkeys(_CONTENT_TYPE, "datacontenttype")


def encode_entry(event: Event) -> list[str | bytes]:
    """The fields of an event's entry; `event` must be a valid one."""
    fields: list[str | bytes] = []
    known = _field_of
    for name, value in event.attributes.items():
        field = known.get(name)
        if field is None:
            field = f"ce_{name}"
            if len(known) < _KNOWN_AT_MOST:
                known[name] = field
        fields += (field, value)
    if event.data is not None:
        fields += (_DATA, event.data)
    return fields


def decode_entry(fields: Fields) -> Event:
    """The event of an entry. Raises InvalidEvent with what is wrong."""
    attributes: dict[str, str] = {}
    data: bytes | None = None
    known = _attribute_of.get
    pairs = iter(fields)
    try:
        for field, value in zip(pairs, pairs, strict=True):
            name = known(field)
            if name is None:
                if field == _DATA:
                    data = value
                    continue
                name = _read_name(field)
                if not name:
                    continue
            attributes[name] = value.decode()
    except UnicodeDecodeError:
        raise InvalidEvent(f"field {_text(field)} is {shown(value)}, which is no UTF-8") from None
    check_values(attributes, _place)
    return Event(attributes, data)


def weight(event: Event) -> int:
    """About how many bytes its entry takes."""
    return 256 + len(event.data or b"")


def unreadable_event(stream: str, id: bytes, fields: Fields) -> Event:
    """The event that stands, among the dead letters, for an entry that is no event."""
    entry = id.decode()
    pairs = iter(fields)
    told = {_text(name): _text(value) for name, value in zip(pairs, pairs, strict=False)}
    attributes = {
        "specversion": "1.0",
        "id": f"{stream}/{entry}",
        "source": f"redis:{stream}",
        "type": UNREADABLE,
        "subject": entry,
        "datacontenttype": "application/json",
    }
    return Event(attributes, json.dumps(told, ensure_ascii=False).encode())


def texts(fields: Iterable[str | bytes]) -> list[bytes]:
    """The fields as bytes, to be kept as they are."""
    return [field.encode() if isinstance(field, str) else field for field in fields]


def _read_name(field: bytes) -> str:
    """The attribute a field holds; "" for a field of someone else's."""
    if not field.startswith(b"ce_"):
        return ""
    name = field[3:].decode()
    if not is_attribute_name(name):
        raise invalid_name(f"field {shown(field.decode())}", name)
    if len(_attribute_of) < _KNOWN_AT_MOST:
        _attribute_of[field] = name
    return name


def _place(name: str) -> str:
    return "field 'datacontenttype'" if name == "datacontenttype" else f"field 'ce_{name}'"


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
