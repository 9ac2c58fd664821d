"""One request on an HTTP/2 connection: what of it is unsent, and what of its answer has come."""

from collections.abc import Iterable

from functions.http.answer import NoAnswer
from functions.http.exchange import KEPT, Answer, Exchange, Limits

_PER_FIELD = 32
"""Bytes a header counts beside its text (RFC 9113, section 6.5.2)."""


class Stream:
    """`deadline` and `heard` are the connection's: when the request's time is over, and how often
    the server had been heard when it began."""

    __slots__ = (
        "_body",
        "_headers",
        "_headers_size",
        "_limits",
        "_received",
        "answered",
        "deadline",
        "exchange",
        "heard",
        "status",
        "unsent",
    )

    def __init__(self, exchange: Exchange, limits: Limits, deadline: float, heard: int) -> None:
        body = exchange.request.body
        self.exchange = exchange
        self.deadline = deadline
        self.heard = heard
        self.unsent: memoryview | None = memoryview(body) if body else None
        self.status = 0
        self.answered = False
        self._limits = limits
        self._headers: list[tuple[bytes, bytes]] = []
        self._headers_size = 0
        self._body = bytearray()
        self._received = 0

    @property
    def answer(self) -> Answer:
        return Answer(self.status, self._headers, bytes(self._body))

    def take_headers(self, fields: Iterable[tuple[bytes, bytes]], *, final: bool) -> None:
        """Those of an interim answer and the trailers (not `final`) only count. Raises NoAnswer."""
        fields = list(fields)
        self._headers_size += sum(len(name) + len(value) + _PER_FIELD for name, value in fields)
        if self._headers_size > self._limits.headers:
            raise NoAnswer(f"the answer's headers are over {self._limits.headers:,} bytes")
        if not final:
            return
        status = next((value for name, value in fields if name == b":status"), b"")
        if len(status) != 3 or not status.isdigit() or not 200 <= int(status) <= 599:
            shown = status[:20].decode("ascii", "replace")
            raise NoAnswer(f"the answer's status {shown} is none of HTTP")
        self.status = int(status)
        self._headers = [(name, value) for name, value in fields if not name.startswith(b":")]

    def take_body(self, data: bytes) -> None:
        """Raises NoAnswer."""
        before = self._received
        self._received = before + len(data)
        if self._received > self._limits.body:
            raise NoAnswer(f"the answer's body is over {self._limits.body:,} bytes")
        if self.status == 200 or before < KEPT:
            self._body += data

    def no_answer(self, why: str, detail: str = "") -> str:
        """The reason of one that ends without an answer, because of `why`."""
        if self.answered:
            return f"answered {self.status} before the request was whole"
        if self.status:
            return f"{why} in the middle of the answer{detail}"
        return f"{why} before an answer{detail}"
