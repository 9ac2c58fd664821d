"""What a broker does by the clock: say that this node is alive, take over from nodes that are not,
trim the log.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from brokers.base import Limits
from brokers.redis.link import Link
from eventing.errors import StorageError

BEAT: Final = 1.0
"""Seconds between two signs of life."""
GONE_AFTER: Final = 6.0
"""Seconds without one after which a node's deliveries are others'."""
TRIM_EVERY: Final = 5.0
TRIM_AGAIN: Final = 5000
"""Entries removed at once above which there is more to be removed."""

_log = logging.getLogger("brokers.redis")


class Upkeep:
    """Runs from `start` until it is closed. `beat` is called every second with the milliseconds
    after which others count as gone, and at once where a subscription asks for it."""

    def __init__(self, link: Link, beat: Callable[[int], Awaitable[None]]) -> None:
        self.limits = Limits()
        self._link = link
        self._beat = beat
        self._loop = asyncio.get_running_loop()
        self._connected_at = self._loop.time()
        self._attention = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = self._loop.create_task(self._run(), name="redis upkeep")

    async def close(self) -> None:
        """End; what it is at is cut short."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def connected(self) -> None:
        """There is a connection again. Others were cut off as this node was: they have as long as
        ever to say that they live."""
        self._connected_at = self._loop.time()
        self.attend()

    def attend(self) -> None:
        """Do not wait for the next beat."""
        self._attention.set()

    async def _run(self) -> None:
        trimmed = self._loop.time()
        told = False
        while True:
            try:
                async with asyncio.timeout(BEAT):
                    await self._attention.wait()
            except TimeoutError:
                pass
            self._attention.clear()
            if not self._link.connected:
                continue
            try:
                steady = self._loop.time() - self._connected_at >= GONE_AFTER
                await self._beat(int(GONE_AFTER * 1000) if steady else 0)
                if self._loop.time() - trimmed >= TRIM_EVERY:
                    trimmed = self._loop.time()
                    await self.trim()
                told = False
            except StorageError as error:
                if self._link.connected and not told:
                    told = True
                    _log.warning("looking after a broker: %s", error)
            except Exception:
                _log.exception("looking after a broker")

    async def trim(self) -> None:
        """Remove what is settled and too old or too much. Raises StorageError."""
        age, size = ceilings(self.limits)
        while await self._link.run("trim", age, size) >= TRIM_AGAIN:
            pass


def ceilings(limits: Limits) -> tuple[int, int]:
    """Milliseconds that a settled event stays, and bytes that the log may take.

    Size limits go before age: a broker whose own settled events reach `max_bytes` would refuse what
    it has room for.
    """
    size = limits.retention_bytes
    if limits.max_bytes is not None:
        size = min(size, limits.max_bytes * 3 // 4)
    return int(min(limits.retention_age, 1e10) * 1000), size
