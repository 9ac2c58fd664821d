"""One connection to Redis, kept open: requests go out together once a turn of the loop, and
answers come back in their order.

No task and no future a request: an answer is handed to a callback.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, NoScriptError, RedisError, ResponseError

from brokers.redis.connecting import Connector
from brokers.redis.faults import has_moved, storage_error
from brokers.redis.keys import script_name
from brokers.redis.scripts import SCRIPTS
from eventing.errors import StorageError

ANSWER_WITHIN: Final = 5.0
"""Seconds after which a server that does not answer counts as away."""
LET_IN_WITHIN: Final = 15.0
"""Seconds after which a server that does not let this node in counts as away."""
LEAST_BYTES_A_SECOND: Final = 1 << 20
"""Of a request: a large one has longer."""
WATCH_EVERY: Final = 1.0
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0

Argument = str | bytes | int
Answered = Callable[[Any], None]
"""Is given the answer, or the exception in its place."""

_log = logging.getLogger("brokers.redis")


def packed(arguments: Sequence[Argument]) -> bytes:
    """The arguments as they travel, without how many they are. Raises UnicodeEncodeError."""
    whole: bytes = hiredis.pack_command(tuple(arguments))  # type: ignore[arg-type]
    return whole[whole.index(b"\n") + 1 :]


_HEADS: Final = {name: packed(("EVALSHA", script_name(each))) for name, each in SCRIPTS.items()}


class Link:
    """`up` is called whenever there is a connection, `down` with the reason whenever it is lost.

    Requests of a lost connection are answered with ConnectionError: they may or may not have been
    done. Those made while there is none are answered so at once.
    """

    def __init__(
        self,
        connector: Connector,
        base: str,
        *,
        up: Callable[[], None],
        down: Callable[[StorageError], None],
    ) -> None:
        self.connected = False
        self._connector = connector
        self._name = base
        self._base = packed([base])
        self._up = up
        self._down = down
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._written = asyncio.Event()
        self._waiting: deque[tuple[Answered, float]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._patience: asyncio.Timeout | None = None
        self._cause: BaseException | None = None
        self._closing = False

    async def open(self) -> None:
        """Connect. Raises StorageError, and then leaves nothing open."""
        try:
            connection = await self._connect()
        except (RedisError, OSError, TimeoutError) as error:
            raise storage_error(error, "it can't be opened", self._connector.where) from None
        self._task = self._loop.create_task(self._run(connection), name="redis link")
        # Whoever opens it may ask at once.
        self.connected = True

    async def close(self) -> None:
        """Close the connection; what was asked and not answered fails."""
        self._closing = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def send(self, count: int, request: bytes, answered: Answered, within: float) -> None:
        """Ask: `request` holds `count` arguments, packed. A server that takes longer than `within`
        seconds counts as away."""
        if not self.connected:
            gone = ConnectionError("there is no connection to Redis")
            self._loop.call_soon(answered, gone)
            return
        if not self._out:
            self._written.set()
        self._out.append(b"*%d\r\n" % count)
        self._out.append(request)
        within += len(request) / LEAST_BYTES_A_SECOND
        self._waiting.append((answered, self._loop.time() + within))

    def command(self, *arguments: Argument, answered: Answered) -> None:
        """Ask a command of Redis."""
        self.send(len(arguments), packed(arguments), answered, ANSWER_WITHIN)

    def script(self, name: str, count: int, arguments: bytes, answered: Answered) -> None:
        """Run a script with `count` packed arguments; loads it where Redis has forgotten it."""

        def first(answer: Any) -> None:
            if isinstance(answer, NoScriptError):
                head = packed(("EVAL", SCRIPTS[name]))
                whole = b"".join((head, b"$1\r\n1\r\n", self._base, arguments))
                self.send(count + 4, whole, answered, ANSWER_WITHIN)
            else:
                answered(answer)

        whole = b"".join((_HEADS[name], b"$1\r\n1\r\n", self._base, arguments))
        self.send(count + 4, whole, first, ANSWER_WITHIN)

    def script_of(self, name: str, arguments: Sequence[Argument], answered: Answered) -> None:
        """Run a script with these arguments."""
        body = packed(arguments) if arguments else b""
        self.script(name, len(arguments), body, answered)

    async def ask(self, *arguments: Argument) -> Any:
        """The answer to a command. Raises StorageError."""
        return await self._answer(lambda take: self.command(*arguments, answered=take))

    async def run(self, name: str, *arguments: Argument) -> Any:
        """The answer of a script. Raises StorageError."""
        return await self._answer(lambda take: self.script_of(name, arguments, take))

    async def _answer(self, ask: Callable[[Answered], None]) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()

        def take(answer: Any) -> None:
            if not future.done():
                future.set_result(answer)

        ask(take)
        answer = await future
        if isinstance(answer, BaseException):
            raise storage_error(answer, "a request failed", self._connector.where)
        return answer

    def suspect(self, error: BaseException) -> None:
        """An answer says that another server is to be asked: look for it."""
        if has_moved(error) and self.connected and self._patience is not None:
            self._cause = error
            self._patience.reschedule(self._loop.time())

    # The connection.

    async def _connect(self) -> AbstractConnection:
        async with asyncio.timeout(LET_IN_WITHIN):
            return await self._let_in()

    async def _let_in(self) -> AbstractConnection:
        connection = await self._connector.connect()
        try:
            # Changes nothing, and is refused where writes are: by a replica, or in another slot.
            consumers = f"{self._name}:consumers"
            await connection.send_command("ZREM", consumers, "", check_health=False)
            await connection.read_response()
            for source in SCRIPTS.values():
                await connection.send_command("SCRIPT LOAD", source, check_health=False)
                await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _run(self, connection: AbstractConnection) -> None:
        while True:
            try:
                error = await self._serve(connection)
            except asyncio.CancelledError:
                self._lose(ConnectionError("it was closed"))
                raise
            finally:
                await connection.disconnect(nowait=True)
            self._lose(error)
            again = await self._connect_again()
            if again is None:
                return
            connection = again
            self.connected = True
            self._up()

    async def _serve(self, connection: AbstractConnection) -> BaseException:
        """Until the connection is lost; returns why."""
        writing = self._loop.create_task(self._write(connection))
        self._watched = self._heard = self._loop.time()
        self._watching = self._loop.call_later(WATCH_EVERY, self._watch)
        waiting = self._waiting
        try:
            async with asyncio.timeout(None) as patience:
                self._patience = patience
                while True:
                    try:
                        answer = await connection.read_response(disconnect_on_error=False)
                    except ResponseError as refused:
                        answer = refused
                    answered, _ = waiting.popleft()
                    self._heard = self._loop.time()
                    try:
                        answered(answer)
                    except Exception:
                        # One that goes wrong must not take the others' answers along.
                        _log.exception("after an answer of Redis")
        except TimeoutError:
            return self._cause or ConnectionError("it does not answer")
        except (RedisError, OSError, EOFError, IndexError) as error:
            return error
        finally:
            self._patience = self._cause = None
            self._watching.cancel()
            writing.cancel()
            await asyncio.wait([writing])

    async def _write(self, connection: AbstractConnection) -> None:
        try:
            while True:
                await self._written.wait()
                self._written.clear()
                out, self._out = self._out, []
                await connection.send_packed_command(out, check_health=False)
        except (RedisError, OSError):
            # The reader meets the end of the connection as well, and tells of it.
            await connection.disconnect(nowait=True)

    def _watch(self) -> None:
        now = self._loop.time()
        # Where this process itself was paused, the answers may be here, and not read yet.
        paused = now - self._watched > 2 * WATCH_EVERY
        # What is behind a long queue is overdue only if the queue stands still.
        still = now - self._heard > ANSWER_WITHIN
        overdue = still and bool(self._waiting) and self._waiting[0][1] < now
        if overdue and not paused and self._patience is not None:
            self._patience.reschedule(now)
        self._watched = now
        self._watching = self._loop.call_later(WATCH_EVERY, self._watch)

    def _lose(self, error: BaseException) -> None:
        self.connected = False
        waiting, self._waiting = self._waiting, deque()
        self._out.clear()
        self._written.clear()
        if not self._closing:
            self._down(self._lost(error))
        gone = ConnectionError("the connection to Redis was lost")
        for answered, _ in waiting:
            answered(gone)

    def _lost(self, error: BaseException) -> StorageError:
        return storage_error(error, "events can't be stored now", self._connector.where)

    async def _connect_again(self) -> AbstractConnection | None:
        """None where the link is being closed: not its cancellation alone ends it, as the client
        may forget one (asyncio.wait_for, Python 3.11)."""
        pause = FIRST_PAUSE
        while not self._closing:
            try:
                connection = await self._connect()
            except (RedisError, OSError, TimeoutError, StorageError) as error:
                self._down(self._lost(error))
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
                continue
            if not self._closing:
                return connection
            await connection.disconnect(nowait=True)
        return None
