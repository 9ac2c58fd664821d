"""Knative's own Python function shape: `func.py` with `new()` or `handle(scope, receive, send)`.

Both of its flavours run, as func-python's middlewares would serve them: CloudEvent functions find
the event in `scope["event"]` and answer with `await send(event)`; HTTP functions find a POST of
the event in binary mode and answer in ASGI messages, a response with `ce-` headers being a reply.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from cloudevents.core.v1.event import CloudEvent

from eventing.errors import UserError
from eventing.event import Event
from eventing.sdk.answer import Answer, answer_to_error
from eventing.sdk.cloudevents import MalformedReply, from_cloudevent, is_json, to_cloudevent
from eventing.sdk.handling import Identity, settled
from eventing.sdk.replies import continue_trace

if TYPE_CHECKING:
    from eventing.sdk.frames import CallFrame

_STRUCTURED = "application/cloudevents+json"
_READY_EVERY = 0.1
"""Seconds between two questions of `ready()`."""


class KnativeHandling:
    """One instance of a Knative function, made by `new()` when the worker starts.

    `start(config)`, `stop()`, `ready()` and `alive()` are optional, sync or async, as upstream:
    start gets the environment as a dict; calls wait until ready is true.
    """

    def __init__(self, entry: Callable[..., Any], identity: Identity) -> None:
        self._entry = entry
        self._identity = identity
        self._instance: Any = None
        self._handle: Callable[..., Any] = entry

    async def start(self) -> None:
        if self._entry.__name__ == "new":
            self._instance = await settled(self._entry())
            self._handle = getattr(self._instance, "handle", None)  # type: ignore[assignment]
            if not callable(self._handle):
                code = self._entry.__code__
                raise UserError(
                    f"{code.co_filename}:{code.co_firstlineno}: new() returned"
                    f" {self._instance!r}, which has no `async def handle(self, scope, receive,"
                    " send)`"
                )
        await self._optional("start", os.environ.copy())
        while not _affirms(await self._optional("ready")):  # noqa: ASYNC110 - it is asked, not told
            await asyncio.sleep(_READY_EVERY)

    async def alive(self) -> bool:
        """What the instance's `alive()` says, True where it has none."""
        return _affirms(await self._optional("alive"))

    async def stop(self) -> None:
        await self._optional("stop")

    async def run(self, call: CallFrame) -> Answer:
        """Never raises but asyncio.CancelledError."""
        started = monotonic_ns()
        exchange = _Exchange(call.event)
        try:
            scope = _scope(call.event)
            await self._handle(scope, exchange.receive, exchange.send)
            return exchange.answer(started)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return answer_to_error(error, started)

    async def _optional(self, name: str, *arguments: object) -> Any:
        method = getattr(self._instance, name, None)
        return await settled(method(*arguments)) if callable(method) else None


def _affirms(said: Any) -> bool:
    """A health method says a bool or (bool, message); none at all says yes."""
    return said is None or bool(said[0] if isinstance(said, tuple) else said)


def _scope(event: Event) -> dict[str, Any]:
    headers = [(b"prefer", b"reply"), (b"content-length", str(len(event.data or b"")).encode())]
    for name, value in event.attributes.items():
        if name == "datacontenttype":
            headers.append((b"content-type", value.encode()))
        else:
            headers.append((f"ce-{name}".encode(), _percent(value).encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
        "event": to_cloudevent(event),
    }


_SAFE = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')


def _percent(value: str) -> str:
    return quote(value, safe=_SAFE)


class _Send:
    """What a handler gets as `send`: takes a CloudEvent, or an ASGI message."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def __call__(self, message: Any, status: int = 200) -> None:
        if isinstance(message, CloudEvent):
            self._exchange.events.append((message, status))
        else:
            self._exchange.message(message)

    structured = __call__
    binary = __call__

    async def http(self, message: Mapping[str, Any]) -> None:
        """A raw ASGI message."""
        self._exchange.message(message)


class _Exchange:
    """One request and what is sent in answer to it."""

    def __init__(self, event: Event) -> None:
        self._event = event
        self._received = False
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self.events: list[tuple[CloudEvent, int]] = []
        self.send = _Send(self)

    async def receive(self) -> dict[str, Any]:
        if self._received:
            return {"type": "http.disconnect"}
        self._received = True
        return {"type": "http.request", "body": self._event.data or b"", "more_body": False}

    def message(self, message: Any) -> None:
        kind = message.get("type") if isinstance(message, Mapping) else None
        if kind == "http.response.start":
            self._status = int(message["status"])
            self._headers = {
                bytes(name).decode("latin-1").lower(): bytes(value).decode("latin-1")
                for name, value in message.get("headers", ())
            }
        elif kind == "http.response.body":
            self._body.append(bytes(message.get("body", b"")))
        else:
            raise TypeError(f"send() takes a CloudEvent or an http.response message, not {kind!r}")

    def answer(self, started: int) -> Answer:
        """From what was sent; nothing at all is success without a reply. Raises MalformedReply."""
        failed = [(event, status) for event, status in self.events if not 200 <= status < 300]
        if failed:
            event, status = failed[0]
            return _failure(status, from_cloudevent(event).data or b"", None, started)
        replies = [from_cloudevent(event) for event, _ in self.events]
        if self._status is not None:
            body = b"".join(self._body)
            if not 200 <= self._status < 300:
                return _failure(self._status, body, self._headers.get("retry-after"), started)
            if self._status == 200:
                replies += _reply(self._headers, body)
        for reply in replies:
            continue_trace(reply.attributes, self._event.attributes)
        return Answer(self._status or 200, tuple(replies), started=started)


def _failure(status: int, body: bytes, retry_after: str | None, started: int) -> Answer:
    wait = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    return Answer(status, (), body[:1024], f"the function answered {status}", wait, started)


def _reply(headers: Mapping[str, str], body: bytes) -> list[Event]:
    content_type = headers.get("content-type", "")
    if content_type.lower().startswith(_STRUCTURED):
        return [_structured(body)]
    attributes: dict[str, Any] = {
        name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")
    }
    if not attributes:
        return []
    if "specversion" not in attributes:
        raise MalformedReply("the response has `ce-` headers but no `ce-specversion`")
    if content_type:
        attributes["datacontenttype"] = content_type
    return [_checked(attributes, body or None)]


def _structured(body: bytes) -> Event:
    try:
        document = json.loads(body)
        encoded = document.pop("data_base64", None)
        data = document.pop("data", None)
        if encoded is not None:
            data = base64.b64decode(encoded, validate=True)
    except (ValueError, TypeError, AttributeError) as error:
        raise MalformedReply(f"the structured response is no JSON event: {error}") from None
    if data is not None and not isinstance(data, bytes):
        content_type = document.setdefault("datacontenttype", "application/json")
        as_text = isinstance(data, str) and not is_json(content_type)
        data = (data if as_text else json.dumps(data, separators=(",", ":"))).encode()
    return _checked(document, data)


def _checked(attributes: dict[str, Any], data: bytes | None) -> Event:
    return from_cloudevent(_Bare(attributes, data))


class _Bare(CloudEvent):
    """Attributes as they came, for `from_cloudevent` to check: nothing invented, nothing parsed."""

    def __init__(self, attributes: dict[str, Any], data: bytes | None) -> None:
        self._attributes = attributes
        self._data = data
