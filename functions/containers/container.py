"""One container from its creation to its removal: what it is asked to do, and when it has ended.

Its end is noticed by this machine's kernel where it runs here, else by the engine's events; what
the engine says of it is asked for in any case.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from functions.containers.engine import Details, Engine
from functions.containers.engine_error import EngineAway, EngineError
from functions.containers.host_process import HostProcess, Listener
from functions.containers.last_words import LINES, how_it_ended, with_last_lines
from functions.containers.output import OutputReader, Resumption, notice
from functions.output_lines import OnLog

SETTLE: Final = 5.0
"""Seconds the engine may take to see that a process of its has ended."""
KILLED: Final = 10.0
"""Seconds a killed container may take to be gone."""

_SETTLE_EVERY: Final = 0.02
_LOOK_EVERY: Final = 1.0
_OUTPUT_LEFT: Final = 0.5
"""Seconds to wait for the rest of the output of one that has ended."""

_log = logging.getLogger(__name__)


class Container:
    """A container of the engine. `address` of each published port, `pid` and `image` are known
    once it runs.

    `ended` is set while it does not run, whoever ended it. Methods that ask the engine raise
    EngineError.
    """

    def __init__(self, engine: Engine, id: str, function: str, on_log: OnLog) -> None:
        """function: "namespace/name", for its log lines."""
        self.id = id
        self.image = ""
        self.pid = 0
        self.ports: dict[int, int] = {}
        self.ended = asyncio.Event()
        self.ended.set()
        self.paused = False
        self.on_end: Callable[[], None] | None = None
        """Told on the event loop when it has ended."""
        self._engine = engine
        self._function = function
        self._on_log = on_log
        self._loop = asyncio.get_running_loop()
        self._host: HostProcess | None = None
        self._killed_for_memory: bool | None = None
        self._signal = "SIGTERM"
        self._resumption = Resumption()
        self._output: OutputReader | None = None
        self._looking: asyncio.Task[None] | None = None

    # Its life

    async def start(self) -> None:
        """Run it, from the beginning."""
        self._killed_for_memory = None
        await self._engine.start(self.id)
        await self._running(await self._engine.inspect(self.id))

    async def found(self, details: Details) -> None:
        """It was there already, as the engine tells. Its output is read from now on."""
        self.image = details.image
        self._signal = details.stop_signal
        now = int(time.time())
        self._resumption = Resumption(now, await self._engine.lines_since(self.id, now))
        if details.running:
            await self._running(details)

    async def pause(self) -> None:
        await self._engine.pause(self.id)
        self.paused = True

    async def unpause(self) -> None:
        await self._engine.unpause(self.id)
        self.paused = False

    async def stop(self, grace: float) -> None:
        """Ask it to end, with the signal its image names or SIGTERM; kill it after `grace`
        seconds. Returns when the engine, too, sees it ended."""
        if not self.ended.is_set():
            if self.paused:
                await self.unpause()
            await self._signalled(self._signal)
            if not await self._ends_within(grace):
                text = f"its container did not end within {grace:g} s of {self._signal_name}"
                self._on_log(notice(self._function, f"{text} and was killed"))
                await self._signalled("SIGKILL")
                if not await self._ends_within(KILLED):
                    raise EngineError("it was killed and is not gone yet")
        await self._settled()

    async def remove(self) -> None:
        """Away with it at once, whatever it does."""
        try:
            await self._engine.remove(self.id)
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Watch it no longer; it stays as it is."""
        self.on_end = None
        self._unwatch()
        if self._output is not None:
            self._output.close()
            self._output = None

    async def why_it_ended(self) -> str:
        """How it ended, with the last it printed, in one line. Never raises."""
        try:
            details = await self._settled()
        except EngineAway as error:
            return f"ended, and how can't be told: {error}"
        except EngineError as error:
            if error.missing:
                return "removed from the engine by somebody else"
            return f"ended, and how can't be told: {error}"
        memory = details.out_of_memory or self._killed_for_memory
        reason = how_it_ended(
            details.exit_code, out_of_memory=memory, memory=details.memory, error=details.error
        )
        if self._output is not None:
            # So that they stand in the log before the end they explain.
            await _within(_OUTPUT_LEFT, self._output.ended)
        return await self.with_last_lines(reason)

    async def with_last_lines(self, reason: str) -> str:
        """The reason and the last it printed, in one line. Never raises."""
        try:
            return with_last_lines(reason, await self._engine.last_lines(self.id, LINES))
        except EngineError as error:
            return f"{reason}; its last lines can't be read: {error}"

    # What can be seen of it

    async def has_ended(self, within: float) -> bool:
        """Whether it has ended, or ends within that many seconds; where only the engine can tell,
        it is asked meanwhile."""
        if self._host is None:
            self.look()
        return await _within(within, self.ended)

    def listeners(self) -> list[Listener] | None:
        """On what it takes connections; None where that can't be told."""
        return self._host.listeners() if self._host is not None else None

    def look(self) -> None:
        """Somebody saw or heard that it may have ended: ask the engine whether that is so."""
        if self._looking is None and not self.ended.is_set():
            self._looking = self._loop.create_task(self._look(), name=f"look at {self.id[:12]}")
            self._looking.add_done_callback(self._looked)

    async def read_on(self) -> None:
        """Read its output again, where that was cut off while it runs."""
        broken = self._output is None or self._output.ended.is_set()
        if not self.ended.is_set() and broken:
            await self._read_output()

    # Inside

    async def _running(self, details: Details) -> None:
        self.image, self.pid = details.image, details.pid
        self.ports = dict(details.ports)
        self.paused = details.paused
        self._signal = details.stop_signal
        self.ended.clear()
        await self._read_output()
        if not details.running:
            self._end()
            return
        self._unwatch()
        self._host = HostProcess.open(details.pid, self.id)
        if self._host is not None:
            self._loop.add_reader(self._host.descriptor, self._process_ended, self._host)
        else:
            # It may have ended since it was looked at.
            self.look()

    async def _read_output(self) -> None:
        if self._output is not None:
            self._output.close()
            self._output = None
        try:
            stream = await self._engine.output(self.id, self._resumption.since)
        except EngineError as error:
            _log.debug("the output of %s can't be read: %s", self.id[:12], error)
            return
        self._output = OutputReader(stream, self._function, self._resumption, self._on_log)

    def _process_ended(self, process: HostProcess) -> None:
        if process is self._host:
            self._killed_for_memory = process.killed_for_memory()
            self._end()

    def _end(self) -> None:
        self._unwatch()
        if self.ended.is_set():
            return
        self.ended.set()
        self.paused = False
        if self.on_end is not None:
            self.on_end()

    def _unwatch(self) -> None:
        if self._host is not None:
            self._loop.remove_reader(self._host.descriptor)
            self._host.close()
            self._host = None

    async def _look(self) -> None:
        try:
            details = await self._engine.inspect(self.id)
        except EngineError as error:
            if error.missing:
                self._end()
            return
        if not details.running:
            self._end()

    def _looked(self, task: "asyncio.Task[None]") -> None:
        self._looking = None
        if not task.cancelled() and task.exception() is not None:
            _log.error("looking at container %s failed", self.id[:12], exc_info=task.exception())

    async def _signalled(self, signal: str) -> None:
        try:
            await self._engine.kill(self.id, signal)
        except EngineAway:
            raise
        except EngineError:
            # It has ended meanwhile, or the engine knows of a reason: the wait will show.
            self.look()

    @property
    def _signal_name(self) -> str:
        return "SIGTERM" if self._signal == "15" else self._signal

    async def _ends_within(self, seconds: float) -> bool:
        give_up = self._loop.time() + seconds
        while not await _within(min(_LOOK_EVERY, give_up - self._loop.time()), self.ended):
            if self._loop.time() >= give_up:
                return False
            # An event of the engine's may have been lost.
            self.look()
        return True

    async def _settled(self) -> Details:
        """What the engine says once it sees that it has ended."""
        details = await self._engine.inspect(self.id)
        give_up = self._loop.time() + SETTLE
        while details.running and self._loop.time() < give_up:
            await asyncio.sleep(_SETTLE_EVERY)
            details = await self._engine.inspect(self.id)
        if details.running:
            raise EngineError(f"the engine still says that it is {details.status}")
        return details


async def _within(seconds: float, event: asyncio.Event) -> bool:
    if event.is_set():
        return True
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
