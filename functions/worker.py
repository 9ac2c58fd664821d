"""The contract between the pool and a worker process: frames out, results and an end back in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from functions.base import Call, Response


@dataclass(frozen=True, slots=True)
class Revision:
    """What a pool needs to know of one version of a function.

    `handler` is "module:name" as the project's code knows it. `timeout` in seconds from the
    handler's start. `concurrency` is the hard limit of calls in flight in one worker (0 = 100).
    `sync` handlers run one at a time whatever it says. `memory` in bytes of resident memory a
    worker may take, None = no limit. `env` is added to the worker's environment. `revision` is the
    version's own name ("thumbnail-00002"), where it has one. What runs in a container has the
    handler "", is not `sync`, and takes its memory and environment from its ContainerSpec.
    """

    name: str
    namespace: str
    handler: str
    timeout: float = 30.0
    concurrency: int = 1
    sync: bool = True
    memory: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""


class Worker(Protocol):
    """One live worker process of one revision.

    `pid` is 0 until it is known. `between_calls` is true where the worker itself said, before it
    ended, that no handler was running: none of the calls without a result had begun.
    """

    pid: int
    between_calls: bool

    def call(self, id: int, call: Call) -> None:
        """Send a call; calls made in one turn of the loop leave in one write."""

    def cancel(self, id: int) -> None:
        """Ask an async handler's task to end; its result comes all the same."""

    def drain(self) -> None:
        """Finish what was sent, run the shutdown hooks, exit."""

    def kill(self) -> None:
        """SIGKILL. `exited` follows."""


class WorkerListener(Protocol):
    """What a worker tells its pool, on the event loop."""

    def ready(self, worker: Worker) -> None:
        """Start-up hooks are done; it takes calls. (Calls sent before wait in its socket.)"""

    def result(self, worker: Worker, id: int, response: Response) -> None: ...

    def exited(self, worker: Worker, reason: str) -> None:
        """It is gone, once and for all; calls without a result got none. `reason` for people:
        "drained", "exited with status 3", "killed by SIGSEGV", "start-up hook failed: …",
        "killed, over its memory limit of 256 MiB (OOM)"."""


StartMode = Literal["fork", "fresh"]


class Launcher(Protocol):
    """Starts workers of one project's code, by zygote and fork or as fresh interpreters."""

    mode: StartMode

    def launch(self, revision: Revision, listener: WorkerListener) -> Worker:
        """Begin to start a worker at once; never raises: what fails is told by `exited`."""
