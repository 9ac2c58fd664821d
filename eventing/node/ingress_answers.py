"""What the ingress answers: ready-made ASGI messages, and the status of every refusal.

A refusal's body is JSON, `{"error": "what, where and how to mend it"}`.
"""

import logging
import math
from typing import Any, Final

import orjson

from eventing.errors import BrokerFull, EventTooLarge, InvalidEvent, StorageError

logger = logging.getLogger(__name__)

Message = dict[str, Any]
Answer = tuple[Message, Message]
"""The two ASGI messages of a response: its start and its body."""


class Refused(Exception):
    """The way out of a request that is not accepted, with its answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


def refuse(status: int, error: str, *headers: tuple[bytes, bytes], close: bool = False) -> Answer:
    """A refusal; `close` ends the connection after it."""
    # Whatever an error quotes, it leaves as valid UTF-8.
    body = orjson.dumps({"error": error.encode(errors="replace").decode()})
    start_headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    if close:
        start_headers.append((b"connection", b"close"))
    start = {"type": "http.response.start", "status": status, "headers": start_headers}
    return start, {"type": "http.response.body", "body": body}


def answer_to(error: Exception) -> Answer:
    """The answer to what went wrong with a request; what nobody foresaw is logged."""
    if isinstance(error, Refused):
        return error.answer
    if isinstance(error, InvalidEvent):
        return refuse(400, str(error))
    if isinstance(error, EventTooLarge):
        return refuse(413, str(error))
    if isinstance(error, BrokerFull):
        retry_after = str(max(1, math.ceil(error.retry_after))).encode()
        return refuse(429, str(error), (b"retry-after", retry_after))
    if isinstance(error, StorageError):
        return refuse(503, str(error))
    logger.error("the ingress failed", exc_info=error)
    return INTERNAL_ERROR


END: Final[Message] = {"type": "http.response.body", "body": b""}


def _empty(status: int, *headers: tuple[bytes, bytes]) -> Answer:
    start_headers = [(b"content-length", b"0"), *headers]
    return {"type": "http.response.start", "status": status, "headers": start_headers}, END


_ALLOW: Final = (b"allow", b"POST, OPTIONS")

ACCEPTED: Final = _empty(202)
HANDSHAKE: Final = _empty(
    200, _ALLOW, (b"webhook-allowed-origin", b"*"), (b"webhook-allowed-rate", b"*")
)
UNAUTHORIZED: Final = refuse(
    401,
    "no valid credentials; send a bearer token in the Authorization header",
    (b"www-authenticate", b"Bearer"),
)
FORBIDDEN: Final = refuse(403, "these credentials do not allow sending events to this broker")
NOTHING_HERE: Final = refuse(404, "there is nothing at /; send events to /{namespace}/{broker}")
METHOD_NOT_ALLOWED: Final = refuse(405, "events are sent with POST", _ALLOW)
INTERNAL_ERROR: Final = refuse(
    500, "an internal error, which the node's log tells of; the events may be stored or not"
)
DRAINING: Final = refuse(
    503, "the node is shutting down; send again shortly", (b"retry-after", b"1"), close=True
)
