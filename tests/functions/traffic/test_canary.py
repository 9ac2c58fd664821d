"""A broken revision gets a canary's share: how many events meet it, and what becomes of them."""

import asyncio
from random import Random

import pytest

from eventing.event import Event
from functions.autoscaler import ScaleConfig
from functions.base import Call
from functions.pool import Pool
from functions.rollout import RollBack, RolloutPlan, begin, step
from functions.traffic.policy import HttpRoute, Policy, Retries, Weighted
from functions.traffic.router import TrafficRouter
from functions.worker import Revision

PLAN = RolloutPlan(steps=(1, 5, 10, 25, 50, 100), interval=10.0)


def shares(percent):
    return (Weighted("old", 100 - percent), Weighted("new", percent))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("status", [500, 0, 400])
def test_no_more_than_the_steps_share_of_events_meets_it(scene, seed, status):
    it = scene({"old": {}, "new": {"status": status}}, {"old": 99, "new": 1}, seed=seed)
    router, clock = it.router, it.clock
    state = begin(clock.now, router.figures("old"), router.figures("new"))
    decision = None
    for number in range(10_000):
        it.send()
        clock.advance(0.005)
        if number % 100 == 0 and not state.over:
            figures = router.figures("old"), router.figures("new")
            decision, state = step(PLAN, state, clock.now, *figures)
            assert not hasattr(decision, "percent"), "it went on"
            if isinstance(decision, RollBack):
                router.update(it.revisions, shares(0))
                met = it.met["new"]
    it.finish()
    assert state.over
    assert it.met["new"] == met <= PLAN.min_errors + 6
    assert it.met["new"] / 10_000 < 0.01


APP = """
import time
from eventing import function

@function
def old(event):
    if event.get_type() == "hang":
        time.sleep(600)

@function
def new(event):
    raise RuntimeError("broken release")
"""


class Released:
    """Two revisions as real processes behind a router."""

    def __init__(self, running, policy, percent):
        self.pools = {}
        for found in running.project.functions:
            revision = Revision(found.name, "default", found.handler, sync=found.sync)
            self.pools[found.name] = Pool(revision, running.project.launcher, ScaleConfig(max=1))
        self.router = TrafficRouter(self.pools, shares(percent), policy, random=Random(3).random)

    async def call(self, service=None, **attributes):
        answered = asyncio.get_running_loop().create_future()
        required = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
        event = Event(required | attributes)
        (service or self.router).submit(Call(event, 1, "trigger"), answered.set_result)
        async with asyncio.timeout(30):
            return await answered

    async def close(self):
        self.router.close()
        await asyncio.gather(*(pool.close(5) for pool in self.pools.values()))


def test_events_that_met_a_broken_process_are_handled_by_the_sound_one(run_project):
    async def body(running):
        retries = Retries(5, retry_on=frozenset({"5xx"}), backoff=0.001)
        released = Released(running, Policy((HttpRoute(retries=retries),)), percent=10)
        try:
            responses = await asyncio.gather(*(released.call() for _ in range(1000)))
            assert {response.status for response in responses} <= {200, 202, 204}
            stats = released.router.stats().revisions
            assert stats["new"].errors == stats["new"].retried == stats["new"].calls
            assert stats["new"].calls == pytest.approx(111, rel=0.3)
            assert stats["old"].calls == 1000
        finally:
            await released.close()

    run_project(APP, body)


@pytest.mark.parametrize("ordered", [False, True])
def test_a_process_that_hangs_is_killed_at_the_timeout_and_the_next_call_served(
    run_project, ordered
):
    async def body(running):
        released = Released(running, Policy((HttpRoute(timeout=0.5),)), percent=0)
        service = released.router.ordered if ordered else released.router
        try:
            assert (await released.call()).status < 300  # the worker has started
            hung = await released.call(service, type="hang", partitionkey="k")
            assert hung.status == 504
            assert hung.reason == "TrafficPolicy: old timed out after 0.5 s (timeout)"
            while released.pools["old"].stats().kills == 0:
                await asyncio.sleep(0.01)
            while (await released.call(service)).status != 200:
                pass  # the next worker takes its time to start, perhaps more than the timeout
            assert released.router.stats().revisions["old"].timed_out >= 1
        finally:
            await released.close()

    run_project(APP, body)
