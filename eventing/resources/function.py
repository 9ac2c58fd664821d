"""The Function: what takes events, and how it is run: a Python handler as a process, an image as a
container, or a service that runs elsewhere.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from eventing.resources.container import DEFAULT_PORT, AtRest, Container
from eventing.resources.destination import uri_complaint
from eventing.resources.durations import parse_duration
from eventing.resources.env import (
    EnvFromSource,
    Environment,
    EnvironmentFrom,
    EnvVar,
    environment,
    environment_from,
    reserved,
    set_twice,
)
from eventing.resources.fields import (
    Cores,
    Count,
    LabelName,
    NonEmpty,
    PositiveDuration,
    QualifiedName,
    Quantity,
    matching,
)
from eventing.resources.image import Image, Pull, default_pull
from eventing.resources.metadata import Metadata
from eventing.resources.model import Fault, Model, refusing
from eventing.resources.probe import Probe, ProbeSpec
from eventing.resources.quantities import parse_cores, parse_quantity
from eventing.resources.remote import (
    Access,
    RemoteAuth,
    RemoteTls,
    access,
    remote_faults,
    remote_without_effect,
)
from eventing.resources.resource import Reference
from eventing.resources.rollout import RolloutPlan, RolloutSpec
from eventing.resources.scaling import (
    ScaleSpec,
    Scaling,
    annotation_faults,
    annotations_without_effect,
    conflicts,
    scaling,
)
from eventing.resources.security_context import SecurityContext, group_without_user, user
from eventing.resources.traffic_target import (
    TrafficSpec,
    TrafficTarget,
    rollout_without_effect,
    traffic,
)
from eventing.resources.workload import Workload, is_handler, of_revision

DEFAULT_TIMEOUT = 30.0
"""Seconds."""


class FunctionMetadata(Metadata):
    name: LabelName = Field(description="Unique among the functions of its namespace.")
    annotations: Annotated[dict[QualifiedName, str], refusing(annotation_faults)] | None = None


class Resources(Model):
    memory: Quantity | None = Field(
        default=None, description="Resident memory a worker or a container may take, as in 256Mi."
    )
    cpu: Cores | None = Field(
        default=None, description="Processors a container may take, as in 500m or 1.5."
    )


_NO_PATH = 'is no path: it begins with "/", and white space is %20'

_OF_CONTAINERS = (
    "image_pull_policy",
    "command",
    "args",
    "working_dir",
    "port",
    "http2",
    "path",
    "readiness_probe",
    "scale_to_zero",
    "security_context",
)
"""Fields that say something of a container alone."""
_OF_WHAT_RUNS_HERE = ("concurrency", "scale", "resources", "env", "env_from")


class FunctionSpec(Model):
    handler: NonEmpty | None = Field(
        default=None, description='"module:name" of a function in the project\'s code.'
    )
    image: Image | None = Field(
        default=None, description="Of a container that takes CloudEvents over HTTP."
    )
    uri: NonEmpty | None = Field(default=None, description="A service that runs elsewhere.")
    tls: RemoteTls | None = Field(
        default=None, description="How that service is checked, and what it is shown."
    )
    auth: RemoteAuth | None = Field(default=None, description="As whom that service is called.")
    timeout: PositiveDuration | None = Field(
        default=None, description="Of one call, from the handler's start; PT30S where left out."
    )
    concurrency: Count | None = Field(
        default=None,
        description="Calls in flight in one worker of an async handler; 100 where left out or 0. "
        "A sync handler serves one at a time whatever it says. Of a container: no limit where "
        "left out or 0.",
    )
    scale: ScaleSpec | None = None
    resources: Resources | None = None
    env: tuple[EnvVar, ...] | None = None
    env_from: tuple[EnvFromSource, ...] | None = Field(
        default=None, description="Whole ConfigMaps and Secrets; env wins."
    )
    traffic: TrafficSpec | None = Field(
        default=None, description="Shares of the revisions; all to the latest where left out."
    )
    rollout: RolloutSpec | None = Field(
        default=None, description="How a new revision comes to its traffic; at once where left out."
    )

    image_pull_policy: Pull | None = Field(
        default=None,
        description="Always where the image has no tag, or latest; else IfNotPresent.",
    )
    command: tuple[str, ...] | None = Field(default=None, description="For its ENTRYPOINT.")
    args: tuple[str, ...] | None = Field(default=None, description="For its CMD.")
    working_dir: NonEmpty | None = None
    port: Annotated[StrictInt, Field(ge=1, le=65535)] | None = Field(
        default=None, description="On which it listens for HTTP; 8080 where left out."
    )
    http2: StrictBool | None = Field(
        default=None, description="It speaks HTTP/2 without TLS (h2c), not HTTP/1.1."
    )
    path: Annotated[str, matching(r"/[!-~]*", 1024, _NO_PATH)] | None = Field(
        default=None, description="To which events are posted; / where left out."
    )
    readiness_probe: ProbeSpec | None = Field(
        default=None,
        description="When a container is ready; once its port accepts, where left out.",
    )
    scale_to_zero: AtRest | None = Field(
        default=None, description="What becomes of the last container; stop where left out."
    )
    security_context: SecurityContext | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        given = [name for name in ("handler", "image", "uri") if getattr(self, name) is not None]
        if not given:
            yield (), 'needs a "handler" ("module:name"), an "image" or a "uri"'
        for name in given[1:]:
            yield (name,), f'stands beside "{given[0]}"; keep one of them'
        if self.image is not None:
            for path, message in reserved(self.env or ()):
                yield ("env", *path), message
        if self.readiness_probe is not None:
            for path, message in self.readiness_probe.port_faults(self._port_name):
                yield ("readinessProbe", *path), message
        if self.handler is not None and not is_handler(self.handler):
            yield ("handler",), f'"{self.handler}" is not "module:name", as in "app:thumbnail"'
        if self.uri is not None:
            complaint = uri_complaint(self.uri)
            if complaint:
                yield ("uri",), complaint
        yield from remote_faults(self.uri, self.tls, self.auth)
        for index, name in set_twice(self.env or ()):
            yield ("env", index, "name"), f'"{name}" is set twice; keep one of them'

    @property
    def _port_name(self) -> str:
        return "h2c" if self.http2 else "http"


class Function(Workload):
    """Code that takes events."""

    api_version: Literal["functions/v1"] = "functions/v1"
    kind: Literal["Function"] = "Function"
    metadata: FunctionMetadata
    spec: FunctionSpec

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(conflicts(self.spec.scale, self.metadata.annotations or {}))

    @property
    def handler(self) -> str | None:
        return self.spec.handler

    @property
    def uri(self) -> str | None:
        return self.spec.uri

    @property
    def access(self) -> Access:
        """How the service at `uri` is reached."""
        return access(self.spec.tls, self.spec.auth, self.namespace, ("spec",))

    @property
    def container(self) -> Container | None:
        spec = self.spec
        if spec.image is None:
            return None
        context = spec.security_context
        cpu = spec.resources.cpu if spec.resources else None
        return Container(
            image=spec.image,
            pull=spec.image_pull_policy or default_pull(spec.image),
            command=spec.command,
            args=spec.args,
            port=spec.port or DEFAULT_PORT,
            http2=bool(spec.http2),
            path=spec.path or "/",
            memory=self.memory,
            cpu=parse_cores(cpu) or None if cpu is not None else None,
            working_dir=spec.working_dir,
            user=user(context, None),
            read_only=bool(context and context.read_only_root_filesystem),
            probe=spec.readiness_probe.value() if spec.readiness_probe else Probe(),
            at_rest=spec.scale_to_zero or "stop",
            grace=self.timeout,
        )

    @property
    def says_timeout(self) -> bool:
        return self.spec.timeout is not None

    @property
    def timeout(self) -> float:
        """Seconds of one call, from the handler's start."""
        return DEFAULT_TIMEOUT if self.spec.timeout is None else parse_duration(self.spec.timeout)

    @property
    def concurrency(self) -> int | None:
        return self.spec.concurrency

    @property
    def memory(self) -> int | None:
        """Bytes of resident memory a worker or a container may take; None = no limit."""
        memory = self.spec.resources.memory if self.spec.resources else None
        return None if memory is None else parse_quantity(memory)

    @property
    def scaling(self) -> Scaling:
        return scaling(self.spec.scale, self.metadata.annotations or {})

    @property
    def env(self) -> Environment:
        """Its variables: a value, or the entry of a ConfigMap or Secret that holds it."""
        return environment(self.spec.env or (), self.namespace, ("spec", "env"))

    @property
    def env_from(self) -> EnvironmentFrom:
        return environment_from(self.spec.env_from or (), self.namespace, ("spec", "envFrom"))

    @property
    def traffic(self) -> tuple[TrafficTarget, ...]:
        return traffic(self.spec.traffic)

    @property
    def rollout(self) -> RolloutPlan | None:
        return self.spec.rollout.plan if self.spec.rollout else None

    @property
    def revision_name(self) -> str | None:
        return None

    @property
    def template(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.said()["spec"]
        for name in ("traffic", "rollout"):
            spec.pop(name, None)
        annotations = of_revision(self.metadata.annotations or {})
        return ({"metadata": {"annotations": annotations}} if annotations else {}) | {"spec": spec}

    def _with_template(self, said: dict[str, Any], template: dict[str, Any]) -> None:
        kept = {name: said["spec"][name] for name in ("traffic", "rollout") if name in said["spec"]}
        said["spec"] = template["spec"] | kept
        annotations = said["metadata"].pop("annotations", {})
        for name in of_revision(annotations):
            del annotations[name]
        annotations |= template.get("metadata", {}).get("annotations", {})
        if annotations:
            said["metadata"]["annotations"] = annotations

    def references(self) -> Iterator[Reference]:
        yield from super().references()
        yield from self.access.secrets.values()

    def without_effect(self) -> Iterator[Fault]:
        spec = self.spec
        yield from remote_without_effect(spec.uri, spec.tls, spec.auth, ("spec",))
        yield from annotations_without_effect(self.metadata.annotations or {})
        runs_as = "a function that runs elsewhere (uri)"
        idle: tuple[str, ...] = (*_OF_WHAT_RUNS_HERE, *_OF_CONTAINERS)
        if self.spec.handler is not None:
            runs_as = "a function that runs as a process (handler)"
            idle = _OF_CONTAINERS
            if self.spec.resources is not None and self.spec.resources.cpu is not None:
                yield ("spec", "resources", "cpu"), f"has no effect on {runs_as}"
        elif self.spec.image is not None:
            idle = ()
            yield from self._of_container_without_effect()
        for name in idle:
            if getattr(self.spec, name) is not None:
                alias = str(FunctionSpec.model_fields[name].alias)
                yield ("spec", alias), f"has no effect on {runs_as}"
        if self.spec.rollout is not None:
            yield from rollout_without_effect(self.traffic, ("spec", "rollout"))

    def _of_container_without_effect(self) -> Iterator[Fault]:
        if self.spec.readiness_probe is not None:
            yield from self.spec.readiness_probe.without_effect(("spec", "readinessProbe"))
        context = self.spec.security_context
        if context is not None:
            path = ("spec", "securityContext")
            yield from context.without_effect(path)
            yield from group_without_user(context, path, None, ())
