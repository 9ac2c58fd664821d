"""What a traffic policy costs a call, beside what the call of a process costs in all.

python -m benchmarks.traffic_policy
"""

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from benchmarks.load import cpu_seconds
from benchmarks.pool import APP, CALL, best_round, ignore
from benchmarks.table import Table
from eventing.event import Event
from functions.autoscaler import ScaleConfig
from functions.base import Call, Response, Service
from functions.pool import Pool
from functions.process import Project
from functions.traffic.policy import (
    ConnectionPool,
    DestinationPolicy,
    HttpRoute,
    Match,
    OutlierDetection,
    Policy,
    Retries,
    StringMatch,
    Weighted,
)
from functions.traffic.router import TrafficRouter
from functions.worker import Revision

CALLS = 20_000
ROUNDS = 7
OUTSTANDING = (1, 10, 64)
AIM = 5.0
"""Percent of a process call."""

SPLIT = (Weighted("old", 95), Weighted("new", 5))
BOUNDED = DestinationPolicy(OutlierDetection(), ConnectionPool(1000, 100, 10))
BY_TYPE = Match({"type": StringMatch("exact", "bench"), "source": StringMatch("prefix", "/")})
POLICIES: dict[str, tuple[Policy | None, bool]] = {
    "weights": (None, False),
    "weights, sticky by key": (None, True),
    "weights, outlier detection, connection limits": (Policy(destination=BOUNDED), False),
    "the same, matched by two attributes": (
        Policy((HttpRoute(matches=(BY_TYPE,)),), BOUNDED),
        False,
    ),
    "all of that, timeout and retries at hand": (
        Policy((HttpRoute(matches=(BY_TYPE,), timeout=30, retries=Retries()),), BOUNDED),
        False,
    ),
}
KEYED = CALL._replace(event=Event({**CALL.event.attributes, "partitionkey": "k-17"}, b"x" * 1024))


class Echo:
    """A revision that keeps its calls until it is told to answer them."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[Response], None]] = deque()

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        self.calls.append(done)

    def answer(self, response: Response) -> None:
        calls = self.calls
        while calls:
            calls.popleft()(response)


def through(service: Service, call: Call, echoes: tuple[Echo, ...], outstanding: int) -> float:
    """CPU microseconds a call from `submit` to `done`."""
    submit = service.submit
    response = Response(200, started=time.monotonic_ns())
    before = time.process_time_ns()
    for _ in range(CALLS // outstanding):
        for _ in range(outstanding):
            submit(call, ignore)
        for echo in echoes:
            echo.answer(response)
    return (time.process_time_ns() - before) / (CALLS // outstanding * outstanding) / 1000


def policy_cost(policy: Policy | None, sticky: bool) -> float:
    """CPU microseconds a call more than without a router."""
    echoes = Echo(), Echo()
    router = TrafficRouter({"old": echoes[0], "new": echoes[1]}, SPLIT, policy)
    service = router.ordered if sticky else router
    call = KEYED if sticky else CALL
    best_with = best_without = float("inf")
    for _ in range(ROUNDS):
        best_without = min(best_without, through(echoes[0], call, echoes, 64))
        best_with = min(best_with, through(service, call, echoes, 64))
    return best_with - best_without


async def process_call(project: Project, outstanding: int) -> float:
    """CPU microseconds a call of a worker process: the node's side and the worker's."""
    [found] = [each for each in project.functions if each.name == "sync"]
    revision = Revision("sync", "bench", found.handler)
    pool = Pool(revision, project.launcher, ScaleConfig(min=1, max=1))
    best = await best_round(pool, CALL, outstanding, CALLS, ROUNDS, cpu_of_all)
    await pool.close(5)
    return best / CALLS * 1e6


def cpu_of_all() -> float:
    """Seconds, of this process and all below it."""
    return sum(cpu_seconds(pid) for pid in (os.getpid(), *below(os.getpid())))


def below(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").iterdir():
            children = [int(each) for each in (task / "children").read_text().split()]
            found += children
            waiting += children
    return found


async def run(table: Table) -> None:
    costs = {name: policy_cost(*policy) for name, policy in POLICIES.items()}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "app.py"
        path.write_text(APP)
        project = await Project.start([path], on_log=lambda line: None)
        try:
            calls = {number: await process_call(project, number) for number in OUTSTANDING}
        finally:
            await project.close()
    for number, cost in calls.items():
        table.value(f"a process call, both sides, {number} outstanding", cost, "µs CPU", None)
    for name, cost in costs.items():
        table.value(name, cost, "µs CPU", None)
        table.value("  … of a process call, 10 outstanding", cost / calls[10] * 100, "%", AIM)


def traffic_policy(table: Table) -> None:
    print("\nWhat traffic policy costs a call")
    uvloop.run(run(table))


def main() -> None:
    table = Table()
    traffic_policy(table)
    table.tell_missed()


if __name__ == "__main__":
    main()
