"""Real projects with real workers, for the tests of the process launcher. Puts what the tests here
share within reach of their imports.
"""

import asyncio
import sys
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from eventing.event import Event
from functions.base import Call, Response
from functions.output_lines import LogLine
from functions.process import Project
from functions.worker import Revision, Worker

sys.path.insert(0, str(Path(__file__).parent))

PATIENCE = 20.0
"""Seconds a condition is waited for: far above what it takes, so that only a fault reaches it."""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
    return folder


def event(data: bytes | None = None, id: str = "1", **attributes: str) -> Event:
    required = {"specversion": "1.0", "id": id, "source": "/test", "type": "test"}
    return Event(required | attributes, data)


class Recorder:
    """A listener that keeps what it is told, for a test to wait on."""

    def __init__(self, running: "Running") -> None:
        self.worker: Worker
        self.results: dict[int, Response] = {}
        self.exit: str | None = None
        self.is_ready = False
        self._running = running

    def ready(self, worker: Worker) -> None:
        self.is_ready = True
        self._running.touch()

    def result(self, worker: Worker, id: int, response: Response) -> None:
        assert id not in self.results, "a call was answered twice"
        assert self.exit is None, "a result came after the end"
        self.results[id] = response
        self._running.touch()

    def exited(self, worker: Worker, reason: str) -> None:
        assert self.exit is None, "the end was told twice"
        self.exit = reason
        self._running.touch()

    def call(self, id: int = 1, data: bytes | None = None, **options: Any) -> None:
        attempt = options.pop("attempt", 1)
        timeout = options.pop("timeout", None)
        made = event(data, id=str(id), **options)
        self.worker.call(id, Call(made, attempt, "a-trigger", timeout))

    async def answer(self, id: int = 1) -> Response:
        await self._running.until(lambda: id in self.results or self.exit is not None)
        assert id in self.results, f"the worker ended without an answer: {self.exit}"
        return self.results[id]

    async def end(self) -> str:
        await self._running.until(lambda: self.exit is not None)
        assert self.exit is not None
        return self.exit

    async def until_ready(self) -> None:
        await self._running.until(lambda: self.is_ready or self.exit is not None)


class Running:
    """A project that is started, and what it has logged."""

    def __init__(self) -> None:
        self.project: Project
        self.logs: list[LogLine] = []
        self._touched = asyncio.Event()

    def log(self, line: LogLine) -> None:
        self.logs.append(line)
        self.touch()

    def touch(self) -> None:
        self._touched.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._touched.clear()
                await self._touched.wait()

    async def logged(self, text: str) -> LogLine:
        def found() -> list[LogLine]:
            return [line for line in self.logs if text in line.text]

        await self.until(lambda: bool(found()))
        return found()[0]

    def launch(self, name: str, **settings: Any) -> Recorder:
        found = next(f for f in self.project.functions if f.name == name)
        recorder = Recorder(self)
        revision = Revision(
            name, settings.pop("namespace", "default"), found.handler, sync=found.sync, **settings
        )
        recorder.worker = self.project.launcher.launch(revision, recorder)
        return recorder


Body = Callable[[Running], Awaitable[None]]


@pytest.fixture
def run_project(tmp_path: Path) -> Callable[..., None]:
    """`run_project(files, body, **options of Project.start)`: start it, run the body, close it."""

    def run(files: Mapping[str, str] | str, body: Body, **options: Any) -> None:
        files = {"app.py": files} if isinstance(files, str) else files
        folder = write(tmp_path, files)

        async def main() -> None:
            running = Running()
            running.project = await Project.start([folder], on_log=running.log, **options)
            try:
                await body(running)
            finally:
                await running.project.close()

        asyncio.run(main())

    return run


@pytest.fixture
def gone() -> Callable[[int], Awaitable[None]]:
    """`await gone(pid)`: until there is no such process, or only its remains nobody waited for."""

    def alive(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    async def wait(pid: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while alive(pid):
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def zombies() -> Callable[[], list[int]]:
    """This process's children that have ended and were not waited for."""

    def find() -> list[int]:
        found = []
        for task in Path("/proc/self/task").iterdir():
            for pid in (task / "children").read_text().split():
                try:
                    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if state == "Z":
                    found.append(int(pid))
        return found

    return find
