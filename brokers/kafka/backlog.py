"""How many events wait for the slowest trigger, counted once a second and added to in between."""

from brokers.base import Limits
from eventing.errors import BrokerFull

RETRY_AFTER = 1.0


class Backlog:
    """`limits.max_backlog` counts over all nodes; None = nothing is refused."""

    def __init__(self, broker: str, limits: Limits) -> None:
        self.limits = limits
        self._broker = broker
        self._counted = 0
        self._added = 0

    def counted(self, backlog: int) -> None:
        """As of now."""
        self._counted = backlog
        self._added = 0

    def added(self, events: int) -> None:
        """This node stores some more."""
        self._added += events

    def refusal(self) -> BrokerFull | None:
        """Why nothing more is taken now, if so."""
        limit = self.limits.max_backlog
        if limit is None or self._counted + self._added < limit:
            return None
        return BrokerFull(
            f"broker {self._broker!r}: {limit} events wait for its slowest trigger (max_backlog)",
            RETRY_AFTER,
        )
