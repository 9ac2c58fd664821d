"""From what a handler returned to the events it answers with."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Mapping
from typing import Any

from cloudevents.core.v1.event import CloudEvent

from eventing.event import Event
from eventing.sdk.cloudevents import MalformedReply, from_cloudevent, to_json


def replies_of(
    value: object,
    *,
    reply_type: str,
    function: str,
    namespace: str,
    incoming: Mapping[str, str],
) -> tuple[Event, ...]:
    """The reply events of a handler's return value. Raises MalformedReply.

    None is no reply. A list, tuple or generator stands for its items, each a reply of its own
    (None among them is none). A CloudEvent is taken as it is. Anything else is data, wrapped into
    an event of type `reply_type` by `event_from_data`. Replies without a `traceparent` continue
    the incoming event's trace.
    """
    if value is None:
        return ()
    items: Iterable[Any] = (value,)
    if isinstance(value, (list, tuple, Generator)):
        items = value
    events = []
    for index, item in enumerate(items):
        if item is None:
            continue
        if not isinstance(item, CloudEvent):
            if hasattr(item, "__await__"):
                _discard(item)
                raise MalformedReply("it returned a coroutine: await it, in an `async def` handler")
            item = event_from_data(
                item,
                type=reply_type,
                function=function,
                namespace=namespace,
                incoming=incoming,
                index=str(index),
            )
        try:
            reply = from_cloudevent(item)
        except MalformedReply as error:
            raise MalformedReply(f"reply {index + 1}: {error}") from None
        continue_trace(reply.attributes, incoming)
        events.append(reply)
    return tuple(events)


def event_from_data(
    data: Any,
    *,
    type: str,
    function: str,
    namespace: str,
    incoming: Mapping[str, str],
    index: str,
    extra: Mapping[str, Any] | None = None,
) -> CloudEvent:
    """An event around `data`: source `/functions/{namespace}/{function}`, no `time`.

    Its id is made from the incoming event's source and id, the function and `index`: an event
    delivered twice gives replies of the same id. `datacontenttype` is JSON, text/plain for a str
    and application/octet-stream for bytes, unless `extra` has one.
    """
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": reply_id(incoming, f"{namespace}/{function}", index),
        "source": f"/functions/{namespace}/{function}",
        "type": type,
    }
    attributes.update(extra or {})
    if data is not None and "datacontenttype" not in attributes:
        if isinstance(data, (bytes, bytearray, memoryview)):
            attributes["datacontenttype"] = "application/octet-stream"
        elif isinstance(data, str):
            attributes["datacontenttype"] = "text/plain; charset=utf-8"
        else:
            attributes["datacontenttype"] = "application/json"
    if data is not None and not isinstance(data, (bytes, bytearray, memoryview, str, dict)):
        data = to_json(data)
    timed = "time" in attributes
    made = CloudEvent(attributes, data)
    if not timed:
        made.get_attributes().pop("time", None)
    return made


def reply_id(incoming: Mapping[str, str], function: str, index: str) -> str:
    """32 hexadecimal digits, the same for the same incoming event, function and index."""
    name = "\n".join((incoming.get("source", ""), incoming.get("id", ""), function, index))
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def continue_trace(reply: dict[str, str], incoming: Mapping[str, str]) -> None:
    """Give a reply without a `traceparent` the incoming event's trace."""
    if "traceparent" in reply or "traceparent" not in incoming:
        return
    reply["traceparent"] = incoming["traceparent"]
    if "tracestate" in incoming:
        reply.setdefault("tracestate", incoming["tracestate"])


def _discard(awaitable: Any) -> None:
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()
