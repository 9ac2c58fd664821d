"""Starts the containers of one revision, and keeps the last of them at rest when none is needed.

A launch takes up the container at rest where there is one; else it makes another.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Final, Protocol

from functions.containers.configuration import LOOPBACK, configuration, container_name
from functions.containers.container import KILLED, Container
from functions.containers.engine import PULL_TIMEOUT, Engine
from functions.containers.engine_error import EngineError
from functions.containers.images import Images
from functions.containers.labels import Belonging
from functions.containers.output import notice
from functions.containers.probe import accepts, answers, not_listening, until_ready
from functions.containers.spec import ContainerSpec
from functions.containers.worker import ContainerWorker
from functions.http.address import Address
from functions.http.client import HttpClient
from functions.output_lines import OnLog
from functions.worker import Revision, StartMode, Worker, WorkerListener

START_TIMEOUT: Final = PULL_TIMEOUT + 90.0
"""Seconds that a whole launch may take with the defaults of a spec; see `start_timeout`."""

_log = logging.getLogger(__name__)


class NotStarted(Exception):
    """A launch has failed; the message says why."""


class House(Protocol):
    """The node's containers, as a launcher sees them."""

    engine: Engine
    images: Images
    node: str
    on_log: OnLog

    async def looked(self) -> None:
        """Returns when the containers that a killed node may have left have been found."""

    async def create(self, name: str, config: Mapping[str, Any], function: str) -> Container:
        """A new container, which from now on is told what the engine's events say of it."""

    def discard(
        self, container: Container, grace: float, after: "asyncio.Task[None] | None" = None
    ) -> None:
        """End it within `grace` seconds and remove it, in the background, once `after` is done."""

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Own and await it."""


class ContainerLauncher:
    """A revision's Launcher (functions.worker.Launcher).

    All containers it makes are of the image that `spec.image` meant at its first launch, whatever
    becomes of the tag; it is looked up again where that image is gone.
    """

    mode: StartMode = "fresh"

    def __init__(
        self, house: House, belonging: Belonging, spec: ContainerSpec, client: HttpClient
    ) -> None:
        """Use `Containers.launcher`."""
        self.belonging = belonging
        self.spec = spec
        self.retired = False
        self._house = house
        self._client = client
        self._function = f"{belonging.namespace}/{belonging.service}"
        self._loop = asyncio.get_running_loop()
        self._live: dict[ContainerWorker, asyncio.Task[None] | None] = {}
        self._image: str | None = None
        self._rest: Container | None = None
        self._may_take = 0
        """Starts that have not looked at `_rest` yet."""
        self._resting: asyncio.Task[None] | None = None
        """Brings `_rest` to rest, until it is."""

    # functions.worker.Launcher

    def launch(self, revision: Revision, listener: WorkerListener) -> Worker:
        worker = ContainerWorker(revision, listener, self._client, self)
        task = self._loop.create_task(self._start(worker), name=f"start {self._function}")
        self._live[worker] = task
        return worker

    # What its house tells it

    def adopt(self, container: Container) -> bool:
        """Take a container that was found and is no one's: it comes to rest for the next launch.
        False where it is not needed."""
        if self.retired or self._rest is not None:
            return False
        if self._may_take:
            # A start that has waited for this one takes it up as it is.
            self._rest = container
        elif self._live:
            return False
        else:
            self._come_to_rest(container)
        return True

    def retire(self) -> None:
        """The revision is in use no more: nothing comes to rest, nothing stays at rest."""
        self.retired = True
        rest, self._rest = self._rest, None
        if rest is not None:
            self._house.discard(rest, self.spec.grace, after=self._resting)

    @property
    def start_timeout(self) -> float:
        """Seconds that a whole launch may take, with the pull and the engine's own time: what its
        pool is to be given, so that the launcher, which knows why a launch takes long, ends it."""
        return START_TIMEOUT + self.spec.ready_timeout

    @property
    def at_rest(self) -> bool:
        """Whether a container waits for the next launch."""
        return self._rest is not None and self._resting is None

    async def close(self) -> None:
        """End what is being started; nothing stays at rest."""
        self.retire()
        tasks = [task for task in self._live.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for worker in tuple(self._live):  # One that was called off before its first step.
            self._live.pop(worker)
            worker.ended("its start was called off")

    # functions.containers.worker.Owner

    def drained(self, worker: ContainerWorker) -> None:
        container = self._leave(worker)
        if container is not None:
            if self.retired or self._rest is not None or self._live:
                self._house.discard(container, self.spec.grace)
            else:
                self._come_to_rest(container)
        self._loop.call_soon(worker.ended, "drained")

    def killed(self, worker: ContainerWorker) -> None:
        starting = self._live.get(worker)
        container = self._leave(worker)
        if starting is not None:
            # It removes its container itself.
            self._loop.call_soon(worker.ended, "killed before it was ready")
        elif container is not None:
            self.in_background(self._kill(worker, container))

    def died(self, worker: ContainerWorker) -> None:
        container = self._leave(worker)
        if container is not None:
            self.in_background(self._bury(worker, container))

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._house.in_background(work)

    # Starting

    async def _start(self, worker: ContainerWorker) -> None:
        try:
            container, was_ready = await self._running()
            try:
                address = await self._ready(container, was_ready)
            except BaseException:
                # Pool and node may have lost patience with it: no grace for what never served.
                self._house.discard(container, 0.0)
                raise
        except (NotStarted, EngineError) as error:
            self._live.pop(worker, None)
            worker.ended(str(error))
            return
        except asyncio.CancelledError:
            self._live.pop(worker, None)
            worker.ended("its start was called off")
            return
        except Exception as error:
            _log.exception("%s: a container could not be started", self._function)
            self._live.pop(worker, None)
            worker.ended(f"could not be started: {type(error).__name__}: {error}")
            return
        self._live[worker] = None
        worker.ready(container, address)

    async def _running(self) -> tuple[Container, bool]:
        """A container of this revision that runs, and whether it was ready before."""
        self._may_take += 1
        try:
            await self._house.looked()
            image = await self._resolved()
        finally:
            self._may_take -= 1
            if self._may_take == 0:
                # In a turn of its own: this start comes first.
                self._loop.call_soon(self._rest_if_awake)
        container, was_ready = await self._taken_up(image)
        if container is not None:
            return container, was_ready
        container = await self._made(image)
        try:
            await container.start()
        except BaseException as error:
            self._house.discard(container, 0.0)
            if isinstance(error, EngineError):
                raise NotStarted(f"its container could not be started: {error}") from None
            raise
        return container, False

    async def _made(self, image: str) -> Container:
        for again in (True, False):
            config = configuration(self.spec, self.belonging, node=self._house.node, image=image)
            try:
                return await self._house.create(
                    container_name(self.belonging), config, self._function
                )
            except EngineError as error:
                if not (error.missing and again):
                    raise NotStarted(f"no container could be made: {error}") from None
                # The image was removed meanwhile.
                self._image = None
                image = await self._resolved()
        raise AssertionError("the second attempt returns or raises")

    async def _resolved(self) -> str:
        if self._image is None:
            image = await self._house.images.resolve(self.spec.image, self.spec.pull)
            self._image = self._image or image
        return self._image

    async def _taken_up(self, image: str) -> tuple[Container | None, bool]:
        """The container at rest, running again, and whether it was ready before; None where there
        is none that can be."""
        if self._resting is not None and self.spec.at_rest == "pause":
            # A matter of milliseconds, unlike one that is asked to end.
            await asyncio.wait([self._resting])
        container = self._rest
        if container is None or self._resting is not None:
            return None, False
        self._rest = None
        container.on_end = None
        if container.image != image:
            self._house.discard(container, self.spec.grace)
            return None, False
        paused = container.paused
        try:
            if paused:
                await container.unpause()
            elif container.ended.is_set():
                await container.start()
        except BaseException as error:
            self._house.discard(container, 0.0)
            if isinstance(error, EngineError):
                _log.info("%s: its container at rest is of no use: %s", self._function, error)
                return None, False
            raise
        return container, paused

    async def _ready(self, container: Container, was_ready: bool) -> Address:
        """Its address, once it is ready. Raises NotStarted."""
        port = container.ports.get(self.spec.port)
        probed = self.spec.probe.port or self.spec.port
        if container.ended.is_set():
            raise NotStarted(await container.why_it_ended())
        if port is None or (self.spec.probe.kind != "exec" and probed not in container.ports):
            raise NotStarted(f"its engine has published no port for it: {container.ports}")
        if not was_ready:
            await self._become_ready(container, probed)
        return Address.parse(
            f"http://{LOOPBACK}:{port}{self.spec.path}", http2=self.spec.http2 or None
        )

    async def _become_ready(self, container: Container, probed: int) -> None:
        last = ["its probe was not answered"]

        async def attempt() -> str:
            why_not = await self._probed(container, probed)
            if why_not:
                last[0] = why_not
            return why_not

        def say(why_not: str) -> None:
            text = f"its container is not ready yet: {why_not}"
            self._house.on_log(notice(self._function, text))

        probing = self._loop.create_task(until_ready(self.spec.probe, attempt, say))
        ending = self._loop.create_task(container.ended.wait())
        try:
            await asyncio.wait(
                (probing, ending),
                timeout=self.spec.ready_timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if container.ended.is_set():
                raise NotStarted(await container.why_it_ended())
            if not probing.done():
                raise NotStarted(await self._why_not_ready(container, last[0]))
            probing.result()
        finally:
            for task in (probing, ending):
                task.cancel()
            await asyncio.gather(probing, ending, return_exceptions=True)

    async def _probed(self, container: Container, port: int) -> str:
        probe = self.spec.probe
        try:
            async with asyncio.timeout(probe.timeout):
                if probe.kind == "tcp":
                    return await accepts(container.ports[port], port, container.listeners())
                if probe.kind == "http":
                    return await answers(container.ports[port], probe, port)
                return await self._executed(container)
        except TimeoutError:
            return f"its {probe.kind} probe was not answered within {probe.timeout:g} s"

    async def _executed(self, container: Container) -> str:
        probe = self.spec.probe
        try:
            status, output = await self._house.engine.execute(
                container.id, probe.command, probe.timeout
            )
        except EngineError as error:
            return f"its probe {probe.command[0]!r} could not be run: {error}"
        if status == 0:
            return ""
        said = " ".join(output.split())[:200]
        return f"its probe {probe.command[0]!r} exited with status {status}: {said}"

    async def _why_not_ready(self, container: Container, last: str) -> str:
        reason = f"not ready within {self.spec.ready_timeout:g} s of its start: {last}"
        listeners = container.listeners()
        if listeners is not None:
            why_not = not_listening(self.spec.port, listeners)
            if why_not and why_not != last:
                reason += f" ({why_not})"
        return await container.with_last_lines(reason)

    # Ending

    def _leave(self, worker: ContainerWorker) -> Container | None:
        starting = self._live.pop(worker, None)
        if starting is not None:
            starting.cancel()
        container = worker.container
        if container is not None:
            container.on_end = None
        return container

    def _rest_if_awake(self) -> None:
        """One that was adopted for a start that did not take it."""
        container = self._rest
        awake = container is not None and not (container.paused or container.ended.is_set())
        if container is not None and awake and self._resting is None and not self._may_take:
            self._come_to_rest(container)

    def _come_to_rest(self, container: Container) -> None:
        self._rest = container
        container.on_end = None
        self._resting = self._loop.create_task(self._bring_to_rest(container))
        self._resting.add_done_callback(self._rested)

    async def _bring_to_rest(self, container: Container) -> None:
        try:
            if self.spec.at_rest == "stop":
                await container.stop(self.spec.grace)
            elif not container.ended.is_set() and not container.paused:
                await container.pause()
        except EngineError as error:
            _log.info("%s: its container could not come to rest: %s", self._function, error)
            self._give_up_rest(container)

    def _rested(self, task: "asyncio.Task[None]") -> None:
        self._resting = None
        container = self._rest
        if not task.cancelled() and task.exception() is not None:
            _log.error("%s: no rest", self._function, exc_info=task.exception())
        if container is None:
            return
        if container.paused:
            container.on_end = lambda: self._give_up_rest(container)

    def _give_up_rest(self, container: Container) -> None:
        if self._rest is container:
            self._rest = None
            self._house.discard(container, 0.0)

    async def _kill(self, worker: ContainerWorker, container: Container) -> None:
        try:
            async with asyncio.timeout(KILLED):
                await container.remove()
        except (EngineError, TimeoutError):
            # As soon as the engine is there again, it goes.
            self._house.discard(container, 0.0)
        worker.ended("killed")

    async def _bury(self, worker: ContainerWorker, container: Container) -> None:
        began = time.monotonic()
        reason = await container.why_it_ended()
        worker.ended(reason)
        _log.debug("%s: %s (%.3f s)", self._function, reason, time.monotonic() - began)
        self._house.discard(container, 0.0)
