"""The pool over real processes: what is promised when they are killed, hang or won't start."""

import asyncio
import os
import signal
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from eventing.event import Event
from functions.autoscaler import ScaleConfig
from functions.base import Call
from functions.pool import Pool
from functions.process import Project
from functions.worker import Revision

APP = '''
import asyncio
import os
import time

from eventing import function, on_start


def note(event):
    """One line for each call that began: what the tests read."""
    line = f"{event.get_id()} {os.getpid()}\\n"
    out = os.open(os.environ["OUT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(out, line.encode())
    os.close(out)


@function
def work(event):
    note(event)
    if event.get_type() == "hang":
        while True:
            time.sleep(1)
    if event.get_type() == "slow":
        time.sleep(0.3)
    return {"pid": os.getpid()}


running = 0


@function(concurrency=5)
async def together(event):
    """Ends once five calls are in this worker at the same time."""
    global running
    note(event)
    if event.get_type() == "hang":
        await asyncio.sleep(3600)
    if event.get_type() == "block":
        time.sleep(3600)
    running += 1
    while running < 5:
        await asyncio.sleep(0.001)


@function
def broken(event):
    return None


@broken.on_start
def fail():
    raise RuntimeError("no model here")


@function
def vanishing(event):
    return None


@vanishing.on_start
def vanish():
    os._exit(7)


@function
def sluggish(event):
    return None


@sluggish.on_start
def sleep_long():
    time.sleep(3600)
'''


class Runs:
    """Calls to a pool, and what came of them."""

    def __init__(self, launcher, out):
        self.launcher = launcher
        self.out = out
        self.responses = {}
        self.changed = asyncio.Event()

    def pool(self, handler, scale=None, **revision):
        start_timeout = revision.pop("start_timeout", 60.0)
        return Pool(
            Revision(handler, "default", f"app:{handler}", env={"OUT": str(self.out)}, **revision),
            self.launcher,
            scale or ScaleConfig(max=1),
            start_timeout=start_timeout,
            on_change=lambda pool: self.changed.set(),
        )

    def submit(self, pool, *ids, type="quick", timeout=None):
        """Futures of the responses, in the order of the ids."""
        futures = []
        for id in ids:
            future = asyncio.get_running_loop().create_future()
            attributes = {"specversion": "1.0", "id": id, "source": "/test", "type": type}
            pool.submit(Call(Event(attributes), 1, "trigger", timeout), future.set_result)
            futures.append(future)
        return futures

    def begun(self):
        """(event id, process id) of every call whose handler was entered."""
        if not self.out.exists():
            return []
        lines = self.out.read_text().splitlines()
        return [(id, int(pid)) for id, pid in map(str.split, lines)]

    async def until_begun(self, id):
        """The process that runs the call."""
        while True:
            for each, pid in self.begun():
                if each == id:
                    return pid
            await asyncio.sleep(0.002)

    async def until(self, pool, condition):
        while not condition(pool):
            self.changed.clear()
            await self.changed.wait()


def run(tmp_path, scenario):
    @asynccontextmanager
    async def project():
        path = tmp_path / "app.py"
        path.write_text(APP)
        started = await Project.start([path], on_log=lambda line: None)
        try:
            yield Runs(started.launcher, tmp_path / "calls")
        finally:
            await started.close()

    async def main():
        async with asyncio.timeout(60), project() as runs:
            await scenario(runs)

    asyncio.run(main())


def test_a_call_wakes_the_function_from_zero(tmp_path):
    async def scenario(runs):
        pool = runs.pool("work")
        assert pool.zero
        (response,) = await asyncio.gather(*runs.submit(pool, "a"))
        assert response.status == 200
        assert response.started > 0
        stats = pool.stats()
        assert stats.cold_starts == 1
        assert 0 < stats.cold_start_seconds[0] < 30
        await pool.close(5)

    run(tmp_path, scenario)


def test_kill_9_of_a_busy_worker_fails_the_call_it_ran_and_loses_none(tmp_path):
    async def scenario(runs):
        pool = runs.pool("work")
        quick = [f"quick-{number}" for number in range(60)]
        await asyncio.gather(*runs.submit(pool, *quick))
        (hanging,) = runs.submit(pool, "hanging", type="hang")
        others = runs.submit(pool, *(f"other-{number}" for number in range(40)))
        os.kill(await runs.until_begun("hanging"), signal.SIGKILL)
        response = await hanging
        assert (response.status, response.reason) == (0, "worker killed by SIGKILL")
        assert {(await other).status for other in others} == {200}
        counts = Counter(id for id, _ in runs.begun())
        assert set(counts.values()) == {1}
        assert len(counts) == 101
        assert pool.stats().restarts == 1
        await pool.close(5)

    run(tmp_path, scenario)


def test_kill_9_at_any_moment_answers_every_call(tmp_path):
    async def scenario(runs):
        pool = runs.pool("work", ScaleConfig(max=3))
        calls = [f"call-{number}" for number in range(600)]
        futures = runs.submit(pool, *calls)
        kills = 0
        for number in range(50, 600, 110):
            await futures[number]
            pid = runs.begun()[-1][1]
            try:
                os.kill(pid, signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
        responses = await asyncio.gather(*futures)
        failed = [response for response in responses if response.status != 200]
        assert kills > 0
        assert len(failed) <= kills
        assert {response.reason for response in failed} <= {"worker killed by SIGKILL"}
        counts = Counter(id for id, _ in runs.begun())
        ended = [id for id, each in zip(calls, responses, strict=True) if each.status == 200]
        assert set(ended) <= set(counts)
        await pool.close(5)

    run(tmp_path, scenario)


def test_a_hanging_sync_handler_is_killed_and_the_next_call_runs(tmp_path):
    async def scenario(runs):
        pool = runs.pool("work", timeout=0.3)
        hanging, after = [
            *runs.submit(pool, "hanging", type="hang"),
            *runs.submit(pool, "after"),
        ]
        assert (await hanging).reason == "timed out after 0.3 s"
        assert (await after).status == 200
        (first, second) = (pid for _, pid in runs.begun())
        assert first != second
        assert pool.stats().kills == 1
        await pool.close(5)

    run(tmp_path, scenario)


def test_a_revision_scales_from_zero_up_and_back_to_zero(tmp_path):
    async def scenario(runs):
        scale = ScaleConfig(max=3, window=0.6, interval=0.1, grace=0.2)
        pool = runs.pool("work", scale)
        futures = runs.submit(pool, *"abcdef", type="slow")
        await runs.until(pool, lambda pool: pool.stats().ready == 3)
        assert {(await future).status for future in futures} == {200}
        workers = {pid for _, pid in runs.begun()}
        assert len(workers) == 3
        await runs.until(pool, lambda pool: pool.zero)
        (again,) = await asyncio.gather(*runs.submit(pool, "again"))
        assert again.status == 200
        assert runs.begun()[-1][1] not in workers
        assert pool.stats().cold_starts == 2
        assert pool.stats().restarts == 0
        await pool.close(5)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [("broken", "start-up hook failed: RuntimeError: no model here"), ("vanishing", "status 7")],
)
def test_a_function_whose_workers_cannot_start_answers_with_the_reason(tmp_path, handler, reason):
    async def scenario(runs):
        pool = runs.pool(handler)
        responses = await asyncio.gather(*runs.submit(pool, "a", "b", "c"))
        for response in responses:
            assert response.status == 0
            assert response.reason.startswith("no worker could start: ")
            assert reason in response.reason
        assert pool.stats().failed_starts == 3
        await pool.close(5)
        assert pool.zero

    run(tmp_path, scenario)


def test_a_start_up_hook_without_end_is_killed(tmp_path):
    async def scenario(runs):
        pool = runs.pool("sluggish", start_timeout=0.4)
        (response,) = await asyncio.gather(*runs.submit(pool, "a"))
        assert response.reason == "no worker could start: not ready within 0.4 s"
        await runs.until(pool, lambda pool: pool.zero)
        await pool.close(5)

    run(tmp_path, scenario)


def test_async_calls_run_at_the_same_time_in_one_worker(tmp_path):
    async def scenario(runs):
        pool = runs.pool("together", sync=False, concurrency=5)
        responses = await asyncio.gather(*runs.submit(pool, *"abcde"))
        assert [response.status for response in responses] == [200] * 5
        assert len({pid for _, pid in runs.begun()}) == 1
        await pool.close(5)

    run(tmp_path, scenario)


def test_an_async_handler_past_its_timeout_ends_alone(tmp_path):
    async def scenario(runs):
        pool = runs.pool("together", sync=False, concurrency=6)
        (hanging,) = runs.submit(pool, "hanging", type="hang", timeout=0.2)
        waiting = runs.submit(pool, *"abcd")
        assert (await hanging).reason == "timed out after 0.2 s"
        waiting += runs.submit(pool, "e")
        assert {(await future).status for future in waiting} == {200}
        assert len({pid for _, pid in runs.begun()}) == 1
        assert pool.stats().kills == 0
        await pool.close(5)

    run(tmp_path, scenario)


def test_an_async_handler_that_blocks_its_worker_is_killed_with_it(tmp_path):
    async def scenario(runs):
        pool = runs.pool("together", sync=False, concurrency=5)
        (blocking,) = runs.submit(pool, "blocking", type="block", timeout=0.2)
        assert (await blocking).reason == "timed out after 0.2 s"
        assert pool.stats().kills == 1
        responses = await asyncio.gather(*runs.submit(pool, *"abcde"))
        assert {response.status for response in responses} == {200}
        await pool.close(5)

    run(tmp_path, scenario)


def test_close_lets_what_is_in_flight_end_and_leaves_no_process(tmp_path):
    async def scenario(runs):
        pool = runs.pool("work", ScaleConfig(max=2))
        futures = runs.submit(pool, "a", "b", "c", type="slow")
        await runs.until_begun("a")
        await pool.close(10)
        assert [future.result().status for future in futures] == [200] * 3
        assert pool.zero
        for _, pid in runs.begun():
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    run(tmp_path, scenario)


def test_close_kills_what_outlasts_its_grace(tmp_path):
    async def scenario(runs):
        pool = runs.pool("work")
        (hanging,) = runs.submit(pool, "hanging", type="hang")
        (never_begun,) = runs.submit(pool, "never")
        pid = await runs.until_begun("hanging")
        await pool.close(0.1)
        assert hanging.result().status == 0
        assert never_begun.result().status == 503
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    run(tmp_path, scenario)


def test_on_a_reload_the_old_workers_end_what_they_have_while_the_new_ones_serve(tmp_path):
    async def scenario(runs):
        old = runs.pool("work")
        (running,) = runs.submit(old, "running", type="slow")
        (queued,) = runs.submit(old, "queued")
        old_worker = await runs.until_begun("running")
        new = Pool(replace(old.revision, name="work-2"), runs.launcher, ScaleConfig(max=1))
        old.drain(new)
        assert (await queued).status == 200
        assert not running.done()
        assert dict(runs.begun())["queued"] != old_worker
        assert (await running).status == 200
        await old.close(5)
        await new.close(5)

    run(tmp_path, scenario)
