"""Blocking calls in threads of their own, awaited on the event loop.

The threads are daemons: an engine that hangs can keep neither a call's waiter nor the process.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Work = Callable[[], None]


class Threads:
    """At most `count` threads, started as they are needed. A call whose waiter is gone, or whose
    time is up, runs to its end in its thread; nobody hears of it."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._started = 0
        self._in_hand = 0
        self._lock = threading.Lock()

    async def run(self, call: Callable[[], T], timeout: float) -> T:
        """What `call` returns or raises; TimeoutError after `timeout` seconds."""
        work, future = _prepare(call)
        with self._lock:
            self._in_hand += 1
            if self._started < min(self._in_hand, self._count):
                self._started += 1
                start_thread(self._serve, f"{self._name}-{self._started}")
        self._queue.put(work)
        async with asyncio.timeout(timeout):
            return await future

    def close(self) -> None:
        """End the threads once they have done what they are at."""
        for _ in range(self._started):
            self._queue.put(None)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            with self._lock:
                self._in_hand -= 1


async def run_alone(call: Callable[[], T], timeout: float, name: str) -> T:
    """As Threads.run, in a thread for this call alone: for what may take long."""
    work, future = _prepare(call)
    start_thread(work, name)
    async with asyncio.timeout(timeout):
        return await future


def start_thread(target: Callable[[], None], name: str) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()


def post(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> bool:
    """Have the loop call it; False where the loop is closed."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        return False
    return True


def _prepare(call: Callable[[], T]) -> tuple[_Work, "asyncio.Future[T]"]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def succeed(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # whatever it is, whoever waits has to be told
            post(loop, fail, error)
        else:
            post(loop, succeed, result)

    return work, future
