"""What all kinds have in common: identity, origin, and the references they hold."""

from collections.abc import Iterator
from typing import NamedTuple

from pydantic import PrivateAttr

from eventing.resources.fields import Ignored
from eventing.resources.metadata import Metadata
from eventing.resources.model import Fault, Model
from eventing.resources.origin import NOWHERE, Origin
from eventing.resources.place import Path, Place


class Identity(NamedTuple):
    """What tells resources apart, written `kind/namespace/name`. A Namespace has no namespace."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


class Reference(NamedTuple):
    """One resource's mention of another, with its namespace filled in.

    `path` is where it stands in the resource that holds it (see `loaded_place`). `key` is the
    entry of the ConfigMap or Secret that is meant; an `optional` one may be missing.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    path: Path = ()
    key: str | None = None
    optional: bool = False

    @property
    def identity(self) -> Identity:
        return Identity(self.kind, self.namespace, self.name)

    def __str__(self) -> str:
        return str(self.identity)


class Resource(Model):
    """A document of one kind. Equal to another that says the same, wherever it was read from."""

    api_version: str
    kind: str
    metadata: Metadata
    status: Ignored = None

    _origin: Origin = PrivateAttr(default=NOWHERE)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def identity(self) -> Identity:
        return Identity(self.kind, self.namespace, self.name)

    @property
    def source(self) -> Place:
        """Where its document begins."""
        return self._origin.source

    def references(self) -> Iterator[Reference]:
        """Every other resource it names."""
        yield from ()

    def without_effect(self) -> Iterator[Fault]:
        """What is valid, but changes nothing in this version, and why."""
        yield from ()


def read_from(resource: Resource, origin: Origin) -> Resource:
    """The same resource, knowing where it was read from."""
    resource._origin = origin
    return resource


def loaded_place(resource: Resource, path: Path, offset: int | None = None) -> Place:
    """Where the value at `path` of the resource stands in its file; with an `offset`, where that
    character of a text does: quotes, escapes, folding and block indentation are seen through.

    Where the file does not have the field, the nearest one above it; `resource.source` where the
    resource was made in code.
    """
    return resource._origin.place(path, offset)
