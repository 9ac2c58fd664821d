"""Reading answers: from the bytes of one connection to a whole answer, within its limits."""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from functions.http.exchange import KEPT, Answer, Limits


class NoAnswer(Exception):
    """What came can't be an answer, or is over a limit; the message is the reason."""


class AnswerReader:
    """One connection's answers, read in order.

    `answer` is the one that is whole, until `next` makes way for another. `keep` says whether the
    connection may carry another: not where the server says so, and not where a byte has come
    behind the answer, so that none can ever be taken for part of another request's.
    """

    def __init__(self, limits: Limits) -> None:
        self.answer: Answer | None = None
        self.keep = False
        self._limits = limits
        self._parser = HttpResponseParser(self)
        self._received = 0
        self._since_body = 0
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._broken = ""

    @property
    def begun(self) -> bool:
        """Whether any of an answer has come."""
        return bool(self._status or self._headers or self._since_body)

    def feed(self, data: bytes) -> None:
        """Read on. Raises NoAnswer; the connection is of no more use then."""
        self._since_body += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self.keep = False
        except HttpParserError as error:
            self.keep = False
            if self.answer is None:
                raise NoAnswer(self._broken or f"the answer is no HTTP: {error}") from None
        if self.answer is None and self._since_body > self._limits.headers:
            raise NoAnswer(f"the answer's headers are over {self._limits.headers:,} bytes")

    def end(self) -> bool:
        """Whether the end of the connection makes an answer whole (RFC 9112, section 6.3)."""
        if self._status < 200 or self.answer is not None or not self._ends_with_connection():
            return False
        self.keep = False
        self.answer = Answer(self._status, self._headers, bytes(self._body))
        return True

    def next(self) -> None:
        """Make way for the next answer."""
        self.answer = None
        self._received = self._since_body = 0
        if self._body:
            self._body = bytearray()

    def close(self) -> None:
        # The parser holds this object's methods: without it, no cycle is left to collect.
        del self._parser

    # What the parser tells it.

    def on_message_begin(self) -> None:
        if self.answer is not None:
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status == 0:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        limits = self._limits
        if not 100 <= status <= 599:
            self._break(f"the answer's status {status:03} is none of HTTP")
        if self._since_body > limits.headers:
            size = sum(len(name) + len(value) + 4 for name, value in self._headers)
            if size > limits.headers:
                self._break(f"the answer's headers are over {limits.headers:,} bytes")
        self._status = status

    def on_body(self, body: bytes) -> None:
        before = self._received
        self._received = before + len(body)
        self._since_body = 0
        if self._received > self._limits.body:
            self._break(f"the answer's body is over {self._limits.body:,} bytes")
        if self._status == 200 or before < KEPT:
            self._body += body

    def on_message_complete(self) -> None:
        status, headers = self._status, self._headers
        self._status = 0
        self._headers = []
        if self.answer is not None or (status < 200 and status != 101):
            return
        self.keep = status != 101 and self._parser.should_keep_alive()
        self.answer = Answer(status, headers, bytes(self._body) if self._body else b"")

    def _break(self, reason: str) -> None:
        # The parser makes an error of its own of whatever is raised here.
        self._broken = reason
        raise NoAnswer(reason)

    def _ends_with_connection(self) -> bool:
        fields = dict(self._headers)
        codings = fields.get(b"transfer-encoding", b"").lower()
        return b"content-length" not in fields and not codings.endswith(b"chunked")
