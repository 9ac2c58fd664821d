"""Probes of a container: when it counts as ready to be called."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, WithJsonSchema, model_validator

from eventing.resources.fields import Count, NonEmpty
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path


@dataclass(frozen=True, slots=True)
class Probe:
    """When a container counts as ready; the twin of `functions.containers.spec.Probe`.

    kind: "tcp" = the port accepts, "http" = GET `path` answers 200 to 399, "exec" = `command` exits
    with 0 inside the container. port: 0 = the container's own. period, timeout, initial_delay:
    seconds. success, failure: how often in a row.
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


_DEFAULT = Probe()


def _port(value: object) -> object:
    if type(value) is int:
        if not 0 <= value <= 65535:
            raise ValueError(f"{value} is no port; it is between 0 and 65535")
    elif not isinstance(value, str) or not value:
        raise ValueError("has to be the number or the name of a port")
    return value


PortOfProbe = Annotated[
    Any,
    AfterValidator(_port),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
]
Threshold = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]


class HttpHeader(Model):
    name: NonEmpty
    value: str


class HttpGet(Model):
    path: str | None = Field(default=None, description="/ where left out.")
    port: PortOfProbe | None = None
    host: str | None = None
    scheme: Literal["HTTP", "HTTPS"] | None = None
    http_headers: tuple[HttpHeader, ...] | None = None


class TcpSocket(Model):
    port: PortOfProbe | None = None
    host: str | None = None


class ExecAction(Model):
    command: Annotated[tuple[str, ...], Field(min_length=1)]


class GrpcAction(Model):
    port: PortOfProbe | None = None
    service: str | None = None


class ProbeSpec(Model):
    """Kubernetes' probe, with Knative's meaning: without `periodSeconds` it is asked every few
    milliseconds, without any action the port has to accept."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    exec: ExecAction | None = None
    grpc: GrpcAction | None = None
    initial_delay_seconds: Count | None = None
    period_seconds: Count | None = None
    timeout_seconds: Threshold | None = None
    success_threshold: Threshold | None = None
    failure_threshold: Count | None = None
    termination_grace_period_seconds: Count | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        actions = ("http_get", "tcp_socket", "exec", "grpc")
        given = [
            str(type(self).model_fields[name].alias)
            for name in actions
            if getattr(self, name) is not None
        ]
        for name in given[1:]:
            yield (name,), f'stands beside "{given[0]}"; keep one of them'
        if not self.period_seconds:
            for name in ("timeout_seconds", "failure_threshold"):
                if getattr(self, name):
                    alias = str(type(self).model_fields[name].alias)
                    yield (alias,), 'counts beside a "periodSeconds" above 0 alone'

    def port_faults(self, port_name: str) -> Iterator[Fault]:
        """Names of ports that are not the container's; paths are from the probe."""
        for field, action in (("httpGet", self.http_get), ("tcpSocket", self.tcp_socket)):
            port = action.port if action is not None else None
            if isinstance(port, str) and port != port_name:
                mended = ", or write the number without quotes" if port.isdecimal() else ""
                yield (
                    (field, "port"),
                    f'"{port}" is not the name of the container\'s port ("{port_name}"); leave it '
                    f"out{mended}",
                )

    def value(self) -> Probe:
        period = self.period_seconds or 0
        asked: dict[str, Any] = {"kind": "tcp"}
        if self.exec is not None:
            asked = {"kind": "exec", "command": self.exec.command}
        elif self.http_get is not None and self.http_get.scheme != "HTTPS":
            path = self.http_get.path or "/"
            asked = {
                "kind": "http",
                "path": path if path.startswith("/") else f"/{path}",
                "port": _number(self.http_get.port),
                "headers": tuple(
                    (header.name, header.value) for header in self.http_get.http_headers or ()
                ),
            }
        elif self.tcp_socket is not None:
            asked["port"] = _number(self.tcp_socket.port)
        if period:
            asked["period"] = float(period)
        return Probe(
            **asked,
            timeout=float(self.timeout_seconds or _DEFAULT.timeout),
            initial_delay=float(self.initial_delay_seconds or 0),
            success=self.success_threshold or _DEFAULT.success,
            failure=self.failure_threshold or _DEFAULT.failure,
        )

    def without_effect(self, path: Path) -> Iterator[Fault]:
        """What a readiness probe does not do here; `path` is where it stands."""
        asked = "the container counts as ready once its port accepts"
        if self.grpc is not None:
            yield (*path, "grpc"), f"has no effect: {asked}"
        if self.http_get is not None:
            if self.http_get.scheme == "HTTPS":
                yield (*path, "httpGet", "scheme"), f"HTTPS is not asked in this version: {asked}"
            if self.http_get.host:
                yield (*path, "httpGet", "host"), "has no effect: the container itself is asked"
        if self.tcp_socket is not None and self.tcp_socket.host:
            yield (*path, "tcpSocket", "host"), "has no effect: the container itself is asked"
        if self.termination_grace_period_seconds is not None:
            field = "terminationGracePeriodSeconds"
            yield (*path, field), "has no effect: a container is not ended for its readiness"


def _number(port: object) -> int:
    return port if isinstance(port, int) else 0
