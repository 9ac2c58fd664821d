"""The sinks of a wiring, open while it has them."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from eventing.node.wiring import SinkPlan
from eventing.resources import Identity
from functions.base import Call, Response
from triggers.sink import KafkaSinkSettings, RedisStreamSinkSettings, Sink

log = logging.getLogger("eventing.node")

CLOSE_GRACE = 15.0
"""Seconds that events have to be stored which are out to a sink that goes; above what the clients
take to give one up."""


class KeepsNothing:
    """A sink for tests of a wiring: it takes every event and keeps none."""

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        done(Response(202))


class Sinks:
    """Opens and closes sinks as wirings come. Use from the event loop only."""

    def __init__(self) -> None:
        self.node = ""
        """The name of this node, for the engines' lists of clients."""
        self._running: dict[Identity, tuple[SinkPlan, Sink | KeepsNothing]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def find(self, identity: Identity) -> Sink | KeepsNothing | None:
        running = self._running.get(identity)
        return running[1] if running is not None else None

    def running(self) -> Mapping[Identity, Sink]:
        """Those that are in an engine."""
        return {
            identity: sink
            for identity, (_, sink) in self._running.items()
            if not isinstance(sink, KeepsNothing)
        }

    def open(self, plans: Mapping[Identity, SinkPlan]) -> None:
        """Have these open; call `retire` once nothing is sent to the old ones any more."""
        for identity, plan in plans.items():
            running = self._running.get(identity)
            if running is None or running[0] != plan:
                self._running[identity] = (plan, self._make(identity, plan))
                if running is not None:
                    self._close(running[1])

    def retire(self, plans: Mapping[Identity, SinkPlan]) -> None:
        """Close those that are not among these."""
        for identity in [each for each in self._running if each not in plans]:
            self._close(self._running.pop(identity)[1])

    async def close(self, seconds: float) -> None:
        """All of them, for good."""
        for _, sink in self._running.values():
            self._close(sink, seconds)
        self._running = {}
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _make(self, identity: Identity, plan: SinkPlan) -> Sink | KeepsNothing:
        # The clients of engines are imported only where something needs them.
        client_id = f"eventing {self.node} {identity}"
        match plan.settings:
            case None:
                return KeepsNothing()
            case KafkaSinkSettings():
                from triggers.kafka_sink_target import KafkaSinkTarget

                return KafkaSinkTarget(str(identity), plan.settings, client_id=client_id)
            case RedisStreamSinkSettings():
                from triggers.redis_stream_sink_target import RedisStreamSinkTarget

                client_id = client_id.replace(" ", ":")
                return RedisStreamSinkTarget(str(identity), plan.settings, client_id=client_id)

    def _close(self, sink: Sink | KeepsNothing, seconds: float = CLOSE_GRACE) -> None:
        if isinstance(sink, KeepsNothing):
            return
        task = asyncio.get_running_loop().create_task(sink.close(seconds), name="close a sink")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
