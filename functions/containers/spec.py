"""What a container of one revision is made of. Values alone; the launcher acts on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Pull = Literal["Always", "IfNotPresent", "Never"]
AtRest = Literal["stop", "pause"]
"""What becomes of the last container at scale to zero: stopped (no memory, slower to come back) or
paused (keeps its memory, back in milliseconds)."""


@dataclass(frozen=True, slots=True)
class Probe:
    """When a container counts as ready: Kubernetes' readiness probe.

    kind: "tcp" = the port accepts, "http" = GET `path` answers 200 to 399, "exec" = `command` exits
    with 0 inside the container. port: 0 = the container's own. headers: sent with "http".
    period, timeout, initial_delay: seconds. success: how often in a row. failure: after how many in
    a row the log says why it isn't ready yet.
    """

    kind: Literal["tcp", "http", "exec"] = "tcp"
    path: str = "/"
    port: int = 0
    command: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    period: float = 0.05
    timeout: float = 1.0
    initial_delay: float = 0.0
    success: int = 1
    failure: int = 3


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container, by Knative Serving's runtime contract.

    image: with registry and tag or digest. pull: Kubernetes' imagePullPolicy. command, args: over
    the image's ENTRYPOINT and CMD where not None. env: beside PORT, K_SERVICE, K_REVISION and
    K_CONFIGURATION, which the launcher sets. port: on which it listens for HTTP. http2: it speaks
    HTTP/2 without TLS (port name h2c). path: to which events are posted. memory: bytes, cpu: cores;
    None = no limit. read_only: root file system. grace: seconds between SIGTERM and SIGKILL.
    ready_timeout: seconds from its start until it has to be ready; pulling comes before.
    """

    image: str
    pull: Pull = "IfNotPresent"
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 8080
    http2: bool = False
    path: str = "/"
    memory: int | None = None
    cpu: float | None = None
    working_dir: str | None = None
    user: str | None = None
    read_only: bool = False
    probe: Probe = field(default_factory=Probe)
    at_rest: AtRest = "stop"
    grace: float = 30.0
    ready_timeout: float = 60.0
