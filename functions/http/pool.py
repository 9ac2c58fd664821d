"""The connections to one address: how many are made, who gets one, and who waits."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from functions.http.address import Address
from functions.http.connect import connect, why_not_connected
from functions.http.connection import Connection
from functions.http.exchange import CANCELLED, Answer, Exchange, Limits
from functions.http.http2_connection import Http2Connection

_IN_VAIN = 3
"""Connections in a row that may end before they are put to use, until those who wait are told."""

AnyConnection = Connection | Http2Connection


class Pool:
    """The connections to one address, and who waits for one.

    As long as somebody waits, a connection is busy or being made; each ends or is freed in
    bounded time and then sees to those who wait. That is why waiting needs no timer.

    A request is worth one connection when it comes, one more when it is put on one (others who
    wait may get theirs then), and one when that is lost: never more than three, however the
    server treats them, so that one that takes few and resets the rest is not stormed.

    Over HTTP/2 connections are shared: one more is made only where all have as many requests as
    the server allows, and one at a time. So is the first of an address that may turn out to speak
    HTTP/2.
    """

    def __init__(self, address: Address, limits: Limits, forget: Callable[["Pool"], None]) -> None:
        self.address = address
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.open: set[AnyConnection] = set()
        self.emptied: asyncio.Future[None] = self.loop.create_future()
        self._idle: list[Connection] = []
        self._shared: list[Http2Connection] = []
        """Those of HTTP/2 that take requests, with room or without."""
        self._one_by_one = address.http2
        self._in_vain = 0
        self._stillborn: set[AnyConnection] = set()
        """Those that had ended before they were put to use, until they know why."""
        self._connecting: set[asyncio.Task[tuple[AnyConnection | None, str]]] = set()
        self._waiting: deque[Exchange] = deque()
        self._forget = forget
        self._closed = False

    def send(self, exchange: Exchange) -> None:
        while self._idle:
            if self._reuse(self._idle.pop(), exchange):
                return
        for connection in self._shared:
            if connection.begin(exchange):
                return
        if len(self._waiting) >= self.limits.waiting:
            reason = f"{len(self._waiting)} requests wait for a connection already"
            exchange.end(Answer(0, reason=reason))
            return
        exchange.carrier = self
        self._waiting.append(exchange)
        self._grow()

    def give_up(self, exchange: Exchange) -> None:
        if exchange in self._waiting:
            self._waiting.remove(exchange)
            exchange.end(CANCELLED)

    def release(self, connection: Connection) -> None:
        """Take back a connection whose request was answered."""
        if not self._waiting:
            self._rest(connection)
            return
        exchange = self._waiting.popleft()
        if not self._reuse(connection, exchange):
            # Its loss, which is yet to be told, makes another in its place.
            self._waiting.appendleft(exchange)

    def serve(self, connection: Http2Connection) -> None:
        """Give it what waits, as far as it has room."""
        if connection in self._shared:
            while self._waiting:
                exchange = self._waiting.popleft()
                if not connection.begin(exchange):
                    self._waiting.appendleft(exchange)
                    break

    def retire(self, connection: Http2Connection) -> None:
        if connection in self._shared:
            self._shared.remove(connection)
            self._grow()

    def restore(self, connection: Http2Connection) -> None:
        if connection in self.open and connection not in self._shared:
            self._shared.append(connection)

    def again(self, exchanges: Sequence[Exchange]) -> None:
        for exchange in exchanges:
            exchange.carrier = self
        self._waiting.extendleft(reversed(exchanges))
        for connection in tuple(self._shared):
            self.serve(connection)
        self._grow()

    def lost(self, connection: AnyConnection) -> None:
        if connection in self._stillborn:
            # To make another in its place without end would be a busy loop with a server that
            # accepts only to close. One of HTTP/2 may have met a server that is on its way out.
            self._stillborn.remove(connection)
            self._in_vain += 1
            if isinstance(connection, Http2Connection) and self._in_vain < _IN_VAIN:
                self._grow()
                self._leave_if_empty()
                return
            reason = (
                f"the server closed the connection before the request was sent{connection.ended}"
            )
            self._failed(reason)
            return
        if connection not in self.open:
            return
        self.open.remove(connection)
        if isinstance(connection, Http2Connection):
            if connection in self._shared:
                self._shared.remove(connection)
        elif connection in self._idle:
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

    def _rest(self, connection: Connection) -> None:
        self._idle.append(connection)
        connection.end_at(self.loop.time() + self.limits.idle)

    def _reuse(self, connection: Connection, exchange: Exchange) -> bool:
        if connection.is_quiet() and connection.begin(exchange):
            return True
        connection.cut("")
        return False

    def _grow(self) -> None:
        """Make one connection more, if somebody waits for whom none is on its way and the bound
        allows."""
        wanted = min(len(self._waiting), self.limits.connections - len(self.open))
        if self._one_by_one:
            allowed = sum(connection.capacity for connection in self._shared)
            wanted = min(wanted, 1 if allowed < self.limits.connections else 0)
        if len(self._connecting) < wanted:
            timeout = min(self.limits.connect, self._waiting[0].request.timeout)
            attempt = self.loop.create_task(self._connect(timeout))
            self._connecting.add(attempt)
            # Told here, as a task that is cancelled before its first step runs no line of its own.
            attempt.add_done_callback(self._connected)

    async def _connect(self, timeout: float) -> tuple[AnyConnection | None, str]:
        """A connection, and the reason why it is none, empty where it is one."""
        made: AnyConnection | None = None

        def choose(agreed: str | None) -> AnyConnection:
            nonlocal made
            if agreed == "h2" or self.address.http2_only:
                made = Http2Connection(self, self.address, self.limits, self.loop)
            else:
                made = Connection(self, self.limits, self.loop)
            return made

        reason = "connecting was called off"
        try:
            async with asyncio.timeout(timeout):
                await connect(self.address, choose)
                reason = await made.ready if isinstance(made, Http2Connection) else ""
        except TimeoutError as error:
            # The system's own timeout has an errno, that of the block above has none.
            limit = f" within {timeout:g} s" if error.errno is None else ""
            reason = f"no connection to {self.address.host}:{self.address.port}{limit}"
        except Exception as error:
            reason = why_not_connected(error, self.address)
        finally:
            if reason and made is not None:
                made.cut("")
        return made, reason

    def _connected(self, attempt: asyncio.Task[tuple[AnyConnection | None, str]]) -> None:
        self._connecting.discard(attempt)
        if attempt.cancelled():
            self._failed("connecting was called off")
            return
        connection, reason = attempt.result()
        if reason or connection is None:
            self._failed(reason)
        elif not self._welcome(connection):
            connection.cut("")
            self._stillborn.add(connection)
            if connection.ended is not None:
                self.lost(connection)

    def _failed(self, reason: str) -> None:
        if not self._connecting and not self._serving():
            # With others open or on their way, those who wait are theirs to serve.
            self._end_waiting(reason)
        self._leave_if_empty()

    def _serving(self) -> bool:
        """Whether a connection is open that those who wait will get."""
        return bool(self._shared) or any(type(each) is Connection for each in self.open)

    def _welcome(self, connection: AnyConnection) -> bool:
        """Put a new connection to use; False: it has ended already."""
        if self._closed:
            connection.cut("")
        if connection.is_closing():
            return False
        self.open.add(connection)
        if isinstance(connection, Http2Connection):
            self._share(connection)
            return True
        if not self._waiting:
            self._rest(connection)
            return True
        exchange = self._waiting.popleft()
        if not connection.begin(exchange):
            self._waiting.appendleft(exchange)
            self.open.remove(connection)
            return False
        if self._one_by_one:
            # Those who came while that was not known are worth a connection each.
            self._one_by_one = False
            for _ in range(len(self._waiting)):
                self._grow()
        self._grow()
        return True

    def _share(self, connection: Http2Connection) -> None:
        self._one_by_one = True
        self._in_vain = 0
        self._shared.append(connection)
        connection.rest()
        self.serve(connection)
        self._grow()

    def _end_waiting(self, reason: str) -> None:
        # Whoever is told may send again at once; that request waits for a new connection.
        waiting, self._waiting = self._waiting, deque()
        for exchange in waiting:
            exchange.end(Answer(0, reason=reason))

    def _leave_if_empty(self) -> None:
        if not (
            self.open or self._connecting or self._stillborn or self._waiting or self.emptied.done()
        ):
            self.emptied.set_result(None)
            self._forget(self)
