"""A function in a container beside the same as a process: how fast each comes back from zero, and
what a call costs over HTTP to a container that is warm.

Over a real engine: Docker where it answers, else Podman. In containers is the server of the tests,
a small static binary: what is measured is the engine and this node, not somebody's interpreter.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from benchmarks.measured_event import DATA
from benchmarks.table import Table
from eventing.event import Event
from eventing.http_encoding import encode_http_binary
from functions.base import Call, Response
from functions.containers.configuration import LOOPBACK
from functions.containers.containers import Containers
from functions.containers.launcher import ContainerLauncher
from functions.containers.spec import AtRest, ContainerSpec
from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.exchange import Answer, Request
from functions.output_lines import LogLine
from functions.process import Project
from functions.worker import Launcher, Revision, Worker

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT / "tests" / "services"), str(_ROOT / "compose" / "local_servers")]

from container_service import ContainerEngine, DockerEngine, PodmanEngine  # noqa: E402
from docker_engine import engine_answers  # noqa: E402
from server_process import ServerUnavailable  # noqa: E402

STARTS = 10
ROUNDS = 5
CALLS = 5_000
IN_FLIGHT = 16

HANDLER = """
from eventing import function

@function
def nothing(event):
    pass
"""
THREAD = """
import threading, time
threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
"""


class Listener:
    """Of one worker; `answered` and `gone` are to be waited for."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.gone = asyncio.Event()
        self.response: Response | None = None
        self.reason = ""
        self.done: Callable[[Response], None] | None = None

    def ready(self, worker: Worker) -> None: ...

    def result(self, worker: Worker, id: int, response: Response) -> None:
        self.response = response
        self.answered.set()
        if self.done is not None:
            self.done(response)

    def exited(self, worker: Worker, reason: str) -> None:
        self.reason = reason
        self.answered.set()
        self.gone.set()


def containers(table: Table) -> None:
    print("\nFunctions in containers")
    try:
        engine: ContainerEngine = DockerEngine() if engine_answers() else PodmanEngine()
    except ServerUnavailable as missing:
        print(f"left out: {missing}")
        return
    try:
        uvloop.run(_measure(table, engine))
    finally:
        if isinstance(engine, PodmanEngine):
            engine.close()


async def _measure(table: Table, engine: ContainerEngine) -> None:
    print(f"Cold start of {STARTS}: from the launch to the event's hand-over to a ready instance")
    name = "Docker" if isinstance(engine, DockerEngine) else "Podman"
    node = Containers(f"benchmark-{os.getpid()}", _ignore, engine.url)
    client = HttpClient()
    try:
        node.start()
        await node.looked()
        for how in ("pause", "stop"):
            launcher = _launcher(node, engine, client, how)
            first, later = await _starts_of_container(launcher)
            if how == "pause":
                table.value(f"container, made anew by {name}", first, "ms", None)
            what = f"container that was {'paused' if how == 'pause' else 'stopped'}"
            table.value(f"{what}, p50", statistics.median(later), "ms", None)
            table.value(f"{what}, the slowest", max(later), "ms", None)
        for what, code in (("fork", HANDLER), ("fresh interpreter", HANDLER + THREAD)):
            later = await _starts_of_process(code)
            table.value(f"process, {what}, p50", statistics.median(later), "ms", None)
        print(f"CPU a call, 1 KiB, {IN_FLIGHT} in flight, {CALLS} calls a round")
        figures = await _calls(_launcher(node, engine, client, "pause"), client)
        table.row("to a warm container; floor: the bare HTTP client", figures, None)
    finally:
        await node.close()
        await client.close()


def _launcher(
    node: Containers, engine: ContainerEngine, client: HttpClient, how: AtRest
) -> ContainerLauncher:
    spec = ContainerSpec(engine.image, pull="Never", at_rest=how)
    return node.launcher("default", f"bench-{how}", f"bench-{how}-00001", spec, client)


async def _starts_of_container(launcher: ContainerLauncher) -> tuple[float, list[float]]:
    figures = []
    for _ in range(STARTS + 1):
        figures.append(await _start(launcher, Revision("bench", "default", "", sync=False)))
        while not launcher.at_rest:
            await asyncio.sleep(0.01)
        # What the engine still does after a stop is not the next start's cost.
        await asyncio.sleep(0.5)
    return figures[0], figures[1:]


async def _starts_of_process(code: str) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="eventing-bench-") as folder:
        (Path(folder) / "app.py").write_text(code)
        project = await Project.start([folder], on_log=_ignore)
        try:
            (found,) = project.functions
            revision = Revision(found.name, "default", found.handler, sync=found.sync)
            return [await _start(project.launcher, revision) for _ in range(STARTS)]
        finally:
            await project.close()


async def _start(launcher: Launcher, revision: Revision) -> float:
    """Milliseconds from a launch to the first event's hand-over; the worker is then let go."""
    listener = Listener()
    began = time.monotonic_ns()
    worker = launcher.launch(revision, listener)
    worker.call(1, Call(_event(), 1, "benchmark"))
    async with asyncio.timeout(60):
        await listener.answered.wait()
        if listener.response is None:
            raise RuntimeError(listener.reason)
        worker.drain()
        await listener.gone.wait()
    return (listener.response.started - began) / 1e6


async def _calls(launcher: ContainerLauncher, client: HttpClient) -> list[tuple[float, float]]:
    """(CPU µs of this process a call to the worker, and a request of the client alone)"""
    listener = Listener()
    worker = launcher.launch(Revision("bench", "default", "", sync=False), listener)
    event = _event()
    worker.call(0, Call(event, 1, "benchmark"))
    await listener.answered.wait()
    container = getattr(worker, "container", None)
    if container is None:
        raise RuntimeError(listener.reason)
    address = Address.parse(f"http://{LOOPBACK}:{container.ports[8080]}/")
    headers, body = encode_http_binary(event)
    ids = iter(range(1, 10_000_000))

    def call(done: Callable[[Response], None]) -> None:
        listener.done = done
        worker.call(next(ids), Call(event, 1, "benchmark"))

    def send(done: Callable[[Answer], None]) -> None:
        client.send(Request(address, headers, body, 30.0), done)

    figures = []
    for number in range(ROUNDS + 1):
        ours, floor = await _cpu(lambda: _drive(call)), await _cpu(lambda: _drive(send))
        if number:
            figures.append((ours, floor))
    worker.drain()
    await listener.gone.wait()
    return figures


async def _drive(begin: Callable[[Callable[..., None]], None]) -> None:
    over = asyncio.get_running_loop().create_future()
    begun = answered = 0

    def done(answer: Response | Answer) -> None:
        nonlocal begun, answered
        if answer.status != 204:
            raise RuntimeError(f"an answer other than 204: {answer}")
        answered += 1
        if begun < CALLS:
            begun += 1
            begin(done)
        elif answered == CALLS:
            over.set_result(None)

    for _ in range(IN_FLIGHT):
        begun += 1
        begin(done)
    async with asyncio.timeout(120):
        await over


async def _cpu(run: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    await run()
    return (time.process_time() - began) / CALLS * 1e6


def _event() -> Event:
    """1 KiB of JSON, to be answered with 204."""
    attributes = {"specversion": "1.0", "id": "1", "source": "/bench", "type": "quiet"}
    return Event({**attributes, "datacontenttype": "application/json"}, DATA)


def _ignore(line: LogLine) -> None: ...
