"""Counts what functions use, by revision and hour, and keeps it in a store.

Every few seconds what the meters have counted goes to the store. A store that fails loses nothing
while the node runs: it is counted on in memory, and stored as soon as that works again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from eventing.errors import StorageError
from functions.meter import Meter
from functions.usage import HOUR, NOTHING, HourOf, Usage, hour_of

EVERY = 5.0
"""Seconds between two writes while functions are called: what a killed node loses at the most."""
QUIET = 60.0
"""Seconds between two writes while none is, and only time passes."""
CLOSING = 5.0
"""Seconds that the last write may take."""
READING = 10.0
"""Seconds that the store may take to answer, what is stored before included."""

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class Store(Protocol):
    """Where usage is kept."""

    async def add(self, usage: Mapping[HourOf, Usage]) -> None:
        """Add to what is kept of each hour: all of it, durably, or nothing. Raises StorageError."""

    async def close(self) -> None: ...


class Metering:
    """The meters of a node. `start` it, `close` it after the pools.

    Hours are told by the wall clock, durations by the steady one: a clock that is set moves what
    comes next into another hour, and makes it neither more nor less. A call counts in the hour it
    ends in; time counts as it passes, but that of calls that share a worker when they end.
    """

    def __init__(
        self,
        store: Store,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._wall = wall
        self._steady = steady
        self._meters: list[tuple[tuple[str, str, str], Meter]] = []
        self._unsaved: dict[HourOf, Usage] = {}
        self._since = wall()
        self._saved_at = steady()
        self._failing = False
        self._lock = asyncio.Lock()
        self._closing = asyncio.Event()
        self._run_task: asyncio.Task[None] | None = None
        self._flushes: set[asyncio.Task[None]] = set()

    def meter(self, namespace: str, function: str, revision: str, memory: int | None) -> Meter:
        """A meter for one pool. `memory`: bytes its workers are limited to, None = no limit."""
        meter = Meter(memory, self._steady())
        self._meters.append(((namespace, function, revision), meter))
        return meter

    async def start(self) -> None:
        self._run_task = asyncio.get_running_loop().create_task(self._run(), name="metering")

    async def close(self) -> None:
        """Store all there is, and close the store. What can't be stored in time is lost, and said
        to be. May be called without `start`, and more than once."""
        if self._closing.is_set():
            return
        self._closing.set()
        try:
            async with asyncio.timeout(CLOSING):
                if self._run_task is not None:
                    await self._run_task
                await self.flush()
        except TimeoutError:
            _log.error("the disk does not store usage within %g s", CLOSING)
        lost = sum((usage.invocations for usage in self._unsaved.values()), 0)
        if self._unsaved:
            first = min(key.hour for key in self._unsaved)
            since = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(first))
            _log.error(
                "usage that could not be stored is lost: %d invocations since %s", lost, since
            )
        await self._store.close()

    async def flush(self) -> None:
        """Store what was counted up to now. Where that fails it is said once, and kept."""
        # Not in the caller's task: cancelled halfway, nobody would know what has been stored.
        task = asyncio.get_running_loop().create_task(self._flush(), name="store usage")
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)
        await asyncio.shield(task)

    async def read(
        self, ask: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer, Mapping[HourOf, Usage]]:
        """What `ask` finds in the store once all is in it, and what could not be stored. Raises
        StorageError where the store does not answer, or is closed."""
        if self._closing.is_set():
            raise StorageError("usage is not told any more: the node is shutting down")
        try:
            async with asyncio.timeout(READING):
                await self.flush()
                async with self._lock:
                    return await ask(), dict(self._unsaved)
        except TimeoutError:
            raise StorageError(f"the disk does not tell usage within {READING:g} s") from None

    async def _run(self) -> None:
        while not self._closing.is_set():
            try:
                async with asyncio.timeout(self._pause()):
                    await self._closing.wait()
            except TimeoutError:
                await self._turn()

    async def _turn(self) -> None:
        try:
            self._collect()
            if self._is_due():
                await self.flush()
        except Exception as error:  # A mistake of ours must not end the counting.
            self._failed(error)

    def _pause(self) -> float:
        """Until the next look: an hour's end is one, so that what follows counts for the next."""
        left_of_hour = HOUR - self._wall() % HOUR
        return min(EVERY, max(left_of_hour, 0.001))

    def _is_due(self) -> bool:
        if self._steady() - self._saved_at >= QUIET:
            return True
        return any(usage.invocations for usage in self._unsaved.values())

    def _collect(self) -> None:
        # What was used since the last time lies in the hour of then: each hour's end is a time.
        hour = hour_of(self._since)
        self._since = self._wall()
        now = self._steady()
        for name, meter in self._meters:
            usage = meter.take(now)
            if usage:
                key = HourOf(hour, *name)
                self._unsaved[key] = self._unsaved.get(key, NOTHING) + usage
        self._meters = [each for each in self._meters if not each[1].over]

    async def _flush(self) -> None:
        async with self._lock:
            self._collect()
            usage, self._unsaved = self._unsaved, {}
            self._saved_at = self._steady()
            if not usage:
                return
            try:
                await self._store.add(usage)
            except BaseException as error:
                for key, used in usage.items():
                    self._unsaved[key] = self._unsaved.get(key, NOTHING) + used
                if not isinstance(error, Exception):
                    raise
                self._failed(error)
                return
            if self._failing:
                self._failing = False
                _log.info("usage is stored again, with all that was counted meanwhile")

    def _failed(self, error: Exception) -> None:
        """Once, however often it is tried."""
        if not self._failing:
            unforeseen = None if isinstance(error, StorageError) else error
            _log.error(
                "%s; usage is counted in memory and stored as soon as that works",
                error,
                exc_info=unforeseen,
            )
        self._failing = True
