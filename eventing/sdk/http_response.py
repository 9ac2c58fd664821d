"""What a function's container answers over HTTP: from the answers of calls to one response.

Pure: Knative's data plane contract decides (2xx is done, 4xx is final, 5xx and 503 are retried).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from eventing.errors import InvalidEvent
from eventing.event import Event, validate_event
from eventing.http_encoding import encode_http_batch, encode_http_binary
from eventing.sdk.answer import Answer

RETRIED: Final = frozenset({404, 408, 409, 429})
"""The statuses below 500 that brokers try again."""


class Response(NamedTuple):
    """A whole response. `closes`: the connection is of no more use after it."""

    status: int
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    closes: bool = False


def response_to(answers: Sequence[Answer]) -> Response:
    """The response to a request whose events were answered so.

    All done: 204 without replies, 200 with one as a binary event, with several as a batch. One
    failed: the request has, with the status and reason of the first failure that is retried, else
    of the first. (Were it the other way round, the retried ones of a batch would be lost.)
    """
    failed = [(index, each) for index, each in enumerate(answers) if not 200 <= each.status < 300]
    if failed:
        retried = (each for each in failed if is_retried(each[1].status))
        index, answer = next(retried, failed[0])
        where = f"event [{index}] of the batch: " if len(answers) > 1 else ""
        return failure(answer.status, where + _reason(answer), answer.retry_after)
    replies = [reply for answer in answers for reply in answer.replies]
    try:
        for reply in replies:
            validate_event(reply)
    except InvalidEvent as error:
        return failure(500, f"the handler's return value makes no event: {error}")
    return _replies(replies)


def is_retried(status: int) -> bool:
    """Whether brokers try an attempt of this status again."""
    return status >= 500 or status in RETRIED


def failure(
    status: int,
    reason: str,
    retry_after: float | None = None,
    *headers: tuple[bytes, bytes],
    closes: bool = False,
) -> Response:
    """A response that says why in plain text; `retry_after` in seconds, rounded up."""
    body = reason.encode(errors="replace")
    told = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
    if retry_after is not None:
        told.append((b"retry-after", str(math.ceil(retry_after)).encode()))
    if closes:
        told.append((b"connection", b"close"))
    return Response(status, told, body, closes)


def _replies(replies: Sequence[Event]) -> Response:
    match replies:
        case []:
            return Response(204)
        case [reply]:
            return Response(200, *encode_http_binary(reply))
        case _:
            return Response(200, *encode_http_batch(replies))


def _reason(answer: Answer) -> str:
    """In a line: tracebacks are for the log, not for whoever called."""
    return answer.reason or answer.body.decode(errors="replace") or f"status {answer.status}"


_ALLOW: Final = (b"allow", b"POST, GET, HEAD, OPTIONS")

HEALTHY: Final = Response(200, [(b"content-type", b"text/plain; charset=utf-8")], b"ok\n")
HANDSHAKE: Final = Response(
    200, [_ALLOW, (b"webhook-allowed-origin", b"*"), (b"webhook-allowed-rate", b"*")]
)
"""To OPTIONS (CloudEvents HTTP 1.1 web hooks, section 4)."""
NOTHING_HERE: Final = failure(404, "events are sent with POST; GET /healthz tells the health")
METHOD_NOT_ALLOWED: Final = failure(405, "events are sent with POST", None, _ALLOW)
BUSY: Final = failure(503, "too many events wait for the handler; send again shortly", 1)
ENDING: Final = failure(503, "the function is shutting down; send again", 1, closes=True)
SLOW: Final = failure(408, "the body made no progress; send it in one go", closes=True)
