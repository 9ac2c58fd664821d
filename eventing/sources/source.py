"""The contract of a source that runs."""

from typing import Any, Protocol

from brokers.base import Fault

UNREADABLE = "dev.eventing.record.unreadable"
"""The type of the event that is kept for a record or an entry that can't become one."""


class Source(Protocol):
    """Runs from when it is made until `stop`, on one event loop. What its engine does not let it
    do is its fault for as long as that lasts, told once in the log, and tried again."""

    @property
    def fault(self) -> Fault | None:
        """Why it takes nothing in."""

    def status(self) -> dict[str, Any]:
        """Figures of this node's part, as JSON values."""

    def renew_lease(self) -> None:
        """Leases are given by another engine from now on: take it anew where one is needed."""

    async def stop(self, grace: float) -> bool:
        """Take nothing more, end what is out within `grace` seconds, commit, leave. True if all
        that was out ended; the rest comes again after the next start."""
