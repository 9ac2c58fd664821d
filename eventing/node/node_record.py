"""What a node tells the others of itself: where it listens, how it does, what its share is."""

import asyncio
import os
import socket
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from brokers.base import Broker
from eventing.errors import StorageError
from eventing.node.runtime import Runtime
from eventing.node.wiring import Key

COUNTING = 1.0
"""Seconds that counting a broker's events may take: the node has to be heard of in time."""


@dataclass(frozen=True, slots=True)
class _Share:
    lag: int = 0
    in_flight: int = 0


class NodeRecord:
    """Of one node. Where a broker does not count its events in time, what it counted last stands:
    whether it answers, `reason` tells."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._version = version("eventing-runtime")
        self._counted: dict[Key, _Share] = {}

    async def document(
        self, *, ingress: str, admin: str, started_at: float, reason: str
    ) -> dict[str, Any]:
        """JSON values. `lag` is the part of all triggers' lag that falls to this node, `inFlight`
        what it has handed out, `workers` how many are ready; `reason` says why it takes no
        events."""
        brokers = dict(self._runtime.brokers)
        counted = await asyncio.gather(*(self._share(*each) for each in brokers.items()))
        self._counted = dict(zip(brokers, counted, strict=True))
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": self._version,
            "ingress": ingress,
            "admin": admin,
            "startedAt": started_at,
            "ready": not reason,
            "reason": reason,
            "triggers": len(self._runtime.triggers),
            "workers": self._runtime.functions.workers,
            "inFlight": sum(share.in_flight for share in counted),
            "lag": sum(share.lag for share in counted),
        }

    async def _share(self, key: Key, broker: Broker) -> _Share:
        try:
            async with asyncio.timeout(COUNTING):
                stats = await broker.stats()
        except (TimeoutError, StorageError):
            return self._counted.get(key, _Share())
        figures = stats.subscriptions.values()
        return _Share(sum(each.share for each in figures), sum(each.in_flight for each in figures))
