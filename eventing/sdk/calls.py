"""The calls of one handler in a container: so many at a time, the others wait their turn.

What a node does for its workers is done here in the process itself: the timeout of an attempt, the
end of a handler that can't be interrupted, the bound on what waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from eventing.sdk import output
from eventing.sdk.answer import Answer

if TYPE_CHECKING:
    from queue import SimpleQueue

    from eventing.sdk.frames import CallFrame
    from eventing.sdk.handling import Handling, SyncHandling

MOST_WAITING: Final = 1000
"""Calls that wait for their turn; more are turned away."""
UNWINDING: Final = 1.0
"""Seconds a cancelled handler has to come to its end."""

TIMED_OUT: Final = 504
CALLER_GONE: Final = Answer(0, reason="whoever called has gone")
NOT_BEGUN: Final = Answer(503, reason="the function is shutting down; send again", retry_after=1)


class TooManyWaiting(Exception):
    """MOST_WAITING calls wait already; this one was not taken."""


class Execution(Protocol):
    """Runs one call of the handler."""

    interruptible: bool
    """Whether cancelling the future stops the handler."""

    def begin(self, call: CallFrame) -> asyncio.Future[Answer]: ...


class OnLoop:
    """An async handler, on this event loop."""

    interruptible = True

    def __init__(self, handling: Handling) -> None:
        self._handling = handling

    def begin(self, call: CallFrame) -> asyncio.Future[Answer]:
        return asyncio.get_running_loop().create_task(self._run(call))

    async def _run(self, call: CallFrame) -> Answer:
        output.enter_context(call.event)
        return await self._handling.run(call)


Job = tuple["CallFrame", "asyncio.Future[Answer]"]


class OnMainThread:
    """A sync handler, on the thread that imported it and ran its hooks: what belongs to a thread
    (an SQLite connection, a signal) works as it does in a worker process.

    `jobs` is read there by `work`; this side belongs to the event loop.
    """

    interruptible = False

    def __init__(self, jobs: SimpleQueue[Job | None]) -> None:
        self._jobs = jobs

    def begin(self, call: CallFrame) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._jobs.put((call, future))
        return future


def work(handling: SyncHandling, jobs: SimpleQueue[Job | None]) -> None:
    """Run jobs one after the other, on this thread, until None comes."""
    while (job := jobs.get()) is not None:
        call, future = job
        output.enter_process(call.event)
        answer = handling.run(call)
        output.enter_process(None)
        try:
            future.get_loop().call_soon_threadsafe(_settle, future, answer)
        except RuntimeError:
            return  # the loop has closed: nobody waits for this answer, and no other will come
        del job, call, future, answer  # not kept until the next comes


def _settle(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


class Calls:
    """Takes calls, up to `concurrency` at a time, each for `timeout` seconds at most (None = no
    limit) from its handler's start.

    `on_end(reason)` is called once where this process can't go on: a handler that does not stop,
    one that called sys.exit. From then on what has not begun is turned away.
    """

    def __init__(
        self,
        execution: Execution,
        *,
        concurrency: int,
        timeout: float | None,
        on_end: Callable[[str], None],
    ) -> None:
        self._execution = execution
        self._slots = asyncio.Semaphore(concurrency)
        self._timeout = timeout
        self._on_end = on_end
        self._waiting = 0
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._begun: set[asyncio.Task[Answer]] = set()
        self._ended = False

    def take(self, call: CallFrame) -> asyncio.Task[Answer]:
        """The call as a task of ours, which never raises. Raises TooManyWaiting."""
        if self._waiting >= MOST_WAITING:
            raise TooManyWaiting
        task = asyncio.get_running_loop().create_task(self._one(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def abandon(self, task: asyncio.Task[Answer]) -> None:
        """Nobody waits for its answer any more. A sync handler that has begun goes on to its end,
        and the next begins after it."""
        if self._execution.interruptible or task not in self._begun:
            task.cancel()

    async def drain(self, seconds: float) -> bool:
        """Wait for all that was taken; False where some is left after `seconds`."""
        if not self._tasks:
            return True
        _, left = await asyncio.wait(self._tasks, timeout=seconds)
        return not left

    async def _one(self, call: CallFrame) -> Answer:
        self._waiting += 1
        try:
            await self._slots.acquire()
        except asyncio.CancelledError:
            return CALLER_GONE
        finally:
            self._waiting -= 1
        task = asyncio.current_task()
        assert task is not None
        self._begun.add(task)
        try:
            if self._ended:
                return NOT_BEGUN
            answer = await self._within_time(self._execution.begin(call))
        finally:
            self._begun.discard(task)
            self._slots.release()
        if answer.ends_worker:
            self._end(answer.ends_worker)
        return answer

    async def _within_time(self, running: asyncio.Future[Answer]) -> Answer:
        gone = False
        try:
            done, _ = await asyncio.wait({running}, timeout=self._timeout)
        except asyncio.CancelledError:
            done, gone = set(), True
        if done:
            return _CANCELLED_ITSELF if running.cancelled() else running.result()
        reason = f"the handler ran past its timeout of {self._timeout:g} s" if not gone else ""
        if self._execution.interruptible:
            running.cancel()
            try:
                done, _ = await asyncio.wait({running}, timeout=UNWINDING)
            except asyncio.CancelledError:
                done = set()
            if done:
                return CALLER_GONE if gone else Answer(TIMED_OUT, reason=reason)
            self._end("a handler went on after it was cancelled")
        else:
            self._end(f"{reason}, and a sync handler can't be interrupted")
        return CALLER_GONE if gone else Answer(TIMED_OUT, reason=reason)

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(reason)


_CANCELLED_ITSELF = Answer(
    500, body=b"asyncio.CancelledError", reason="the handler was cancelled by its own code"
)
