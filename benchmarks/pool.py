"""What a pool costs a call: by itself, and on the node's side with a real worker behind it.

python -m benchmarks.pool
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from eventing.event import Event
from functions.autoscaler import ScaleConfig
from functions.base import Call, Response
from functions.meter import Meter
from functions.pool import Pool
from functions.process import Project
from functions.worker import Revision, StartMode, Worker, WorkerListener

OUTSTANDING = (1, 10, 64)
CALLS = 6_400
ROUNDS = 6
CALL = Call(
    Event({"specversion": "1.0", "id": "1", "source": "/bench", "type": "bench"}, b"x" * 1024),
    attempt=1,
    trigger="bench",
)
APP = """
from eventing import function

@function
def sync(event):
    return None

@function(concurrency=100)
async def concurrent(event):
    return None
"""


class Echo:
    """A worker without a process: it keeps the ids of calls until it is told to answer them."""

    pid = 0
    between_calls = False

    def __init__(self, listener: WorkerListener) -> None:
        self.listener = listener
        self.ids: list[int] = []

    def call(self, id: int, call: Call) -> None:
        self.ids.append(id)

    def cancel(self, id: int) -> None: ...

    def drain(self) -> None:
        self.listener.exited(self, "drained")

    def kill(self) -> None: ...

    def answer(self, responses: Iterator[Response]) -> None:
        result = self.listener.result
        while self.ids:
            ids, self.ids = self.ids, []
            for id in ids:
                result(self, id, next(responses))


class EchoLauncher:
    mode: StartMode = "fork"
    worker: Echo

    def launch(self, revision: Revision, listener: WorkerListener) -> Worker:
        self.worker = Echo(listener)
        return self.worker


def ignore(response: Response) -> None: ...


async def alone(sync: bool, outstanding: int) -> float:
    """CPU microseconds a call of the pool, from `submit` to `done`, without frames or processes."""
    launcher = EchoLauncher()
    revision = Revision("echo", "bench", "app:echo", sync=sync, concurrency=100)
    pool = Pool(revision, launcher, ScaleConfig(max=1), meter=Meter(None, time.monotonic()))
    pool.submit(CALL, ignore)
    worker = launcher.worker
    worker.listener.ready(worker)
    worker.answer(iter([Response(200)]))
    best = float("inf")
    for _ in range(ROUNDS):
        # Handlers of 10 µs, one after the other; the last began a moment ago.
        first = time.monotonic_ns() - CALLS * 10_000
        responses = iter([Response(200, started=first + n * 10_000) for n in range(CALLS)])
        before = time.process_time_ns()
        for _ in range(CALLS // outstanding):
            for _ in range(outstanding):
                pool.submit(CALL, ignore)
            worker.answer(responses)
        best = min(best, time.process_time_ns() - before)
    await pool.close(1)
    return best / (CALLS // outstanding * outstanding) / 1000


async def best_round(
    pool: Pool,
    call: Call,
    outstanding: int,
    calls: int,
    rounds: int,
    cpu: Callable[[], float],
) -> float:
    """The least that `cpu` rises in a round of so many calls, so many of them outstanding."""
    finished = asyncio.Event()
    begun = ended = 0

    def begin() -> None:
        nonlocal begun
        begun += 1
        pool.submit(call, done)

    def done(response: Response) -> None:
        nonlocal ended
        assert response.status < 300, response
        ended += 1
        if begun < calls:
            begin()
        elif ended == calls:
            finished.set()

    best = float("inf")
    for _ in range(rounds):
        begun = ended = 0
        finished.clear()
        before = cpu()
        for _ in range(outstanding):
            begin()
        await finished.wait()
        best = min(best, cpu() - before)
    return best


async def through_a_worker(project: Project, handler: str, outstanding: int) -> tuple[float, int]:
    """CPU microseconds a call of this process, frames and event loop included, and the depth of
    the worker's queue at the end."""
    [found] = [each for each in project.functions if each.name == handler]
    revision = Revision(handler, "bench", found.handler, sync=found.sync, concurrency=100)
    pool = Pool(revision, project.launcher, ScaleConfig(max=1))
    best = await best_round(pool, CALL, outstanding, CALLS, ROUNDS, time.process_time_ns)
    depth = pool.stats().depth
    await pool.close(5)
    return best / CALLS / 1000, depth


async def run() -> None:
    print(f"µs CPU a call, best of {ROUNDS} rounds of {CALLS:,}; 1 KiB events")
    print(f"{'outstanding':<52}" + "".join(f"{number:>8}" for number in OUTSTANDING))
    for sync in (True, False):
        costs = [await alone(sync, number) for number in OUTSTANDING]
        name = f"the pool alone, {'sync' if sync else 'async'} handler"
        print(f"{name:<52}" + "".join(f"{cost:8.2f}" for cost in costs))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "app.py"
        path.write_text(APP)
        project = await Project.start([path], on_log=lambda line: None)
        try:
            for handler in ("sync", "concurrent"):
                measured = [
                    await through_a_worker(project, handler, number) for number in OUTSTANDING
                ]
                name = f"the node's side of one worker, {handler} handler"
                print(f"{name:<52}" + "".join(f"{cost:8.2f}" for cost, _ in measured))
                if handler == "sync":
                    print(f"{'  calls sent ahead':<52}" + "".join(f"{n:>8}" for _, n in measured))
        finally:
            await project.close()


def main() -> None:
    uvloop.run(run())


if __name__ == "__main__":
    main()
