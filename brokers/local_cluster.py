"""A node on its own: it sees itself alone and holds every lease."""

import asyncio
import time
from collections.abc import Mapping

from brokers.cluster import Document, Member


class LocalCluster:
    """See the contract."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._members: list[Member] = []
        self._tables: dict[str, Mapping[str, Document]] = {}

    async def start(self) -> None:
        """Nothing to reach."""

    async def announce(self, document: Document) -> None:
        """See the contract."""
        self._members = [Member(self._node, time.time(), document)]

    async def members(self) -> list[Member]:
        """This node, once it has announced itself."""
        return self._members

    def lease(self, name: str) -> "LocalLease":
        """One that is held from the first."""
        return LocalLease()

    async def documents(self, table: str) -> Mapping[str, Document]:
        """What this object was told; nobody else sees it, and nothing outlives it."""
        return self._tables.setdefault(table, {})

    async def store(self, table: str, changes: Mapping[str, Document | None]) -> None:
        """See the contract."""
        if not changes:
            return
        kept = {**self._tables.get(table, {}), **changes}
        self._tables[table] = {key: each for key, each in kept.items() if each is not None}

    async def close(self) -> None:
        """Gone."""
        self._members = []


class LocalLease:
    """Held until it is closed."""

    def __init__(self) -> None:
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def held(self) -> bool:
        return not self._lost.done()

    async def wait(self) -> None:
        """It is held already."""

    def lost(self) -> "asyncio.Future[None]":
        """Resolves at `close`."""
        return self._lost

    async def close(self) -> None:
        """Give it up."""
        if not self._lost.done():
            self._lost.set_result(None)
