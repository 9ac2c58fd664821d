"""Work that only one node may do at a time: done while its lease is held, and taken up again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from brokers.cluster import Lease

log = logging.getLogger("eventing.sources")

FindLease = Callable[[str], Awaitable[Lease]]
"""The lease of a name, as soon as the engine that gives it has been reached."""
AGAIN_SECONDS = 2.0
CANCEL_AGAIN = 1.0
"""Seconds that work which is cancelled has to end before it is cancelled once more."""


class Leased:
    """Runs `work` while the lease `name` is held, from now until `stop`. The work is cancelled
    where the lease is lost, and begun again once it is held again; it does not end by itself."""

    def __init__(
        self, name: str, find_lease: FindLease, work: Callable[[], Awaitable[None]]
    ) -> None:
        self.held = False
        """Whether this node is the one that works."""
        self._name = name
        self._find_lease = find_lease
        self._work = work
        self._ending: Callable[[], Awaitable[None]] | None = None
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name=f"lease {name}")
        self._older: set[asyncio.Task[None]] = set()

    def renew(self) -> None:
        """Let go of the lease and take it anew: another engine gives it now."""
        old = self._task
        old.cancel()
        self._older.add(old)
        old.add_done_callback(self._older.discard)
        self._task = self._loop.create_task(self._run(old), name=f"lease {self._name}")

    async def stop(self, ending: Callable[[], Awaitable[None]]) -> None:
        """End the work, await `ending`, and only then give the lease up."""
        self._ending = ending
        self._task.cancel()
        await asyncio.gather(self._task, *self._older, return_exceptions=True)

    async def _run(self, after: "asyncio.Task[None] | None" = None) -> None:
        lease: Lease | None = None
        try:
            if after is not None:
                await asyncio.wait([after])
            while True:
                lease = await self._find_lease(self._name)
                await lease.wait()
                await self._hold(lease)
                await lease.close()
        finally:
            ending, self._ending = self._ending, None
            if ending is not None:
                await ending()
            if lease is not None:
                await lease.close()

    async def _hold(self, lease: Lease) -> None:
        self.held = True
        work = asyncio.ensure_future(self._work())
        lost = lease.lost()
        try:
            await asyncio.wait([work, lost], return_when=asyncio.FIRST_COMPLETED)
            if not lost.done() and not work.cancelled():
                log.error("the work under lease %s failed", self._name, exc_info=work.exception())
                await asyncio.sleep(AGAIN_SECONDS)
        finally:
            self.held = False
            while not work.done():
                # Once may not do: in Python 3.11 asyncio.wait_for, by which the Redis client waits,
                # forgets a cancellation that comes just as its wait is over.
                work.cancel()
                await asyncio.wait([work], timeout=CANCEL_AGAIN)
            await asyncio.gather(work, return_exceptions=True)
