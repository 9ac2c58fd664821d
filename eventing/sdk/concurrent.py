"""The serving loop of async functions: calls as tasks on asyncio, up to the concurrency."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

from eventing.sdk import output
from eventing.sdk.answer import Answer
from eventing.sdk.frames import (
    CALL,
    CANCEL,
    DRAIN,
    READY,
    STOPPING,
    CallFrame,
    FrameError,
    decode_call,
    encode,
)
from eventing.sdk.knative import KnativeHandling
from eventing.sdk.worker import CHUNK, Ended, Link, start_failed, stop_failed

if TYPE_CHECKING:
    from eventing.sdk.handling import Handling

_DEFAULT_CONCURRENCY = 100
_UNSENT_LIMIT = 1 << 20
"""Bytes of answers waiting for the node to read them, above which no more calls are read."""
_ALIVE_EVERY = 10.0


def serve(link: Link, handling: Handling, concurrency: int) -> NoReturn:
    """Serve until drained. Raises Ended, FrameError or EOFError, as the sync loop does."""
    server = _Server(link, handling, concurrency or _DEFAULT_CONCURRENCY)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        # Not asyncio.run: the process ends with this loop, and waiting for threads and tasks the
        # user's code has left behind could keep it from telling why.
        loop.run_until_complete(server.run())
    except SystemExit as error:  # out of a background task of the user's
        raise Ended(f"the function's code called sys.exit({error.code!r})") from None
    raise Ended("", between_calls=True)


class _Server:
    def __init__(self, link: Link, handling: Handling, concurrency: int) -> None:
        self._link = link
        self._socket: socket.socket = link.connection
        self._handling = handling
        self._concurrency = concurrency
        self._waiting: deque[CallFrame] = deque()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._cancelled: set[int] = set()
        self._unsent = bytearray()
        self._flushing = False
        self._blocked = False
        self._draining = False
        self._reason = ""

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()
        try:
            await self._handling.start()
        except BaseException as error:
            raise start_failed(error) from None
        output.finish()
        self._socket.setblocking(False)
        self._write(encode(READY, os.getpid()))
        self._loop.add_reader(self._socket, self._readable)
        frames, self._link.unread = self._link.unread, []
        try:
            self._take(frames)
        except FrameError as error:
            self._fail(error)
        alive = None
        if isinstance(self._handling, KnativeHandling):
            alive = self._loop.create_task(self._watch(self._handling))
        try:
            await self._end
        finally:
            if alive is not None:
                alive.cancel()
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.setblocking(True)
        self._flush_all()
        if self._reason:
            raise Ended(self._reason, between_calls=True)
        self._link.send(encode(STOPPING))
        try:
            await self._handling.stop()
        except BaseException as error:
            raise stop_failed(error) from None

    async def _watch(self, handling: KnativeHandling) -> None:
        while True:
            await asyncio.sleep(_ALIVE_EVERY)
            try:
                alive = await handling.alive()
            except Exception:
                alive = False
            if not alive:
                self._fail(Ended("the function's alive() says no"))

    def _fail(self, error: Exception) -> None:
        if not self._end.done():
            self._end.set_exception(error)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(CHUNK)
            if not data:
                raise EOFError
            self._take(list(self._link.reader.feed(data)))
        except BlockingIOError:
            pass
        except (OSError, EOFError, FrameError) as error:
            self._fail(error)

    def _take(self, frames: list[list[Any]]) -> None:
        for frame in frames:
            kind = frame[0]
            if kind == CALL:
                self._waiting.append(decode_call(frame))
            elif kind == CANCEL and len(frame) == 2 and isinstance(frame[1], int):
                self._cancel(frame[1])
            elif kind == DRAIN:
                self._draining = True
            else:
                raise FrameError(f"a frame of kind {kind} that is out of place")
        self._begin()

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self._concurrency and not self._reason:
            call = self._waiting.popleft()
            task = self._loop.create_task(self._one_call(call))
            self._running[call.id] = task
        idle = not self._running and (not self._waiting or self._reason)
        if idle and (self._draining or self._reason) and not self._end.done():
            self._end.set_result(None)

    def _cancel(self, id: int) -> None:
        task = self._running.get(id)
        if task is not None:  # and it has taken its first step, which was queued before this frame
            self._cancelled.add(id)
            task.cancel()
            return
        for call in self._waiting:
            if call.id == id:
                self._waiting.remove(call)
                self._write(_CANCELLED.encode(id))
                return

    async def _one_call(self, call: CallFrame) -> None:
        output.enter_context(call.event)
        try:
            answer = await self._handling.run(call)
        except asyncio.CancelledError:
            answer = _CANCELLED if call.id in self._cancelled else _CANCELLED_ITSELF
        if answer.log:
            output.stderr.record("ERROR", answer.log)
        output.finish()
        if answer.ends_worker:
            self._reason = answer.ends_worker
        self._cancelled.discard(call.id)
        self._running.pop(call.id, None)
        self._write(answer.encode(call.id))
        self._begin()

    def _write(self, data: bytes) -> None:
        self._unsent += data
        if not self._flushing and not self._blocked:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Answers given in one turn of the loop leave in one write."""
        self._flushing = False
        if self._blocked or not self._unsent or self._end.done():
            return
        try:
            sent = self._socket.send(self._unsent)
            del self._unsent[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(error)
            return
        if self._unsent:
            self._blocked = True
            self._loop.add_writer(self._socket, self._writable)
            if len(self._unsent) > _UNSENT_LIMIT:
                self._loop.remove_reader(self._socket)

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket)
        self._blocked = False
        self._flush()
        if len(self._unsent) <= _UNSENT_LIMIT and not self._end.done():
            self._loop.add_reader(self._socket, self._readable)

    def _flush_all(self) -> None:
        if self._unsent:
            self._link.send(bytes(self._unsent))
            self._unsent.clear()


_CANCELLED = Answer(0, reason="cancelled")
_CANCELLED_ITSELF = Answer(
    500, body=b"asyncio.CancelledError", reason="the handler was cancelled by its own code"
)
