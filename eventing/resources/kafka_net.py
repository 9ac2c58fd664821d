"""How a KafkaSource is let in: bootstrap servers, TLS and SASL, topics' names."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool

from eventing.resources.fields import matching
from eventing.resources.model import Fault, Model, refusing
from eventing.resources.place import Path
from eventing.resources.resource import Reference
from eventing.resources.secret_value import SecretValue

_SERVER = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)


def _server(text: str) -> str:
    if len(text) > 300 or _SERVER.fullmatch(text) is None:
        raise ValueError(
            f'"{text[:80]}" is no host:port, as in "kafka:9092"; several go into entries of their '
            "own"
        )
    return text


def _at_least_one(entries: tuple[str, ...]) -> Iterator[Fault]:
    if not entries:
        yield (), "is empty"


# Not pydantic's min_length: that counts the valid ones.
_AT_LEAST_ONE = (refusing(_at_least_one), Field(json_schema_extra={"minItems": 1}))

BootstrapServer = Annotated[str, AfterValidator(_server)]
BootstrapServers = Annotated[tuple[BootstrapServer, ...], *_AT_LEAST_ONE]
TopicName = Annotated[
    str,
    matching(
        r"(?!\.{1,2}$)[A-Za-z0-9._-]+",
        249,
        'is no name of a topic: only letters, digits, ".", "_" and "-", at most 249',
    ),
]
TopicNames = Annotated[tuple[TopicName, ...], *_AT_LEAST_ONE]


class KafkaTls(Model):
    enable: StrictBool | None = None
    cert: SecretValue | None = None
    key: SecretValue | None = None
    ca_cert: SecretValue | None = None


class KafkaSasl(Model):
    enable: StrictBool | None = None
    user: SecretValue | None = None
    password: SecretValue | None = None
    type: SecretValue | None = Field(
        default=None, description="PLAIN where left out; or SCRAM-SHA-256, SCRAM-SHA-512."
    )
    token_provider: SecretValue | None = None
    role_arn: SecretValue | None = Field(default=None, alias="roleARN")


class KafkaNet(Model):
    """Knative's KafkaNetSpec."""

    sasl: KafkaSasl | None = None
    tls: KafkaTls | None = None

    @property
    def protocol(self) -> str:
        """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        tls = bool(self.tls and self.tls.enable)
        if self.sasl and self.sasl.enable:
            return "SASL_SSL" if tls else "SASL_PLAINTEXT"
        return "SSL" if tls else "PLAINTEXT"

    def secrets(self, namespace: str, path: Path) -> dict[str, Reference]:
        """Where the values stand that are needed to be let in, by the keys of the Secret of
        Knative's Kafka broker (`user`, `ca.crt`, …)."""
        named: list[tuple[str, SecretValue | None, Path]] = []
        if self.tls and self.tls.enable:
            named += [
                ("ca.crt", self.tls.ca_cert, ("tls", "caCert")),
                ("user.crt", self.tls.cert, ("tls", "cert")),
                ("user.key", self.tls.key, ("tls", "key")),
            ]
        if self.sasl and self.sasl.enable:
            named += [
                ("sasl.mechanism", self.sasl.type, ("sasl", "type")),
                ("user", self.sasl.user, ("sasl", "user")),
                ("password", self.sasl.password, ("sasl", "password")),
            ]
        found = {}
        for key, value, below in named:
            reference = value.reference(namespace, (*path, *below)) if value else None
            if reference is not None:
                found[key] = reference
        return found

    def without_effect(self, path: Path) -> Iterator[Fault]:
        for name, part in (("sasl", self.sasl), ("tls", self.tls)):
            if part is not None and not part.enable and part.model_fields_set - {"enable"}:
                yield (*path, name), 'has no effect without "enable: true"'
        if self.sasl is not None and self.sasl.enable:
            for name, value in (
                ("tokenProvider", self.sasl.token_provider),
                ("roleARN", self.sasl.role_arn),
            ):
                if value is not None and value.secret_key_ref is not None:
                    yield (*path, "sasl", name), "has no effect: there is no OAUTHBEARER here"
