"""Which Redis a source or sink speaks to, and how it is let in."""

from collections.abc import Iterator
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool, model_validator

from eventing.resources.fields import Ignored, NonEmpty, ResourceName
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path
from eventing.resources.resource import Reference
from eventing.resources.secret_value import SecretValue

_FORM = 'write "redis://host:6379", or rediss:// for TLS'


def _checked(address: str) -> str:
    # Never shown: it may hold a password.
    try:
        parts = urlsplit(address.strip())
        _ = parts.port
    except ValueError:
        raise ValueError(f"is no address: {_FORM}") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"has no scheme of Redis: {_FORM}")
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError(f"names no host: {_FORM}")
    return address


class SecretEntry(Model):
    """Kubernetes' ObjectReference, of a Secret whose key `password` is meant."""

    name: ResourceName
    kind: NonEmpty | None = None
    api_version: Ignored = None
    namespace: ResourceName | None = None
    field_path: Ignored = None
    resource_version: Ignored = None
    uid: Ignored = None


class DialOptions(Model):
    password: SecretEntry | None = Field(
        default=None, description="A Secret with the key password, and perhaps user."
    )
    use_tls: StrictBool | None = Field(default=None, alias="useTLS")
    skip_verify: StrictBool | None = None
    ca_cert: SecretValue | None = None
    cert: SecretValue | None = None
    key: SecretValue | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.password is not None and self.password.kind not in (None, "Secret"):
            yield ("password", "kind"), f'"{self.password.kind}" is not "Secret"'


class RedisConnection(Model):
    """What the specs of Redis kinds share."""

    address: Annotated[str, AfterValidator(_checked)] = Field(
        repr=False, description="redis://host:port, rediss:// for TLS, unix:///path"
    )
    dial_options: DialOptions | None = None

    @property
    def url(self) -> str:
        """The address; with TLS where the options ask for it."""
        address = self.address.strip()
        if self.dial_options and self.dial_options.use_tls and address.startswith("redis:"):
            return "rediss:" + address.removeprefix("redis:")
        return address

    def secrets(self, namespace: str, path: Path) -> dict[str, Reference]:
        """Where the values stand that are needed to be let in, by what they are: `user`,
        `password`, `ca.crt`."""
        found: dict[str, Reference] = {}
        options = self.dial_options
        if options is None:
            return found
        if options.password is not None:
            where = (*path, "dialOptions", "password")
            home = options.password.namespace or namespace
            for key in ("user", "password"):
                found[key] = Reference(
                    "v1", "Secret", home, options.password.name, where, key, key == "user"
                )
        if options.ca_cert is not None:
            where = (*path, "dialOptions", "caCert")
            reference = options.ca_cert.reference(namespace, where)
            if reference is not None:
                found["ca.crt"] = reference
        return found

    def connection_without_effect(self, path: Path) -> Iterator[Fault]:
        if urlsplit(self.address).password:
            message = "holds a password, for all to see: keep it in a Secret, dialOptions.password"
            yield (*path, "address"), message
        options = self.dial_options
        if options is None:
            return
        if options.skip_verify:
            message = "has no effect: a server's certificate is always verified"
            yield (*path, "dialOptions", "skipVerify"), message
        for name, value in (("cert", options.cert), ("key", options.key)):
            if value is not None and value.secret_key_ref is not None:
                message = "has no effect: no client certificate is shown to a Redis"
                yield (*path, "dialOptions", name), message
