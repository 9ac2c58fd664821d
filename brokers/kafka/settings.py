"""Which Kafka, how to be let in, and how its topics are made.

Secrets are kept out of every repr and message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from eventing.errors import UserError

DEFAULT_ADDRESS = "localhost:9092"
PARTITIONS = 10
REPLICATION_FACTOR = 1
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TEXTS = {
    "ca.crt": "ssl.ca.pem",
    "user.crt": "ssl.certificate.pem",
    "user.key": "ssl.key.pem",
    "user": "sasl.username",
    "password": "sasl.password",
}
"""Keys of a Secret as Knative's Kafka broker reads it, and the client's names for them."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """`bootstrap_servers`: host:port, separated by commas. `security`: the client's own options
    for TLS and SASL. `partitions`, `replication_factor` and `topic_options` (such as
    `retention.ms`) are those of a broker's topic where it is made here."""

    bootstrap_servers: str = DEFAULT_ADDRESS
    security: Mapping[str, str] = field(default_factory=dict, repr=False)
    partitions: int = PARTITIONS
    replication_factor: int = REPLICATION_FACTOR
    topic_options: Mapping[str, str] = field(default_factory=dict)

    def client_options(self) -> dict[str, str]:
        """What every client of this Kafka is configured with."""
        return {"bootstrap.servers": self.bootstrap_servers, **self.security}


def security_of(secret: Mapping[str, bytes]) -> dict[str, str]:
    """The client's options for what a Secret says, in the keys of Knative's Kafka broker:
    `protocol`, `sasl.mechanism`, `user`, `password`, `ca.crt`, `user.crt`, `user.key`. Raises
    UserError, which shows no value but of the first two."""
    texts = {key: _text(key, value) for key, value in secret.items()}
    protocol = texts.pop("protocol", "PLAINTEXT").strip()
    if protocol not in _PROTOCOLS:
        raise UserError(f"protocol is {protocol!r}; it must be one of {', '.join(_PROTOCOLS)}")
    options = {"security.protocol": protocol.lower()}
    mechanism = texts.pop("sasl.mechanism", None)
    texts.pop("user.skip", None)
    if protocol.startswith("SASL"):
        mechanism = (mechanism or "PLAIN").strip()
        if mechanism not in _MECHANISMS:
            raise UserError(
                f"sasl.mechanism is {mechanism!r}; it must be one of {', '.join(_MECHANISMS)}"
            )
        options["sasl.mechanism"] = mechanism
        for key in ("user", "password"):
            if key not in texts:
                raise UserError(f"the key {key} is missing; {protocol} needs it")
    for key, value in texts.items():
        option = _TEXTS.get(key)
        if option is None:
            raise UserError(f"{key} is no key of a Kafka secret; those are {', '.join(_TEXTS)}")
        if option.startswith("sasl.") == protocol.startswith("SASL") or (
            option.startswith("ssl.") and protocol.endswith("SSL")
        ):
            options[option] = value
    if ("ssl.certificate.pem" in options) != ("ssl.key.pem" in options):
        raise UserError("user.crt and user.key go together; one of them is missing")
    return options


def parse_kafka_url(url: str) -> KafkaSettings:
    """`kafka://host:port[,host:port…][?partitions=N&replication=N]`; `kafkas://` speaks TLS, and
    `user:password@` before the hosts SASL PLAIN. Raises UserError, which shows no password."""
    scheme, _, rest = url.partition("://")
    servers, _, query = rest.partition("?")
    credentials, at, servers = servers.rpartition("@")
    if scheme not in ("kafka", "kafkas") or not servers.strip("/"):
        raise UserError("a Kafka address is kafka://host:port, several hosts separated by commas")
    secret: dict[str, bytes] = {}
    tls = scheme == "kafkas"
    if at:
        user, _, password = credentials.partition(":")
        secret = {"user": unquote(user).encode(), "password": unquote(password).encode()}
    protocol = ("SASL_" if at else "") + ("SSL" if tls else "PLAINTEXT")
    secret["protocol"] = protocol.encode()
    numbers: dict[str, int] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if (
            name not in ("partitions", "replication")
            or not value.isdecimal()
            or not 0 < int(value) < 10_000
        ):
            raise UserError(
                f"{name}={value} in the Kafka address: what may stand there is partitions=N and "
                "replication=N"
            )
        numbers[name] = int(value)
    return KafkaSettings(
        ",".join(_server(each) for each in servers.strip("/").split(",")),
        security_of(secret) if at or tls else {},
        numbers.get("partitions", PARTITIONS),
        numbers.get("replication", REPLICATION_FACTOR),
    )


def _server(text: str) -> str:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port or 9092
    except ValueError:
        port, parts = 0, urlsplit("")
    if not parts.hostname or parts.path:
        raise UserError(f"{text!r} in the Kafka address is no host:port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}"


def _text(key: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UserError(f"the key {key} is no UTF-8 text") from None
