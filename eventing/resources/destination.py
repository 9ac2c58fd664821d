"""Where events are sent: a reference, a URI, or a path below what the reference resolves to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from eventing.resources.api_versions import API_VERSIONS
from eventing.resources.fields import NonEmpty, ResourceName
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path
from eventing.resources.remote import CaCerts
from eventing.resources.resource import Reference


@dataclass(frozen=True, slots=True)
class Target:
    """A destination with its namespace filled in: `reference`, `uri`, or both, and then `uri` is
    relative to the address of what is referred to. `path` is where it stands in its resource.
    `ca_certs`: PEM text of CAs that are trusted beside the system's, where the address is https."""

    reference: Reference | None
    uri: str | None
    path: Path
    ca_certs: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.reference, self.uri) if part is not None)


class KReference(Model):
    """Names a resource. `namespace` is that of the resource it stands in where left out."""

    kind: NonEmpty
    name: ResourceName
    namespace: ResourceName | None = None
    api_version: NonEmpty | None = Field(
        default=None, description="May be left out for the kinds of this runtime."
    )
    group: NonEmpty | None = Field(default=None, description="In place of apiVersion.")
    address: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.group is None and self.api_version is None and self.kind not in API_VERSIONS:
            yield (), f'a reference to a {self.kind} needs its "apiVersion"'
        if self.group is not None and self.api_version is not None:
            group = self.api_version.rpartition("/")[0]
            if group != self.group:
                yield ("group",), f'is not the group of apiVersion "{self.api_version}"'

    def resolved(self, namespace: str, path: Path) -> Reference:
        """It as a value, for a resource in `namespace` that holds it at `path`."""
        known = API_VERSIONS.get(self.kind, "")
        if self.group is not None and known.rpartition("/")[0] != self.group:
            known = self.group
        return Reference(
            self.api_version or known, self.kind, self.namespace or namespace, self.name, path
        )


class Destination(Model):
    """Knative's duck.v1 Destination."""

    ref: KReference | None = None
    uri: NonEmpty | None = Field(default=None, description="Absolute, or relative to the ref.")
    ca_certs: CaCerts | None = Field(
        default=None,
        alias="CACerts",
        description="PEM certificates of the CAs that are trusted beside the system's.",
    )
    audience: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.uri is None:
            if self.ref is None:
                yield (), 'needs a "ref" or a "uri"'
            return
        complaint = uri_complaint(self.uri, relative=self.ref is not None)
        if complaint:
            yield ("uri",), complaint

    def _never_https(self) -> bool:
        if self.ref is None:
            return not (self.uri or "").startswith("https:")
        return self.ref.kind != "Function"

    def target(self, namespace: str, path: Path) -> Target:
        """It as a value, for a resource in `namespace` that holds it at `path`."""
        ref = self.ref.resolved(namespace, (*path, "ref")) if self.ref else None
        return Target(ref, self.uri, path, self.ca_certs)

    def without_effect(self, path: Path) -> Iterator[Fault]:
        if self.ca_certs is not None and self._never_https():
            yield (*path, "CACerts"), "has no effect: it is not reached by https"
        if self.audience is not None:
            yield (*path, "audience"), "has no effect: requests carry no OIDC token yet"
        if self.ref is not None and self.ref.address is not None:
            yield (*path, "ref", "address"), "has no effect: a resource has one address"


def uri_complaint(uri: str, *, relative: bool = False) -> str:
    """What is wrong with it as an address to send events to; empty where nothing is."""
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError as error:
        return f'"{uri}" is no URI: {error}'
    if any(character <= " " or character == "\x7f" for character in uri):
        return f'"{uri}" is no URI: white space has to be written as %20'
    if relative:
        absolute = bool(parts.scheme or parts.netloc)
        return "is absolute, beside a ref it is a path below it" if absolute else ""
    if not parts.scheme or not parts.hostname:
        return f'"{uri}" is no absolute URI such as "http://host:8080/path"'
    if parts.scheme not in ("http", "https"):
        return f'"{uri}": only http and https are supported'
    return ""
