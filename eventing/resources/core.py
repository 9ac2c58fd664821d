"""The Kubernetes core kinds that others refer to: ConfigMap, Secret, Namespace."""

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, StrictBool, model_validator

from eventing.resources.fields import Ignored, LabelName, matching
from eventing.resources.metadata import Metadata
from eventing.resources.model import Fault, Model, refusing
from eventing.resources.resource import Identity, Resource

DataKey = Annotated[
    str, matching(r"[-._a-zA-Z0-9]+", 253, 'is no valid key: letters, digits, "-", "_" and "."')
]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is no base64; plain text of a Secret goes under stringData") from None


def _base64(text: str) -> str:
    _decoded(text)
    return text


def _secret_base64(secret: SecretStr) -> SecretStr:
    _decoded(secret.get_secret_value())
    return secret


def _placeholders(secrets: dict[str, SecretStr]) -> Iterator[Fault]:
    for key, secret in secrets.items():
        if str(secret) == secret.get_secret_value() != "":
            yield (key,), "is what a dump shows in place of a value; write the value"


class ConfigMap(Resource):
    """Plain settings."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["ConfigMap"] = "ConfigMap"
    data: dict[DataKey, str] | None = None
    binary_data: dict[DataKey, Annotated[str, AfterValidator(_base64)]] | None = None
    immutable: StrictBool | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        for key in self.binary_data or ():
            if key in (self.data or ()):
                yield ("binaryData", key), f'"{key}" stands in "data" too; keep one of them'

    def value(self, key: str) -> bytes | None:
        """The bytes of an entry, text in UTF-8; None where there is none."""
        if self.data is not None and key in self.data:
            return self.data[key].encode()
        if self.binary_data is not None and key in self.binary_data:
            return _decoded(self.binary_data[key])
        return None


class Secret(Resource):
    """Values that never show: not in `repr`, not in a dump, not in an error message."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["Secret"] = "Secret"
    type: str | None = None
    data: dict[DataKey, Annotated[SecretStr, AfterValidator(_secret_base64)]] | None = Field(
        default=None, description="Values in base64."
    )
    string_data: Annotated[dict[DataKey, SecretStr], refusing(_placeholders)] | None = Field(
        default=None, description="Values as they are; they win over those in data."
    )
    immutable: StrictBool | None = None

    def value(self, key: str) -> bytes | None:
        """The bytes of an entry, text in UTF-8; None where there is none."""
        if self.string_data is not None and key in self.string_data:
            return self.string_data[key].get_secret_value().encode()
        if self.data is not None and key in self.data:
            return _decoded(self.data[key].get_secret_value())
        return None


class NamespaceMetadata(Metadata):
    name: LabelName

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if "namespace" in self.model_fields_set:
            yield ("namespace",), "a Namespace stands in no namespace; leave it out"


class NamespaceSpec(Model):
    finalizers: Ignored = None


class Namespace(Resource):
    """A room for names. Any namespace may be used without one."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["Namespace"] = "Namespace"
    metadata: NamespaceMetadata
    spec: NamespaceSpec | None = None

    @property
    def namespace(self) -> str:
        return ""

    @property
    def identity(self) -> Identity:
        return Identity(self.kind, "", self.name)
