"""A project's code as processes: imported once by a zygote, served by workers forked from it."""

import asyncio
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eventing.errors import OperationError
from eventing.sdk.lifeline import adopt_orphans
from functions.interpreter import Lifeline, start_interpreter
from functions.memory_watch import MemoryWatch
from functions.output_lines import LogLine, OnLog
from functions.process_exit import watch_exit
from functions.worker import Revision, StartMode, Worker, WorkerListener
from functions.worker_process import ProcessWorker, StillbornWorker, open_channels
from functions.zygote import ZygoteProcess

LOAD_TIMEOUT: Final = 60.0
"""Seconds a project's imports may take."""
IDLE_TIMEOUT: Final = 600.0
"""Seconds without a worker after which the zygote ends; the next launch starts another."""

_BACKOFF = (0.1, 5.0)
"""Seconds before a zygote is started again: from the first doubled, up to the second."""
_STEADY = 10.0
"""Seconds after which a zygote's end is taken for an accident, not for a habit."""
_CLOSE_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class FunctionFound:
    """A function the project's code holds. None = its code does not say.

    `handler` is what Revision.handler takes. `timeout` in seconds, `memory` in bytes, `scale` the
    least and the most workers (0 = no limit); `file` and `line` are where it stands.
    """

    name: str
    handler: str
    sync: bool
    file: str
    line: int
    doc: str = ""
    timeout: float | None = None
    concurrency: int | None = None
    scale: tuple[int, int] | None = None
    memory: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)


class Spare:
    """A zygote that has imported third-party modules and waits for a project.

    For hot reload: the slow part of the next `Project.start` is done before the file is saved.
    """

    def __init__(
        self, modules: Iterable[str], *, on_log: OnLog, python: str = sys.executable
    ) -> None:
        """Starts it. Raises OperationError where there is no such interpreter."""
        self.python = python
        self._on_log = on_log
        self.lifeline = Lifeline()
        self.zygote = ZygoteProcess(python, self.lifeline, self._log, _ignore)
        self.zygote.preload(modules)

    def redirect(self, on_log: OnLog) -> None:
        """From now on its output is the project's."""
        self._on_log = on_log

    async def close(self) -> None:
        self.lifeline.cut()
        await self.zygote.gone

    def _log(self, line: LogLine) -> None:
        self._on_log(line)


class Project:
    """The code of one project, imported, and the launcher of its workers.

    `functions` are those its code holds, and those named by `handlers`; `missing` says of handlers
    that were not found why; `launcher` starts workers of the functions; `modules` are the
    third-party modules it imported, for a Spare.
    """

    def __init__(
        self,
        paths: Sequence[str],
        handlers: Sequence[str],
        *,
        on_log: OnLog,
        python: str,
        load_timeout: float,
        idle_timeout: float,
        lifeline: Lifeline,
    ) -> None:
        """Use `Project.start`."""
        self.functions: tuple[FunctionFound, ...] = ()
        self.missing: Mapping[str, str] = {}
        self.modules: tuple[str, ...] = ()
        self._paths = paths
        self._handlers = handlers
        self._on_log = on_log
        self._python = python
        self._load_timeout = load_timeout
        self._idle_timeout = idle_timeout
        self._lifeline = lifeline
        self._roots: tuple[str, ...] = ()
        self._loop = asyncio.get_running_loop()
        self._zygote: ZygoteProcess | None = None
        self._zygotes: set[ZygoteProcess] = set()
        self._starting: asyncio.Task[None] | None = None
        self._queue: list[tuple[ProcessWorker, tuple[int, int, int]]] = []
        self._live: set[ProcessWorker] = set()
        self._none_live = asyncio.Event()
        self._none_live.set()
        self._memory = MemoryWatch()
        self._idle: asyncio.TimerHandle | None = None
        self._delay = _BACKOFF[0]
        self._loaded_at = 0.0
        self._closed = False
        self.launcher = ProcessLauncher(self)

    @classmethod
    async def start(
        cls,
        paths: Sequence[str | Path],
        *,
        handlers: Sequence[str] = (),
        on_log: OnLog,
        python: str = sys.executable,
        load_timeout: float = LOAD_TIMEOUT,
        idle_timeout: float = IDLE_TIMEOUT,
        spare: Spare | None = None,
    ) -> "Project":
        """Import the project at `paths` (Python files and folders, see eventing.sdk.discovery).

        `handlers` are addresses ("module:name") to find beside those that are marked. `spare` is
        used up, whatever comes of it. Raises UserError where the code can't be imported, and
        OperationError where no interpreter can be started.
        """
        adopt_orphans()
        project = cls(
            [_absolute(path) for path in paths],
            list(handlers),
            on_log=on_log,
            python=spare.python if spare is not None else python,
            load_timeout=load_timeout,
            idle_timeout=idle_timeout,
            lifeline=spare.lifeline if spare is not None else Lifeline(),
        )
        try:
            warm = None
            if spare is not None and spare.zygote.alive:
                spare.redirect(on_log)
                warm = spare.zygote
            await project._load(warm)
        except BaseException:
            await project.close()
            raise
        return project

    async def close(self) -> None:
        """End every process of the project, workers included; returns when they are gone.

        Raises OperationError where the kernel has not ended one after 5 seconds.
        """
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        for worker, descriptors in self._take_queue():
            _give_up(worker, descriptors, "the project is closed")
        self._lifeline.cut()
        for worker in tuple(self._live):
            worker.kill()
        gone = [zygote.gone for zygote in self._zygotes]
        try:
            await asyncio.wait_for(asyncio.gather(self._none_live.wait(), *gone), _CLOSE_GRACE)
        except TimeoutError:
            pids = [worker.pid for worker in self._live]
            raise OperationError(
                f"processes {pids} were killed and are not gone yet; they take no more calls"
            ) from None

    # What the launcher asks for

    def launch(self, revision: Revision, listener: WorkerListener) -> Worker:
        try:
            if self._closed:
                raise OperationError("the project is closed")
            connection, outputs, descriptors = open_channels()
        except (OSError, OperationError) as error:
            stillborn = StillbornWorker()
            reason = f"no worker can be started: {error}"
            self._loop.call_soon(listener.exited, stillborn, reason)
            return stillborn
        worker = ProcessWorker(
            revision, listener, connection, outputs, self._roots, self._on_log, self._gone
        )
        self._live.add(worker)
        self._none_live.clear()
        self._memory.add(worker)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self.launcher.mode == "fresh":
            self._start_fresh(worker, descriptors)
        elif self._zygote is not None and self._zygote.alive:
            self._zygote.fork(worker, descriptors)
        else:
            self._queue.append((worker, descriptors))
            self._start_again(0.0)
        return worker

    def _start_fresh(self, worker: ProcessWorker, descriptors: tuple[int, int, int]) -> None:
        connection, stdout, stderr = descriptors
        try:
            pid = start_interpreter(
                self._python,
                "eventing.sdk.worker",
                (connection, self._lifeline.descriptor, stdout, stderr),
                env=worker.revision.env,
            )
        except OperationError as error:
            self._loop.call_soon(_give_up, worker, descriptors, str(error))
            return
        _close(descriptors)
        worker.born(pid)
        watch_exit(pid, worker.ended)

    def _gone(self, worker: ProcessWorker) -> None:
        self._memory.discard(worker)
        self._live.discard(worker)
        if self._live:
            return
        self._none_live.set()
        if self._zygote is not None and not self._closed:
            self._go_idle()

    # The zygote's life

    async def _load(self, warm: ZygoteProcess | None = None) -> None:
        """Start a zygote and import the project in it. Raises UserError or OperationError."""
        if warm is not None:
            warm.on_lost(self._lost)
        zygote = warm or ZygoteProcess(self._python, self._lifeline, self._on_log, self._lost)
        self._zygotes.add(zygote)
        try:
            report = await zygote.load(self._paths, self._handlers, self._load_timeout)
        except BaseException:
            zygote.kill()
            raise
        if report["threads"] and warm is not None:
            # They may be of a module that only an earlier version of the project has imported.
            zygote.kill()
            await self._load()
            return
        self._take_report(report)
        if report["threads"]:
            self._go_fresh(report["threads"])
            zygote.close()
            return
        self._zygote = zygote
        self._loaded_at = self._loop.time()
        if not self._live:
            self._go_idle()

    def _go_idle(self) -> None:
        self._idle = self._loop.call_later(self._idle_timeout, self._retire)

    def _take_report(self, report: Mapping[str, Any]) -> None:
        self._roots = tuple(report["roots"])
        self.modules = tuple(report["modules"])
        self.missing = dict(report["missing"])
        self.functions = tuple(
            FunctionFound(**{**told, "scale": tuple(told["scale"]) if told.get("scale") else None})
            for told in report["functions"]
        )

    def _go_fresh(self, threads: Sequence[str]) -> None:
        self.launcher.mode = "fresh"
        text = (
            f"the project's imports have started {len(threads)} thread(s)"
            f" ({', '.join(sorted(set(threads)))}), so its process can't be forked: every worker"
            " is a new interpreter, which starts slower; start threads in a start-up hook"
        )
        self._on_log(LogLine(time.time(), "", "node", "WARNING", "", "", text))

    def _lost(self, zygote: ZygoteProcess, how: str) -> None:
        self._zygotes.discard(zygote)
        if zygote is not self._zygote:
            return
        self._zygote = None
        if self._closed:
            return
        if self._loop.time() - self._loaded_at > _STEADY:
            self._delay = _BACKOFF[0]
        text = f"the zygote ended ({how}); its workers go on, and another one is started"
        self._on_log(LogLine(time.time(), "", "node", "WARNING", "", "", text))
        self._start_again(self._delay)
        self._delay = min(self._delay * 2, _BACKOFF[1])

    def _retire(self) -> None:
        self._idle = None
        if self._zygote is not None and not self._live:
            zygote, self._zygote = self._zygote, None
            zygote.close()

    def _start_again(self, delay: float) -> None:
        if self._starting is None and not self._closed:
            self._starting = self._loop.create_task(self._restart(delay))

    async def _restart(self, delay: float) -> None:
        try:
            await asyncio.sleep(delay)
            await self._load()
        except Exception as error:  # whatever it is, those who wait have to be told
            self._starting = None
            for worker, descriptors in self._take_queue():
                _give_up(worker, descriptors, f"the project can't be imported any more: {error}")
            return
        self._starting = None
        for worker, descriptors in self._take_queue():
            if self._zygote is not None:
                self._zygote.fork(worker, descriptors)
            else:
                self._start_fresh(worker, descriptors)

    def _take_queue(self) -> list[tuple[ProcessWorker, tuple[int, int, int]]]:
        queue, self._queue = self._queue, []
        return queue


class ProcessLauncher:
    """A project's Launcher (functions.worker.Launcher)."""

    def __init__(self, project: Project) -> None:
        self.mode: StartMode = "fork"
        self._project = project

    def launch(self, revision: Revision, listener: WorkerListener) -> Worker:
        return self._project.launch(revision, listener)


def _absolute(path: str | Path) -> str:
    return str(Path(path).absolute())


def _give_up(worker: ProcessWorker, descriptors: tuple[int, int, int], reason: str) -> None:
    _close(descriptors)
    worker.ended(None, reason)


def _close(descriptors: tuple[int, int, int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _ignore(zygote: ZygoteProcess, how: str) -> None:
    """A spare that ended unused is no loss: a project then starts a zygote of its own."""
