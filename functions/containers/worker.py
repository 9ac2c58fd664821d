"""A container as a worker of a pool: calls go to it over HTTP, and its end is told once."""

import asyncio
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol
from urllib.parse import urljoin

from eventing.errors import InvalidEvent
from eventing.event import validate_event
from eventing.http_encoding import encode_http_binary, encode_http_structured
from eventing.trace_context import trace_headers
from functions.base import Call, Response
from functions.containers.container import Container
from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.exchange import Answer, Exchange, Request
from functions.http.target import UNSENDABLE, read_answer
from functions.worker import Revision, WorkerListener

BEYOND = 30.0
"""Seconds a request may take beyond its handler's time: the pool's own deadline comes first."""
DOUBT = 0.5
"""Seconds to find out whether a lost connection was the container's end."""


class Owner(Protocol):
    """What a worker asks of who started it."""

    def drained(self, worker: "ContainerWorker") -> None:
        """It has no more calls: do with its container as the revision needs."""

    def killed(self, worker: "ContainerWorker") -> None:
        """Its container is to go at once; `ended` is then to be called."""

    def died(self, worker: "ContainerWorker") -> None:
        """Its container has ended by itself; `ended` is then to be called with the cause."""

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Have somebody own and await this."""


class ContainerWorker:
    """A worker (functions.worker.Worker). Its launcher tells it `ready` and `ended`.

    A call that gets no answer for its connection was lost is answered once it is known whether the
    container has ended: if so, by `exited`, which tells the cause.
    """

    def __init__(
        self, revision: Revision, listener: WorkerListener, client: HttpClient, owner: Owner
    ) -> None:
        self.pid = 0
        self.between_calls = False
        self.revision = revision
        self.container: Container | None = None
        self._listener = listener
        self._client = client
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._address: Address | None = None
        self._paths: dict[str, Address] = {}
        self._waiting: list[tuple[int, Call]] = []
        self._calls: dict[int, Exchange | None] = {}
        self._cancelled: set[int] = set()
        self._draining = False
        self._over = False
        """It has been given up; only `ended` is still to come, or has come."""
        self._told = False

    # functions.worker.Worker

    def call(self, id: int, call: Call) -> None:
        if self._told:
            return
        if self._address is None:
            self._waiting.append((id, call))
        else:
            self._send(id, call, self._address)

    def cancel(self, id: int) -> None:
        exchange = self._calls.get(id)
        if exchange is not None:
            self._cancelled.add(id)
            # The pool is still at it: the result comes in a turn of its own.
            self._loop.call_soon(exchange.cancel)

    def drain(self) -> None:
        self._draining = True
        if not self._calls and not self._waiting:
            self._finish()

    def kill(self) -> None:
        if not self._told:
            self._over = True
            self._owner.killed(self)

    # What its launcher tells it

    @property
    def over(self) -> bool:
        return self._over

    def ready(self, container: Container, address: Address) -> None:
        """It takes calls at this address from now on."""
        self.container = container
        self.pid = container.pid
        container.on_end = self._container_ended
        self._listener.ready(self)
        self._address = address
        waiting, self._waiting = self._waiting, []
        for id, call in waiting:
            self._send(id, call, address)
        if container.ended.is_set():
            self._container_ended()

    def ended(self, reason: str) -> None:
        """It is gone. Tells the listener, once."""
        if self._told:
            return
        self._over = self._told = True
        self._waiting.clear()
        exchanges = [each for each in self._calls.values() if each is not None]
        self._calls.clear()
        for exchange in exchanges:
            exchange.cancel()
        self._listener.exited(self, reason)

    # Inside

    def _send(self, id: int, call: Call, address: Address) -> None:
        event = call.event
        try:
            validate_event(event)
        except InvalidEvent as error:
            response = Response(UNSENDABLE, reason=f"the event can't be sent: {error}")
            self._calls[id] = None
            # The pool is still at it: its answer comes in a turn of its own.
            self._loop.call_soon(self._respond, id, response)
            return
        encode = encode_http_structured if call.format == "json" else encode_http_binary
        headers, body = encode(event)
        headers += trace_headers(event.attributes)
        headers.append((b"prefer", b"reply"))
        # What a handler's Context tells (eventing/sdk/calls.py reads them); others ignore it.
        headers.append((b"eventing-attempt", b"%d" % call.attempt))
        headers.append((b"eventing-trigger", call.trigger.encode()))
        where = self._at(call.path, address) if call.path else address
        request = Request(where, headers, body, self.revision.timeout + BEYOND)
        self._calls[id] = None
        exchange = self._client.send(request, partial(self._answered, id, time.monotonic_ns()))
        if id in self._calls:
            self._calls[id] = exchange

    def _at(self, path: str, address: Address) -> Address:
        """Another path of the container. Triggers name few of them."""
        found = self._paths.get(path)
        if found is None:
            found = Address.parse(urljoin(address.url, path), http2=address.http2_only or None)
            self._paths[path] = found
        return found

    def _answered(self, id: int, started: int, answer: Answer) -> None:
        if id not in self._calls:
            return
        if answer.status == 0 and id not in self._cancelled:
            self._calls[id] = None
            self._owner.in_background(self._doubt(id, started, answer))
            return
        response = read_answer(answer, time.time())
        self._respond(id, Response(*response[:5], started))

    async def _doubt(self, id: int, started: int, answer: Answer) -> None:
        container = self.container
        if container is not None and await container.has_ended(DOUBT):
            return  # `ended` is on its way, and knows more.
        self._respond(id, Response(0, reason=answer.reason, started=started))

    def _respond(self, id: int, response: Response) -> None:
        if id not in self._calls:
            return
        del self._calls[id]
        self._cancelled.discard(id)
        self._listener.result(self, id, response)
        if self._draining and not self._calls:
            self._finish()

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._owner.drained(self)

    def _container_ended(self) -> None:
        if not self._over:
            self._over = True
            self._owner.died(self)
