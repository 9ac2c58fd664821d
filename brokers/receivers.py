"""Those who wait for deliveries of a subscription: woken when there are some, cancelled at its end.

What every broker's `Subscription.receive` promises is kept here.
"""

import asyncio
from collections.abc import Callable

from brokers.base import Delivery


class Receivers:
    """Of one subscription. `take` gives at most so many of the deliveries that are ready."""

    def __init__(self, take: Callable[[int], list[Delivery]]) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[None]] = []
        self._closed = False

    async def receive(self, limit: int) -> list[Delivery]:
        """At least one, as soon as there is one. Raises ValueError for a limit below 1."""
        if limit < 1:
            raise ValueError(f"receive takes a limit of 1 or more, not {limit}")
        while True:
            if self._closed:
                raise asyncio.CancelledError
            batch = self._take(limit)
            if batch:
                return batch
            waiter = self._loop.create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)

    def wake(self) -> None:
        """There are deliveries: whoever waits looks again."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(None)

    def close(self) -> None:
        """End every wait: they are cancelled, and so is whoever comes from now on."""
        self._closed = True
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.cancel()
