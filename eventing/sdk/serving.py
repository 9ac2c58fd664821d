"""A handler served over HTTP by this process: from its start-up hooks to its shutdown hooks.

A sync handler has the main thread, as in a worker, and HTTP a thread beside it, so health answers
while it works. An async handler shares the main thread's loop with HTTP.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from types import FrameType
from typing import Final, NoReturn

import uvloop

from eventing.errors import UserError
from eventing.sdk import limits, plain_log
from eventing.sdk.calls import Calls, Execution, Job, OnLoop, OnMainThread, work
from eventing.sdk.failure import one_line, place, user_traceback
from eventing.sdk.function import Function
from eventing.sdk.handling import AsyncHandling, Handling, Identity, SyncHandling
from eventing.sdk.http_app import HandlerApp
from eventing.sdk.http_server import HttpServer
from eventing.sdk.knative import KnativeHandling
from eventing.sdk.project import Handler

DEFAULT_CONCURRENCY: Final = 100
STOP_SECONDS: Final = 10.0
"""What shutdown hooks have."""
ALIVE_EVERY: Final = 10.0
LAST_ANSWERS: Final = 2.0
"""Seconds that answers have to leave in when this process can't go on."""
BLOCKED_SECONDS: Final = 5.0
"""Seconds beyond its timeout that a handler may hold up the event loop."""

FAILED: Final = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Settings:
    """As what, and how, a handler is served. `timeout` of a call in seconds (None = no limit),
    `concurrency` of an async handler (0 = 100), `grace` in seconds: what has begun when the
    process is asked to end has that long, `max_event_bytes` bounds a request."""

    name: str
    namespace: str
    timeout: float | None
    concurrency: int
    grace: float
    max_event_bytes: int
    access_log: bool


def serve(handler: Handler, sock: socket.socket, settings: Settings) -> NoReturn:
    """Run start-up hooks, serve on the bound `sock` until SIGTERM or SIGINT, run shutdown hooks,
    and end the process, without Python's `atexit`: with 0 after a signal, with 1 where it could not
    go on. Raises UserError for hooks that do not go with the handler."""
    target = handler.target
    identity = Identity(settings.name, settings.namespace, settings.timeout)
    limits.reset_signals()
    for number in _SIGNALS:
        # As process 1 of a container it would not die of a signal by default.
        signal.signal(number, _leave)
    if isinstance(target, Function) and target.sync:
        _end(_serve_sync(SyncHandling(target, identity), sock, settings))
    handling: Handling
    if isinstance(target, Function):
        handling = AsyncHandling(target, identity)
    else:
        handling = KnativeHandling(target, identity)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    # Not asyncio.run: it would wait for tasks and threads that the user's code has left behind.
    _end(loop.run_until_complete(_serve_async(handling, sock, settings)))


def _leave(number: int, frame: FrameType | None) -> None:
    """Before it is ready there is nothing to finish."""
    _end(128 + number)


def _end(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads any more, or the user's code has closed it
    os._exit(status)


class _Service:
    """The HTTP side, on its loop: serves until `stop` or `fail` is called there."""

    def __init__(self, sock: socket.socket, settings: Settings) -> None:
        self._sock = sock
        self._settings = settings
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked = False

    def stop(self) -> None:
        """As a signal asks; asked again, it goes at once."""
        if self._asked:
            plain_log.line("WARNING", "asked to end a second time: ends at once")
            _end(FAILED)
        self._asked = True
        self._finish("")

    def fail(self, reason: str) -> None:
        """This process can't go on."""
        self._finish(reason)

    def _finish(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(reason)

    async def run(self, execution: Execution, concurrency: int) -> str:
        """Why it ended, "" for a signal after which everything has been finished."""
        settings = self._settings
        calls = Calls(
            execution, concurrency=concurrency, timeout=settings.timeout, on_end=self.fail
        )
        app = HandlerApp(
            calls, max_event_bytes=settings.max_event_bytes, access_log=settings.access_log
        )
        server = HttpServer(app, self._sock)
        port = self._sock.getsockname()[1]
        await server.start()
        plain_log.line("INFO", f"{settings.name} is ready on port {port}")
        reason = await self._over
        grace = LAST_ANSWERS if reason else settings.grace
        await server.close(grace)
        if not await calls.drain(LAST_ANSWERS) and not reason:
            reason = f"calls were not over {grace:g} s after the signal to end"
        return reason


async def _serve_async(handling: Handling, sock: socket.socket, settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    try:
        await handling.start()
    except BaseException as error:
        return _hook_failed("start-up", error)
    service = _Service(sock, settings)
    for number in _SIGNALS:
        loop.add_signal_handler(number, service.stop)
    watches: list[asyncio.Task[None]] = []
    if isinstance(handling, KnativeHandling):
        watches.append(loop.create_task(_watch_alive(handling, service.fail)))
    if settings.timeout is not None:
        watches.append(loop.create_task(_beat(_LoopWatch(settings.timeout + BLOCKED_SECONDS))))
    reason = await service.run(OnLoop(handling), settings.concurrency or DEFAULT_CONCURRENCY)
    for watch in watches:
        watch.cancel()
    if reason:
        return _cannot_go_on(reason)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await handling.stop()
    except BaseException as error:
        return _hook_failed("shutdown", error)
    return 0


def _serve_sync(handling: SyncHandling, sock: socket.socket, settings: Settings) -> int:
    try:
        handling.start()
    except BaseException as error:
        return _hook_failed("start-up", error)
    jobs: SimpleQueue[Job | None] = SimpleQueue()
    # The signal's number comes out at the other end whatever this thread is doing; a handler in
    # Python would wait until it is back from C.
    alarm, bell = socket.socketpair()
    alarm.setblocking(False)
    bell.setblocking(False)

    def ring(number: int, frame: FrameType | None) -> None:
        # An event loop that the user's code runs here may have taken the place of ours.
        if signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False) != bell.fileno():
            bell.send(bytes([number]))

    for number in _SIGNALS:
        signal.signal(number, ring)
    signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    beside = threading.Thread(
        target=_run_beside, args=(sock, settings, jobs, alarm), name="http", daemon=True
    )
    beside.start()
    work(handling, jobs)
    beside.join()
    watchdog = threading.Timer(STOP_SECONDS, _stop_is_late)
    watchdog.daemon = True
    watchdog.start()
    try:
        handling.stop()
    except BaseException as error:
        return _hook_failed("shutdown", error)
    return 0


def _run_beside(
    sock: socket.socket, settings: Settings, jobs: SimpleQueue[Job | None], alarm: socket.socket
) -> None:
    """The thread of HTTP; ends the process itself where the main thread can't be had back."""

    async def run() -> str:
        service = _Service(sock, settings)

        def rung() -> None:
            numbers = alarm.recv(64)
            if any(number in _SIGNALS for number in numbers):
                service.stop()

        asyncio.get_running_loop().add_reader(alarm, rung)
        return await service.run(OnMainThread(jobs), 1)

    try:
        loop = uvloop.new_event_loop()
        reason = loop.run_until_complete(run())
    except BaseException as error:
        plain_log.line("CRITICAL", user_traceback(error))
        _end(FAILED)
    if reason:
        _end(_cannot_go_on(reason))
    jobs.put(None)


class _LoopWatch:
    """Ends the process where its event loop makes no turn for `seconds`: a handler blocks it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._turned = threading.Event()
        threading.Thread(target=self._watch, name="loop watch", daemon=True).start()

    def beat(self) -> None:
        self._turned.set()

    def _watch(self) -> None:
        while self._turned.wait(self._seconds):
            self._turned.clear()
        _end(_cannot_go_on(f"an async handler has blocked its event loop for {self._seconds:g} s"))


async def _beat(watch: _LoopWatch) -> None:
    while True:
        watch.beat()
        await asyncio.sleep(1)


async def _watch_alive(handling: KnativeHandling, fail: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(ALIVE_EVERY)
        try:
            alive = await handling.alive()
        except Exception:
            alive = False
        if not alive:
            fail("the function's alive() says no")


def _stop_is_late() -> None:
    plain_log.line("ERROR", f"the shutdown hooks were not over after {STOP_SECONDS:g} s")
    _end(FAILED)


def _cannot_go_on(reason: str) -> int:
    plain_log.line("ERROR", f"ends: {reason}")
    return FAILED


def _hook_failed(which: str, error: BaseException) -> int:
    where = place(error)
    if not isinstance(error, UserError):
        sys.stderr.write(user_traceback(error))
    why = str(error) if isinstance(error, UserError) else one_line(error)
    return _cannot_go_on(f"the {which} hook failed: {why}{f' ({where})' if where else ''}")
