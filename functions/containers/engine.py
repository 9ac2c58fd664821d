"""The container engine, Docker's or Podman's, over its API: asked in threads, awaited on the loop.

Everything of the Docker SDK is in here. It is imported when the engine is first asked for.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from functions.containers.engine_error import EngineAway, EngineError
from functions.containers.engine_place import EnginePlace, find_engine, usable_socket
from functions.containers.pull_failure import PullFailed, why_not_pulled
from functions.containers.threads import Threads, run_alone

CALL_TIMEOUT: Final = 60.0
"""Seconds the engine may take for one answer."""
CONNECT_TIMEOUT: Final = 10.0
"""Seconds it may take for the first."""
PULL_TIMEOUT: Final = 900.0
"""Seconds that pulling an image may take."""

_THREADS: Final = 4
_STOP_SIGNAL: Final = "SIGTERM"

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Details:
    """A container as its engine sees it.

    `status` in the engine's word; `running` also while it is `paused`. `pid` is 0 while it does
    not run. `ports`: where each of its ports is published on loopback. `memory`: its limit in
    bytes, None without one. `exit_code`, `out_of_memory` and `error` are those of its last end.
    """

    id: str
    image: str
    status: str
    running: bool
    paused: bool
    pid: int
    ports: Mapping[int, int]
    exit_code: int
    out_of_memory: bool
    error: str
    stop_signal: str
    memory: int | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A container among all; `state` in the engine's word."""

    id: str
    names: frozenset[str]
    state: str
    labels: Mapping[str, str]


class Engine:
    """One engine, found when it is first asked and again whenever it could not be reached.

    Every method raises EngineAway where it can't be reached, and EngineError where it refuses.
    """

    def __init__(self, url: str | None = None) -> None:
        """url: of its API; None = where the environment or a well-known socket has it."""
        self._url = url
        self._threads = Threads(_THREADS, "containers")
        self._client: Any = None
        self._place: EnginePlace | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self._place.shown if self._place else "the container engine"

    async def connect(self) -> None:
        """Find it and agree on a version with it. Those who ask meanwhile share the attempt."""
        if self._closed:
            raise EngineAway("the node is shutting down")
        if self._client is not None:
            return
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        await asyncio.shield(self._connecting)

    def disconnect(self) -> None:
        """What comes next finds it anew: it may be another one, or at another place."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def close(self) -> None:
        self._closed = True
        self.disconnect()
        self._threads.close()

    # Containers

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Make a container of a configuration as the Engine API takes it; its id."""
        created = await self._ask(lambda api: api.create_container_from_config(config, name))
        for warning in created.get("Warnings") or ():
            _log.warning("%s warns of container %s: %s", self.place, name, warning)
        return str(created["Id"])

    async def start(self, id: str) -> None:
        await self._ask(lambda api: api.start(id))

    async def pause(self, id: str) -> None:
        await self._ask(lambda api: api.pause(id))

    async def unpause(self, id: str) -> None:
        await self._ask(lambda api: api.unpause(id))

    async def kill(self, id: str, signal: str) -> None:
        await self._ask(lambda api: api.kill(id, signal))

    async def remove(self, id: str) -> None:
        """Away with it, running or not, and with its anonymous volumes. One that is gone is no
        fault."""
        try:
            await self._ask(lambda api: api.remove_container(id, v=True, force=True))
        except EngineError as error:
            # A conflict: its removal is under way already.
            if not (error.missing or error.conflict):
                raise

    async def inspect(self, id: str) -> Details:
        return _details(await self._ask(lambda api: api.inspect_container(id)))

    async def containers(self, label: str) -> list[Listed]:
        """All with this label ("name=value"), in whatever state."""
        found = await self._ask(lambda api: api.containers(all=True, filters={"label": label}))
        return [
            Listed(
                str(each["Id"]),
                frozenset(name.lstrip("/") for name in each.get("Names") or ()),
                str(each.get("State") or ""),
                each.get("Labels") or {},
            )
            for each in found
        ]

    async def last_lines(self, id: str, count: int) -> list[str]:
        """The last of what it printed, stdout and stderr."""
        text = await self._ask(lambda api: api.logs(id, tail=count))
        return bytes(text).decode(errors="replace").splitlines()[-count:]

    async def lines_since(self, id: str, since: int) -> int:
        """How many lines it has printed since (Unix seconds)."""
        text = await self._ask(lambda api: api.logs(id, since=since))
        return bytes(text).count(b"\n")

    async def execute(self, id: str, command: Sequence[str], timeout: float) -> tuple[int, str]:
        """Run a command in it; its exit status and the start of what it printed. TimeoutError
        where it takes longer; it is then left to itself."""
        api = await self._api()

        def run() -> tuple[int, str]:
            made = api.exec_create(id, list(command))["Id"]
            output = bytes(api.exec_start(made))
            return int(api.exec_inspect(made)["ExitCode"] or 0), output.decode(errors="replace")

        return await run_alone(lambda: _translated(run), timeout, "container-exec")

    # Images

    async def image_id(self, image: str) -> str | None:
        """The id of an image this engine has; None where it has none of that name."""
        try:
            return str((await self._ask(lambda api: api.inspect_image(image)))["Id"])
        except EngineError as error:
            if error.missing:
                return None
            raise

    async def pull(self, image: str) -> None:
        """Have the engine fetch it, with the credentials of the user's Docker configuration.
        Raises PullFailed, which says why and what to do."""
        api = await self._api()

        def pull() -> None:
            for line in api.pull(image, stream=True, decode=True):
                if isinstance(line, dict) and (line.get("error") or line.get("errorDetail")):
                    detail = line.get("errorDetail") or {}
                    raise PullFailed(
                        why_not_pulled(image, str(line.get("error") or detail.get("message")))
                    )

        try:
            await run_alone(lambda: _translated(pull), PULL_TIMEOUT, "image-pull")
        except (EngineAway, PullFailed):
            raise
        except EngineError as error:
            raise PullFailed(why_not_pulled(image, str(error))) from None
        except TimeoutError:
            raise PullFailed(
                f"the image {image} was not pulled within {PULL_TIMEOUT:g} s; pull it beforehand,"
                " and give imagePullPolicy: IfNotPresent"
            ) from None

    # Streams, to be read in threads

    async def events(self, label: str) -> "EventStream":
        """What happens to the containers with this label from now on."""
        filters = {"label": label, "type": "container"}
        stream = await self._ask(lambda api: api.events(decode=True, filters=filters))
        return EventStream(stream)

    async def output(self, id: str, since: int) -> "OutputStream":
        """What a container has printed since (Unix seconds, 0 = all), and what it will."""
        api = await self._api()
        options: dict[str, Any] = {"follow": 1, "stdout": 1, "stderr": 1, "timestamps": 1}
        if since:
            options["since"] = since
        # The SDK's own call can't tell stdout from stderr.
        url = f"{api.base_url}/v{api.api_version}/containers/{id}/logs"
        timeout = (CONNECT_TIMEOUT, None)
        return OutputStream(lambda: api.get(url, params=options, stream=True, timeout=timeout))

    # Inside

    async def _connect(self) -> None:
        url = self._url
        client, place = await self._told(
            self._threads.run(lambda: _translated(lambda: _open(url)), CONNECT_TIMEOUT * 2)
        )
        if self._closed:
            client.close()
            raise EngineAway("the node is shutting down")
        self._client, self._place = client, place

    def _connected(self, attempt: "asyncio.Task[None]") -> None:
        self._connecting = None
        if not attempt.cancelled():
            attempt.exception()  # Whoever waited was told; there may have been none.

    async def _api(self) -> Any:
        await self.connect()
        return self._client.api

    async def _ask(self, request: Callable[[Any], T]) -> T:
        api = await self._api()
        return await self._told(
            self._threads.run(lambda: _translated(lambda: request(api)), CALL_TIMEOUT)
        )

    async def _told(self, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except TimeoutError:
            raise EngineAway(f"{self.place} did not answer in time") from None


class EventStream:
    """Iterate in a thread; `close` from any ends it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(what happened, the container's id)"""
        for event in self._stream:
            action = str(event.get("Action") or event.get("status") or "")
            actor = event.get("Actor") or {}
            id = actor.get("ID") or event.get("id")
            if id:
                yield action, str(id)

    def close(self) -> None:
        _cut(self._stream.close)


class OutputStream:
    """Iterate in a thread; `close` from any ends it.

    The request is made by the iteration: Podman answers it when the container prints something.
    """

    def __init__(self, request: Callable[[], Any]) -> None:
        self._request = request
        self._lock = threading.Lock()
        self._answer: Any = None
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        try:
            answer = self._request()
            with self._lock:
                self._answer = answer
                if self._closed:
                    answer.close()
                    return
            answer.raise_for_status()
            yield from answer.raw.stream(1 << 16, decode_content=False)
        except (RequestException, HTTPError, OSError, ValueError, AttributeError) as error:
            # It was closed, here or there; a look finds out whether it is to be read on.
            _log.debug("the output of a container has ended: %s", error)

    def close(self) -> None:
        from docker.types import CancellableStream

        with self._lock:
            self._closed = True
            if self._answer is not None:
                _cut(CancellableStream(iter(()), self._answer).close)


def _cut(close: Callable[[], None]) -> None:
    try:
        close()
    except Exception as error:
        # It has ended already, in one of the many ways a stream of the SDK can.
        _log.debug("a stream of the engine was closed twice: %s", error)


def _open(url: str | None) -> tuple[Any, EnginePlace]:
    import docker
    from docker.utils import kwargs_from_env

    place = find_engine(url, os.environ, usable_socket, _chosen_context)
    tls = place.tls or (False if place.socket else kwargs_from_env().get("tls", False))
    options = {"base_url": place.url, "tls": tls}
    try:
        # The first answer comes soon or never; later ones may have much to do before.
        probe = docker.DockerClient(**options, version="auto", timeout=CONNECT_TIMEOUT)
        version = probe.api.api_version
        probe.close()
        return docker.DockerClient(**options, version=version, timeout=CALL_TIMEOUT), place
    except Exception as error:
        raise EngineAway(
            f"the container engine at {place.shown} can't be reached: {_cause(error)}"
        ) from None


def _chosen_context() -> EnginePlace | None:
    """The context that `docker context use` or DOCKER_CONTEXT has chosen, but for the default."""
    from docker.context import ContextAPI
    from docker.context.config import get_current_context_name

    name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
    if not name or name == "default":
        return None
    context = ContextAPI.get_context(name)
    if context is None or not context.Host:
        raise EngineAway(
            f"Docker's context {name!r}, which DOCKER_CONTEXT or `docker context use` has chosen,"
            " names no engine: choose another, or set DOCKER_HOST"
        )
    return EnginePlace(context.Host, f"Docker context {name}", context.TLSConfig)


def _translated(call: Callable[[], T]) -> T:
    """Do it; whatever the SDK raises becomes an EngineError."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import HTTPError, RequestException
    from urllib3.exceptions import HTTPError as TransportError

    try:
        return call()
    except EngineError:
        raise
    except (APIError, HTTPError) as error:
        status = error.response.status_code if error.response is not None else 0
        words = _words(error)
        # Podman has a 500 for one that is being removed.
        missing = status == 404 or "no such container" in words.lower()
        raise EngineError(words, missing=missing, conflict=status in (304, 409)) from None
    except (RequestException, TransportError, OSError) as error:
        raise EngineAway(f"the container engine can't be reached: {_cause(error)}") from None
    except (DockerException, ValueError, KeyError) as error:
        raise EngineError(f"the container engine's answer makes no sense: {error}") from None


def _words(error: Any) -> str:
    """What the engine itself said."""
    explanation = getattr(error, "explanation", None)
    if isinstance(explanation, bytes):
        explanation = explanation.decode(errors="replace")
    return " ".join(str(explanation or error).split())


def _cause(error: BaseException) -> str:
    """The system's words for why there is no connection; the SDK wraps them several times."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return os.strerror(seen.errno)
        arguments = [each for each in seen.args if isinstance(each, BaseException)]
        seen = seen.__cause__ or seen.__context__ or (arguments[0] if arguments else None)
    return " ".join(str(error).split())


def _details(told: Mapping[str, Any]) -> Details:
    state = told["State"]
    status = str(state.get("Status") or "")
    published = (told.get("NetworkSettings") or {}).get("Ports") or {}
    config = told.get("Config") or {}
    return Details(
        id=str(told["Id"]),
        image=str(told["Image"]),
        status=status,
        running=bool(state.get("Running")),
        paused=bool(state.get("Paused")),
        pid=int(state.get("Pid") or 0),
        ports={
            int(port.partition("/")[0]): int(places[0]["HostPort"])
            for port, places in published.items()
            if places and places[0].get("HostPort")
        },
        exit_code=int(state.get("ExitCode") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        stop_signal=str(config.get("StopSignal") or _STOP_SIGNAL),
        memory=int((told.get("HostConfig") or {}).get("Memory") or 0) or None,
    )
