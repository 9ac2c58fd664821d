"""Whether Kafka can be reached: asked when one of the clients has lost every connection."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from brokers.base import Fault
from brokers.kafka.faults import ClientErrors
from brokers.kafka.topics import Topics
from eventing.errors import StorageError

LOOK_EVERY = 0.25
"""Seconds."""

_log = logging.getLogger("brokers.kafka")


class Reachability:
    """`fault` says why Kafka can't be reached; None while it can. An idle connection that was
    closed is no fault: only a request that fails is."""

    def __init__(
        self,
        topics: Topics,
        heard: Sequence[ClientErrors],
        lost: Callable[[], None],
        back: Callable[[], None],
    ) -> None:
        """`lost` is called when it turns out that Kafka can't be reached, `back` when it can be
        again."""
        self.fault: Fault | None = None
        self._topics = topics
        self._heard = heard
        self._lost = lost
        self._back = back

    async def watch(self) -> None:
        """Look for as long as it is not cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if self.fault or any(each.down for each in self._heard):
                await self._ask()

    async def _ask(self) -> None:
        try:
            await self._topics.any_broker()
        except StorageError as error:
            if not self.fault:
                _log.error("%s; it is tried again", error)
                self.fault = Fault.of(error)
                self._lost()
            return
        for each in self._heard:
            each.clear()
        if self.fault:
            _log.info("Kafka is there again")
            self._back()
        self.fault = None
