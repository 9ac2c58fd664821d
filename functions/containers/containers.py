"""All containers of a node: the engine that runs them, what its events tell, what is left over.

What is labelled with another node's name is never touched.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from functions.containers.container import KILLED, Container
from functions.containers.engine import Engine, EventStream, Listed
from functions.containers.engine_error import EngineAway, EngineError
from functions.containers.images import Images
from functions.containers.labels import Belonging, node_label, spec_digest
from functions.containers.launcher import ContainerLauncher
from functions.containers.orphans import may_have_containers
from functions.containers.spec import ContainerSpec
from functions.containers.threads import post, start_thread
from functions.http.client import HttpClient
from functions.output_lines import OnLog

LOOK_EVERY: Final = 10.0
"""Seconds between two looks at all containers: an event may have been lost."""
_PAUSES: Final = (0.25, 5.0)
"""Seconds before what failed is tried again: the first, doubled up to the second."""
_FIRST_LOOK: Final = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineFault:
    """Why no container can be started or ended just now. `reason` is one CamelCase word for
    programs, `message` a sentence for people."""

    message: str
    reason: str = "EngineUnreachable"


class Containers:
    """A node's containers; to be used from one event loop.

    - `start`, then `launcher` for each revision that runs in a container, then `retain` whenever
      the wiring has changed.
    - The engine, and the SDK with it, is asked for nothing before the first `launcher`, unless a
      killed node of this name has left containers behind.
    - While the engine is away, containers that run go on being called; `fault` says why none can be
      started. It is said once in the log, and tried again until it is there.
    """

    def __init__(self, node: str, on_log: OnLog, engine_url: str | None = None) -> None:
        """node: its name, which no other node of this engine has, the same after a restart.
        engine_url: None = where DOCKER_HOST or a well-known socket has it."""
        self.node = node
        self.on_log = on_log
        self.fault: EngineFault | None = None
        self.engine = Engine(engine_url)
        self.images = Images(self.engine)
        self._url = engine_url
        self._loop = asyncio.get_running_loop()
        self._launchers: list[ContainerLauncher] = []
        self._known: dict[str, Container] = {}
        self._expected: set[str] = set()
        """Names of containers that are being made."""
        self._discarded: set[str] = set()
        self._retained = False
        self._looked = asyncio.Event()
        self._again = asyncio.Event()
        self._looking = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._making: set[asyncio.Task[Container]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self) -> None:
        """Look, in the background, for what a killed node of this name has left."""
        self.in_background(self._find_orphans())

    def launcher(
        self,
        namespace: str,
        service: str,
        revision: str,
        spec: ContainerSpec,
        client: HttpClient,
    ) -> ContainerLauncher:
        """What starts the containers of a revision: the same one for the same arguments, until it
        is no longer retained. Give its pool its `start_timeout`."""
        belonging = Belonging(namespace, service, revision, spec_digest(spec))
        for launcher in self._launchers:
            if launcher.belonging == belonging and launcher.spec == spec:
                return launcher
        launcher = ContainerLauncher(self, belonging, spec, client)
        self._launchers.append(launcher)
        self._watch()
        return launcher

    def retain(self, launchers: Iterable[ContainerLauncher]) -> None:
        """Only these are in use, or still have calls: what belongs to no other is removed, as soon
        as it has no calls any more, and so is what a killed node has left of other revisions."""
        kept = set(launchers)
        for launcher in self._launchers:
            if launcher not in kept:
                launcher.retire()
        self._launchers = [each for each in self._launchers if each in kept]
        self._retained = True
        if self._watching is not None:
            self.in_background(self._look_again())

    async def close(self, grace: float = 10.0) -> None:
        """Remove every container of this node, within about `grace` seconds. Pools are to be closed
        before. What the engine does not let go of, the next start of this node removes."""
        if self._closed:
            return
        self._closed = True
        launchers, self._launchers = self._launchers, []
        await asyncio.gather(*(launcher.close() for launcher in launchers))
        give_up = self._loop.time() + grace
        if self._making:
            await asyncio.wait(set(self._making), timeout=grace)
        for container in self._known.values():
            self.discard(container, grace)
        while self._tasks and (left_time := give_up - self._loop.time()) > 0:
            await asyncio.wait(set(self._tasks), timeout=left_time)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        for container in self._known.values():
            container.let_go()
        if self._watching is not None:
            await self._remove_all()
        pending = [*self._making, *self._tasks]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self.images.close()
        self.engine.close()

    # functions.containers.launcher.House

    async def looked(self) -> None:
        await self.engine.connect()
        self._watch()
        self._again.set()
        try:
            async with asyncio.timeout(_FIRST_LOOK):
                await self._looked.wait()
        except TimeoutError:
            message = f"{self.engine.place} did not tell which containers there are"
            raise EngineAway(message) from None

    async def create(self, name: str, config: Mapping[str, Any], function: str) -> Container:
        making = self._loop.create_task(self._create(name, config, function))
        self._making.add(making)
        making.add_done_callback(self._made)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            # The engine makes it all the same.
            making.add_done_callback(self._made_in_vain)
            raise

    def discard(
        self, container: Container, grace: float, after: "asyncio.Task[None] | None" = None
    ) -> None:
        container.on_end = None
        if container.id not in self._discarded:
            self._discarded.add(container.id)
            self.in_background(self._remove(container, grace, after))

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    # Making

    async def _create(self, name: str, config: Mapping[str, Any], function: str) -> Container:
        # Until its id is known, a look must not take it for one that was left behind.
        self._expected.add(name)
        try:
            id = await self.engine.create(name, config)
            container = Container(self.engine, id, function, self.on_log)
            self._known[id] = container
        finally:
            self._expected.discard(name)
        return container

    def _made(self, task: "asyncio.Task[Container]") -> None:
        self._making.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever waited was told; there may be nobody left.

    def _made_in_vain(self, task: "asyncio.Task[Container]") -> None:
        if not task.cancelled() and task.exception() is None:
            self.discard(task.result(), 0.0)

    # Removing

    async def _remove(
        self, container: Container, grace: float, after: "asyncio.Task[None] | None"
    ) -> None:
        if after is not None:
            await asyncio.wait([after])
        pause = _PAUSES[0]
        while True:
            try:
                if grace and not container.ended.is_set():
                    await container.stop(grace)
                await container.remove()
                break
            except EngineError as error:
                _log.info("container %s is not removed yet: %s", container.id[:12], error)
                grace = 0.0
            await asyncio.sleep(pause)
            pause = min(pause * 2, _PAUSES[1])
            if not self._closed:
                await self._looked.wait()
        self._known.pop(container.id, None)
        self._discarded.discard(container.id)

    async def _remove_all(self) -> None:
        """At once, and also those this node has never heard of: made for who no longer waited."""
        try:
            async with asyncio.timeout(KILLED):
                left = await self.engine.containers(node_label(self.node))
                removals = [self.engine.remove(each.id) for each in left]
                failed = [
                    each
                    for each in await asyncio.gather(*removals, return_exceptions=True)
                    if isinstance(each, BaseException)
                ]
                why = str(failed[0]) if failed else ""
        except (EngineError, TimeoutError) as error:
            why = str(error) or f"{self.engine.place} does not answer"
        if why:
            _log.warning(
                "some containers of this node may be left, which its next start removes: %s", why
            )

    # Watching

    def _watch(self) -> None:
        if self._watching is None and not self._closed:
            self._watching = self._loop.create_task(self._keep_watching(), name="containers")

    async def _find_orphans(self) -> None:
        if await may_have_containers(self._url, self.node):
            self._watch()

    async def _keep_watching(self) -> None:
        pause = _PAUSES[0]
        while True:
            try:
                await self.engine.connect()
                stream = await self.engine.events(node_label(self.node))
            except EngineError as error:
                self._away(error)
                await self._wait(pause)
                pause = min(pause * 2, _PAUSES[1])
                continue
            pause = _PAUSES[0]
            try:
                await self._follow(stream)
            except EngineError as error:
                self._away(error)
                await self._wait(pause)
            finally:
                stream.close()
                self.engine.disconnect()

    async def _wait(self, seconds: float) -> None:
        """That long, or until a launch has found the engine there."""
        self._again.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._again.wait()
        except TimeoutError:
            pass

    async def _follow(self, stream: EventStream) -> None:
        """Look at all containers now, and now and then until the stream of events has ended."""
        ended = asyncio.Event()
        start_thread(lambda: self._read_events(stream, ended), "container events")
        while not ended.is_set():
            await self._look()
            self._back()
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await ended.wait()
            except TimeoutError:
                pass

    def _read_events(self, stream: EventStream, ended: asyncio.Event) -> None:
        """In a thread of its own."""
        try:
            for action, id in stream:
                if not post(self._loop, self._heard, action, id):
                    return
        except Exception as error:
            _log.debug("the engine's events have ended: %s", error)
        post(self._loop, ended.set)

    def _heard(self, action: str, id: str) -> None:
        container = self._known.get(id)
        if container is None:
            return
        if action in ("die", "died", "oom", "destroy", "remove"):
            # An event may tell of a run before this one: what counts is what the engine says now.
            container.look()

    def _away(self, error: EngineError) -> None:
        self._looked.clear()
        message = str(error)
        if self.fault is None:
            _log.error("%s; it is tried again", message)
        self.fault = EngineFault(message)

    def _back(self) -> None:
        if self.fault is not None:
            _log.info("the container engine is there again")
        self.fault = None
        self._looked.set()

    async def _look_again(self) -> None:
        try:
            await self._look()
        except EngineError as error:
            _log.debug("no look at the containers: %s", error)

    async def _look(self) -> None:
        """See which containers there are: those that are gone or have ended, those nobody knows."""
        async with self._looking:
            there = {each.id: each for each in await self.engine.containers(node_label(self.node))}
            for id, container in list(self._known.items()):
                if id not in self._discarded:
                    listed = there.get(id)
                    if listed is None or listed.state not in ("running", "paused"):
                        container.look()
                    await container.read_on()
            for each in there.values():
                if each.id not in self._known and not each.names & self._expected:
                    await self._settle(each)

    async def _settle(self, listed: Listed) -> None:
        """Of one that was left behind: to whom it goes, or that it has to go."""
        belonging = Belonging.of(listed.labels)
        launcher = next((each for each in self._launchers if each.belonging == belonging), None)
        if launcher is None and not self._retained:
            return
        function = f"{belonging.namespace}/{belonging.service}"
        container = Container(self.engine, listed.id, function, self.on_log)
        try:
            await container.found(await self.engine.inspect(listed.id))
        except EngineAway:
            container.let_go()
            raise
        except EngineError as error:
            container.let_go()
            if not error.missing:
                _log.info("container %s is left alone: %s", listed.id[:12], error)
            return
        self._known[listed.id] = container
        reusable = listed.state in ("running", "paused", "exited", "stopped")
        if launcher is None or not reusable or not launcher.adopt(container):
            self.discard(container, KILLED)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a task of the containers failed", exc_info=task.exception())
