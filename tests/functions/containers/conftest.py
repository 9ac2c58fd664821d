"""Containers of a real engine, started and called as a pool does it."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, Literal

import pytest

from eventing.event import Event
from functions.base import Call, Response
from functions.containers.containers import Containers
from functions.containers.launcher import ContainerLauncher
from functions.containers.spec import ContainerSpec
from functions.http.client import HttpClient
from functions.output_lines import LogLine
from functions.worker import Revision, Worker

PATIENCE = 60.0
"""Seconds a condition is waited for: far above what it takes, so that only a fault reaches it."""


def event(type: str, data: bytes | None = None, **attributes: str) -> Event:
    required = {"specversion": "1.0", "id": "1", "source": "/test", "type": type}
    return Event(required | attributes, data)


class Recorder:
    """A listener that keeps what it is told, for a test to wait on."""

    def __init__(self, house: "House", launcher: ContainerLauncher) -> None:
        self.worker: Worker
        self.launcher = launcher
        self.results: dict[int, Response] = {}
        self.exit: str | None = None
        self.is_ready = False
        self._house = house

    def ready(self, worker: Worker) -> None:
        assert not self.is_ready, "ready was told twice"
        self.is_ready = True
        self._house.touch()

    def result(self, worker: Worker, id: int, response: Response) -> None:
        assert id not in self.results, "a call was answered twice"
        assert self.exit is None, "a result came after the end"
        self.results[id] = response
        self._house.touch()

    def exited(self, worker: Worker, reason: str) -> None:
        assert self.exit is None, "the end was told twice"
        self.exit = reason
        self._house.touch()

    def call(
        self,
        id: int,
        type: str,
        data: bytes | None = None,
        *,
        path: str = "",
        format: Literal["json"] | None = None,
        **attributes: str,
    ) -> None:
        asked = event(type, data, **attributes)
        self.worker.call(id, Call(asked, 1, "a-trigger", path=path, format=format))

    async def answer(self, id: int = 1) -> Response:
        await self._house.until(lambda: id in self.results or self.exit is not None)
        assert id in self.results, f"the container ended without an answer: {self.exit}"
        return self.results[id]

    async def told(self, id: int = 1) -> Any:
        """What the server said of the request, itself and its surroundings."""
        response = await self.answer(id)
        assert response.status == 200, response
        (reply,) = response.replies
        assert reply.data is not None
        return json.loads(reply.data)

    async def until_ready(self) -> None:
        await self._house.until(lambda: self.is_ready or self.exit is not None)
        assert self.is_ready, self.exit

    async def end(self) -> str:
        await self._house.until(lambda: self.exit is not None)
        assert self.exit is not None
        return self.exit


class House:
    """A node's containers on a real engine; `sdk` is for looking at them from outside."""

    def __init__(self, url: str, image: str, sdk: Any, node: str) -> None:
        self.node = node
        self.url = url
        self.image = image
        self.sdk = sdk
        self.logs: list[LogLine] = []
        self.client = HttpClient()
        self._touched = asyncio.Event()
        self.containers = Containers(node, self.log, url)

    def spec(self, env: Mapping[str, str] | None = None, **settings: Any) -> ContainerSpec:
        return ContainerSpec(
            **{"image": self.image, "pull": "Never", "grace": 20.0, "env": env or {}} | settings
        )

    def launcher(
        self, spec: ContainerSpec | None = None, service: str = "thumbnail", number: int = 1
    ) -> ContainerLauncher:
        return self.containers.launcher(
            "default", service, f"{service}-{number:05}", spec or self.spec(), self.client
        )

    def launch(
        self, spec: ContainerSpec | None = None, launcher: ContainerLauncher | None = None
    ) -> Recorder:
        launcher = launcher or self.launcher(spec)
        revision = Revision(
            launcher.belonging.service,
            "default",
            "",
            sync=False,
            revision=launcher.belonging.revision,
        )
        recorder = Recorder(self, launcher)
        recorder.worker = launcher.launch(revision, recorder)
        return recorder

    def log(self, line: LogLine) -> None:
        self.logs.append(line)
        self.touch()

    def touch(self) -> None:
        self._touched.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until what this house hears of makes it true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._touched.clear()
                await self._touched.wait()

    async def eventually(self, condition: Callable[[], bool]) -> None:
        """Waits until it is true, whoever makes it so."""
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.02)

    async def logged(self, text: str) -> LogLine:
        def found() -> list[LogLine]:
            return [line for line in self.logs if text in line.text]

        await self.until(lambda: bool(found()))
        return found()[0]

    def there(self) -> list[Any]:
        """All containers of this node, as the engine has them."""
        label = {"label": f"eventing.node={self.node}"}
        return list(self.sdk.api.containers(all=True, filters=label))

    def states(self) -> list[str]:
        # Podman calls one "stopped" until it has cleaned up after it.
        return sorted(each["State"].replace("stopped", "exited") for each in self.there())

    def ids(self) -> set[str]:
        return {each["Id"] for each in self.there()}


Body = Callable[[House], Awaitable[None]]


@pytest.fixture
def node() -> str:
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def sdk(container_engine: Any) -> Iterator[Any]:
    with closing(container_engine.client()) as client:
        yield client


@pytest.fixture
def make_house() -> Callable[[str, str, Any, str], House]:
    """`make_house(engine's url, image, sdk, node)`, on the running event loop."""
    return House


@pytest.fixture
def run_containers(container_engine: Any, sdk: Any, node: str) -> Callable[[Body], None]:
    """`run_containers(body)`: run it over the shared engine, and see that nothing is left."""

    def run(body: Body) -> None:
        async def main() -> None:
            house = House(container_engine.url, container_engine.image, sdk, node)
            house.containers.start()
            try:
                await body(house)
            finally:
                await house.containers.close(5.0)
                await house.client.close()
            assert house.states() == []

        asyncio.run(main())

    return run
