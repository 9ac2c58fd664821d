"""How a service that runs elsewhere is checked and what it is shown: TLS, a token, a password.

What is secret stands in a Secret; here are references to it, which the wiring looks up.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, StrictBool, field_validator, model_validator

from eventing.resources.env import EnvSource, KeySelector
from eventing.resources.fields import ResourceName, matching
from eventing.resources.model import Fault, Model, refusing
from eventing.resources.place import Path
from eventing.resources.resource import Reference

CA = "ca.crt"
CERTIFICATE = "tls.crt"
KEY = "tls.key"
TOKEN = "token"  # noqa: S105 - its name
USER = "username"
PASSWORD = "password"  # noqa: S105 - its name
"""What the values are called, and their keys in Secrets of the types kubernetes.io/tls and
kubernetes.io/basic-auth."""

_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)


@dataclass(frozen=True, slots=True)
class Access:
    """How a remote service is reached.

    secrets: where the values stand that are needed, by the names above. ca: PEM text of the CAs
    that alone are trusted, where it stands in the document; server_name: whose certificate it has
    to be, where not that of the URI's host. verify: False takes any certificate.
    """

    secrets: dict[str, Reference] = field(default_factory=dict)
    ca: str | None = None
    server_name: str | None = None
    verify: bool = True


def ca_faults(text: str) -> Iterator[Fault]:
    """What keeps a text from being the certificates of CAs."""
    import ssl  # Milliseconds, and few documents need it.

    if "PRIVATE KEY-----" in text:
        yield (), "holds a private key, for all to see: certificates alone belong here"
        return
    found = _CERTIFICATE.findall(text)
    if not found:
        yield (), "holds no PEM certificate: it begins with -----BEGIN CERTIFICATE-----"
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(found))
    except (ssl.SSLError, ValueError, TypeError):
        yield (), "holds a certificate that can't be read: is it cut off, or indented wrongly?"


CaCerts = Annotated[str, refusing(ca_faults), Field(json_schema_extra={"format": "pem"})]
HostName = Annotated[
    str,
    matching(
        r"[A-Za-z0-9](?:[A-Za-z0-9.:-]*[A-Za-z0-9])?",
        253,
        "is no name of a host, without a port or a path, such as sink.example.com",
    ),
]


class WholeSecret(Model):
    name: ResourceName


class SecretHolder(Model):
    secret_ref: WholeSecret

    def references(self, keys: tuple[str, ...], namespace: str, path: Path) -> dict[str, Reference]:
        """Its entries, by key."""
        where = (*path, "secretRef")
        name = self.secret_ref.name
        return {key: Reference("v1", "Secret", namespace, name, where, key) for key in keys}


class SecretSource(Model):
    secret_key_ref: KeySelector


class BearerToken(Model):
    value_from: SecretSource


class RemoteTls(Model):
    ca_certs: CaCerts | None = Field(
        default=None,
        description="PEM certificates of the CAs that are trusted in place of the system's.",
    )
    ca_certs_from: EnvSource | None = Field(
        default=None, description="The entry of a ConfigMap or Secret that holds them."
    )
    client_certificate: SecretHolder | None = Field(
        default=None, description="A Secret with tls.crt and tls.key."
    )
    server_name: HostName | None = Field(
        default=None, description="Whom the certificate is for, where not for the URI's host."
    )
    insecure_skip_verify: StrictBool | None = Field(
        default=None, description="Take any certificate. For tests alone."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.ca_certs is not None and self.ca_certs_from is not None:
            yield ("caCertsFrom",), 'stands beside "caCerts"; keep one of them'


class RemoteAuth(Model):
    bearer_token: BearerToken | None = Field(
        default=None, description="Sent as Authorization: Bearer."
    )
    basic: SecretHolder | None = Field(
        default=None, description="A Secret with username and password."
    )

    @field_validator("bearer_token", "basic", mode="before")
    @classmethod
    def _not_the_secret_itself(cls, given: object) -> object:
        # What refuses a text shows it.
        if isinstance(given, str | bytes | int | float):
            raise ValueError("is kept in a Secret: name it here, and do not write it down")
        return given

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.bearer_token is None and self.basic is None:
            yield (), 'needs a "bearerToken" or a "basic"'
        elif self.bearer_token is not None and self.basic is not None:
            yield ("basic",), 'stands beside "bearerToken"; keep one of them'


def access(tls: RemoteTls | None, auth: RemoteAuth | None, namespace: str, path: Path) -> Access:
    """They as a value, for a resource in `namespace` whose spec at `path` holds them."""
    tls = tls or RemoteTls()
    secrets: dict[str, Reference] = {}
    if tls.ca_certs_from is not None:
        secrets[CA] = _reference(tls.ca_certs_from, namespace, (*path, "tls", "caCertsFrom"))
    if tls.client_certificate is not None:
        where = (*path, "tls", "clientCertificate")
        keys = (CERTIFICATE, KEY)
        secrets |= tls.client_certificate.references(keys, namespace, where)
    if auth is not None and auth.bearer_token is not None:
        where = (*path, "auth", "bearerToken", "valueFrom")
        selector = auth.bearer_token.value_from.secret_key_ref
        secrets[TOKEN] = _entry("Secret", selector, namespace, (*where, "secretKeyRef"))
    if auth is not None and auth.basic is not None:
        where = (*path, "auth", "basic")
        secrets |= auth.basic.references((USER, PASSWORD), namespace, where)
    return Access(secrets, tls.ca_certs, tls.server_name, not tls.insecure_skip_verify)


def remote_faults(
    uri: str | None, tls: RemoteTls | None, auth: RemoteAuth | None
) -> Iterator[Fault]:
    """Where they don't go together; paths are from the spec that holds them."""
    for name, given in (("tls", tls), ("auth", auth)):
        if given is not None and uri is None:
            yield (name,), 'is for a service that runs elsewhere, and there is no "uri"'
    if uri is None:
        return
    parts = urlsplit(uri)
    if tls is not None and parts.scheme == "http":
        yield ("tls",), "needs a uri that begins with https://"
    if auth is not None and "@" in parts.netloc:
        yield ("auth",), "stands beside the user in the uri; keep one of them"


def remote_without_effect(
    uri: str | None, tls: RemoteTls | None, auth: RemoteAuth | None, path: Path
) -> Iterator[Fault]:
    """What its author had better know."""
    if tls is not None and tls.insecure_skip_verify:
        where = (*path, "tls", "insecureSkipVerify")
        if tls.ca_certs is not None or tls.ca_certs_from is not None:
            yield where, "takes any certificate: the CAs that are given have no effect"
        else:
            yield where, "takes any certificate: whoever is in between can read and answer"
    if auth is not None and uri is not None and _in_the_clear(uri):
        what = "a token" if auth.bearer_token is not None else "a password"
        yield (*path, "auth"), f"sends {what} that all in between can read: the uri is no https"


def _in_the_clear(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def _reference(source: EnvSource, namespace: str, path: Path) -> Reference:
    if source.secret_key_ref is not None:
        return _entry("Secret", source.secret_key_ref, namespace, (*path, "secretKeyRef"))
    selector = source.config_map_key_ref
    assert selector is not None, "EnvSource has one of the two"
    return _entry("ConfigMap", selector, namespace, (*path, "configMapKeyRef"))


def _entry(kind: str, selector: KeySelector, namespace: str, path: Path) -> Reference:
    optional = bool(selector.optional)
    return Reference("v1", kind, namespace, selector.name, path, selector.key, optional)
