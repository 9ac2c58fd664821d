"""The connections to one address: how many are made, who gets one, and who waits."""

import asyncio
from collections import deque
from collections.abc import Callable

from functions.http.address import Address
from functions.http.connect import connect, why_not_connected
from functions.http.connection import Connection
from functions.http.exchange import Answer, Exchange, Limits


class Pool:
    """The connections to one address, and who waits for one.

    As long as somebody waits, a connection is busy or being made; each ends or is freed in
    bounded time and then sees to those who wait. That is why waiting needs no timer.

    A request is worth one connection when it comes, one more when it is put on one (others who
    wait may get theirs then), and one when that is lost: never more than three, however the
    server treats them, so that one that takes few and resets the rest is not stormed.
    """

    def __init__(self, address: Address, limits: Limits, forget: Callable[["Pool"], None]) -> None:
        self.address = address
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.open: set[Connection] = set()
        self.emptied: asyncio.Future[None] = self.loop.create_future()
        self._idle: list[Connection] = []
        self._connecting: set[asyncio.Task[tuple[Connection, str]]] = set()
        self._waiting: deque[Exchange] = deque()
        self._forget = forget
        self._closed = False

    def send(self, exchange: Exchange) -> None:
        while self._idle:
            if self._reuse(self._idle.pop(), exchange):
                return
        if len(self._waiting) >= self.limits.waiting:
            reason = f"{len(self._waiting)} requests wait for a connection already"
            exchange.end(Answer(0, reason=reason))
            return
        self._waiting.append(exchange)
        self._grow()

    def release(self, connection: Connection) -> None:
        """Take back a connection whose request was answered."""
        if not self._waiting:
            self._rest(connection)
            return
        exchange = self._waiting.popleft()
        if not self._reuse(connection, exchange):
            # Its loss, which is yet to be told, makes another in its place.
            self._waiting.appendleft(exchange)

    def lost(self, connection: Connection) -> None:
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
        if len(self._connecting) < wanted:
            timeout = min(self.limits.connect, self._waiting[0].timeout)
            attempt = self.loop.create_task(self._connect(timeout))
            self._connecting.add(attempt)
            # Told here, as a task that is cancelled before its first step runs no line of its own.
            attempt.add_done_callback(self._connected)

    async def _connect(self, timeout: float) -> tuple[Connection, str]:
        """A connection, and the reason why it is none, empty where it is one."""
        connection = Connection(self, self.limits, self.loop)
        try:
            async with asyncio.timeout(timeout):
                await connect(self.address, lambda: connection)
        except TimeoutError as error:
            # The system's own timeout has an errno, that of the block above has none.
            limit = f" within {timeout:g} s" if error.errno is None else ""
            return connection, f"no connection to {self.address.host}:{self.address.port}{limit}"
        except Exception as error:
            return connection, why_not_connected(error, self.address)
        return connection, ""

    def _connected(self, attempt: asyncio.Task[tuple[Connection, str]]) -> None:
        self._connecting.discard(attempt)
        if attempt.cancelled():
            reason = "connecting was called off"
        else:
            connection, reason = attempt.result()
            if not reason and not self._welcome(connection):
                reason = "the server closed the connection before the request was sent"
        if reason and not self.open and not self._connecting:
            # With others open or on their way, those who wait are theirs to serve.
            self._end_waiting(reason)
        self._leave_if_empty()

    def _welcome(self, connection: Connection) -> bool:
        """Put a new connection to use; False: it has ended already."""
        if self._closed:
            connection.cut("")
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
