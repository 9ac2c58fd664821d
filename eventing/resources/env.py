"""Environment variables as Kubernetes' containers have them: values, and references to them.

A reference stays one here; what it holds is looked up when the wiring is made.
"""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Annotated, Self

from pydantic import Field, StrictBool, model_validator

from eventing.resources.fields import NonEmpty, ResourceName, matching
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path
from eventing.resources.resource import Reference

Environment = dict[str, str | Reference]
"""In the order they are set: a value, or the entry of a ConfigMap or Secret that holds it."""
EnvironmentFrom = tuple[tuple[str, Reference], ...]
"""Whole ConfigMaps and Secrets, each with what goes before its keys; the later win, and a variable
of its own wins over all of them."""

RESERVED = ("PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION")
"""Variables that a container is given by Knative's runtime contract."""

_NAME = r"[-._a-zA-Z][-._a-zA-Z0-9]*"
_USE = re.compile(r"\$(?:\$|\(([^)]*)\))")

VariableName = Annotated[
    str,
    matching(
        _NAME,
        255,
        'is no name of a variable: letters, digits, "_", "-" and ".", no digit first',
    ),
]


class KeySelector(Model):
    """An entry of a ConfigMap or a Secret in the namespace of what holds this."""

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
    name: VariableName
    value: str | None = Field(default=None, description='"" where left out.')
    value_from: EnvSource | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.value and self.value_from is not None:
            yield ("valueFrom",), 'stands beside "value"; keep one of them'


class WholeReference(Model):
    """A ConfigMap or a Secret with all its entries."""

    name: ResourceName
    optional: StrictBool | None = Field(
        default=None, description="Set nothing where there is no such resource."
    )


class EnvFromSource(Model):
    prefix: str | None = Field(default=None, description="What goes before every key.")
    config_map_ref: WholeReference | None = None
    secret_ref: WholeReference | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.prefix and re.fullmatch(_NAME, self.prefix, re.ASCII) is None:
            yield ("prefix",), f'"{self.prefix}" is no beginning of a name of a variable'
        if self.config_map_ref is None and self.secret_ref is None:
            yield (), 'needs a "configMapRef" or a "secretRef"'
        elif self.config_map_ref is not None and self.secret_ref is not None:
            yield ("secretRef",), 'stands beside "configMapRef"; keep one of them'


def environment(variables: Iterable[EnvVar], namespace: str, path: Path) -> Environment:
    """They as values, for a resource in `namespace` that holds them at `path`; of several of one
    name the last counts."""
    values: Environment = {}
    for index, variable in enumerate(variables):
        source = variable.value_from
        values.pop(variable.name, None)
        if source is None:
            values[variable.name] = variable.value or ""
            continue
        secret = source.secret_key_ref is not None
        selector = source.secret_key_ref or source.config_map_key_ref
        assert selector is not None, "EnvSource has one of the two"
        field = "secretKeyRef" if secret else "configMapKeyRef"
        values[variable.name] = Reference(
            api_version="v1",
            kind="Secret" if secret else "ConfigMap",
            namespace=namespace,
            name=selector.name,
            path=(*path, index, "valueFrom", field),
            key=selector.key,
            optional=bool(selector.optional),
        )
    return values


def environment_from(
    sources: Iterable[EnvFromSource], namespace: str, path: Path
) -> EnvironmentFrom:
    """They as values, for a resource in `namespace` that holds them at `path`."""

    def value(index: int, source: EnvFromSource) -> tuple[str, Reference]:
        secret = source.secret_ref is not None
        whole = source.secret_ref or source.config_map_ref
        assert whole is not None, "EnvFromSource has one of the two"
        reference = Reference(
            api_version="v1",
            kind="Secret" if secret else "ConfigMap",
            namespace=namespace,
            name=whole.name,
            path=(*path, index, "secretRef" if secret else "configMapRef"),
            optional=bool(whole.optional),
        )
        return source.prefix or "", reference

    return tuple(value(index, source) for index, source in enumerate(sources))


def set_twice(variables: Iterable[EnvVar]) -> Iterator[tuple[int, str]]:
    """Position and name of each variable that was set before, further up the list."""
    seen: set[str] = set()
    for index, variable in enumerate(variables):
        if variable.name in seen:
            yield index, variable.name
        seen.add(variable.name)


def reserved(variables: Iterable[EnvVar], names: Container[str] = RESERVED) -> Iterator[Fault]:
    """Variables that are set for the container; paths are from the list."""
    for index, variable in enumerate(variables):
        if variable.name in names:
            yield (index, "name"), f'"{variable.name}" is set by the runtime; choose another name'


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` in a value, a command or an argument, replaced as Kubernetes does: one that is not
    among the variables stays as it is, and `$$` is a dollar sign that begins none."""

    def replacement(use: re.Match[str]) -> str:
        name = use[1]
        return "$" if name is None else variables.get(name, use[0])

    return _USE.sub(replacement, text)
