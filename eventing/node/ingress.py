"""The HTTP ingress: events in, 202 once they are durable, a JSON error and its remedy otherwise.

A raw ASGI app, for every event passes here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from eventing.errors import EventTooLarge, InvalidEvent
from eventing.event import Event, shown
from eventing.http_encoding import JSON_BATCH_TYPE, Headers, decode_http
from eventing.node.ingress_answers import (
    ACCEPTED,
    DRAINING,
    END,
    FORBIDDEN,
    HANDSHAKE,
    METHOD_NOT_ALLOWED,
    NOTHING_HERE,
    UNAUTHORIZED,
    Answer,
    Message,
    Refused,
    answer_to,
    refuse,
)
from eventing.trace_context import trace_extensions

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
HeaderMap = Mapping[bytes, bytes]

DEFAULT_MAX_EVENT_BYTES: Final = 16 << 20
BATCH_FACTOR: Final = 4
"""A batched request may be this many times as large as one event."""

INITIAL_TTL: Final = "255"

_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 64 << 20


class Publishes(Protocol):
    """As much of a broker as the ingress needs (brokers.base.Broker has it)."""

    def publish(self, events: Sequence[Event]) -> "asyncio.Future[list[int]]": ...


Authorize = Callable[[str, str, HeaderMap], Literal[401, 403] | None]
"""(namespace, broker, headers) -> None to let a request in, 401 for no or bad credentials, 403 for
what the credentials don't allow."""


class _TooLarge(Exception):
    """The body is over the limit, and part of it may still be on its way."""


class _Disconnected(Exception):
    """The client went away before its request was whole; nobody is left to answer."""


class Ingress:
    """`POST /{namespace}/{broker}`: events in any HTTP mode, to the broker of that name.

    - `find_broker(namespace, name)` gives the broker, None where there is none to take events.
    - `max_event_bytes` bounds a request's body, and each event of a batch (its attributes and
      data); a batched request as a whole may have BATCH_FACTOR times as much.
    - `body_timeout` is in seconds: how long the body may make no progress (408).
    - `authorize`, where given, decides before anything is read.

    202 is answered only after all events of the request are durable; any other answer means that
    none of them was kept, except 500: then nobody knows, and sending again is safe for receivers
    that tell duplicates by source and id.

    The event is stored as it came, but for two extensions: `knativebrokerttl` is set to 255, or
    lowered by one where it came along; and the HTTP headers `traceparent` and `tracestate` become
    the extensions of the same names (CloudEvents distributed tracing) where the event has no
    `traceparent` of its own.
    """

    def __init__(
        self,
        find_broker: Callable[[str, str], Publishes | None],
        *,
        max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES,
        body_timeout: float = 30.0,
        authorize: Authorize | None = None,
    ) -> None:
        self.draining = False
        """While True, every request is answered 503 and its connection closed; those already
        begun run to their end."""
        self._find_broker = find_broker
        self._max_event_bytes = max_event_bytes
        self._body_timeout = body_timeout
        self._authorize = authorize

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _decline(scope["type"], receive, send)
            return
        try:
            broker, headers = self._admit(scope["method"], scope["path"], scope["headers"])
            # No deadline here: until its body begins, a request is no worse than an idle
            # connection, and a timer would cost every request.
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body = message.get("body", b"")
            if message.get("more_body") or len(body) > self._max_event_bytes:
                body = await self._whole_body(body, message, headers, receive)
            events = self._events(scope["headers"], headers, body)
            if events:
                await broker.publish(events)
            start, end = ACCEPTED
        except _Disconnected:
            return
        except _TooLarge:
            await self._refuse_body(receive, send)
            return
        except Exception as error:
            start, end = answer_to(error)
        await send(start)
        await send(end)

    def accept(
        self, path: str, headers: Headers, body: bytes
    ) -> "asyncio.Future[list[int]] | None":
        """Publish a POST that is here as a whole, without any of ASGI's machinery.

        None: there is something to say about it that calling the app says; nothing was kept.
        """
        try:
            broker, header_map = self._admit("POST", path, headers)
            events = self._events(headers, header_map, body)
        except Exception:
            return None
        return broker.publish(events) if events else None

    def _events(self, headers: Headers, header_map: HeaderMap, body: bytes) -> list[Event]:
        """The request's events as they enter the log. Raises InvalidEvent and EventTooLarge."""
        events = decode_http(headers, body, header_map.get(b"content-type", b""))
        if len(body) > self._max_event_bytes:
            self._check_each(events)
        for event in events:
            # In place: the event is not out of the ingress's hands yet.
            attributes = event.attributes
            ttl = attributes.get("knativebrokerttl")
            attributes["knativebrokerttl"] = INITIAL_TTL if ttl is None else _lowered(ttl)
        if b"traceparent" in header_map:
            for event in events:
                if "traceparent" not in event.attributes:
                    event.attributes.update(trace_extensions(headers))
        return events

    def _admit(self, method: str, path: str, header_list: Headers) -> "tuple[Publishes, HeaderMap]":
        """All that can be said before the body comes."""
        if self.draining:
            raise Refused(DRAINING)
        if method != "POST":
            # The web hook handshake is about the address alone (HTTP 1.1 Web Hooks, section 4).
            raise Refused(HANDSHAKE if method == "OPTIONS" else METHOD_NOT_ALLOWED)
        try:
            root, namespace, name = path.split("/")
        except ValueError:
            root = namespace = name = ""
        if root or not namespace or not name:
            if path in ("", "/"):
                raise Refused(NOTHING_HERE)
            raise Refused(
                refuse(400, f"the path is {shown(path)}; send events to /{{namespace}}/{{broker}}")
            )
        headers: dict[bytes, bytes] = dict(header_list)
        if self._authorize is not None:
            denied = self._authorize(namespace, name, headers)
            if denied is not None:
                raise Refused(UNAUTHORIZED if denied == 401 else FORBIDDEN)
        broker = self._find_broker(namespace, name)
        if broker is None:
            raise Refused(
                refuse(
                    404,
                    f"there is no broker {shown(name)} in namespace {shown(namespace)}; "
                    "'eventing get brokers' lists those there are",
                )
            )
        length = headers.get(b"content-length")
        if (
            length is not None
            and length.isdigit()
            # 18 digits are beyond any limit, and int() takes no number without end.
            and int(length[:18]) > self._max_event_bytes
            and int(length[:18]) > self._request_limit(headers)
        ):
            raise _TooLarge
        return broker, headers

    async def _whole_body(
        self, body: bytes, message: Message, headers: HeaderMap, receive: Receive
    ) -> bytes:
        limit = self._request_limit(headers)
        chunks = [body]
        size = len(body)
        while size <= limit and message.get("more_body"):
            try:
                async with asyncio.timeout(self._body_timeout):
                    message = await receive()
            except TimeoutError:
                raise Refused(
                    refuse(
                        408,
                        f"no more of the body came for {self._body_timeout:g} s; send it again",
                        close=True,
                    )
                ) from None
            if message["type"] == "http.disconnect":
                raise _Disconnected
            chunk = message.get("body", b"")
            chunks.append(chunk)
            size += len(chunk)
        if size > limit:
            if message.get("more_body"):
                raise _TooLarge
            raise Refused(self._too_large())
        return b"".join(chunks)

    def _request_limit(self, headers: HeaderMap) -> int:
        if headers.get(b"content-type", b"").lower().startswith(JSON_BATCH_TYPE):
            return self._max_event_bytes * BATCH_FACTOR
        return self._max_event_bytes

    def _check_each(self, events: Sequence[Event]) -> None:
        for index, event in enumerate(events):
            size = len(event.data or b"") + sum(
                len(name) + len(value) for name, value in event.attributes.items()
            )
            if size > self._max_event_bytes:
                raise EventTooLarge(
                    f"event [{index}] of the batch has {size} bytes; an event may have "
                    f"{self._max_event_bytes}: keep the data elsewhere and send a reference to it"
                )

    def _too_large(self) -> Answer:
        return refuse(
            413,
            f"the request is too large; an event may have {self._max_event_bytes} bytes, a batch "
            f"{BATCH_FACTOR} times that: send it in parts, or keep the data elsewhere and send a "
            "reference to it",
            close=True,
        )

    async def _refuse_body(self, receive: Receive, send: Send) -> None:
        """413 at once, then read on for a while and drop it.

        A connection that is closed with unread bytes on the way is reset, and the reset can
        overtake the answer.
        """
        start, body = self._too_large()
        await send(start)
        await send({**body, "more_body": True})
        allowance = _LINGER_BYTES
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while allowance > 0:
                    message = await receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        break
                    allowance -= len(message.get("body", b""))
        except TimeoutError:
            pass
        await send(END)


def _lowered(ttl: str) -> str:
    if not (ttl.isascii() and ttl.removeprefix("-").isdigit() and len(ttl) <= 10):
        raise InvalidEvent(
            f"attribute 'knativebrokerttl' is {shown(ttl)}; it must be a whole number such as "
            f"{INITIAL_TTL}: leave it out, the broker sets it"
        )
    left = int(ttl) - 1
    if left <= 0:
        raise InvalidEvent(
            f"attribute 'knativebrokerttl' is {ttl}: the event has been through as many brokers "
            "as it may, most likely in a loop of replies; mend the loop's trigger filters, or "
            "leave the attribute out"
        )
    return str(left)


async def _decline(scope_type: str, receive: Receive, send: Send) -> None:
    """Answer what is no HTTP request: start-up and shutdown have nothing to do here, a web socket
    is refused (403, as it was never accepted)."""
    if scope_type == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
    elif scope_type == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    else:
        raise ValueError(f"the ingress speaks HTTP, not {scope_type}")
