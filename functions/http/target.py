"""An HTTP subscriber: an event goes out as a POST, its answer comes back as a response.

Rules: Knative's data plane contract, and the CloudEvents HTTP binding 1.0.2.
"""

import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from math import inf
from typing import Literal

from eventing.errors import InvalidEvent
from eventing.event import Event, validate_event
from eventing.http_encoding import (
    Headers,
    carries_event,
    decode_http,
    encode_http_binary,
    encode_http_structured,
)
from eventing.trace_context import trace_headers
from functions.base import Call, Response
from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.exchange import KEPT, Answer, Request

MALFORMED_REPLY = 502
"""The status of an attempt whose answer was 200 with an event that is none: it is retried."""
UNSENDABLE = 500
"""The status of an attempt whose event breaks the rules of CloudEvents: nothing was sent."""
DEFAULT_TIMEOUT = 30.0
"""Seconds a subscriber has to answer where neither the call nor the target says otherwise."""

MAX_RETRY_AFTER = 1e9
"""Seconds; a `Retry-After` beyond has no meaning and is taken for none."""


class HttpTarget:
    """Sends each call's event to `address` and reads the subscriber's answer.

    format: "json" sends structured events, "binary" and None binary ones. timeout: seconds to the
    whole answer, for calls that name none; most: for any call, whatever it names.

    - Events in a 200 are replies: one, in binary or structured mode, or several as a batch.
      They pass on as they came.
    - A 200 with neither a `ce-` header nor a CloudEvents content type carries no event, whatever
      its body. A malformed event there is status 502 and the reason "malformed reply: …".
    - The body of any other 2xx is never a reply.
    - No whole answer is status 0, with the reason: refused, timed out, cut, not HTTP, …
    - An event that is none, such as one with a lone surrogate, is not sent: that is status 500.

    Its `traceparent` and `tracestate` also travel as the headers of W3C Trace Context.
    """

    def __init__(
        self,
        address: Address,
        *,
        client: HttpClient,
        format: Literal["binary", "json"] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        most: float = inf,
    ) -> None:
        self.address = address
        self._client = client
        self._encode = encode_http_structured if format == "json" else encode_http_binary
        self._timeout = timeout
        self._most = most

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        event = call.event
        try:
            validate_event(event)
        except InvalidEvent as error:
            done(Response(UNSENDABLE, reason=f"the event can't be sent: {error}"))
            return
        headers, body = self._encode(event)
        headers += trace_headers(event.attributes)
        headers.append((b"prefer", b"reply"))
        timeout = self._timeout if call.timeout is None else call.timeout
        request = Request(self.address, headers, body, min(timeout, self._most))
        self._client.send(request, lambda answer: done(read_answer(answer, time.time())))


def read_answer(answer: Answer, now: float) -> Response:
    """What an answer means for the attempt; `now` in Unix seconds, for a dated `Retry-After`."""
    status = answer.status
    if status == 200:
        return _read_replies(answer)
    if 200 <= status < 300:
        return Response(status)
    if status == 0:
        return Response(0, reason=answer.reason)
    retry_after = _retry_after(answer.headers, now) if status in (429, 503) else None
    return Response(status, (), answer.body[:KEPT], _refusal(status), retry_after)


def _read_replies(answer: Answer) -> Response:
    if not _means_to_reply(answer.headers):
        return Response(200)
    try:
        return Response(200, _replies(answer))
    except InvalidEvent as error:
        reason = f"malformed reply: {error}"
        return Response(MALFORMED_REPLY, body=answer.body[:KEPT], reason=reason)


def _means_to_reply(headers: Headers) -> bool:
    """An event without its `specversion` was meant as one all the same: better told than lost."""
    return carries_event(headers) or any(name.startswith(b"ce-") for name, _ in headers)


def _replies(answer: Answer) -> tuple[Event, ...]:
    for name, value in answer.headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            coding = value.decode("latin-1")
            raise InvalidEvent(f"its Content-Encoding is {coding!r}, which nobody asked for")
    return tuple(decode_http(answer.headers, answer.body))


def _refusal(status: int) -> str:
    try:
        reason = f"answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        reason = f"answered {status}"
    return f"{reason} (redirects are not followed)" if 300 <= status < 400 else reason


def _retry_after(headers: Headers, now: float) -> float | None:
    """Seconds a `Retry-After` asks for (RFC 9110, section 10.2.3); None for none it can read."""
    for name, value in headers:
        if name == b"retry-after":
            seconds = _seconds(value.strip().decode("latin-1"), now)
            return seconds if seconds is not None and seconds <= MAX_RETRY_AFTER else None
    return None


def _seconds(value: str, now: float) -> float | None:
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now)
