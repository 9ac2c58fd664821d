"""A lease as membership in a consumer group: the group gives its one partition to one node."""

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable

from brokers.kafka.group_protocol import Protocol, shorten_session
from brokers.kafka.lease_holder import LeaseHolder
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.topics import Topic, Topics
from eventing.errors import StorageError

TOPIC = "eventing-leases"
_GROUP = "eventing-lease-"
_LONGEST = 200
_AGAIN_SECONDS = 2.0
_CLOSE_SECONDS = 3.0

_log = logging.getLogger("brokers.kafka")


def leases_topic(replication_factor: int) -> Topic:
    """The topic that the groups of all leases divide among their members; it has no records."""
    return Topic(TOPIC, 1, replication_factor)


def lease_group(name: str) -> str:
    """The consumer group of a lease: its name, or what is legible of it and a digest."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    if plain == name and len(name) <= _LONGEST:
        return f"{_GROUP}{name}"
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{_GROUP}{plain[: _LONGEST // 2]}-{digest}"


class KafkaLease:
    """See the contract. `closed` is called once it is closed."""

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        topics: Topics,
        protocol: Protocol,
        name: str,
        closed: Callable[["KafkaLease"], None],
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._topics = topics
        self._protocol = protocol
        self._name = name
        self._group = lease_group(name)
        self._on_close = closed
        self._loop = asyncio.get_running_loop()
        self._holder: LeaseHolder | None = None
        self._acquired = asyncio.Event()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._lost.set_result(None)
        self._fault = ""
        self._closed = False
        self._task = self._loop.create_task(self._run(), name=f"lease {name}")

    @property
    def held(self) -> bool:
        """Whether it is, as far as this node can be sure of it."""
        return not self._closed and self._holder is not None and self._holder.held

    async def wait(self) -> None:
        """Until it is held."""
        while not self.held:
            self._acquired.clear()
            await self._acquired.wait()

    def lost(self) -> "asyncio.Future[None]":
        """Resolves when it is held no more; at once where it is not held."""
        if self.held and self._lost.done():
            self._lost = self._loop.create_future()
        if not self.held and not self._lost.done():
            self._lost.set_result(None)
        return self._lost

    async def close(self) -> None:
        """Give it up; the group hears of it before this returns, where Kafka can be reached."""
        self._closed = True
        self.lost()
        self._task.cancel()
        await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
        self._on_close(self)

    async def _run(self) -> None:
        protocol = self._protocol
        while True:
            try:
                await self._topics.ensure([leases_topic(self._settings.replication_factor)])
                if protocol == "consumer" and not await shorten_session(self._topics, self._group):
                    protocol = "classic"
                await self._hold(protocol)
            except StorageError as error:
                if str(error) != self._fault:
                    _log.warning("lease %r: %s; it is tried again", self._name, error)
                self._fault = str(error)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _hold(self, protocol: Protocol) -> None:
        """Raises StorageError where it can't go on."""
        ended: asyncio.Future[StorageError | None] = self._loop.create_future()

        def end(error: StorageError | None) -> None:
            if not ended.done():
                ended.set_result(error)

        self._holder = holder = LeaseHolder(
            self._settings,
            self._client_id,
            TOPIC,
            self._group,
            protocol,
            lambda: self._from_thread(self._changed),
            lambda error: self._from_thread(end, error),
        )
        try:
            error = await asyncio.shield(ended)
        except asyncio.CancelledError:
            holder.end()
            await asyncio.wait([ended], timeout=_CLOSE_SECONDS)
            raise
        if error is not None:
            raise error

    def _from_thread(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.

    def _changed(self) -> None:
        self.lost()
        if self.held:
            self._fault = ""
            self._acquired.set()
