"""Containers: what a document of Kubernetes says of one, and the value that comes of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from eventing.resources.env import EnvFromSource, EnvVar, reserved, set_twice
from eventing.resources.fields import Cores, LabelName, NonEmpty, QualifiedName
from eventing.resources.image import Image, Pull, default_pull
from eventing.resources.model import Fault, Model, refusing
from eventing.resources.place import Path
from eventing.resources.probe import Probe, ProbeSpec
from eventing.resources.quantities import parse_cores, parse_quantity
from eventing.resources.security_context import SecurityContext

AtRest = Literal["stop", "pause"]
"""What becomes of the last container at scale to zero: stopped (no memory, slower to come back) or
paused (keeps its memory, back in milliseconds)."""

DEFAULT_PORT = 8080
_KNATIVES_PORTS = (8008, 8012, 8013, 8022, 9090, 9091)


@dataclass(frozen=True, slots=True)
class Container:
    """What a container of one revision is made of; the twin of
    `functions.containers.spec.ContainerSpec`, but for its environment.

    image: with registry and tag or digest. command, args: over the image's ENTRYPOINT and CMD where
    not None; `$(NAME)` in them is not replaced yet (see `env.expanded`). port: on which it listens
    for HTTP. http2: it speaks HTTP/2 without TLS. path: to which events are posted. memory: bytes,
    cpu: cores; None = no limit. user: "uid" or "uid:gid". read_only: root file system. grace:
    seconds between SIGTERM and SIGKILL. ready_timeout: seconds from its start until it has to be
    ready.
    """

    image: str
    pull: Pull = "IfNotPresent"
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    port: int = DEFAULT_PORT
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


class ContainerPort(Model):
    name: Literal["", "http1", "h2c"] | None = Field(
        default=None, description="h2c = HTTP/2 without TLS; HTTP/1.1 else."
    )
    container_port: Annotated[StrictInt, Field(ge=0, le=65535)] | None = Field(
        default=None, description="8080 where left out."
    )
    protocol: Literal["TCP"] | None = None
    host_ip: Any = Field(default=None, alias="hostIP")
    host_port: Any = None


def _amounts(amounts: dict[str, str]) -> Iterator[Fault]:
    for name, text in amounts.items():
        try:
            (parse_quantity if name == "memory" else parse_cores)(text)
        except ValueError as error:
            yield (name,), str(error)


Amounts = Annotated[dict[QualifiedName, Cores], refusing(_amounts)]
"""By the name of what is meant: `memory`, `cpu`, `ephemeral-storage`, `nvidia.com/gpu` …"""


class ResourceRequirements(Model):
    limits: Amounts | None = Field(default=None, description="memory and cpu are held to.")
    requests: Amounts | None = None
    claims: Any = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        limits = self.limits or {}
        for name, text in (self.requests or {}).items():
            if name in limits and Fraction(parse_cores(text)) > Fraction(parse_cores(limits[name])):
                yield ("requests", name), f"{text} is above the limit of {limits[name]}"

    @property
    def memory(self) -> int | None:
        """Bytes; None = no limit."""
        limit = (self.limits or {}).get("memory")
        return parse_quantity(limit) or None if limit is not None else None

    @property
    def cpu(self) -> float | None:
        """Cores; None = no limit."""
        limit = (self.limits or {}).get("cpu")
        return parse_cores(limit) or None if limit is not None else None

    def without_effect(self, path: Path) -> Iterator[Fault]:
        for name in self.limits or {}:
            if name not in ("memory", "cpu"):
                yield (*path, "limits", name), "has no effect: memory and cpu alone are limited"
        if self.requests:
            yield (*path, "requests"), "has no effect: nothing is reserved, limits are held to"
        if self.claims:
            yield (*path, "claims"), "has no effect in this version"


class VolumeMount(Model):
    name: NonEmpty
    mount_path: NonEmpty
    read_only: StrictBool | None = None
    recursive_read_only: Any = None
    sub_path: str | None = None
    sub_path_expr: Any = None
    mount_propagation: Any = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if not self.mount_path.startswith("/"):
            yield ("mountPath",), f'"{self.mount_path}" has to begin with "/"'


class ContainerSpec(Model):
    """One entry of `containers` of a Kubernetes pod."""

    name: LabelName | None = None
    image: Image
    image_pull_policy: Pull | None = Field(
        default=None,
        description="Always where the image has no tag, or latest; else IfNotPresent.",
    )
    command: tuple[str, ...] | None = Field(default=None, description="For its ENTRYPOINT.")
    args: tuple[str, ...] | None = Field(default=None, description="For its CMD.")
    working_dir: NonEmpty | None = None
    env: tuple[EnvVar, ...] | None = None
    env_from: tuple[EnvFromSource, ...] | None = None
    ports: tuple[ContainerPort, ...] | None = Field(default=None, description="One at the most.")
    resources: ResourceRequirements | None = None
    readiness_probe: ProbeSpec | None = None
    liveness_probe: ProbeSpec | None = None
    startup_probe: ProbeSpec | None = None
    security_context: SecurityContext | None = None
    volume_mounts: tuple[VolumeMount, ...] | None = None

    lifecycle: Any = None
    resize_policy: Any = None
    restart_policy: Any = None
    stdin: Any = None
    stdin_once: Any = None
    termination_message_path: Any = None
    termination_message_policy: Any = None
    tty: Any = None
    volume_devices: Any = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        for path, message in reserved(self.env or ()):
            yield ("env", *path), message
        for index in range(1, len(self.ports or ())):
            yield ("ports", index), "is a second port; a function is called at one"
        port = self.serving_port
        if port.container_port in _KNATIVES_PORTS:
            message = f"{port.container_port} is a port of Knative's own; choose another"
            yield ("ports", 0, "containerPort"), message
        for name, probe in (
            ("readinessProbe", self.readiness_probe),
            ("livenessProbe", self.liveness_probe),
            ("startupProbe", self.startup_probe),
        ):
            for path, message in probe.port_faults(port.name or "http") if probe else ():
                yield (name, *path), message

    @property
    def serving_port(self) -> ContainerPort:
        return self.ports[0] if self.ports else ContainerPort()

    def value(self, *, user: str | None, path: str, at_rest: AtRest, grace: float) -> Container:
        """It as a value, with what is said elsewhere."""
        port = self.serving_port
        return Container(
            image=self.image,
            pull=self.image_pull_policy or default_pull(self.image),
            command=self.command,
            args=self.args,
            port=port.container_port or DEFAULT_PORT,
            http2=port.name == "h2c",
            path=path,
            memory=self.resources.memory if self.resources else None,
            cpu=self.resources.cpu if self.resources else None,
            working_dir=self.working_dir,
            user=user,
            read_only=bool(
                self.security_context and self.security_context.read_only_root_filesystem
            ),
            probe=self.readiness_probe.value() if self.readiness_probe else Probe(),
            at_rest=at_rest,
            grace=grace,
        )

    def without_effect(self, path: Path) -> Iterator[Fault]:
        """`path` is where it stands in its resource."""
        for index, name in set_twice(self.env or ()):
            yield (*path, "env", index, "name"), f'"{name}" was set above too; this one counts'
        for name in ("host_ip", "host_port"):
            if getattr(self.serving_port, name):
                alias = str(ContainerPort.model_fields[name].alias)
                message = "has no effect: the engine chooses a port of the loopback interface"
                yield (*path, "ports", 0, alias), message
        if self.resources is not None:
            yield from self.resources.without_effect((*path, "resources"))
        if self.readiness_probe is not None:
            yield from self.readiness_probe.without_effect((*path, "readinessProbe"))
        if self.security_context is not None:
            yield from self.security_context.without_effect((*path, "securityContext"))
        for name, reason in _WITHOUT_EFFECT.items():
            if getattr(self, name):
                alias = str(ContainerSpec.model_fields[name].alias)
                yield (*path, alias), f"has no effect{reason}"


_HERE = " in this version"
_WITHOUT_EFFECT = {
    "liveness_probe": ": a container counts as alive while it runs",
    "startup_probe": ": the readiness probe is asked from the start",
    "lifecycle": _HERE,
    "resize_policy": _HERE,
    "restart_policy": ": a container that ends is replaced when there are events",
    "stdin": _HERE,
    "stdin_once": _HERE,
    "termination_message_path": ": the last lines of its output are told",
    "termination_message_policy": ": the last lines of its output are told",
    "tty": _HERE,
    "volume_devices": _HERE,
}
