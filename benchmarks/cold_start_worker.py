"""How long a worker takes from `launch` to its handler's entry, and what an idle one weighs.

python -m benchmarks.cold_start_worker
"""

import asyncio
import statistics
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from eventing.event import Event
from functions.base import Call, Response
from functions.process import Project
from functions.worker import Revision, Worker

LAUNCHES = {"fork": 100, "fresh": 20}
IDLE = 10
WARM_UP = 3
CALL = Call(
    Event({"specversion": "1.0", "id": "1", "source": "/bench", "type": "bench"}, b"x" * 1024),
    attempt=1,
    trigger="bench",
)
IMPORTS = {
    "standard library only": "",
    "numpy, Pillow": "import numpy, PIL.Image",
    "numpy, OpenCV": "import numpy, cv2",
}
APP = """
from eventing import function

@function
def entered(event): ...

@function
async def entered_async(event): ...
"""
THREAD = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


class Once:
    """Listens to one worker: its first answer, its readiness and its end can be awaited."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Response] = loop.create_future()
        self.is_ready: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[str] = loop.create_future()

    def ready(self, worker: Worker) -> None:
        self.is_ready.set_result(None)

    def result(self, worker: Worker, id: int, response: Response) -> None:
        self.answer.set_result(response)

    def exited(self, worker: Worker, reason: str) -> None:
        self.gone.set_result(reason)


def pss(pid: int) -> float:
    """Proportional set size in MB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:") / 1024


async def cold_start(project: Project, revision: Revision) -> tuple[float, float]:
    """Milliseconds from launch to the handler's entry, and to the answer back on the loop."""
    once = Once()
    began = time.monotonic_ns()
    worker = project.launcher.launch(revision, once)
    worker.call(1, CALL)
    response = await once.answer
    answered = time.monotonic_ns()
    worker.drain()
    await once.gone
    return (response.started - began) / 1e6, (answered - began) / 1e6


async def weigh(project: Project, revision: Revision) -> float:
    """What a further idle worker adds to the machine's memory, in MB: all of them, less one."""
    pids: list[int] = []
    one = 0.0
    listeners = []
    for number in range(IDLE + 1):
        once = Once()
        worker = project.launcher.launch(revision, once)
        worker.call(1, CALL)
        await once.answer
        pids.append(worker.pid)
        listeners.append((worker, once))
        if number == 0:
            one = total(project, pids)
    further = (total(project, pids) - one) / IDLE
    for worker, once in listeners:
        worker.drain()
        await once.gone
    return further


def total(project: Project, pids: list[int]) -> float:
    """PSS of the project's processes: a zygote's pages are shared out among its workers."""
    zygote = [project._zygote.pid] if project._zygote is not None else []
    return sum(map(pss, [*pids, *zygote]))


def revision(project: Project, name: str) -> Revision:
    found = next(each for each in project.functions if each.name == name)
    return Revision(found.name, "default", found.handler, sync=found.sync)


async def measure(imports: str, mode: str, what: str) -> None:
    with TemporaryDirectory() as folder:
        source = imports + APP + (THREAD if mode == "fresh" else "")
        (Path(folder) / "app.py").write_text(source)
        project = await Project.start([folder], on_log=lambda line: None)
        if project.launcher.mode != mode:
            raise RuntimeError(f"{what}: asked for {mode}, got {project.launcher.mode}")
        for name in ("entered", "entered-async"):
            of_name = revision(project, name)
            for _ in range(WARM_UP):
                await cold_start(project, of_name)
            times = [await cold_start(project, of_name) for _ in range(LAUNCHES[mode])]
            entered = sorted(entry for entry, _ in times)
            answered = statistics.median(back for _, back in times)
            late = entered[int(len(entered) * 0.99)]
            weight = await weigh(project, of_name)
            kind = "async" if name.endswith("async") else "sync"
            print(
                f"{what:<24}{mode:<7}{kind:<7}"
                f"{statistics.median(entered):>9.1f}{late:>9.1f}{answered:>11.1f}{weight:>10.1f}"
            )
        await project.close()


async def main() -> None:
    print(
        f"{'imports':<24}{'mode':<7}{'kind':<7}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'answer ms':>11}{'PSS MB':>10}"
    )
    for what, imports in IMPORTS.items():
        missing = [
            name
            for name in imports.removeprefix("import ").split(", ")
            if name and find_spec(name.split(".")[0]) is None
        ]
        if missing:
            print(f"{what:<24}left out: {', '.join(missing)} is not installed", file=sys.stderr)
            continue
        for mode in LAUNCHES:
            await measure(imports, mode, what)


if __name__ == "__main__":
    uvloop.run(main())
