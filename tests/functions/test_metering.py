"""What a pool tells its meter, and what the metering makes of it: on scripted workers, a clock the
tests turn, and a store that fails when it is told to."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from still_clock import Clock

from eventing.errors import StorageError
from eventing.event import Event
from functions.autoscaler import ScaleConfig
from functions.base import Call, Response
from functions.meter import Meter
from functions.metering import EVERY, QUIET, Metering
from functions.pool import CANCEL_GRACE, Pool
from functions.usage import DEFAULT_MEMORY, GB, NOTHING, HourOf, Usage, hour_of
from functions.worker import Revision, StartMode, Worker, WorkerListener

HALF = GB // 2


class Scripted:
    """A worker that does what the test says."""

    pid = 1
    between_calls = False

    def __init__(self, clock: Clock, listener: WorkerListener) -> None:
        self._clock = clock
        self._listener = listener
        self.ids: list[int] = []

    def call(self, id: int, call: Call) -> None:
        self.ids.append(id)

    def cancel(self, id: int) -> None: ...

    def drain(self) -> None:
        self.exit("drained")

    def kill(self) -> None:
        self._clock.call_at(self._clock.now, lambda: self.exit("killed by SIGKILL"))

    def ready(self) -> None:
        self._listener.ready(self)

    def answer(self, *, took: float | None, status: int = 200, number: int = 0) -> None:
        """Answer a call (the oldest, or that of a `number`), whose handler was entered `took`
        seconds ago; None = it does not say."""
        started = 0 if took is None else round((self._clock.now - took) * 1e9)
        self._listener.result(self, self.ids.pop(number), Response(status, started=started))

    def exit(self, reason: str) -> None:
        self._listener.exited(self, reason)


class Launcher:
    mode: StartMode = "fork"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.workers: list[Scripted] = []

    def launch(self, revision: Revision, listener: WorkerListener) -> Worker:
        self.workers.append(Scripted(self._clock, listener))
        return self.workers[-1]


class Bench:
    """A pool with a meter of half a gigabyte a worker."""

    def __init__(self, *, sync: bool = True, timeout: float = 30.0, workers: int = 1) -> None:
        self.clock = Clock()
        self.meter = Meter(HALF, self.clock.now)
        self.launcher = Launcher(self.clock)
        self.pool = Pool(
            Revision("f", "default", "app:f", sync=sync, concurrency=100, timeout=timeout),
            self.launcher,
            ScaleConfig(max=workers),
            clock=self.clock,
            meter=self.meter,
        )
        self.answers: list[Response] = []

    def submit(self, number: int = 1) -> None:
        for _ in range(number):
            self.pool.submit(Call(Event({"id": "1"}), 1, "trigger"), self.answers.append)

    def ready(self) -> Scripted:
        """A worker, ready at this moment, that has one call; what came before is taken."""
        self.submit()
        [worker] = self.launcher.workers
        worker.ready()
        self.take()
        return worker

    def take(self) -> Usage:
        return self.meter.take(self.clock.now)


def near(**figures: float) -> Any:
    """The figures of a Usage with these alone, to the microsecond."""
    return pytest.approx(Usage(**figures).figures(), abs=1e-6)  # type: ignore[arg-type]


# -- A pool's calls


def test_a_call_counts_from_the_handlers_entry_to_its_answer() -> None:
    bench = Bench()
    worker = bench.ready()
    bench.clock.advance(0.75)
    worker.answer(took=0.5)
    used = bench.take()
    assert used.invocations == 1 and used.failed == 0
    assert used.execution == pytest.approx(0.5)
    assert used.gb_seconds == pytest.approx(0.25)
    assert used.idle == pytest.approx(0.25)


@pytest.mark.parametrize("status", [0, 404, 500])
def test_an_answer_that_is_not_2xx_has_failed(status: int) -> None:
    bench = Bench()
    bench.ready().answer(took=0.0, status=status)
    used = bench.take()
    assert (used.invocations, used.failed) == (1, 1)


def test_an_answer_that_does_not_say_when_it_began_counts_from_its_sending() -> None:
    bench = Bench()
    worker = bench.ready()
    bench.clock.advance(0.5)
    worker.answer(took=None)
    assert bench.take().execution == pytest.approx(0.5)


def test_answers_of_one_worker_that_are_read_late_and_together_count_no_time_twice() -> None:
    bench = Bench()
    worker = bench.ready()
    bench.clock.advance(0.00004)
    for _ in range(40):
        worker.answer(took=0.00004)
        bench.submit()
        bench.clock.advance(0.00004)
    bench.take()
    bench.submit(9)
    assert len(worker.ids) == 10, "calls were sent ahead"
    bench.clock.advance(0.1)
    # The first began 100 ms ago, the next 90 ms ago …
    for tenth in range(10, 0, -1):
        worker.answer(took=tenth / 100)
    used = bench.take()
    assert used.invocations == 10
    assert used.execution == used.busy == pytest.approx(0.1)


def test_calls_that_share_a_worker_count_each_while_its_memory_counts_once() -> None:
    bench = Bench(sync=False)
    worker = bench.ready()
    bench.clock.advance(1.0)
    bench.submit()
    bench.clock.advance(2.0)
    worker.answer(took=2.0, number=1)
    bench.clock.advance(1.0)
    worker.answer(took=4.0)
    used = bench.take()
    assert used.execution == pytest.approx(2.0 + 4.0)
    assert used.busy == pytest.approx(4.0)
    assert used.gb_seconds == pytest.approx(2.0)


def test_a_lone_call_of_an_async_handler_counts_from_its_entry() -> None:
    bench = Bench(sync=False)
    worker = bench.ready()
    bench.clock.advance(1.0)
    worker.answer(took=0.25)
    bench.clock.advance(1.0)
    bench.submit()
    bench.clock.advance(1.0)
    worker.answer(took=0.75)
    used = bench.take()
    assert used.busy == used.execution == pytest.approx(1.0)
    assert used.idle == pytest.approx(2.0)


@pytest.mark.parametrize("sync", [True, False])
def test_the_time_of_a_call_that_goes_on_counts_as_it_passes(sync: bool) -> None:
    bench = Bench(sync=sync)
    worker = bench.ready()
    bench.clock.advance(3.0)
    first = bench.take()
    assert first.invocations == 0
    assert first.busy == pytest.approx(3.0)
    bench.clock.advance(2.0)
    worker.answer(took=5.0)
    second = bench.take()
    assert second.invocations == 1
    assert second.busy == pytest.approx(2.0)
    assert first.execution + second.execution == pytest.approx(5.0)
    assert second.idle == pytest.approx(0.0)


def test_a_handler_that_is_killed_past_its_time_counts_with_all_of_it() -> None:
    bench = Bench(timeout=2.0)
    bench.ready()
    bench.clock.advance(10.0)
    used = bench.take()
    assert bench.answers[-1].reason == "timed out after 2 s"
    assert (used.invocations, used.failed) == (1, 1)
    assert used.execution == used.busy == pytest.approx(2.0)


def test_an_async_handler_that_ignores_its_end_counts_until_its_worker_is_killed() -> None:
    bench = Bench(sync=False, timeout=2.0)
    bench.ready()
    bench.clock.advance(10.0)
    used = bench.take()
    assert (used.invocations, used.failed) == (1, 1)
    assert used.execution == used.busy == pytest.approx(2.0 + CANCEL_GRACE)


def test_a_crash_counts_the_call_it_took_and_not_those_that_had_not_begun() -> None:
    bench = Bench()
    worker = bench.ready()
    bench.submit()
    bench.clock.advance(0.5)
    worker.exit("killed by SIGSEGV")
    used = bench.take()
    assert (used.invocations, used.failed) == (1, 1)
    assert used.execution == used.busy == pytest.approx(0.5)


def test_calls_that_no_handler_was_entered_for_are_no_invocations() -> None:
    bench = Bench()
    bench.submit()
    for _ in range(3):
        bench.launcher.workers[-1].exit("start-up hook failed: no")
        bench.clock.advance(1.0)
    assert "no worker could start" in bench.answers[-1].reason
    bench.pool.drain()
    bench.submit()
    assert bench.answers[-1].status == 503
    used = bench.take()
    assert (used.invocations, used.failed, used.execution, used.busy) == (0, 0, 0.0, 0.0)


# -- A pool's workers


def test_the_time_of_workers_counts_from_launch_to_exit_and_the_rest_is_time_at_zero() -> None:
    bench = Bench()
    bench.clock.advance(10.0)
    bench.submit()
    [worker] = bench.launcher.workers
    bench.clock.advance(0.25)
    worker.ready()
    bench.clock.advance(0.75)
    worker.answer(took=0.5)
    bench.clock.advance(0.5)
    worker.exit("exited with status 0")
    bench.clock.advance(0.25)
    assert bench.take().figures() == near(
        invocations=1,
        execution=0.5,
        busy=0.5,
        gb_seconds=0.25,
        instances=1.5,
        idle=0.75,
        cold_starts=1,
        cold_start=0.5,
        zero=10.25,
        avoided_gb_seconds=5.125,
    )


def test_a_revision_that_takes_no_more_calls_avoids_no_cost() -> None:
    bench = Bench()
    bench.ready().answer(took=0.0)
    bench.pool.drain()
    assert bench.meter.over
    bench.clock.advance(5.0)
    assert bench.take().zero == 0.0


def test_without_a_limit_a_worker_counts_with_the_default() -> None:
    meter = Meter(None, 0.0)
    assert meter.take(8.0).avoided_gb_seconds == 8.0 * DEFAULT_MEMORY / GB == 1.0


@given(
    sync=st.booleans(),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["submit", "answer", "fail", "crash", "take"]),
            st.integers(0, 5_000).map(lambda milliseconds: milliseconds / 1000),
        ),
        max_size=40,
    ),
)
def test_whatever_happens_and_whenever_it_is_asked_the_sums_hold(
    sync: bool, steps: list[tuple[str, float]]
) -> None:
    bench = Bench(sync=sync, timeout=7.0, workers=3)
    total = bench.take()
    began = bench.clock.now
    for step, passes in steps:
        bench.clock.advance(passes)
        live = [each for each in bench.pool._roster.everyone if isinstance(each.worker, Scripted)]
        busy = [each.worker for each in live if each.calls and each.started]
        match step:
            case "submit":
                bench.submit()
                for member in tuple(bench.pool._roster.starting):
                    member.ready(member.worker)
            case "answer" | "fail" if busy:
                worker = busy[0]
                assert isinstance(worker, Scripted)
                worker.answer(took=None, status=200 if step == "answer" else 500)
            case "crash" if live:
                worker = live[0].worker
                assert isinstance(worker, Scripted)
                worker.exit("crashed")
            case "take":
                total += bench.take()
    total += bench.take()
    passed = bench.clock.now - began
    assert total.invocations == len(bench.answers)
    assert total.failed == sum(not 200 <= each.status < 300 for each in bench.answers)
    assert total.zero + total.instances >= passed - 1e-6, "at every time there is a worker or none"
    assert total.busy + total.idle <= total.instances + 1e-6
    assert total.gb_seconds == pytest.approx(total.busy / 2)
    if sync:
        assert total.execution == pytest.approx(total.busy)
    else:
        assert min(total.figures()) >= 0


# -- The metering


class Memory:
    """A store that keeps what it is given, fails while it is told to, and may be slow."""

    def __init__(self) -> None:
        self.kept: dict[HourOf, Usage] = {}
        self.writes = 0
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False

    async def add(self, usage: Mapping[HourOf, Usage]) -> None:
        self.writes += 1
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        for key, used in usage.items():
            self.kept[key] = self.kept.get(key, NOTHING) + used

    async def close(self) -> None:
        self.closed = True

    @property
    def total(self) -> Usage:
        return sum(self.kept.values(), NOTHING)


class Times:
    """A wall clock and a steady one, moved by hand."""

    def __init__(self, wall: float) -> None:
        self.wall = wall
        self.steady = 50.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


SOME_HOUR = hour_of(1_800_000_000.0)


def awaited(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(30):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


def metering(store: Memory, times: Times) -> Metering:
    return Metering(store, wall=lambda: times.wall, steady=lambda: times.steady)


def call(meter: Meter, number: int = 1) -> None:
    meter.invocations += number


@awaited
async def test_what_was_counted_is_stored_by_revision_and_hour() -> None:
    store, times = Memory(), Times(SOME_HOUR)
    counting = metering(store, times)
    one = counting.meter("shop", "price", "price-00001", None)
    two = counting.meter("shop", "price", "price-00002", GB)
    call(one, 3)
    call(two, 4)
    times.pass_(10)
    await counting.flush()
    call(two)
    await counting.flush()
    assert {key: used.invocations for key, used in store.kept.items()} == {
        HourOf(SOME_HOUR, "shop", "price", "price-00001"): 3,
        HourOf(SOME_HOUR, "shop", "price", "price-00002"): 5,
    }
    assert store.total.avoided_gb_seconds == pytest.approx(10 * 1.125)


@awaited
async def test_what_was_used_before_the_end_of_an_hour_counts_in_it() -> None:
    store, times = Memory(), Times(SOME_HOUR + 3600 - 2)
    counting = metering(store, times)
    meter = counting.meter("default", "f", "f-00001", None)
    call(meter, 2)
    times.pass_(2.001)
    await counting.flush()
    call(meter, 5)
    times.pass_(1)
    await counting.flush()
    assert {key.hour - SOME_HOUR: used.invocations for key, used in store.kept.items()} == {
        0: 2,
        3600: 5,
    }


@awaited
async def test_a_clock_that_is_set_moves_usage_and_makes_none() -> None:
    store, times = Memory(), Times(0.0)
    counting = metering(store, times)
    counting.meter("default", "f", "f-00001", None)
    times.pass_(3)
    times.wall += SOME_HOUR  # It has found the time of day.
    await counting.flush()
    times.pass_(3)
    times.wall -= 7200
    await counting.flush()
    times.pass_(3)
    await counting.flush()
    assert {key.hour: used.zero for key, used in store.kept.items()} == {
        0: pytest.approx(3),
        SOME_HOUR: pytest.approx(3),
        SOME_HOUR - 7200: pytest.approx(3),
    }


@awaited
async def test_a_store_that_fails_loses_nothing_and_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    store, times = Memory(), Times(SOME_HOUR)
    counting = metering(store, times)
    meter = counting.meter("default", "f", "f-00001", None)
    store.fault = StorageError("the file of usage usage.db failed: the disk is full")
    for _ in range(3):
        call(meter, 2)
        await counting.flush()
    assert store.kept == {}
    assert [record.message for record in caplog.records] == [
        "the file of usage usage.db failed: the disk is full; usage is counted in memory and "
        "stored as soon as that works"
    ]
    told, unsaved = await counting.read(lambda: asyncio.sleep(0, "stored"))
    assert told == "stored" and [used.invocations for used in unsaved.values()] == [6]
    store.fault = None
    call(meter)
    await counting.flush()
    assert store.total.invocations == 7
    assert "usage is stored again" in caplog.records[-1].message
    await counting.flush()
    assert store.total.invocations == 7


@awaited
async def test_a_flush_that_is_cancelled_is_finished_and_counts_once() -> None:
    store, times = Memory(), Times(SOME_HOUR)
    counting = metering(store, times)
    call(counting.meter("default", "f", "f-00001", None), 4)
    store.gate.clear()
    flush = asyncio.ensure_future(counting.flush())
    while not store.writes:
        await asyncio.sleep(0)
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    store.gate.set()
    await counting.flush()
    assert store.total.invocations == 4


@awaited
async def test_closing_stores_what_there_is_and_closes_the_store() -> None:
    store = Memory()
    counting = Metering(store)
    meter = counting.meter("default", "f", "f-00001", None)
    await counting.start()
    call(meter, 9)
    await counting.close()
    await counting.close()
    assert store.total.invocations == 9
    assert store.closed


@awaited
async def test_closing_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    store, times = Memory(), Times(SOME_HOUR)
    counting = metering(store, times)
    call(counting.meter("default", "f", "f-00001", None), 9)
    store.fault = StorageError("no")
    await counting.close()
    said = "usage that could not be stored is lost: 9 invocations since 2027-01-15T08:00Z"
    assert said in [record.message for record in caplog.records]
    assert store.closed


@awaited
async def test_a_store_that_hangs_holds_up_neither_who_asks_nor_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("functions.metering.READING", 0.01)
    monkeypatch.setattr("functions.metering.CLOSING", 0.01)
    store, times = Memory(), Times(SOME_HOUR)
    counting = metering(store, times)
    call(counting.meter("default", "f", "f-00001", None), 9)
    store.gate.clear()
    with pytest.raises(StorageError, match="does not tell usage within"):
        await counting.read(lambda: asyncio.sleep(0))
    await counting.close()
    assert store.closed
    assert "the disk does not store usage within" in caplog.text
    store.gate.set()
    with pytest.raises(StorageError, match="shutting down"):
        await counting.read(lambda: asyncio.sleep(0))


@awaited
async def test_calls_are_stored_within_seconds_and_mere_time_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, times = Memory(), Times(SOME_HOUR)
    turned = asyncio.Semaphore(0)

    class Turning(Metering):
        def _pause(self) -> float:
            turned.release()
            return 0.001

    counting = Turning(store, wall=lambda: times.wall, steady=lambda: times.steady)
    meter = counting.meter("default", "f", "f-00001", None)
    await counting.start()

    async def two_turns() -> None:
        for _ in range(3):
            await turned.acquire()

    times.pass_(EVERY)
    await two_turns()
    assert store.writes == 0
    call(meter)
    await two_turns()
    assert store.total.invocations == 1
    times.pass_(QUIET)
    await two_turns()
    assert store.total.zero == pytest.approx(EVERY + QUIET)
    await counting.close()


def test_the_pause_never_reaches_into_another_hour() -> None:
    times = Times(SOME_HOUR + 100)
    counting = metering(Memory(), times)
    assert counting._pause() == EVERY
    times.wall = SOME_HOUR + 3600 - 1.5
    assert counting._pause() == pytest.approx(1.5)


@awaited
async def test_the_meter_of_a_revision_that_is_over_is_forgotten_with_all_it_counted() -> None:
    store, times = Memory(), Times(SOME_HOUR)
    counting = metering(store, times)
    meter = counting.meter("default", "f", "f-00001", None)
    meter.worker_launched(times.steady)
    meter.retired(times.steady)
    await counting.flush()
    call(meter)
    meter.worker_gone(False, times.steady)
    await counting.flush()
    assert store.total.invocations == 1
    assert counting._meters == []
