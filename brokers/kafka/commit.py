"""Group commit: what was asked for since the last transaction goes into the next one together."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from brokers.kafka.producer import ANSWER_SECONDS
from brokers.kafka.transactions import (
    NotCommitted,
    Offsets,
    Place,
    Produced,
    Stale,
    Unclear,
)
from brokers.kafka.turns import TransactionsInTurn
from eventing.errors import EventTooLarge, StorageError

GROUP_RECORDS = 5000
GROUP_BYTES = 8 << 20
AGAIN_AFTER = 0.1
AGAIN_AFTER_AT_MOST = 1.0
STALE_AFTER = 0.05
TIDY_EVERY = 5.0
"""Seconds between two looks after the producers while nothing is asked for."""
COMMIT_MARGIN = 10.0
"""Seconds beyond its time that closing waits for a transaction that is under way."""

_log = logging.getLogger("brokers.kafka")


class Source(Protocol):
    """Whose offsets go along with what it asks for: a subscription."""

    def offsets(self) -> "GroupOffsets | None":
        """Its offsets as of now; None where it has none to commit."""

    def reset(self) -> None:
        """It can't be known how far it is: read it again from Kafka."""


class GroupOffsets(Offsets, Protocol):
    """The offsets of one subscription, to be told when they are committed."""

    def committed(self) -> None: ...


class Request:
    """Something to be made durable. `kept`: it is tried again until it succeeds; otherwise it
    fails after ANSWER_SECONDS."""

    kept = False
    size = 0
    source: Source | None = None
    deadline = float("inf")

    def take(self) -> None:
        """Its group begins: called once."""

    def records(self) -> Sequence[Produced]:
        """What to store: as of now, asked again for each transaction that is tried."""
        raise NotImplementedError

    def committed(self, places: Sequence[Place]) -> None:
        """It is durable; `places` of the records that were asked for last."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """It is not, and never will be."""
        raise NotImplementedError

    def unclear(self, error: StorageError) -> None:
        """It may be or not."""
        self.failed(error)


class GroupCommit:
    """One transaction at a time, from one task. Requests are stored in their order."""

    def __init__(self, transactions: TransactionsInTurn) -> None:
        self.fault = ""
        """Why the last transaction failed; empty after one that did not."""
        self._transactions = transactions
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Request] = deque()
        self._asked: asyncio.Event = asyncio.Event()
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._give_up_at = float("inf")
        self._task = self._loop.create_task(self._run(), name="kafka commit")

    def submit(self, request: Request) -> None:
        """Store it with the next group."""
        if self._task.done():
            request.failed(StorageError("the broker is closed"))
            return
        request.deadline = self._loop.time() + ANSWER_SECONDS
        self._queue.append(request)
        self._asked.set()
        self._idle.clear()

    async def drain(self) -> None:
        """Until all that was asked for before is durable, or has failed."""
        await self._idle.wait()

    def give_up_after(self, seconds: float) -> None:
        """What can't be stored within that time fails from then on."""
        self._give_up_at = self._loop.time() + seconds

    async def close(self) -> None:
        """Store what was asked for, within the time of `give_up_after`; what could not be fails."""
        left = max(0.0, self._give_up_at - self._loop.time())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left + COMMIT_MARGIN):
                await self._idle.wait()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._fail(self._queue, StorageError("the broker was closed before this was stored"))
        self._queue.clear()
        await self._transactions.close()

    async def _run(self) -> None:
        while True:
            if not self._queue:
                self._idle.set()
                self._asked.clear()
                try:
                    async with asyncio.timeout(TIDY_EVERY):
                        await self._asked.wait()
                except TimeoutError:
                    await self._transactions.tidy()
                    continue
            await self._store(self._next_group())

    def _next_group(self) -> list[Request]:
        group: list[Request] = []
        size = 0
        while self._queue and len(group) < GROUP_RECORDS and size < GROUP_BYTES:
            request = self._queue.popleft()
            request.take()
            size += request.size
            group.append(request)
        return group

    async def _store(self, group: list[Request]) -> None:
        delay = AGAIN_AFTER
        while group:
            try:
                await self._attempt(group)
                self.fault = ""
                return
            except Stale:
                await asyncio.sleep(STALE_AFTER)
                group = self._expire(group, StorageError("its partitions went to another node"))
            except EventTooLarge as error:
                if len(group) > 1:
                    for request in group:
                        await self._store([request])
                else:
                    group[0].failed(error)
                return
            except Unclear as unclear:
                self._lose(group, unclear.error)
                return
            except NotCommitted as failure:
                self.fault = str(failure.error)
                group = self._expire(group, failure.error)
                if group:
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, AGAIN_AFTER_AT_MOST)

    async def _attempt(self, group: list[Request]) -> None:
        records: list[Produced] = []
        ends: list[int] = []
        sources: dict[Source, None] = {}
        for request in group:
            records.extend(request.records())
            ends.append(len(records))
            if request.source is not None:
                sources[request.source] = None
        offsets = [each for source in sources if (each := source.offsets()) is not None]
        places: list[Place] = []
        if records or offsets:
            storing = asyncio.ensure_future(self._transactions.commit(records, offsets))
            try:
                places = await asyncio.shield(storing)
            except asyncio.CancelledError:
                await asyncio.gather(storing, return_exceptions=True)
                raise
        for each in offsets:
            each.committed()
        first = 0
        for request, end in zip(group, ends, strict=True):
            request.committed(places[first:end])
            first = end

    def _expire(self, group: list[Request], error: StorageError) -> list[Request]:
        """Those that are to be tried again; the others have failed."""
        now = self._loop.time()
        closing = now >= self._give_up_at

        def late(request: Request) -> bool:
            return closing or (not request.kept and now >= request.deadline)

        self._fail([each for each in (*group, *self._queue) if late(each)], error)
        self._queue = deque(each for each in self._queue if not late(each))
        return [each for each in group if not late(each)]

    def _fail(self, requests: Iterable[Request], error: StorageError) -> None:
        for request in requests:
            request.failed(error)

    def _lose(self, group: list[Request], error: StorageError) -> None:
        _log.error("%s; what was to be stored is read again from Kafka", error)
        sources = dict.fromkeys(each.source for each in group if each.source is not None)
        for request in group:
            request.unclear(error)
        for source in sources:
            source.reset()
