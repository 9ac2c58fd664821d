"""Requests of the administration client as something to await, each with a deadline.

The client tells of refused credentials and connections only when it is polled, which is done here
while a request is out: it then fails as soon as it is clear that it can't succeed.
"""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from brokers.kafka.client_options import client_options
from brokers.kafka.faults import ClientErrors, kafka_error, refuses
from brokers.kafka.settings import KafkaSettings

REQUEST_SECONDS = 10.0
PATIENCE_SECONDS = 3.0
"""How long a request waits for a Kafka of which no broker can be reached."""
_POLL_SECONDS = 0.05

K = TypeVar("K")
V = TypeVar("V")


class AdminRequests:
    """The client `admin`, and the way to await what it answers. Used on one event loop."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self.heard = ClientErrors()
        options = {
            **client_options(settings, client_id, self.heard),
            # A request that waits for one Kafka broker has librdkafka 2.16 connect to it, without
            # a pause, as often as the connection is refused: most of a core for as long as the
            # broker is away. Connections to all brokers are made anew with pauses.
            "enable.sparse.connections": False,
        }
        self.admin: Any = AdminClient(options)
        self._closed = False

    async def all(self, futures: Mapping[K, "Future[V]"]) -> dict[K, V | KafkaError]:
        """Results or errors of one call's futures; all of them the same error where the time is
        up, credentials are refused, or no broker has been reached for a while."""
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def wake(_: "Future[V]") -> None:
            if all(future.done() for future in futures.values()):
                try:
                    loop.call_soon_threadsafe(answered.set)
                except RuntimeError:
                    pass  # The loop is closed: nobody waits any more.

        for future in futures.values():
            future.add_done_callback(wake)
        while not answered.is_set():
            try:
                # wait_for would forget a cancellation that comes just as its wait ends.
                async with asyncio.timeout(_POLL_SECONDS):
                    await answered.wait()
            except TimeoutError:
                error = self._hopeless(started)
                if error is not None:
                    return dict.fromkeys(futures, error)
        self.heard.clear()
        results: dict[K, V | KafkaError] = {}
        for key, future in futures.items():
            raised = future.exception()
            results[key] = future.result() if raised is None else kafka_error(raised)
        return results

    def _hopeless(self, started: float) -> KafkaError | None:
        if self._closed:
            return KafkaError(KafkaError._DESTROY)
        self.admin.poll(0)
        heard = self.heard.since(started)
        if heard is not None and refuses(heard):
            return heard
        elapsed = time.monotonic() - started
        if elapsed > REQUEST_SECONDS or (elapsed > PATIENCE_SECONDS and self.heard.down):
            return self.heard.recent or KafkaError(KafkaError._TIMED_OUT)
        return None

    async def close(self) -> None:
        """Requests that are out fail; within a second, also when Kafka is away."""
        self._closed = True
        holder = [self.admin]
        self.admin = None
        # Ending the client's threads takes a moment, and happens when its last reference goes.
        await asyncio.get_running_loop().run_in_executor(None, holder.clear)
