"""The Function: a Python handler (or a remote service) that takes events, and how it is run."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, model_validator

from eventing.resources.destination import uri_complaint
from eventing.resources.durations import parse_duration
from eventing.resources.fields import (
    Count,
    LabelName,
    NonEmpty,
    PositiveDuration,
    QualifiedName,
    Quantity,
    ResourceName,
    matching,
)
from eventing.resources.metadata import Metadata
from eventing.resources.model import Fault, Model, refusing
from eventing.resources.quantities import parse_quantity
from eventing.resources.resource import Reference, Resource
from eventing.resources.scaling import (
    ScaleSpec,
    Scaling,
    annotation_faults,
    annotations_without_effect,
    conflicts,
    scaling,
)

DEFAULT_TIMEOUT = 30.0
"""Seconds."""


class FunctionMetadata(Metadata):
    name: LabelName = Field(description="Unique among the functions of its namespace.")
    annotations: Annotated[dict[QualifiedName, str], refusing(annotation_faults)] | None = None


class KeySelector(Model):
    """An entry of a ConfigMap or a Secret in the function's namespace."""

    name: ResourceName
    key: NonEmpty
    optional: StrictBool | None = Field(
        default=None, description="Leave the variable out where there is no such entry."
    )


class EnvSource(Model):
    secret_key_ref: KeySelector | None = None
    config_map_key_ref: KeySelector | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.secret_key_ref is None and self.config_map_key_ref is None:
            yield (), 'needs a "secretKeyRef" or a "configMapKeyRef"'
        elif self.secret_key_ref is not None and self.config_map_key_ref is not None:
            yield ("configMapKeyRef",), 'stands beside "secretKeyRef"; keep one of them'


class EnvVar(Model):
    name: Annotated[
        str,
        matching(
            r"[-._a-zA-Z][-._a-zA-Z0-9]*",
            255,
            'is no name of a variable: letters, digits, "_", "-" and ".", no digit first',
        ),
    ]
    value: str | None = Field(default=None, description='"" where left out.')
    value_from: EnvSource | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.value and self.value_from is not None:
            yield ("valueFrom",), 'stands beside "value"; keep one of them'


class Resources(Model):
    memory: Quantity | None = Field(
        default=None, description="Resident memory a worker may take, as in 256Mi."
    )


class FunctionSpec(Model):
    handler: NonEmpty | None = Field(
        default=None, description='"module:name" of a function in the project\'s code.'
    )
    image: NonEmpty | None = Field(default=None, description="Not supported by this version.")
    uri: NonEmpty | None = Field(default=None, description="A service that runs elsewhere.")
    timeout: PositiveDuration | None = Field(
        default=None, description="Of one call, from the handler's start; PT30S where left out."
    )
    concurrency: Count | None = Field(
        default=None,
        description="Calls in flight in one worker of an async handler; 100 where left out or 0. "
        "A sync handler serves one at a time whatever it says.",
    )
    scale: ScaleSpec | None = None
    resources: Resources | None = None
    env: tuple[EnvVar, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        given = [name for name in ("handler", "image", "uri") if getattr(self, name) is not None]
        if not given:
            yield (), 'needs a "handler" ("module:name") or a "uri"'
        for name in given[1:]:
            yield (name,), f'stands beside "{given[0]}"; keep one of them'
        if self.image is not None:
            yield ("image",), "containers are not supported by this version"
        if self.handler is not None and not _is_handler(self.handler):
            yield ("handler",), f'"{self.handler}" is not "module:name", as in "app:thumbnail"'
        if self.uri is not None:
            complaint = uri_complaint(self.uri)
            if complaint:
                yield ("uri",), complaint
        seen: set[str] = set()
        for index, variable in enumerate(self.env or ()):
            if variable.name in seen:
                yield ("env", index, "name"), f'"{variable.name}" is set twice; keep one of them'
            seen.add(variable.name)


class Function(Resource):
    """Code that takes events."""

    api_version: Literal["functions/v1"] = "functions/v1"
    kind: Literal["Function"] = "Function"
    metadata: FunctionMetadata
    spec: FunctionSpec

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(conflicts(self.spec.scale, self.metadata.annotations or {}))

    @property
    def timeout(self) -> float:
        """Seconds of one call, from the handler's start."""
        return DEFAULT_TIMEOUT if self.spec.timeout is None else parse_duration(self.spec.timeout)

    @property
    def memory(self) -> int | None:
        """Bytes of resident memory a worker may take; None = no limit."""
        memory = self.spec.resources.memory if self.spec.resources else None
        return None if memory is None else parse_quantity(memory)

    @property
    def scaling(self) -> Scaling:
        return scaling(self.spec.scale, self.metadata.annotations or {})

    @property
    def env(self) -> dict[str, str | Reference]:
        """Its variables: a value, or the entry of a ConfigMap or Secret that holds it."""
        variables: dict[str, str | Reference] = {}
        for index, variable in enumerate(self.spec.env or ()):
            source = variable.value_from
            if source is None:
                variables[variable.name] = variable.value or ""
                continue
            secret = source.secret_key_ref is not None
            selector = source.secret_key_ref or source.config_map_key_ref
            assert selector is not None, "EnvSource has one of the two"
            field = "secretKeyRef" if secret else "configMapKeyRef"
            variables[variable.name] = Reference(
                api_version="v1",
                kind="Secret" if secret else "ConfigMap",
                namespace=self.namespace,
                name=selector.name,
                path=("spec", "env", index, "valueFrom", field),
                key=selector.key,
                optional=bool(selector.optional),
            )
        return variables

    def references(self) -> Iterator[Reference]:
        for value in self.env.values():
            if isinstance(value, Reference):
                yield value

    def without_effect(self) -> Iterator[Fault]:
        yield from annotations_without_effect(self.metadata.annotations or {})
        if self.spec.uri is not None:
            for name in ("concurrency", "scale", "resources", "env"):
                if getattr(self.spec, name) is not None:
                    yield ("spec", name), "has no effect on a function that runs elsewhere (uri)"


def _is_handler(text: str) -> bool:
    module, colon, name = text.partition(":")
    parts = [*module.split("."), *name.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)
