"""Which rollouts this node steps: those whose lease it has, so that one node does at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from brokers.cluster import Lease

FindLease = Callable[[str], Awaitable[Lease]]


class RolloutLeases:
    """Asked for in the background, and given up in the background. Use from one event loop."""

    def __init__(self, find_lease: FindLease) -> None:
        self._find_lease = find_lease
        self._asked: dict[str, asyncio.Task[Lease]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def held(self, name: str) -> bool:
        """Whether this node has it now; asks for it where it has not been asked for yet."""
        task = self._asked.get(name)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.get_running_loop().create_task(self._lease(name), name=f"ask for {name}")
            self._asked[name] = task
        return task.done() and not task.exception() and task.result().held

    def keep(self, names: Iterable[str]) -> None:
        """Give up all but these."""
        for name in self._asked.keys() - set(names):
            task = self._asked.pop(name)
            closing = asyncio.get_running_loop().create_task(_give_up(task), name=f"leave {name}")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Give up all of them."""
        self.keep(())
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _lease(self, name: str) -> Lease:
        return await self._find_lease(name)


async def _give_up(asked: "asyncio.Task[Lease]") -> None:
    asked.cancel()
    await asyncio.wait([asked])
    if not asked.cancelled() and asked.exception() is None:
        await asked.result().close()
