"""The pool's rules, on scripted workers and a clock the tests turn: no process, no waiting."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from still_clock import Clock

from eventing.event import Event
from functions.autoscaler import ScaleConfig
from functions.base import Call, Response
from functions.budget import WorkerBudget
from functions.pool import CANCEL_GRACE, PATIENCE, Pool
from functions.worker import Revision


@pytest.fixture(autouse=True, scope="module")
def two_cpus():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("functions.pool.available_cpus", lambda: 2)
        yield


class Worker:
    """A worker that does what the test says, and what it has to by the contract: it exits when
    killed, and when drained once its calls are answered."""

    def __init__(self, pid, listener, clock):
        self.pid = pid
        self.listener = listener
        self.clock = clock
        self.calls = {}
        self.cancelled = []
        self.between_calls = False
        self.is_ready = self.draining = self.killed = self.gone = False

    def call(self, id, call):
        assert not self.draining
        assert not self.killed
        self.calls[id] = call

    def cancel(self, id):
        self.cancelled.append(id)

    def drain(self):
        self.draining = True
        if not self.calls:
            self.clock.call_at(self.clock.now, lambda: self.exit("exited with status 0"))

    def kill(self):
        self.killed = True
        self.clock.call_at(self.clock.now, lambda: self.exit("killed by SIGKILL"))

    def ready(self):
        if not self.is_ready:
            self.is_ready = True
            self.listener.ready(self)

    def answer(self, response=None, *, took=0.0):
        """Answer its oldest call, whose handler was entered `took` seconds ago."""
        id = next(iter(self.calls))
        del self.calls[id]
        started = round((self.clock.now - took) * 1e9)
        self.listener.result(self, id, response or Response(200, started=started))
        if self.draining and not self.calls:
            self.exit("exited with status 0")

    def exit(self, reason):
        if not self.gone:
            self.gone = True
            self.listener.exited(self, reason)

    @property
    def events(self):
        return [call.event.attributes["id"] for call in self.calls.values()]


class Launcher:
    mode = "fork"

    def __init__(self, clock):
        self.clock = clock
        self.workers = []
        self.eager = False

    def launch(self, revision, listener):
        worker = Worker(len(self.workers) + 1, listener, self.clock)
        self.workers.append(worker)
        if self.eager:
            self.clock.call_at(self.clock.now, worker.ready)
        return worker

    @property
    def live(self):
        return [worker for worker in self.workers if not worker.gone]


class Bench:
    """A pool with its launcher and clock, and what became of each call by its event's id."""

    def __init__(self, *, scale=None, budget=None, clock=None, pool=None, **revision):
        self.clock = clock or Clock()
        self.launcher = Launcher(self.clock)
        self.changes = 0
        self.answers = {}
        self.pool = Pool(
            Revision("resize", "default", "app:resize", **revision),
            self.launcher,
            scale or ScaleConfig(max=8),
            budget=budget,
            clock=self.clock,
            on_change=self._changed,
            **(pool or {}),
        )

    def _changed(self, pool):
        assert pool is self.pool
        self.changes += 1

    def submit(self, *ids, timeout=None):
        for id in ids:
            self.answers.setdefault(id, [])
            call = Call(Event({"id": id}), 1, "trigger", timeout)
            self.pool.submit(call, self.answers[id].append)

    def answer(self, id):
        (response,) = self.answers[id]
        return response

    def waiting_for(self, id):
        return not self.answers[id]

    @property
    def workers(self):
        return self.launcher.workers

    def ready_worker(self):
        """A pool with one worker, ready and idle, of a handler that is known to be slow."""
        for id in ("slow-1", "slow-2"):
            self.submit(id)
            self.workers[0].ready()
            self.clock.advance(0.1)
            self.workers[0].answer(took=0.1)
        return self.workers[0]


def ids(prefix, number):
    return [f"{prefix}{index}" for index in range(number)]


# -- From zero


def test_the_first_call_starts_a_worker_and_is_sent_to_it_at_once():
    bench = Bench()
    bench.submit("a")
    assert [worker.events for worker in bench.workers] == [["a"]]


def test_calls_that_find_a_worker_starting_wait_for_it():
    bench = Bench()
    bench.submit("a", "b")
    assert len(bench.workers) == 1
    bench.workers[0].ready()
    bench.workers[0].answer()
    assert bench.workers[0].events == ["b"]


def test_start_brings_up_the_initial_scale():
    bench = Bench(scale=ScaleConfig(initial=2, max=4))
    bench.pool.start()
    assert len(bench.workers) == 2


def test_start_with_an_initial_scale_of_zero_starts_nothing():
    bench = Bench(scale=ScaleConfig(initial=0, max=4))
    bench.pool.start()
    assert bench.pool.zero


def test_a_cold_start_is_measured_from_acceptance_to_the_handlers_entry():
    bench = Bench()
    bench.submit("a", "b")
    bench.clock.advance(0.008)
    bench.workers[0].ready()
    bench.clock.advance(0.005)
    bench.workers[0].answer(took=0.003)
    bench.workers[0].answer()
    stats = bench.pool.stats()
    assert stats.cold_starts == 1
    assert stats.cold_start_seconds == pytest.approx([0.010])


# -- Which worker


def test_sync_calls_go_one_by_one_and_in_order():
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()
    bench.submit("a", "b", "c")
    seen = []
    while worker.calls:
        assert len(worker.calls) == 1
        seen += worker.events
        bench.clock.advance(0.01)
        worker.answer(took=0.01)
    assert seen == ["a", "b", "c"]


def learn(bench, worker, seconds):
    """Let the pool see how long the handler takes."""
    for id in ids("learn", 30):
        bench.submit(id)
        bench.clock.advance(seconds)
        worker.answer(took=seconds)


def test_short_handlers_get_calls_sent_ahead():
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()
    learn(bench, worker, 0.00048)
    bench.submit(*ids("a", 10))
    assert worker.events == ids("a", 4)


def test_slow_handlers_get_none():
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()
    learn(bench, worker, 0.1)
    bench.submit("a", "b")
    assert worker.events == ["a"]


def test_async_calls_are_sent_up_to_the_concurrency():
    bench = Bench(scale=ScaleConfig(max=1), sync=False, concurrency=3)
    worker = bench.ready_worker()
    bench.submit("a", "b", "c", "d")
    assert worker.events == ["a", "b", "c"]
    worker.answer()
    assert worker.events == ["b", "c", "d"]


def test_an_async_handler_without_a_limit_takes_a_hundred():
    bench = Bench(scale=ScaleConfig(max=1), sync=False, concurrency=0)
    worker = bench.ready_worker()
    bench.submit(*ids("a", 101))
    assert len(worker.calls) == 100


def two_workers(**revision):
    bench = Bench(scale=ScaleConfig(min=2, max=2), **revision)
    bench.pool.start()
    for worker in bench.workers:
        worker.ready()
    return bench, *bench.workers


def test_a_light_load_leaves_the_younger_worker_idle():
    bench, older, younger = two_workers()
    for id in ids("a", 5):
        bench.submit(id)
        assert (len(older.calls), len(younger.calls)) == (1, 0)
        older.answer()


def test_a_sync_call_goes_to_the_idle_worker_where_the_older_is_busy():
    bench, older, younger = two_workers()
    bench.submit("a", "b", "c")
    assert (older.events, younger.events) == (["a"], ["b"])
    younger.answer()
    assert (older.events, younger.events) == (["a"], ["c"])


def test_async_workers_are_filled_to_their_target_first_and_evenly_above_it():
    bench, older, younger = two_workers(sync=False, concurrency=10)
    bench.submit(*ids("a", 7))
    assert (len(older.calls), len(younger.calls)) == (7, 0)
    bench.submit(*ids("b", 7))
    assert (len(older.calls), len(younger.calls)) == (7, 7)
    bench.submit(*ids("c", 4))
    assert (len(older.calls), len(younger.calls)) == (9, 9)
    bench.submit(*ids("d", 4))
    assert (len(older.calls), len(younger.calls)) == (10, 10)
    assert bench.pool.stats().waiting == 2


# -- How many


def test_a_call_that_waits_too_long_has_another_worker_started_at_once():
    bench = Bench()
    bench.ready_worker()
    bench.submit("a", "b")
    bench.clock.advance(PATIENCE * 0.9)
    assert len(bench.workers) == 1
    bench.clock.advance(PATIENCE * 0.2)
    assert len(bench.workers) == 2
    bench.workers[1].ready()
    assert bench.workers[1].events == ["b"]


def test_a_burst_that_is_over_sooner_starts_nothing():
    bench = Bench()
    worker = bench.ready_worker()
    bench.submit(*ids("a", 10))
    for _ in range(10):
        bench.clock.advance(PATIENCE / 20)
        worker.answer(took=PATIENCE / 20)
    bench.clock.advance(1.0)
    assert len(bench.workers) == 1


def test_a_lasting_burst_doubles_the_workers_up_to_max():
    bench = Bench(scale=ScaleConfig(max=6))
    bench.launcher.eager = True
    bench.submit(*ids("a", 50))
    counts = []
    for _ in range(12):
        bench.clock.advance(PATIENCE / 2)
        counts.append(len(bench.workers))
    assert counts[0] == 1
    assert counts[-1] == 6
    assert all(after <= 2 * before for before, after in pairwise(counts))


def test_a_burst_starts_no_more_workers_than_it_has_calls():
    bench = Bench(scale=ScaleConfig(max=100))
    bench.launcher.eager = True
    bench.submit("a", "b", "c")
    bench.clock.advance(1.0)
    assert len(bench.workers) == 3


def test_no_more_workers_start_at_a_time_than_there_are_cpus():
    bench = Bench(scale=ScaleConfig(max=100))
    bench.submit(*ids("a", 50))
    bench.clock.advance(10.0)
    assert len(bench.workers) == 2
    bench.workers[0].ready()
    bench.clock.advance(1.0)
    assert len(bench.workers) == 3


def test_what_a_burst_started_stays_for_the_panics_stable_window():
    bench = Bench(scale=ScaleConfig(max=4))
    bench.launcher.eager = True
    bench.submit(*ids("a", 4))
    bench.clock.advance(1.0)
    assert len(bench.launcher.live) == 4
    for worker in bench.workers:
        worker.answer()
    bench.clock.advance(58.0)
    assert len(bench.launcher.live) == 4
    bench.clock.advance(8.0)
    assert len(bench.launcher.live) < 4


def test_the_autoscaler_adds_workers_for_lasting_concurrency_without_a_queue():
    bench = Bench(scale=ScaleConfig(max=8), sync=False, concurrency=10)
    worker = bench.ready_worker()
    bench.submit(*ids("a", 10))
    bench.clock.advance(2.0)
    assert len(bench.workers) == 2
    assert worker.events == ids("a", 10)


def test_by_rps_the_autoscaler_counts_calls_not_their_time():
    scale = ScaleConfig(max=8, metric="rps", target=10, target_utilization_percentage=100)
    bench = Bench(scale=scale)
    worker = bench.ready_worker()
    for id in ids("a", 60):
        bench.submit(id)
        worker.answer()
        bench.clock.advance(0.04)
    bench.clock.advance(0.1)
    assert len(bench.workers) == 3


def test_without_calls_a_revision_goes_to_zero_after_window_and_grace():
    bench = Bench()
    bench.ready_worker()
    bench.clock.advance(60.0 + 30.0 - 1.0)
    assert not bench.workers[0].draining
    bench.clock.advance(6.0)
    assert bench.workers[0].draining
    assert bench.pool.zero


def test_a_revision_at_zero_sets_no_alarm():
    bench = Bench()
    bench.ready_worker()
    bench.clock.advance(200.0)
    assert bench.pool.zero
    assert all(alarm.cancelled for _, _, alarm in bench.clock._alarms)


def test_a_revision_at_zero_wakes_again():
    bench = Bench()
    bench.ready_worker()
    bench.clock.advance(200.0)
    bench.submit("a")
    assert bench.workers[1].events == ["a"]


def test_a_call_that_lasts_longer_than_every_window_keeps_its_worker():
    bench = Bench(timeout=10_000)
    bench.ready_worker()
    bench.submit("long")
    bench.clock.advance(500.0)
    assert not bench.workers[0].draining


def test_min_workers_stay():
    bench = Bench(scale=ScaleConfig(min=1, max=4))
    bench.pool.start()
    bench.workers[0].ready()
    bench.clock.advance(500.0)
    assert bench.pool.stats().ready == 1


def test_the_worker_idle_longest_goes_first():
    bench = Bench(scale=ScaleConfig(initial=3, max=3, grace=1000))
    bench.launcher.eager = True
    bench.pool.start()
    bench.clock.advance(1.0)
    first, second, third = bench.workers
    bench.submit("a", "b", "c")
    for worker in (second, first, third):
        bench.clock.advance(0.001)
        worker.answer(took=0.001)
    while len(bench.launcher.live) == 3:
        bench.clock.advance(1.0)
    assert second.gone
    assert not third.gone


def test_a_drained_worker_ends_its_calls_and_gets_no_more():
    # By rps three calls that last are no load, so busy workers have to go.
    bench = Bench(scale=ScaleConfig(initial=3, max=3, metric="rps"), timeout=1000)
    bench.launcher.eager = True
    bench.pool.start()
    bench.clock.advance(1.0)
    bench.submit("a", "b", "c")
    bench.clock.advance(1.5)
    leaving = [worker for worker in bench.workers if worker.draining]
    assert len(leaving) == 2
    bench.submit("d")
    for worker in leaving:
        (id,) = worker.events
        worker.answer()
        assert bench.answer(id).status == 200
        assert worker.gone


def test_a_drained_worker_that_does_not_exit_is_killed_after_the_grace():
    bench = Bench(pool={"drain_grace": 5.0})
    worker = bench.ready_worker()
    worker.drain = lambda: None
    bench.pool.drain()
    bench.clock.advance(4.9)
    assert not worker.killed
    bench.clock.advance(0.2)
    assert worker.killed
    assert bench.pool.zero


# -- Deaths


def test_a_crash_fails_the_running_sync_call_alone():
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()
    learn(bench, worker, 0.00048)
    bench.submit(*ids("a", 6))
    assert worker.events == ids("a", 4)
    worker.exit("killed by SIGSEGV")
    assert bench.answer("a0") == Response(0, reason="worker killed by SIGSEGV")
    assert all(bench.waiting_for(id) for id in ids("a", 6)[1:])


def test_unstarted_calls_of_a_crashed_worker_keep_their_order_and_go_first():
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()
    learn(bench, worker, 0.00048)
    bench.submit(*ids("a", 6))
    worker.exit("killed by SIGSEGV")
    assert bench.workers[1].events == ["a1", "a2", "a3", "a4"]
    bench.workers[1].ready()
    bench.workers[1].answer()
    assert bench.workers[1].events == ["a2", "a3", "a4", "a5"]


def test_a_crash_fails_all_async_calls_in_flight():
    bench = Bench(scale=ScaleConfig(max=1), sync=False, concurrency=2)
    worker = bench.ready_worker()
    bench.submit("a", "b", "c")
    worker.exit("exited with status 3")
    for id in ("a", "b"):
        assert bench.answer(id) == Response(0, reason="worker exited with status 3")
    assert bench.workers[1].events == ["c"]


def test_a_worker_that_exits_between_calls_fails_none():
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()
    learn(bench, worker, 0.00048)
    bench.submit("a", "b")
    worker.answer()
    worker.between_calls = True
    worker.exit("out of memory")
    assert bench.waiting_for("b")
    assert bench.workers[1].events == ["b"]


def test_a_worker_that_dies_idle_is_replaced_when_the_autoscaler_next_looks():
    bench = Bench()
    worker = bench.ready_worker()
    worker.exit("killed by SIGKILL")
    assert len(bench.workers) == 1
    bench.clock.advance(2.0)
    assert len(bench.workers) == 2
    assert bench.pool.stats().restarts == 1
    assert bench.pool.stats().errors == ("killed by SIGKILL",)


def test_a_worker_that_dies_before_it_is_ready_costs_no_attempt():
    bench = Bench(sync=False, concurrency=5)
    bench.submit("a", "b")
    bench.workers[0].exit("exited with status 1")
    assert bench.waiting_for("a")
    bench.clock.advance(0.2)
    assert bench.workers[1].events == ["a", "b"]


def test_a_crash_loop_pauses_longer_each_time_and_then_fails_who_waits_for_it():
    bench = Bench()
    bench.submit("a", "b")
    bench.workers[0].exit("start-up hook failed: no model")
    bench.clock.advance(0.05)
    assert len(bench.workers) == 1
    bench.clock.advance(0.1)
    assert len(bench.workers) == 2
    bench.workers[1].exit("start-up hook failed: no model")
    bench.clock.advance(0.15)
    assert len(bench.workers) == 2
    bench.clock.advance(0.1)
    bench.workers[2].exit("start-up hook failed: no model")
    for id in ("a", "b"):
        reason = "no worker could start: start-up hook failed: no model"
        assert bench.answer(id) == Response(0, reason=reason)
    assert bench.pool.failing


def test_each_call_after_that_gets_one_more_start():
    bench = Bench()
    bench.submit("a")
    for number in range(3):
        bench.workers[number].exit("exited with status 1")
        bench.clock.advance(1.0)
    bench.clock.advance(30.0)
    assert len(bench.workers) == 3
    bench.submit("b")
    assert bench.workers[3].events == ["b"]
    bench.workers[3].exit("exited with status 1")
    assert bench.answer("b").status == 0


def test_a_worker_that_gets_ready_ends_the_crash_loop():
    bench = Bench()
    bench.submit("a")
    for number in range(2):
        bench.workers[number].exit("exited with status 1")
        bench.clock.advance(1.0)
    bench.workers[2].ready()
    bench.workers[2].answer()
    assert bench.answer("a").status == 200
    assert not bench.pool.failing


def test_failing_starts_do_not_fail_calls_a_ready_worker_will_take():
    bench = Bench()
    worker = bench.ready_worker()
    bench.submit("a", "b")
    for _ in range(6):
        bench.clock.advance(2.0)
        for starting in bench.workers[1:]:
            starting.exit("exited with status 1")
    assert bench.pool.stats().failed_starts >= 3
    assert bench.waiting_for("b")
    worker.answer()
    worker.answer()
    assert bench.answer("b").status == 200


def test_a_start_that_takes_too_long_is_killed_and_fails_who_waits_for_it():
    bench = Bench(scale=ScaleConfig(max=1), pool={"start_timeout": 7.0})
    bench.submit("a", "b")
    bench.clock.advance(6.9)
    assert not bench.workers[0].killed
    bench.clock.advance(0.2)
    assert bench.workers[0].killed
    for id in ("a", "b"):
        assert bench.answer(id) == Response(0, reason="no worker could start: not ready within 7 s")


# -- Time


def test_a_sync_handler_past_its_timeout_is_killed_and_its_call_answered():
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()
    bench.submit("a", "b")
    bench.clock.advance(29.9)
    assert not worker.killed
    bench.clock.advance(0.2)
    assert worker.killed
    assert bench.answer("a") == Response(0, reason="timed out after 30 s")
    assert bench.workers[1].events == ["b"]
    assert bench.pool.stats().kills == 1


def test_a_call_may_bring_its_own_timeout():
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()
    bench.submit("a", timeout=0.25)
    bench.clock.advance(0.3)
    assert worker.killed
    assert bench.answer("a").reason == "timed out after 0.25 s"


def test_time_in_the_queue_or_the_socket_is_not_the_handlers_time():
    bench = Bench(scale=ScaleConfig(max=1), timeout=1.0)
    worker = bench.ready_worker()
    learn(bench, worker, 0.00048)
    bench.submit(*ids("a", 6))
    assert len(worker.calls) == 4
    for _ in range(6):
        bench.clock.advance(0.9)
        worker.answer(took=0.9)
    assert [bench.answer(id).status for id in ids("a", 6)] == [200] * 6


def test_time_in_which_the_worker_starts_is_not_the_handlers_time():
    bench = Bench(timeout=1.0)
    bench.submit("a")
    bench.clock.advance(5.0)
    bench.workers[0].ready()
    bench.clock.advance(0.9)
    bench.workers[0].answer()
    assert bench.answer("a").status == 200


def test_calls_sent_ahead_to_a_hanging_worker_go_elsewhere_and_lose_no_attempt():
    bench = Bench(scale=ScaleConfig(max=1), timeout=1.0)
    worker = bench.ready_worker()
    learn(bench, worker, 0.00048)
    bench.submit("a", "b", "c")
    bench.clock.advance(1.1)
    assert bench.answer("a").status == 0
    assert bench.workers[1].events == ["b", "c"]


def test_an_async_handler_past_its_timeout_is_cancelled():
    bench = Bench(scale=ScaleConfig(max=1), sync=False, concurrency=5, timeout=3.0)
    worker = bench.ready_worker()
    bench.submit("a")
    bench.clock.advance(1.0)
    bench.submit("b")
    bench.clock.advance(2.1)
    assert len(worker.cancelled) == 1
    worker.answer(Response(500, reason="CancelledError"))
    assert bench.answer("a").reason == "timed out after 3 s"
    assert bench.waiting_for("b")
    assert not worker.killed


def test_an_async_handler_that_ends_well_while_it_is_cancelled_has_ended_well():
    bench = Bench(scale=ScaleConfig(max=1), sync=False, concurrency=5, timeout=3.0)
    worker = bench.ready_worker()
    bench.submit("a")
    bench.clock.advance(3.1)
    worker.answer()
    assert bench.answer("a").status == 200


def test_an_async_handler_that_ignores_its_cancellation_takes_the_worker_with_it():
    bench = Bench(scale=ScaleConfig(max=1), sync=False, concurrency=2, timeout=3.0)
    worker = bench.ready_worker()
    bench.submit("a")
    bench.clock.advance(1.5)
    bench.submit("b", "c")
    bench.clock.advance(1.6 + CANCEL_GRACE)
    assert worker.killed
    assert bench.answer("a").reason == "timed out after 3 s"
    assert "another call in it" in bench.answer("b").reason
    assert bench.workers[1].events == ["c"]


def test_a_result_after_the_timeout_is_not_heard():
    bench = Bench(scale=ScaleConfig(max=1), timeout=1.0)
    worker = bench.ready_worker()
    bench.submit("a")
    worker.kill = lambda: None
    bench.clock.advance(1.1)
    worker.answer()
    assert bench.answer("a").status == 0


# -- Sharing a node


def shared(limit, *initials):
    clock, budget = Clock(), WorkerBudget(limit)
    benches = [
        Bench(scale=ScaleConfig(initial=initial), budget=budget, clock=clock)
        for initial in initials
    ]
    for bench in benches:
        bench.launcher.eager = True
        bench.pool.start()
    clock.advance(0.5)
    return clock, budget, benches


def test_a_pool_without_max_is_bounded_by_the_budget():
    clock, _, (bench,) = shared(3, 0)
    bench.submit(*ids("a", 20))
    clock.advance(5.0)
    assert len(bench.launcher.live) == 3


def test_a_pool_with_max_does_not_count_against_the_budget():
    bench = Bench(scale=ScaleConfig(max=2), budget=(budget := WorkerBudget(1)))
    bench.ready_worker()
    assert budget.taken == 0


def test_a_pool_at_zero_gets_a_worker_though_another_has_taken_all():
    clock, budget, (greedy, other) = shared(2, 0, 0)
    greedy.submit(*ids("a", 20))
    clock.advance(1.0)
    assert budget.taken == 2
    other.submit("b")
    assert other.workers[0].events == ["b"]


def test_the_idle_worker_of_another_pool_goes_for_it():
    clock, budget, (idle, other) = shared(2, 2, 0)
    other.submit("b")
    clock.advance(0.0)
    assert len(idle.launcher.live) == 1
    assert budget.taken == 2


def test_an_idle_worker_a_pool_has_to_keep_is_not_taken():
    clock, budget = Clock(), WorkerBudget(1)
    kept = Bench(scale=ScaleConfig(min=1), budget=budget, clock=clock)
    kept.launcher.eager = True
    kept.pool.start()
    clock.advance(5.0)
    other = Bench(budget=budget, clock=clock, scale=ScaleConfig())
    other.submit("b")
    clock.advance(0.0)
    assert len(kept.launcher.live) == 1


def test_closed_pools_give_everything_back():
    clock, budget, (bench, other) = shared(4, 2, 2)
    assert budget.taken == 4
    bench.pool.drain()
    other.pool.drain()
    clock.advance(0.0)
    assert budget.taken == 0


# -- Bounds and the end


def test_calls_above_the_queues_bound_are_answered_503():
    bench = Bench(scale=ScaleConfig(max=1), pool={"max_waiting": 2})
    bench.ready_worker()
    bench.submit("a", "b", "c", "d")
    assert bench.answer("d") == Response(503, reason="queue full", retry_after=1.0)
    assert bench.waiting_for("c")


def test_a_draining_pool_takes_no_more_and_ends_what_it_has():
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()
    bench.submit("a", "b")
    bench.pool.drain()
    bench.submit("c")
    assert bench.answer("c").status == 503
    worker.answer()
    worker.answer()
    assert [bench.answer(id).status for id in ("a", "b")] == [200, 200]
    assert bench.pool.zero


def test_on_a_reload_what_no_worker_has_yet_goes_to_the_new_revision():
    bench, successor = Bench(scale=ScaleConfig(max=1)), Bench()
    worker = bench.ready_worker()
    bench.submit("a", "b", "c")
    bench.pool.drain(successor.pool)
    assert successor.workers[0].events == ["b"]
    worker.answer()
    assert bench.answer("a").status == 200
    assert bench.pool.zero
    successor.workers[0].ready()
    successor.workers[0].answer()
    successor.workers[0].answer()
    assert [bench.answer(id).status for id in ("b", "c")] == [200, 200]


def test_a_worker_that_crashes_while_its_pool_drains_is_replaced_for_what_it_had_not_begun():
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()
    learn(bench, worker, 0.00048)
    bench.submit("a", "b")
    bench.pool.drain()
    worker.exit("killed by SIGSEGV")
    assert bench.workers[1].events == ["b"]
    bench.workers[1].ready()
    bench.workers[1].answer()
    bench.clock.advance(0.0)
    assert bench.pool.zero


def test_close_returns_when_the_workers_are_gone():
    async def scenario():
        bench = Bench(scale=ScaleConfig(max=1))
        worker = bench.ready_worker()
        bench.submit("a")
        closing = asyncio.create_task(bench.pool.close(60.0))
        await asyncio.sleep(0)
        assert not closing.done()
        worker.answer()
        await closing
        assert bench.answer("a").status == 200
        assert bench.pool.zero

    asyncio.run(scenario())


def test_close_kills_what_outlasts_its_grace_and_answers_every_call():
    async def scenario():
        bench = Bench(scale=ScaleConfig(max=1))
        worker = bench.ready_worker()
        learn(bench, worker, 0.00048)
        bench.submit(*ids("a", 6))
        killed = worker.kill

        def kill():
            killed()
            bench.clock.advance(0.0)

        worker.kill = kill
        await bench.pool.close(0.01)
        assert "still running 0.01 s after shutdown" in bench.answer("a0").reason
        assert [bench.answer(id).status for id in ids("a", 6)] == [0, 503, 503, 503, 503, 503]
        assert bench.pool.zero

    asyncio.run(scenario())


def test_changes_are_told_but_not_call_by_call():
    bench = Bench()
    worker = bench.ready_worker()
    before = bench.changes
    assert before > 0
    for id in ids("a", 20):
        bench.submit(id)
        worker.answer()
    assert bench.changes == before
    worker.exit("killed by SIGKILL")
    assert bench.changes == before + 1


def test_a_listener_that_raises_does_not_take_other_calls_with_it(caplog):
    bench = Bench(scale=ScaleConfig(max=1))
    worker = bench.ready_worker()

    def broken(response):
        raise RuntimeError("listener")

    bench.pool.submit(Call(Event({"id": "x"}), 1, "trigger"), broken)
    bench.submit("a")
    worker.answer()
    worker.answer()
    assert bench.answer("a").status == 200
    assert "a response could not be taken" in caplog.text


def test_the_stats_tell_where_every_call_is():
    bench, older, _ = two_workers()
    bench.submit("a")
    stats = bench.pool.stats()
    assert (stats.ready, stats.starting, stats.idle) == (2, 0, 1)
    bench.submit("b", "c")
    stats = bench.pool.stats()
    assert (stats.in_flight, stats.waiting, stats.idle) == (2, 1, 0)
    older.answer()
    assert bench.pool.stats().answered == 1


# -- Whatever happens

ACTIONS = ["submit", "submit", "ready", "ready", "answer", "answer", "die", "wait", "long wait"]
ENDINGS = ["drain", "hand over", "close"]


def attend(bench):
    """Let every worker get ready and answer one call."""
    for worker in bench.launcher.live:
        worker.ready()
        if worker.calls:
            worker.answer()
    bench.clock.advance(0.05)


@given(
    sync=st.booleans(),
    most=st.integers(1, 4),
    script=st.lists(st.sampled_from(ACTIONS), max_size=80),
    ending=st.sampled_from(ENDINGS),
    random=st.randoms(use_true_random=False),
)
def test_every_call_is_answered_exactly_once_whatever_happens(sync, most, script, ending, random):
    scale = ScaleConfig(max=most, window=6, grace=1)
    bench = Bench(scale=scale, sync=sync, concurrency=3, timeout=5.0)
    for number, action in enumerate(script):
        live = [worker for worker in bench.launcher.live if not worker.killed]
        worker = random.choice(live) if live else None
        if action == "submit":
            bench.submit(f"call-{number}")
        elif action == "wait":
            bench.clock.advance(random.choice([0.0, 0.01, 0.05]))
        elif action == "long wait":
            bench.clock.advance(random.choice([1.0, 4.0, 20.0]))
        elif worker is None:
            continue
        elif action == "ready":
            worker.ready()
        elif action == "answer" and worker.calls and worker.is_ready:
            worker.answer(took=random.choice([0.0, 0.0001, 0.01]))
        elif action == "die":
            worker.exit("killed by SIGKILL")
        stats = bench.pool.stats()
        assert stats.ready + stats.starting <= most
        assert all(sync or len(worker.calls) <= 3 for worker in bench.launcher.live)
        assert all(len(answers) <= 1 for answers in bench.answers.values())
        unanswered = sum(not answers for answers in bench.answers.values())
        assert stats.in_flight + stats.waiting == unanswered

    successor = Bench(scale=scale, clock=bench.clock)
    if ending == "close":
        asyncio.run(closed(bench))
    else:
        bench.pool.drain(successor.pool if ending == "hand over" else None)
    for _ in range(1000):
        attend(bench)
        attend(successor)
        if all(bench.answers.values()) and bench.pool.zero:
            break
    assert bench.pool.zero
    assert all(len(answers) == 1 for answers in bench.answers.values())


async def closed(bench):
    """Close it, with nobody there to answer."""
    closing = asyncio.create_task(bench.pool.close(0))
    while not closing.done():
        await asyncio.sleep(0)
        bench.clock.advance(0.0)
    await closing
