"""What is sent and what comes back: the values the parts of the HTTP client hand one another."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Limits:
    """What one address may take of this process.

    connections: open at once; requests above wait in order, at most `waiting` of them.
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


class Exchange:
    """A request on its way: the bytes to write and whom to tell."""

    __slots__ = ("body", "done", "head", "timeout")

    def __init__(self, head: bytes, body: bytes, timeout: float, done: Done) -> None:
        self.head = head
        self.body = body
        self.timeout = timeout
        self.done = done

    def end(self, answer: Answer) -> None:
        try:
            self.done(answer)
        except Exception as error:
            # A fault of the caller's must not take the connection or other requests with it.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the callback of an HTTP request raised", "exception": error}
            )
