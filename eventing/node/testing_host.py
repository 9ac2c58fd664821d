"""The node's side of eventing.testing: a process that runs one node for one test.

It has no port. It answers the test's requests over an inherited socket, and ends with the test.
"""

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, cast

import orjson
import uvloop

from brokers.base import Broker, Dead, Done, Retry
from eventing.errors import EventingError, OperationError, UserError
from eventing.event import Event
from eventing.http_encoding import encode_http_binary
from eventing.node.config import NodeConfig
from eventing.node.explain import explain
from eventing.node.node import Node
from eventing.node.wiring import Key
from eventing.resources import Identity
from eventing.sdk.frames import FrameReader, encode
from eventing.testing.frames import ANSWER, PAGE_BYTES, PAGE_ITEMS, REFUSED, Record
from triggers.delivery import outgoing
from triggers.dispatcher import Attempt

log = logging.getLogger("eventing.node")

GRACE = 1.0
"""Seconds that calls in flight have to end when the test does."""
END_LIMIT = 10
"""Seconds after which a node whose test is gone ends, in good order or not."""
LOOK_AGAIN = 0.005
"""Seconds between two looks whether all events are at their end."""


def main(descriptor: int, parent: int) -> NoReturn:
    """Serve the test, whose process is `parent`, over the inherited socket until it is gone."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    uvloop.run(_serve(socket.socket(fileno=descriptor), parent))
    sys.exit(0)


async def _serve(connection: socket.socket, parent: int) -> None:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    # Beside the end of the connection: a process the test has forked may hold that open.
    watched = os.pidfd_open(os.getppid())
    loop.add_reader(watched, gone.set)
    if os.getppid() != parent:
        return
    host = Host()
    link = _Link(gone)
    await loop.create_unix_connection(lambda: link, sock=connection)
    serving = loop.create_task(link.answer(host.handle), name="requests")
    await gone.wait()
    loop.remove_reader(watched)
    serving.cancel()
    signal.alarm(END_LIMIT)
    await host.abandon()


class _Link(asyncio.Protocol):
    """The socket to the test: requests in, one answer each out, in order."""

    def __init__(self, gone: asyncio.Event) -> None:
        self._gone = gone
        self._reader = FrameReader()
        self._requests: asyncio.Queue[list[Any]] = asyncio.Queue()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self._requests.put_nowait(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()

    async def answer(self, handle: Callable[[str, dict[str, Any]], Awaitable[Any]]) -> None:
        while True:
            _, method, arguments = await self._requests.get()
            try:
                frame = encode(ANSWER, await handle(method, arguments))
            except EventingError as error:
                frame = encode(REFUSED, isinstance(error, UserError), str(error))
            except Exception as error:
                log.exception("%s failed", method)
                frame = encode(REFUSED, False, f"{method} failed: {error!r}")
            if self._transport is not None:
                self._transport.write(frame)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A broker at one moment: its newest position, whether anything moves, and by trigger what is
    not at its end, and why."""

    head: int
    busy: bool
    waiting: dict[Key, str]


class Host:
    """One node and what it did, as requests ask for it.

    Every method `ask_…` answers the request of that name with plain values; UserError and
    OperationError are answers too.
    """

    def __init__(self) -> None:
        self._node: Node | None = None
        self._work: Path | None = None
        self._speed = 1.0
        self._attempts: list[Record] = []

    async def handle(self, method: str, arguments: dict[str, Any]) -> Any:
        return await getattr(self, f"ask_{method}")(**arguments)

    async def abandon(self) -> None:
        """The test is gone: end the node, and where it could not tidy up, do."""
        await self.ask_stop()
        if self._work is not None:
            shutil.rmtree(self._work, ignore_errors=True)

    # Requests

    async def ask_start(self, paths: list[bytes], data: bytes, work: bytes, speed: float) -> None:
        self._work = Path(os.fsdecode(work))
        config = NodeConfig(
            tuple(Path(os.fsdecode(path)) for path in paths),
            data=Path(os.fsdecode(data)),
            grace=GRACE,
            isolated=True,
        )
        self._node = node = Node(config)
        self._speed = speed
        await node.start(ports=False)
        problems = [*node.projects.failures.values(), *node.projects.missing.values()]
        if problems:
            raise UserError("\n".join(problems))
        if node.readiness():
            raise OperationError(node.readiness())
        await self._hurry(node)
        for running in node.runtime.triggers.values():
            if running.dispatcher is not None:
                running.dispatcher.observer = self

    async def ask_stop(self) -> None:
        node, self._node = self._node, None
        if node is not None:
            await node.stop()

    async def ask_send(self, broker: Key, event: list[Any]) -> None:
        """By way of the ingress, so that it is held to all that holds for events over HTTP."""
        headers, body = encode_http_binary(Event(*event))
        answer: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            answer.append(message)

        scope = {"type": "http", "method": "POST", "path": f"/{broker}", "headers": headers}
        await self._running.ingress(scope, receive, send)
        status = answer[0]["status"]
        if status != 202:
            reason = orjson.loads(answer[1]["body"])["error"]
            raise UserError(reason) if status < 500 else OperationError(reason)

    async def ask_wait(self, timeout: float) -> Record:
        """`waiting` says by trigger what is not at its end, empty when all is; `held`, whether all
        that is left waits for triggers that are not ready."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        before = await self._look()
        while True:
            now = await self._look()
            # Twice at rest, with nothing new between: no event went from a broker that was looked
            # at late to one that was looked at early.
            rests = all(
                seen.head == before[key].head and not (seen.busy or before[key].busy)
                for key, seen in now.items()
            )
            if rests or loop.time() >= deadline:
                waiting = {key: what for seen in now.values() for key, what in seen.waiting.items()}
                return {"waiting": waiting, "held": rests}
            before = now
            await asyncio.sleep(LOOK_AGAIN)

    async def ask_attempts(self, after: int) -> list[Record]:
        return self._attempts[after : after + PAGE_ITEMS]

    async def ask_brokers(self) -> list[Key]:
        return list(self._running.runtime.brokers)

    async def ask_events(self, broker: Key, after: int) -> list[Any]:
        """A page of triples: position, attributes, data."""
        page, size = [], 0
        async for stored in self._broker(broker).read(after + 1):
            event = outgoing(stored.event)
            page.append((stored.position, event.attributes, event.data))
            size += len(event.data or b"")
            if size > PAGE_BYTES or len(page) == PAGE_ITEMS:
                break
        return page

    async def ask_dead_letters(self, broker: Key, after: int) -> list[Record]:
        """A page of the fields of eventing.testing.records.DeadLetter, and each one's `id`."""
        page, size = [], 0
        for letter in await self._broker(broker).dead_letters(after=after, limit=PAGE_ITEMS):
            event, failure = outgoing(letter.event), letter.failure
            page.append(
                {
                    "id": letter.id,
                    "trigger": letter.trigger,
                    "broker": broker,
                    "event": (event.attributes, event.data),
                    "destination": failure.destination,
                    "code": failure.code,
                    "reason": failure.reason,
                    "text": failure.data.decode(errors="replace"),
                    "attempts": letter.attempts,
                }
            )
            size += len(event.data or b"")
            if size > PAGE_BYTES:
                break
        return page

    async def ask_logs(self, function: Key) -> list[Record]:
        """The fields of eventing.testing.records.LogLine."""
        if function and function not in self._running.runtime.functions:
            known = ", ".join(sorted(self._running.runtime.functions)) or "none"
            raise UserError(f"there is no function {function}; there are: {known}")
        return [
            {
                "stream": line.stream,
                "level": line.level,
                "text": line.text,
                "event_id": line.event_id,
                "event_source": line.event_source,
            }
            for line in self._running.logs.lines(function)
        ]

    async def ask_explain(self, broker: Key, event: list[Any]) -> list[Record]:
        """The fields of eventing.testing.records.Verdict."""
        self._broker(broker)
        wiring = self._running.runtime.wiring
        found = explain(
            Event(*event), wiring.resources, broker=broker, conditions=wiring.conditions
        )
        return [
            {
                "trigger": each.trigger,
                "broker": each.broker,
                "matches": each.matches,
                "reasons": [f"{reason.text} ({reason.place})" for reason in each.reasons],
                "place": str(each.place),
                "problem": each.condition.message if each.condition is not None else "",
            }
            for each in found
        ]

    # What the dispatchers tell

    def attempt(self, attempt: Attempt) -> None:
        """Keep it as the fields of eventing.testing.records.Attempt."""
        delivery, response, outcome = attempt.delivery, attempt.response, attempt.outcome
        word, wait = "done", None
        replies: tuple[Event, ...] = ()
        match outcome:
            case Done():
                replies = outcome.replies
            case Dead():
                word = "dead"
            case Retry() if outcome.stage != delivery.stage:
                word = "dead_letter"
            case Retry():
                word, wait = "retry", round((outcome.at - attempt.at) * self._speed, 3)
        self._attempts.append(
            {
                "trigger": attempt.trigger,
                "broker": self._running.runtime.triggers[attempt.trigger].plan.broker,
                "position": delivery.position,
                "event": outgoing(delivery.event).attributes,
                "number": delivery.attempt,
                "stage": delivery.stage,
                "destination": attempt.destination,
                "status": response.status,
                "reason": response.reason,
                "seconds": attempt.seconds,
                "outcome": word,
                "wait": wait,
                "replies": [outgoing(reply).attributes for reply in replies],
            }
        )

    # Inside

    @property
    def _running(self) -> Node:
        if self._node is None:
            raise UserError("the node has ended; use it inside its `with` block")
        return self._node

    def _broker(self, key: Key) -> Broker:
        broker = self._running.runtime.brokers.get(key)
        if broker is None:
            known = ", ".join(sorted(self._running.runtime.brokers))
            raise UserError(f"there is no broker {key}; there are: {known}")
        return broker

    async def _hurry(self, node: Node) -> None:
        """Make every wait between attempts shorter, before the first event comes."""
        wiring = node.runtime.wiring
        triggers = {
            key: replace(plan, policy=replace(plan.policy, speed=self._speed))
            for key, plan in wiring.triggers.items()
        }
        await node.runtime.rewire(replace(wiring, triggers=triggers))

    async def _look(self) -> dict[Key, _Seen]:
        seen = {}
        for key, broker in self._running.runtime.brokers.items():
            stats = await broker.stats()
            busy, waiting = False, {}
            for trigger, figures in stats.subscriptions.items():
                dispatcher = self._running.runtime.triggers[trigger].dispatcher
                if dispatcher is None:
                    if figures.lag:
                        reason = self._why(trigger)
                        waiting[trigger] = f"holds {figures.lag}, for it is not ready: {reason}"
                elif count := max(figures.lag, dispatcher.outstanding):
                    # The broker counts an event as settled a moment before that is durable and
                    # its replies are there; the dispatcher counts it as out until then.
                    busy = True
                    waiting[trigger] = (
                        f"{count} not at their end, {dispatcher.outstanding} of them at the"
                        f" subscriber and {figures.retrying} waiting for a retry"
                    )
            seen[key] = _Seen(stats.head, busy, waiting)
        return seen

    def _why(self, trigger: Key) -> str:
        namespace, _, name = trigger.partition("/")
        return self._running.condition(Identity("Trigger", namespace, name)).message
