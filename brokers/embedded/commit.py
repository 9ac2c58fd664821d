"""Group commit: requests gather while a commit is under way, then share the next one.

Statements run on the event loop, since they touch memory only, and only the commit (write and
sync) runs on a thread of its own: statements on that thread would wait for the interpreter lock
at every row.
"""

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from brokers.base import Fault
from brokers.embedded.storage import Storage
from brokers.embedded.transaction import Transaction
from eventing.errors import StorageError

GROUP_BYTES = 8 << 20
GROUP_REQUESTS = 512
CHECKPOINT_BYTES = 8 << 20
GATHER_FROM = 8
"""Requests in a group from which on the next group is given time to gather."""
GATHER_SECONDS = 0.002
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0


_log = logging.getLogger("brokers.embedded")


class Request:
    """Something to be made durable. `size` is what it weighs in a group, in bytes.

    A request that is `kept` outlives a storage fault: it is tried again until it is stored or the
    broker closes. Any other fails with its group, and leaves nothing behind.
    """

    __slots__ = ()
    kept = False
    size = 64

    def write(self, transaction: Transaction) -> None:
        """Add to the transaction. Raises sqlite3.Error, or whatever makes only this one fail."""
        raise NotImplementedError

    def undo(self) -> None:
        """The transaction was rolled back: take back what `write` changed in memory."""

    def committed(self, transaction: Transaction) -> None:
        """The transaction is durable, and its events are routed."""

    def failed(self, error: Exception) -> None:
        """It is given up; nothing of it is stored."""


class GroupCommit:
    """The only writer. Every method is called on the event loop.

    `begin` opens a transaction; `stored` hears of each that is durable, before its requests do.
    """

    def __init__(
        self,
        storage: Storage,
        begin: Callable[[], Transaction],
        stored: Callable[[Transaction], None],
    ) -> None:
        self._storage = storage
        self._begin = begin
        self._stored = stored
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Request] = deque()
        self._held: deque[Request] = deque()
        self._pause = 0.0
        self._fault: Fault | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._busy = False
        self._scheduled = False
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        self._unmoved = 0
        self._gathered = 0
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, name=f"broker-commit-{storage.broker}", daemon=True
        )
        self._thread.start()

    @property
    def fault(self) -> Fault | None:
        """Why the last commit failed, while nothing has succeeded since; otherwise None."""
        return self._fault if self._pause else None

    def submit(self, request: Request) -> None:
        """Store the request with the next group."""
        if self._closed:
            request.failed(StorageError(f"broker {self._storage.broker!r} is closed"))
        elif self._pause and request.kept:
            self._held.append(request)
        else:
            self._waiting.append(request)
            self._wake()

    async def close(self) -> None:
        """Store what was asked for; what can't be stored now fails. Then stop the thread."""
        self._closed = True
        self._release()
        while self._waiting or self._busy:
            self._idle = self._loop.create_future()
            self._wake()
            await self._idle
        if self._retry is not None:
            self._retry.cancel()
        self._work.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def _wake(self) -> None:
        """Start a group: at once where little is going on, a moment later under load.

        Those answered by one commit ask again within a millisecond or two. Without the moment the
        first of them would have a commit to itself, and the others wait for it; a commit costs as
        much as storing twenty events.
        """
        if self._busy or self._scheduled:
            return
        self._scheduled = True
        if self._gathered >= GATHER_FROM and not self._closed:
            self._loop.call_later(GATHER_SECONDS, self._start)
        else:
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        if self._busy or not self._waiting:
            self._rest()
            return
        group: list[Request] = []
        size = 0
        waiting = self._waiting
        while waiting and len(group) < GROUP_REQUESTS:
            size += waiting[0].size
            if group and size > GROUP_BYTES:
                break
            group.append(waiting.popleft())
        self._gathered = len(group)
        self._busy = True
        written = 0
        try:
            transaction = self._begin()
            for request in group:
                written += 1
                request.write(transaction)
            transaction.finish()
        except (sqlite3.Error, OSError) as error:
            self._storage.rollback()
            self._fail(group, written, error)
        except Exception as error:
            # Not the storage but the last request: the others go again without it.
            self._storage.rollback()
            self._undo(group, written)
            culprit = group.pop(written - 1)
            waiting.extendleft(reversed(group))
            self._busy = False
            culprit.failed(error)
            self._wake()
        else:
            self._unmoved += size + 4096 * (3 + len(transaction.touched))
            self._work.put(lambda: self._commit(group, transaction))

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _commit(self, group: list[Request], transaction: Transaction) -> None:
        fault: Exception | None = None
        try:
            self._storage.connection.execute("COMMIT")
        except sqlite3.Error as error:
            fault = error
            self._storage.rollback()
        moving = self._unmoved > CHECKPOINT_BYTES
        self._call(self._finished, group, transaction, fault, moving)
        if moving:
            self._unmoved = 0
            self._storage.checkpoint()
            self._call(self._ready)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            pass  # the loop is closed: the broker was abandoned without a close

    def _finished(
        self,
        group: list[Request],
        transaction: Transaction,
        fault: Exception | None,
        moving: bool,
    ) -> None:
        if fault is not None:
            self._fail(group, len(group), fault, moving)
            return
        self._pause = 0.0
        self._release()
        try:
            self._stored(transaction)
            for request in group:
                try:
                    request.committed(transaction)
                except Exception:
                    # It is stored all the same, and the others wait for their answers.
                    _log.exception("broker %r: after a commit", self._storage.broker)
        finally:
            if not moving:
                self._ready()

    def _ready(self) -> None:
        self._busy = False
        if self._waiting:
            # By way of the loop: who just got an answer may ask again, and shares the next group.
            self._wake()
        else:
            self._rest()

    def _fail(
        self, group: list[Request], written: int, error: Exception, moving: bool = False
    ) -> None:
        fault = self._storage.fault(error, "nothing of the request was kept")
        self._undo(group, written)
        kept = [request for request in group if request.kept]
        if self._closed:
            given_up = group
        else:
            given_up = [request for request in group if not request.kept]
            # Requests that are kept stay in the order they came in: none overtakes another.
            kept += [request for request in self._waiting if request.kept]
            self._held.extendleft(reversed(kept))
            self._waiting = deque(request for request in self._waiting if not request.kept)
            self._fault = Fault.of(fault)
            self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
            if self._retry is None:
                self._retry = self._loop.call_later(self._pause, self._release)
        for request in given_up:
            request.failed(fault)
        if not moving:
            self._ready()

    def _undo(self, group: list[Request], written: int) -> None:
        for request in reversed(group[:written]):
            request.undo()

    def _release(self) -> None:
        """Put the held requests in front again: storage works, or it is time to try."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._held:
            self._waiting.extendleft(reversed(self._held))
            self._held.clear()
            self._wake()
        elif not self._busy and not self._waiting:
            # Nothing is left to find out with whether storage works again: the next request will.
            self._pause = 0.0

    def _rest(self) -> None:
        if self._idle is not None and not self._idle.done() and not self._busy:
            self._idle.set_result(None)
