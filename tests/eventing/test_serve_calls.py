"""Calls of a handler in a container: what waits has a bound and an order."""

import asyncio
import functools
from collections.abc import Callable, Coroutine

import pytest

from eventing.event import Event
from eventing.sdk.answer import Answer
from eventing.sdk.calls import MOST_WAITING, Calls, TooManyWaiting
from eventing.sdk.frames import CallFrame


def on_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


class Held:
    """A handler whose calls end when they are told to."""

    interruptible = True

    def __init__(self) -> None:
        self.running: dict[int, asyncio.Future[Answer]] = {}
        self.begun: list[int] = []

    def begin(self, call: CallFrame) -> asyncio.Future[Answer]:
        self.begun.append(call.id)
        self.running[call.id] = asyncio.get_running_loop().create_future()
        return self.running[call.id]

    def end(self, id: int, answer: Answer = Answer(200)) -> None:
        self.running.pop(id).set_result(answer)


def call(id: int) -> CallFrame:
    return CallFrame(id, Event({}), 1, "", None)


def calls(held: Held, ended: list[str] | None = None) -> Calls:
    on_end = (ended if ended is not None else []).append
    return Calls(held, concurrency=2, timeout=None, on_end=on_end)


async def turns() -> None:
    """Long enough for whatever is ready to have run."""
    for _ in range(10):
        await asyncio.sleep(0)


@on_loop
async def test_calls_begin_in_order_as_others_end() -> None:
    held = Held()
    taken = calls(held)
    tasks = [taken.take(call(id)) for id in range(4)]
    await turns()
    assert held.begun == [0, 1]
    held.end(1)
    await turns()
    assert held.begun == [0, 1, 2] and tasks[1].result().status == 200
    taken.abandon(tasks[3])
    held.end(0)
    held.end(2)
    await turns()
    assert held.begun == [0, 1, 2] and tasks[3].result().status == 0
    assert await taken.drain(5)


@on_loop
async def test_more_than_may_wait_are_turned_away() -> None:
    held = Held()
    taken = calls(held)
    for id in range(MOST_WAITING + 2):
        taken.take(call(id))
        await asyncio.sleep(0)
    with pytest.raises(TooManyWaiting):
        taken.take(call(-1))
    held.end(0)
    await turns()
    taken.take(call(-1))


@on_loop
async def test_after_one_that_ends_the_process_what_waits_is_turned_away() -> None:
    held, ended = Held(), []
    taken = calls(held, ended)
    tasks = [taken.take(call(id)) for id in range(3)]
    await turns()
    held.end(0, Answer(500, ends_worker="it called sys.exit"))
    await turns()
    assert ended == ["it called sys.exit"]
    assert (tasks[2].result().status, held.begun) == (503, [0, 1])
    assert not tasks[1].done()
    held.end(1)
    await turns()
    assert tasks[1].result().status == 200


@on_loop
async def test_draining_tells_what_is_left() -> None:
    held = Held()
    taken = calls(held)
    taken.take(call(1))
    assert not await taken.drain(0.01)
