"""A value that stands in a Secret, as the settings of sources refer to it."""

from collections.abc import Iterator
from typing import Self

from pydantic import model_validator

from eventing.resources.env import KeySelector
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path
from eventing.resources.resource import Reference


class SecretValue(Model):
    """`{}` stands for none, as in the documents of a Kubernetes server."""

    secret_key_ref: KeySelector | None = None

    def reference(self, namespace: str, path: Path) -> Reference | None:
        """It as a value, for a resource in `namespace` that holds it at `path`."""
        selector = self.secret_key_ref
        if selector is None:
            return None
        return Reference(
            api_version="v1",
            kind="Secret",
            namespace=namespace,
            name=selector.name,
            path=(*path, "secretKeyRef"),
            key=selector.key,
            optional=bool(selector.optional),
        )


class SecretName(Model):
    name: str


class SecretRef(Model):
    ref: SecretName | None = None


class Auth(Model):
    """A whole Secret, by the name that stands at `secret.ref.name`."""

    secret: SecretRef | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.name == "":
            yield ("secret", "ref", "name"), "is empty; name a Secret, or leave out the auth"

    @property
    def name(self) -> str | None:
        return self.secret.ref.name if self.secret and self.secret.ref else None
