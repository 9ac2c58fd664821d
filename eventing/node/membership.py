"""This node among the others of its engine: announced while it runs, and told of the rest."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from brokers.cluster import ANNOUNCE_EVERY, Cluster, Document, Lease, Member
from brokers.local_cluster import LocalCluster
from eventing.errors import StorageError
from eventing.node.engines import EMBEDDED, EngineSettings, make_cluster

log = logging.getLogger("eventing.node")

Describe = Callable[[], Awaitable[dict[str, Any]]]
Answer = TypeVar("Answer")
MakeCluster = Callable[[EngineSettings, str], Cluster]
JOINING = 60.0
"""Seconds that reaching the engine may take before it is begun anew."""
ANSWERING = 5.0
"""Seconds that the engine may take for one answer."""
LEAVING = 5.0
"""Seconds that leaving may take while the engine does not answer."""


class Membership:
    """Keeps a Cluster open, on the engine told last, and announces in it what `describe` says.

    An engine that is away is tried again until it is there; until then this node sees itself alone
    and holds no lease. A node whose brokers are all embedded is alone and describes itself when it
    is asked.
    """

    def __init__(self, describe: Describe, make: MakeCluster = make_cluster) -> None:
        self._describe = describe
        self._make = make
        self._name = ""
        self._engine: EngineSettings = EMBEDDED
        self._cluster: Cluster | None = None
        self._joined = asyncio.Event()
        self._tried = asyncio.Event()
        self._changing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._fault = ""
        self._closed = False

    async def use(self, name: str, engine: EngineSettings) -> bool:
        """Join the nodes that share this engine, under this name. Whether that is another than
        before: then every lease is to be taken again. Does nothing once this is closed."""
        async with self._changing:
            same = self._task is not None and (name, engine) == (self._name, self._engine)
            if same or self._closed:
                return False
            await self._leave()
            self._name, self._engine, self._fault = name, engine, ""
            self._tried.clear()
            self._task = asyncio.get_running_loop().create_task(self._run(), name="membership")
            return True

    async def close(self) -> None:
        """Leave for good: the others see it at once, where the engine answers."""
        self._closed = True
        async with self._changing:
            await self._leave()

    async def members(self) -> list[Member]:
        """All nodes there are, this one included. Raises StorageError where the engine does not
        answer."""
        cluster = self._cluster
        if cluster is None or self._engine == EMBEDDED:
            alone = LocalCluster(self._name)
            await alone.announce(await self._describe())
            return await alone.members()
        return await _answered(cluster.members(), ANSWERING)

    async def lease(self, name: str) -> Lease:
        """The lease of this name, as soon as the engine has been reached."""
        while self._cluster is None:  # It may be left again before this is told that it was there.
            await self._joined.wait()
        return self._cluster.lease(name)

    @property
    def shared(self) -> bool:
        """Whether there may be other nodes: brokers are in an engine."""
        return self._task is not None and self._engine != EMBEDDED

    @property
    def reached(self) -> bool:
        """Whether the engine has been, since this node began to use it."""
        return self._cluster is not None

    async def joined(self, seconds: float, *, once: bool = False) -> bool:
        """Whether the engine has been reached, waited for up to that long; `once`: no longer than
        the first try takes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await (self._tried if once else self._joined).wait()
        return self._cluster is not None

    async def documents(self, table: str) -> Mapping[str, Document]:
        """A table that the nodes share, by the contract of a Cluster. Raises StorageError, also
        while the engine has not been reached."""
        return await _answered(self._reached().documents(table), ANSWERING)

    async def store(self, table: str, changes: Mapping[str, Document | None]) -> None:
        """Change it, likewise."""
        await _answered(self._reached().store(table, changes), ANSWERING)

    def _reached(self) -> Cluster:
        if self._cluster is None:
            why = self._fault or "the engine has not been reached yet"
            raise StorageError(why, "EngineUnreachable")
        return self._cluster

    async def _run(self) -> None:
        # Not cancellation alone ends it: a client may forget one (asyncio.wait_for, Python 3.11).
        while self._task is asyncio.current_task():
            try:
                if self._cluster is None:
                    await self._join()
                elif self._engine == EMBEDDED:
                    return
                else:
                    await _answered(self._cluster.announce(await self._describe()), ANSWERING)
                    self._tell_recovered()
                    await asyncio.sleep(ANNOUNCE_EVERY)
            except StorageError as error:
                if not self._fault:
                    log.error("the other nodes can't be seen: %s; it is tried again", error)
                self._fault = str(error)
                self._tried.set()
                await asyncio.sleep(ANNOUNCE_EVERY)
            except Exception as error:
                # A mistake of ours: unannounced, this node would be gone to the others in silence.
                if not self._fault:
                    log.exception("this node is not announced to the others; it is tried again")
                self._fault = repr(error)
                self._tried.set()
                await asyncio.sleep(ANNOUNCE_EVERY)

    def _tell_recovered(self) -> None:
        if self._fault:
            log.info("the other nodes are seen again")
        self._fault = ""

    async def _join(self) -> None:
        cluster = self._make(self._engine, self._name)
        try:
            await _answered(cluster.start(), JOINING)
        except BaseException:  # Cancellation included: what it has opened so far is its own alone.
            with suppress(Exception):  # The failure to start says all there is to say.
                async with asyncio.timeout(LEAVING):
                    await cluster.close()
            raise
        self._cluster = cluster
        self._joined.set()
        self._tried.set()

    async def _leave(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            _, hangs = await asyncio.wait([task], timeout=2 * LEAVING)
            if hangs:
                log.warning("reaching the other nodes does not end; it is left to itself")
        cluster, self._cluster = self._cluster, None
        self._joined.clear()
        if cluster is None:
            return
        try:
            async with asyncio.timeout(LEAVING):
                await cluster.close()
        except (TimeoutError, StorageError) as error:
            reason = str(error) or f"the engine does not answer within {LEAVING:g} s"
            log.warning("this node is seen by the others for a while yet: %s", reason)
        except Exception:
            log.exception("this node is seen by the others for a while yet")


async def _answered(asked: Awaitable[Answer], seconds: float) -> Answer:
    """Raises StorageError where it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await asked
    except TimeoutError:
        message = f"the engine of the brokers does not answer within {seconds:g} s"
        raise StorageError(message, "EngineUnreachable") from None
