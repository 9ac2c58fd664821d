"""Blocking calls of a client, one at a time, in a thread that nobody has to wait for.

A call that the client never comes back from is given up with its thread: librdkafka 2.16 waits
without end for a group's coordinator where that Kafka broker went away meanwhile.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_Call = Callable[[], None]


class Hung(TimeoutError):
    """The call did not return within its time."""


class ClientThread:
    """The thread is started when it is first needed, and ends with the process at the latest."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[_Call | None] | None = None

    async def run(self, within: float, function: Callable[[], T]) -> T:
        """What it returns or raises. Raises Hung after `within` seconds: then whatever the
        function uses belongs to the thread that was given up."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)  # type: ignore[arg-type]

        def call() -> None:
            try:
                result, error = function(), None
            except BaseException as raised:
                result, error = None, raised
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:
                pass  # The loop is closed: nobody waits any more.

        self._queue().put(call)
        done, _ = await asyncio.wait([answer], timeout=within)
        if not done:
            answer.cancel()
            self.close()
            raise Hung
        return answer.result()

    def _queue(self) -> "SimpleQueue[_Call | None]":
        if self._calls is None:
            self._calls = SimpleQueue()
            thread = threading.Thread(
                target=_work, args=(self._calls,), name=self._name, daemon=True
            )
            thread.start()
        return self._calls

    def close(self) -> None:
        """The thread ends once it has done what it was given."""
        calls, self._calls = self._calls, None
        if calls is not None:
            calls.put(None)


def _work(calls: "SimpleQueue[_Call | None]") -> None:
    while (call := calls.get()) is not None:
        call()
        # What the call refers to must not live until the next one comes.
        del call
