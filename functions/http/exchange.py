"""What is sent and what comes back: the values the parts of the HTTP client hand one another."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from eventing.http_encoding import Headers
from functions.http.address import Address

KEPT = 1024
"""Bytes kept of the body of any answer but a 200: enough for `knativeerrordata`."""


@dataclass(frozen=True, slots=True)
class Request:
    """A POST. `timeout` is in seconds from its first byte's sending to its whole answer: the wait
    for a connection counts apart (`Limits.connect`), so a busy pool fails nobody's attempt."""

    address: Address
    headers: Headers
    body: bytes
    timeout: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response, or `status` 0 and the `reason` why there is none.

    Header names are in lower case; trailers are left out. `body` is whole for status 200, of any
    other its first bytes (at least `KEPT`, where there are that many).
    """

    status: int
    headers: Headers = ()
    body: bytes = b""
    reason: str = ""


Done = Callable[[Answer], None]
CANCELLED = Answer(0, reason="cancelled")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one address may take of this process.

    connections: open at once, and over HTTP/2 the requests under way at once; those above wait in
    order, at most `waiting` of them.
    idle: seconds an unused connection is kept: below the 5 s after which uvicorn and Node.js
    close theirs, so that the two ends seldom meet in closing and using the same one.
    connect: seconds for name, TCP and TLS together, and never more than the request's timeout.
    headers, body: bytes an answer may have of each, every interim (1xx) answer included.
    """

    connections: int = 100
    waiting: int = 10_000
    idle: float = 4.0
    connect: float = 10.0
    headers: int = 64 << 10
    body: int = 16 << 20


class Carrier(Protocol):
    """Who has a request: the pool in which it waits, or the connection it is on."""

    def give_up(self, exchange: "Exchange") -> None:
        """End it as cancelled, if it is there still."""


class Exchange:
    """A request on its way: what to write and whom to tell."""

    __slots__ = ("carrier", "deadline", "done", "head", "request", "sendings")

    def __init__(self, head: bytes, request: Request, done: Done) -> None:
        self.head = head
        """All that goes before the body over HTTP/1.1."""
        self.request = request
        self.done = done
        self.carrier: Carrier | None = None
        # Kept by HTTP/2 alone, where a request may be sent several times.
        self.sendings = 0
        self.deadline = 0.0

    def cancel(self) -> None:
        """Give the request up: `done` is called with status 0 and the reason "cancelled", unless
        it was called before. What the server has of it by now, it may act on."""
        if self.carrier is not None:
            self.carrier.give_up(self)

    def end(self, answer: Answer) -> None:
        self.carrier = None
        try:
            self.done(answer)
        except Exception as error:
            # A fault of the caller's must not take the connection or other requests with it.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the callback of an HTTP request raised", "exception": error}
            )
