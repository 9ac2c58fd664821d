"""A handler behind HTTP: an ASGI app that takes events in any HTTP mode and answers with replies.

By Knative's data plane contract, so brokers of any make can call it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final

from eventing.errors import InvalidEvent
from eventing.event import Event, shown
from eventing.http_encoding import JSON_BATCH_TYPE, decode_http
from eventing.sdk import plain_log
from eventing.sdk.answer import Answer
from eventing.sdk.calls import Calls, TooManyWaiting
from eventing.sdk.frames import CallFrame
from eventing.sdk.http_response import (
    BUSY,
    ENDING,
    HANDSHAKE,
    HEALTHY,
    METHOD_NOT_ALLOWED,
    NOTHING_HERE,
    SLOW,
    Response,
    failure,
    is_retried,
    response_to,
)
from eventing.trace_context import trace_extensions

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

HEALTH_PATHS: Final = frozenset(
    {"/", "/healthz", "/readyz", "/health/readiness", "/health/liveness"}
)
"""Kubernetes' customs, and those of Knative's own functions."""

ATTEMPT: Final = b"eventing-attempt"
TRIGGER: Final = b"eventing-trigger"
"""Headers by which a node of ours tells a handler what Context.attempt and Context.trigger are."""

BATCH_FACTOR: Final = 4
"""A batched request may be this many times as large as one event."""
HELD_FACTOR: Final = 8
"""All bodies that are held at a time may be this many times as large as one event."""
BODY_TIMEOUT: Final = 30.0
"""Seconds a body may make no progress."""
_LINGER_SECONDS: Final = 2.0


class _Gone(Exception):
    """The client went away; nobody is left to answer."""


class _Refused(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response


class HandlerApp:
    """`POST` of events, in binary, structured or batched mode and at any path, to the handler.

    `max_event_bytes` bounds a request's body (413), a batched one to BATCH_FACTOR times as much.
    A caller that goes away takes its calls along: those that wait, and those of an async handler.
    With `access_log`, each request is a line of the log.
    """

    def __init__(self, calls: Calls, *, max_event_bytes: int, access_log: bool = False) -> None:
        self._calls = calls
        self._max_event_bytes = max_event_bytes
        self._access_log = access_log
        self._ids = count(1)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        unread = False
        try:
            response = await self._respond(scope, receive)
        except _Gone:
            return
        except _Refused as refusal:
            response = refusal.response
            unread = response.closes
        except asyncio.CancelledError:
            response = ENDING  # the server has waited long enough for it
        if self._access_log:
            took = (time.monotonic() - began) * 1000
            plain_log.line(
                "INFO", f"{scope['method']} {scope['path']} {response.status} {took:.1f} ms"
            )
        await _send(response, send, receive if unread else None)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        method = scope["method"]
        if method != "POST":
            if method in ("GET", "HEAD"):
                return HEALTHY if scope["path"] in HEALTH_PATHS else NOTHING_HERE
            return HANDSHAKE if method == "OPTIONS" else METHOD_NOT_ALLOWED
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        fields = dict(headers)
        coding = fields.get(b"content-encoding", b"identity").strip().lower()
        if coding not in (b"", b"identity"):
            raise _Refused(
                failure(
                    415,
                    f"the body's Content-Encoding is {shown(coding.decode('latin-1'))}; "
                    "send it as it is",
                    closes=True,
                )
            )
        content_type = fields.get(b"content-type", b"")
        limit = self._max_event_bytes
        if content_type.lower().startswith(JSON_BATCH_TYPE):
            limit *= BATCH_FACTOR
        body = await self._body(receive, fields.get(b"content-length", b""), limit)
        try:
            try:
                events = decode_http(headers, body, content_type)
            except InvalidEvent as error:
                plain_log.line("WARNING", f"refused what is no event: {error}")
                return failure(400, str(error))
            return await self._handle(events, headers, fields, receive)
        finally:
            self._held -= len(body)

    async def _handle(
        self,
        events: list[Event],
        headers: Headers,
        fields: dict[bytes, bytes],
        receive: Receive,
    ) -> Response:
        if b"traceparent" in fields:
            for event in events:
                if "traceparent" not in event.attributes:
                    event.attributes.update(trace_extensions(headers))
        attempt = _attempt(fields.get(ATTEMPT, b""))
        trigger = fields.get(TRIGGER, b"").decode("latin-1")
        tasks: list[asyncio.Task[Answer]] = []
        gone: asyncio.Task[Message] | None = None
        try:
            for event in events:
                call = CallFrame(next(self._ids), event, attempt, trigger, None)
                tasks.append(self._calls.take(call))
            if tasks:
                gone = asyncio.get_running_loop().create_task(_disconnected(receive))
                await _all_done_or(gone, tasks)
        except TooManyWaiting:
            self._abandon(tasks)
            return BUSY
        except (_Gone, asyncio.CancelledError):
            self._abandon(tasks)
            raise
        finally:
            if gone is not None:
                gone.cancel()
        answers = [task.result() for task in tasks]
        for event, answer in zip(events, answers, strict=True):
            _log(event, answer)
        return response_to(answers)

    def _abandon(self, tasks: list[asyncio.Task[Answer]]) -> None:
        for task in tasks:
            self._calls.abandon(task)

    async def _body(self, receive: Receive, length: bytes, limit: int) -> bytes:
        """The whole body, counted as held. Raises _Refused and _Gone."""
        if length.isdigit() and int(length[:18]) > limit:
            raise self._too_large(limit)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            body = await self._rest(bytearray(body), receive, limit)
        if len(body) > limit:
            raise self._too_large(limit)
        if body and self._held + len(body) > HELD_FACTOR * self._max_event_bytes:
            raise _Refused(BUSY)
        self._held += len(body)
        return body

    async def _rest(self, body: bytearray, receive: Receive, limit: int) -> bytes:
        more = True
        while more and len(body) <= limit:
            if self._held + len(body) > HELD_FACTOR * self._max_event_bytes:
                raise _Refused(BUSY._replace(closes=True))
            try:
                async with asyncio.timeout(BODY_TIMEOUT):
                    message = await receive()
            except TimeoutError:
                raise _Refused(SLOW) from None
            if message["type"] == "http.disconnect":
                raise _Gone
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return bytes(body)

    def _too_large(self, limit: int) -> _Refused:
        return _Refused(
            failure(
                413,
                f"the body is over {limit:,} bytes; store the data elsewhere and send its place, "
                "or start the function with a larger --max-event-bytes",
                closes=True,
            )
        )


async def _all_done_or(gone: asyncio.Task[Message], tasks: list[asyncio.Task[Answer]]) -> None:
    """Wait for all of `tasks`. Raises _Gone where the client goes first."""
    left: set[asyncio.Task[Any]] = set(tasks)
    while left:
        done, _ = await asyncio.wait({gone, *left}, return_when=asyncio.FIRST_COMPLETED)
        left -= done
        if gone in done and left:
            raise _Gone


async def _disconnected(receive: Receive) -> Message:
    return await receive()


async def _send(response: Response, send: Send, unread: Receive | None) -> None:
    """`unread`: the rest of the request may still be on its way, and is read for a moment, since
    closing a connection with unread bytes takes the answer from whoever is sending them."""
    headers = list(response.headers)
    if response.status != 204:
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if unread is not None:
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await unread()).get("more_body", False):
                    pass
        except TimeoutError:
            pass
        response = response._replace(body=b"")
    await send({"type": "http.response.body", "body": response.body})


def _attempt(value: bytes) -> int:
    """What the caller says, 1 where it says nothing that counts."""
    return max(1, int(value)) if value.isdigit() and len(value) < 10 else 1


def _log(event: Event, answer: Answer) -> None:
    if answer.log:
        plain_log.line("ERROR", answer.log, event)
    elif is_retried(answer.status):
        plain_log.line("WARNING", f"failed with {answer.status}: {answer.reason}", event)
    elif answer.status >= 300:
        plain_log.line("WARNING", f"rejected with {answer.status}: {answer.reason}", event)
    elif answer.status == 0:
        plain_log.line("WARNING", answer.reason, event)
