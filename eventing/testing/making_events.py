"""Events, made in one line."""

import uuid
from typing import Any

from cloudevents.core.v1.event import CloudEvent

from eventing.errors import InvalidEvent
from eventing.event import Event, validate_event
from eventing.sdk.cloudevents import MalformedReply, from_cloudevent, to_cloudevent, to_json


def event(
    type: str,
    data: Any = None,
    *,
    source: str = "/test",
    id: str | None = None,
    subject: str | None = None,
    **extensions: Any,
) -> CloudEvent:
    """An event as a handler would get it.

    `data`: bytes, a str, or anything that makes JSON: dicts, lists, numbers, dataclasses, pydantic
    models. Its type (`datacontenttype=`) is application/octet-stream, text/plain or
    application/json, unless it is given. `id` is a random one where none is given; `extensions`
    are further attributes, `time` and `dataschema` among them: str, bool, int, bytes, datetime.
    Raises InvalidEvent with the reason.
    """
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()) if id is None else id,
        "source": source,
        "type": type,
        **extensions,
    }
    if subject is not None:
        attributes["subject"] = subject
    if isinstance(data, (bytearray, memoryview)):
        data = bytes(data)
    if data is not None and "datacontenttype" not in attributes:
        attributes["datacontenttype"] = _content_type(data)
    try:
        if data is not None and not isinstance(data, (bytes, str)):
            data = to_json(data)
        made = CloudEvent({"id": "1", "source": "/", "type": "t"}, data)
        # The SDK invents a time, and has rules of its own: ours are asked below.
        made.get_attributes().clear()
        made.get_attributes().update(attributes)
        return to_cloudevent(to_event(made))
    except MalformedReply as error:
        raise InvalidEvent(str(error)) from None


def to_event(given: CloudEvent) -> Event:
    """The runtime's form of an event, held to all the rules. Raises InvalidEvent."""
    try:
        made = from_cloudevent(given)
    except MalformedReply as error:
        raise InvalidEvent(str(error)) from None
    validate_event(made)
    return made


def _content_type(data: object) -> str:
    if isinstance(data, bytes):
        return "application/octet-stream"
    if isinstance(data, str):
        return "text/plain; charset=utf-8"
    return "application/json"
