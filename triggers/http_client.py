"""A lean HTTP/1.1 client for subscribers: kept-alive connections, one callback a request.

No task, future or timer is made a request; `benchmarks/http_clients.py` has the figures that led
here. What it promises: `done` is called exactly once, whatever the server does; a request is sent
again by itself only where nothing of it had been sent; memory and connections are bounded.
"""

import asyncio
import base64
import os
import re
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from eventing.errors import UserError
from eventing.http_encoding import Headers

SLICE = 256 << 10
"""Bytes of a body handed to the transport at a time, the next once it has drained."""
KEPT = 1024
"""Bytes kept of the body of any answer but a 200: enough for `knativeerrordata`."""
STAGGER = 0.25
"""Seconds an address of a host has before the next is tried beside it (RFC 8305, section 5)."""
TLS_GOODBYE = 2.0
"""Seconds a server has to answer the end of a TLS session before the connection is cut."""

_PATH_SAFE = "%/:@!$&'()*+,;=~?"
_CREDENTIALS = re.compile(r"//.*@")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go: an http or https URL, read once.

    `url` may be shown and logged: credentials of the original appear in it no more than in the
    repr, they only travel in `head`, as a Basic Authorization header (RFC 7617). Addresses of one
    `key` share connections.
    """

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None = field(repr=False, compare=False)
    head: bytes = field(repr=False)
    key: str = field(repr=False)

    @classmethod
    def parse(cls, url: str, *, ca_file: str | None = None) -> "Address":
        """Read `url`; https trusts the system's CAs, or those of the PEM file `ca_file` alone.

        Raises UserError for what is no such URL, and for a CA file that can't be read.
        """
        shown = _CREDENTIALS.sub("//", url)
        if _UNPRINTABLE.search(url):
            raise UserError(f"{shown!r} holds a space or control character: percent-encode it")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            # The error may quote the URL, and a password with a "/" in it is read as a port.
            detail = "its host or port can't be read" if "@" in url else str(error)
            raise UserError(f"{shown!r} is no URL: {detail}") from None
        if parts.scheme not in ("http", "https"):
            raise UserError(f"{shown!r} is no address to send to: write http://… or https://…")
        if not parts.hostname:
            raise UserError(f"{shown!r} names no host: write http://host:port/path")
        if port == 0:
            raise UserError(f"{shown!r} names port 0: write one from 1 to 65535")
        host = _host(parts.hostname, shown)
        tls = _trust(ca_file) if parts.scheme == "https" else None
        default_port = 443 if tls else 80
        # A zone (fe80::1%eth0) means something on this machine only (RFC 6874, section 4).
        named = f"[{host.partition('%')[0]}]" if ":" in host else host
        authority = named if port in (None, default_port) else f"{named}:{port}"
        path = quote(parts.path, safe=_PATH_SAFE) or "/"
        query = "?" + quote(parts.query, safe=_PATH_SAFE) if parts.query else ""
        head = f"POST {path}{query} HTTP/1.1\r\nhost: {authority}\r\n"
        if parts.username is not None:
            user, password = parts.username, parts.password or ""
            pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
            head += f"authorization: Basic {base64.b64encode(pair).decode()}\r\n"
        return cls(
            url=f"{parts.scheme}://{authority}{path}{query}",
            host=host,
            port=port or default_port,
            tls=tls,
            head=head.encode("ascii"),
            key=f"{url} {id(tls)}",
        )


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


class HttpClient:
    """Sends requests, with a pool of connections an address: the whole URL, not its host, so that
    a slow path of a server uses up nobody else's connections.

    Redirects are not followed: a 3xx is an answer. Proxies of the environment are not used.
    A kept connection is looked at before it is used again; one that has ended, or on which the
    first write fails whole, is left for another. Where the end comes later, nobody can tell
    whether the server acted on the request: that is an answer with status 0, and whether to try
    again is for the delivery's policy to say.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._pools: dict[str, _Pool] = {}
        self._closed = False

    def send(self, request: Request, done: Done) -> None:
        """Send `request`; call `done` with its answer, exactly once, on the running event loop.

        Never raises and never blocks. `done` may be called before this returns.
        """
        # With as many line ends as headers, no value can have brought one of its own.
        lines = b"".join([b"%b: %b\r\n" % header for header in request.headers])
        count = len(request.headers)
        if lines.count(b"\r") != count or lines.count(b"\n") != count:
            done(Answer(0, reason="a header of the request holds a line break; it was not sent"))
            return
        if self._closed:
            done(Answer(0, reason="the HTTP client is closed"))
            return
        address = request.address
        pool = self._pools.get(address.key)
        if pool is None:
            pool = _Pool(address, self._limits, self._forget)
            self._pools[address.key] = pool
        length = b"content-length: %d\r\n\r\n" % len(request.body)
        pool.send(_Exchange(address.head + lines + length, request.body, request.timeout, done))

    def connections(self, address: Address) -> int:
        """Connections open to an address, idle ones included."""
        pool = self._pools.get(address.key)
        return len(pool.open) if pool else 0

    async def close(self) -> None:
        """End every connection; what is under way or waiting gets an answer with status 0."""
        self._closed = True
        pools = list(self._pools.values())
        for pool in pools:
            pool.close()
        for pool in pools:
            await pool.emptied

    def _forget(self, pool: "_Pool") -> None:
        del self._pools[pool.address.key]


class _Exchange:
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


class _Pool:
    """The connections to one address, and who waits for one.

    As long as somebody waits, a connection is busy or being made; each ends or is freed in
    bounded time and then sees to those who wait. That is why waiting needs no timer.
    """

    def __init__(self, address: Address, limits: Limits, forget: Callable[["_Pool"], None]) -> None:
        self.address = address
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.open: set[_Connection] = set()
        self.emptied: asyncio.Future[None] = self.loop.create_future()
        self._idle: list[_Connection] = []
        self._connecting: set[asyncio.Task[None]] = set()
        self._waiting: deque[_Exchange] = deque()
        self._forget = forget
        self._closed = False

    def send(self, exchange: _Exchange) -> None:
        while self._idle:
            if self._reuse(self._idle.pop(), exchange):
                return
        if len(self._waiting) >= self.limits.waiting:
            reason = f"{len(self._waiting)} requests wait for a connection already"
            exchange.end(Answer(0, reason=reason))
            return
        self._waiting.append(exchange)
        self._grow()

    def release(self, connection: "_Connection") -> None:
        """Take back a connection whose request was answered."""
        if not self._waiting:
            self._rest(connection)
            return
        exchange = self._waiting.popleft()
        if not self._reuse(connection, exchange):
            # Its loss, which is yet to be told, makes another in its place.
            self._waiting.appendleft(exchange)

    def lost(self, connection: "_Connection") -> None:
        if connection not in self.open:
            # It ended before it was put to use. To make another in its place would be a busy
            # loop with a server that accepts only to close.
            return
        self.open.remove(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._grow()
        self._leave_if_empty()

    def close(self) -> None:
        self._closed = True
        for task in self._connecting:
            task.cancel()
        self._end_waiting("the HTTP client was closed before the request was sent")
        for connection in list(self.open):
            connection.cut("the HTTP client was closed before the answer came")
        self._leave_if_empty()

    def _rest(self, connection: "_Connection") -> None:
        self._idle.append(connection)
        connection.end_at(self.loop.time() + self.limits.idle)

    def _reuse(self, connection: "_Connection", exchange: _Exchange) -> bool:
        if connection.is_quiet() and connection.begin(exchange):
            return True
        connection.cut("")
        return False

    def _grow(self) -> None:
        """Make a connection for each who waits, as far as the bound allows."""
        wanted = min(len(self._waiting), self.limits.connections - len(self.open))
        while len(self._connecting) < wanted:
            timeout = min(self.limits.connect, self._waiting[0].timeout)
            task = self.loop.create_task(self._connect(timeout))
            self._connecting.add(task)

    async def _connect(self, timeout: float) -> None:
        connection = _Connection(self)
        reason = ""
        try:
            async with asyncio.timeout(timeout):
                await _open(self.address, lambda: connection)
        except TimeoutError as error:
            # The system's own timeout has an errno, that of the block above has none.
            limit = f" within {timeout:g} s" if error.errno is None else ""
            reason = f"no connection to {self.address.host}:{self.address.port}{limit}"
        except Exception as error:
            reason = _why_not_connected(error, self.address)
        finally:
            self._connecting.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if self._closed:
                self._leave_if_empty()
        if not reason and not self._welcome(connection):
            reason = "the server closed the connection before the request was sent"
        if reason and not self.open and not self._connecting:
            # With others open or on their way, those who wait are theirs to serve.
            self._end_waiting(reason)
        self._leave_if_empty()

    def _welcome(self, connection: "_Connection") -> bool:
        """Put a new connection to use; False: it has ended already."""
        if connection.is_closing():
            return False
        self.open.add(connection)
        if not self._waiting:
            self._rest(connection)
            return True
        exchange = self._waiting.popleft()
        if not connection.begin(exchange):
            self._waiting.appendleft(exchange)
            self.open.remove(connection)
            return False
        self._grow()
        return True

    def _end_waiting(self, reason: str) -> None:
        # Whoever is told may send again at once; that request waits for a new connection.
        waiting, self._waiting = self._waiting, deque()
        for exchange in waiting:
            exchange.end(Answer(0, reason=reason))

    def _leave_if_empty(self) -> None:
        if not (self.open or self._connecting or self._waiting or self.emptied.done()):
            self.emptied.set_result(None)
            self._forget(self)


class _BrokenLimit(Exception):
    """Raised out of the parser's callbacks: an answer over a limit, or beyond understanding."""


class _Connection(asyncio.Protocol):
    """One connection: at most one request at a time, and its answer.

    Anything that is not exactly one whole answer to it ends the connection, so that no byte can
    ever be taken for part of another request's answer.
    """

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._limits = pool.limits
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._parser = HttpResponseParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._exchange: _Exchange | None = None
        self._unsent: memoryview | None = None
        self._writing_paused = False
        self._received = 0
        self._since_body = 0
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._answer: Answer | None = None
        self._keep = False
        self._broken = ""

    # What the pool asks of it.

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Whether it can be used again. While idle there is nothing to read: anything is its end,
        or bytes nobody asked for."""
        return not self.is_closing() and not self._poll.poll(0)

    def begin(self, exchange: _Exchange) -> bool:
        """Write the request; False: the connection has ended and nothing of it was sent."""
        transport = cast(asyncio.Transport, self._transport)
        body = exchange.body
        if len(body) <= SLICE:
            transport.write(exchange.head + body)
        else:
            self._unsent = memoryview(body)[SLICE:]
            transport.writelines((exchange.head, memoryview(body)[:SLICE]))
        if transport.is_closing():
            self._unsent = None
            return False
        self._exchange = exchange
        self.end_at(self._pool.loop.time() + exchange.timeout)
        if self._unsent is not None:
            self._write_on()
        return True

    def end_at(self, deadline: float) -> None:
        """End it at `deadline`. The timer is left where it is if it fires before that: then it
        looks again. So a busy connection sets it once in an idle time, not once a request."""
        self._deadline = deadline
        timer = self._timer
        if timer is None or timer.when() > deadline:
            if timer is not None:
                timer.cancel()
            self._timer = self._pool.loop.call_at(deadline, self._look_at_deadline)

    def cut(self, reason: str) -> None:
        """End it at once, and the request on it, if any, for that reason."""
        exchange, self._exchange = self._exchange, None
        self._answer = self._unsent = None
        if self._transport is not None:
            self._transport.abort()
        if exchange is not None:
            exchange.end(Answer(0, reason=reason))

    # What the transport tells it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._pool.lost(self)
        self.cut(self._why_no_answer(f": {error}" if error else ""))
        # The parser holds this object's methods: without it, no cycle is left to collect.
        del self._parser

    def eof_received(self) -> bool:
        if self._exchange is not None and self._answer is None and self._ends_with_connection():
            self._keep = False
            self._answer = Answer(self._status, self._headers, bytes(self._body))
            self._finish()
        elif self._exchange is not None:
            self.cut(self._why_no_answer(""))
        return False

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._write_on()

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:
            self.cut("")
            return
        self._since_body += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._keep = False
        except HttpParserError as error:
            self._keep = False
            if self._answer is None:
                self.cut(self._broken or f"the answer is no HTTP: {error}")
                return
        if self._answer is not None:
            self._finish()
        elif self._since_body > self._limits.headers:
            self.cut(f"the answer's headers are over {self._limits.headers:,} bytes")

    # What the parser tells it.

    def on_message_begin(self) -> None:
        if self._answer is not None:
            self._keep = False

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
        if self._answer is not None or (status < 200 and status != 101):
            return
        self._keep = status != 101 and self._parser.should_keep_alive()
        self._answer = Answer(status, headers, bytes(self._body) if self._body else b"")

    # What follows.

    def _break(self, reason: str) -> None:
        self._broken = reason
        raise _BrokenLimit(reason)

    def _finish(self) -> None:
        """Hand over the answer, and the connection to the next.

        An answer that comes before the request is whole is final if it is a refusal: the rest is
        not sent. A success stands only once the server took the whole event.
        """
        answer = cast(Answer, self._answer)
        if self._unsent is not None and 200 <= answer.status < 300:
            if not self._keep:
                self.cut(self._why_no_answer(""))
            return
        exchange = cast(_Exchange, self._exchange)
        transport = cast(asyncio.Transport, self._transport)
        self._exchange = self._answer = None
        self._received = self._since_body = 0
        if self._body:
            self._body = bytearray()
        if not self._keep or self._unsent is not None:
            self._unsent = None
            transport.abort()
        elif not transport.is_closing():
            self._pool.release(self)
        exchange.end(answer)

    def _write_on(self) -> None:
        while self._unsent is not None and not self._writing_paused and not self.is_closing():
            piece, rest = self._unsent[:SLICE], self._unsent[SLICE:]
            self._unsent = rest if rest else None
            cast(asyncio.Transport, self._transport).write(piece)
        if self._unsent is None and self._answer is not None:
            self._finish()

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._pool.loop.time() < self._deadline:
            self.end_at(self._deadline)
        elif self._exchange is None:
            cast(asyncio.Transport, self._transport).close()
        elif self._answer is not None:
            self.cut(self._why_no_answer(""))
        else:
            self.cut(f"no answer within {self._exchange.timeout:g} s")

    def _why_no_answer(self, error: str) -> str:
        if self._answer is not None:
            return f"answered {self._answer.status} before the request was whole"
        if self._status or self._headers or self._since_body:
            return f"the connection ended in the middle of the answer{error}"
        return f"the connection ended before an answer{error}"

    def _ends_with_connection(self) -> bool:
        """Whether the end of the body is that of the connection (RFC 9112, section 6.3)."""
        if self._status < 200:
            return False
        fields = dict(self._headers)
        codings = fields.get(b"transfer-encoding", b"").lower()
        return b"content-length" not in fields and not codings.endswith(b"chunked")


def _host(name: str, shown: str) -> str:
    """The host as it is looked up: an address as it stands, a name in its ASCII form."""
    if ":" in name:
        return unquote(name)
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UserError(f"{shown!r} names no valid host: {error}") from None


def _trust(ca_file: str | None) -> ssl.SSLContext:
    if ca_file is None:
        return _tls_context(None, 0)
    try:
        return _tls_context(ca_file, Path(ca_file).stat().st_mtime_ns)
    except ssl.SSLError as error:
        detail = f"it holds no PEM certificates ({error.reason or error})"
    except OSError as error:
        detail = str(error.strerror)
    raise UserError(f"the CA file {ca_file!r} can't be used: {detail}")


@lru_cache(maxsize=64)
def _tls_context(ca_file: str | None, changed: int) -> ssl.SSLContext:
    """One context for all who trust the same file, as it was when `changed`: each costs ms."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _open(address: Address, protocol: Callable[[], asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    connected = await first_connected([(family, place) for family, _, _, _, place in found])
    tls: dict[str, Any] = {}
    if address.tls is not None:
        tls = {
            "ssl": address.tls,
            "server_hostname": address.host.partition("%")[0],
            "ssl_shutdown_timeout": TLS_GOODBYE,
        }
    await loop.create_connection(protocol, sock=connected, **tls)


async def first_connected(places: Iterable[tuple[int, Any]]) -> socket.socket:
    """A socket connected to the first that answers; the next is tried when one fails or dallies.

    Raises the first one's OSError where all fail.
    """
    left = deque(places)
    attempts: set[asyncio.Task[socket.socket]] = set()
    failure: OSError | None = None
    winner: socket.socket | None = None
    try:
        while winner is None:
            if left:
                attempts.add(asyncio.create_task(_connected(*left.popleft())))
            elif not attempts:
                raise failure or OSError("the name has no address")
            ended, attempts = await asyncio.wait(
                attempts,
                timeout=STAGGER if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in ended:
                error = attempt.exception()
                if error is None and winner is None:
                    winner = attempt.result()
                elif error is None:
                    attempt.result().close()
                elif isinstance(error, OSError):
                    failure = failure or error
                else:
                    raise error
        return winner
    finally:
        for attempt in attempts:
            attempt.cancel()
        for late in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()


async def _connected(family: int, place: Any) -> socket.socket:
    attempt = socket.socket(family, socket.SOCK_STREAM)
    try:
        attempt.setblocking(False)
        await asyncio.get_running_loop().sock_connect(attempt, place)
    except BaseException:
        attempt.close()
        raise
    return attempt


def _why_not_connected(error: Exception, address: Address) -> str:
    place = f"{address.host}:{address.port}"
    match error:
        case ssl.SSLCertVerificationError():
            return f"the certificate of {place} was not accepted: {error.verify_message}"
        case ssl.SSLError():
            return f"no TLS session with {place}: {error.reason or error}"
        case socket.gaierror():
            return f"the host {address.host!r} was not found: {error.strerror}"
        case OSError():
            # What asyncio makes of `strerror` names the call that failed, not why it did.
            why = os.strerror(error.errno) if error.errno else error
            return f"no connection to {place}: {why}"
        case _:
            return f"no connection to {place}: {type(error).__name__}: {error}"
