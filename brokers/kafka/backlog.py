"""How many events wait for the slowest trigger, counted once a second and added to in between."""

import asyncio

from brokers.base import Limits
from eventing.errors import BrokerFull

RETRY_AFTER = 1.0


class Backlog:
    """`limits.max_backlog` counts over all nodes; None = nothing is refused."""

    def __init__(self, broker: str, limits: Limits) -> None:
        self.limits = limits
        self._broker = broker
        self._counted = 0
        self._answered_then = 0
        self._added = 0
        self._unanswered = 0

    def begin(self) -> int:
        """A count begins: what is given back is to be given to `counted`."""
        return self._added - self._unanswered

    def counted(self, backlog: int, begun: int) -> None:
        """The count of what was stored when it began; what came since is added."""
        self._counted = backlog
        self._answered_then = begun

    def added(self, events: int, stored: "asyncio.Future[list[int]]") -> None:
        """This node stores some more."""
        if self.limits.max_backlog is None:
            return
        self._added += events
        self._unanswered += events

        def answered(_: "asyncio.Future[list[int]]") -> None:
            self._unanswered -= events

        stored.add_done_callback(answered)

    def refusal(self) -> BrokerFull | None:
        """Why nothing more is taken now, if so."""
        limit = self.limits.max_backlog
        if limit is None or self._counted + self._added - self._answered_then < limit:
            return None
        return BrokerFull(
            f"broker {self._broker!r}: {limit} events wait for its slowest trigger (max_backlog)",
            RETRY_AFTER,
        )
