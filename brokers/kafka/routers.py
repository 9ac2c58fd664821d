"""Which router counts for a record that is read after it was stored: the one of that time."""

from collections.abc import Mapping

from brokers.base import Router
from eventing.event import Event

KEPT = 4
"""Routers that are remembered; events stored before the oldest are routed by it."""


class Routers:
    """Set on the event loop, asked from any thread."""

    def __init__(self) -> None:
        # Newest first, each with the offset by partition from which it counts.
        self._kept: tuple[tuple[Router, Mapping[int, int]], ...] = ()

    def set(self, router: Router, ends: Mapping[int, int]) -> None:
        """`ends`: for each partition the end of what this node knows to be stored by now."""
        self._kept = ((router, dict(ends)), *self._kept[: KEPT - 1])

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return bool(self._kept)

    @property
    def current(self) -> Router:
        """The newest. Raises RuntimeError where there is none."""
        if not self._kept:
            raise RuntimeError("the broker has no router yet: set_router comes first")
        return self._kept[0][0]

    def accepts(self, subscription: str, partition: int, offset: int, event: Event) -> bool:
        """Whether the subscription wants the event stored there."""
        kept = self._kept
        if len(kept) > 1:
            for router, starts in kept:
                if offset >= starts.get(partition, 0):
                    return router.accepts(subscription, event)
        return kept[-1][0].accepts(subscription, event)
