"""The nodes that share an engine: who is there, who does what only one may do, what all know.

The contract; each engine keeps it by its own means, and a node on its own by LocalCluster.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

ANNOUNCE_EVERY = 2.0
"""Seconds between two announcements of a node."""
FORGET_AFTER = 10.0
"""Seconds after its last announcement when a node counts as gone."""

Document = Mapping[str, Any]
"""JSON values."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster: its name, when it announced itself last (Unix seconds, by the
    engine's clock where it has one), and the document it announced (JSON values)."""

    name: str
    at: float
    document: Document


class Lease(Protocol):
    """The right to do what only one node may do at a time, under one name.

    Acquired in the background from when it is made until it is closed. A node that was paused may
    believe for moments after it woke that it holds it still: what is done under a lease has to
    bear being done twice.
    """

    @property
    def held(self) -> bool: ...

    async def wait(self) -> None:
        """Until it is held."""

    def lost(self) -> "asyncio.Future[None]":
        """Resolves when it is held no more, `close` included; at once where it is not held."""

    async def close(self) -> None:
        """Give it up: it is held no more, also where the engine can't be told. Another node has it
        within a second or two, else when it has run out."""


class Cluster(Protocol):
    """Nodes that see each other through an engine. Methods are called on the event loop."""

    async def start(self) -> None:
        """Reach the engine. Raises StorageError; then, and where it is cancelled, `close` is still
        to be called."""

    async def announce(self, document: Document) -> None:
        """Tell the others of this node, to be repeated every ANNOUNCE_EVERY seconds. Raises
        StorageError."""

    async def members(self) -> list[Member]:
        """All nodes that announced themselves in the last FORGET_AFTER seconds, by name. Raises
        StorageError."""

    def lease(self, name: str) -> Lease:
        """The lease of this name, to be closed by the caller."""

    async def documents(self, table: str) -> Mapping[str, Document]:
        """A table that all nodes share, by key: all that any of them had stored before this call.
        It is as lasting as what the engine keeps. The same object as before where nothing has
        changed; not to be changed by the caller. Raises StorageError."""

    async def store(self, table: str, changes: Mapping[str, Document | None]) -> None:
        """Put these documents into the table, each in place of what was there under its key; None
        removes. Of two nodes the last one counts. Returns once they are stored. Raises
        StorageError, and then some may be stored. For small tables: who reads one reads it whole,
        and a document has to fit into one record of the engine. `table` is a short word."""

    async def close(self) -> None:
        """Leave, and close every lease: the others see it at once. Safe in any state: after a
        `start` that failed or was cancelled, without one, or once more. Raises StorageError where
        the engine could not be told; nothing is open here any more then either."""
