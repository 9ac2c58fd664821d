"""What a broker may offer beside the contract: to keep an event among its own dead letters."""

from typing import Protocol, runtime_checkable

from brokers.base import Failure
from eventing.event import Event


@runtime_checkable
class LetterKeeper(Protocol):
    """For what never came into the log: a record that a source can't read, an event it refuses."""

    async def keep(self, event: Event, failure: Failure) -> None:
        """Store it as a dead letter of no trigger ("", the broker's own), durable on return.
        Redriven, it is published to the broker. Raises StorageError, BrokerFull, or UserError for
        an event that can't be kept whatever happens."""
