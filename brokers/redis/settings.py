"""Which Redis, how to be let in, and how sure a write has to be.

Secrets are kept out of every repr and message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from eventing.errors import UserError

DEFAULT_ADDRESS = "redis://localhost:6379"
SCHEMES = ("redis", "rediss", "unix")


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """`address` is a URL as redis-py takes it, without credentials. `replicas`: how many replicas
    have to have a write before it counts as durable (WAIT). `cluster`: it is a Redis Cluster."""

    address: str = DEFAULT_ADDRESS
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = field(default=None, repr=False)
    replicas: int = 0
    cluster: bool = False


def parse_redis_url(url: str, secret: Mapping[str, bytes] | None = None) -> RedisSettings:
    """`redis://[user:password@]host[:port][/database][?replicas=N&cluster=true]`, with `rediss://`
    for TLS, `unix:///path` for a socket. `secret` may hold `user`, `password` and `ca.crt` (PEM).
    Raises UserError, which shows no password."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise UserError(
            f"the port of the Redis address is no number; write {DEFAULT_ADDRESS}"
        ) from None
    if parts.scheme not in SCHEMES or not (parts.hostname or parts.scheme == "unix"):
        raise UserError(
            "a Redis address is redis://host:port, rediss://host:port or unix:///path/of/socket"
        )
    if parts.path.strip("/") and parts.scheme != "unix" and not parts.path.strip("/").isdecimal():
        raise UserError("what follows the port of a Redis address is the number of a database")
    replicas, cluster = 0, False
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "replicas" and value.isdecimal() and int(value) < 100:
            replicas = int(value)
        elif name == "cluster" and value in ("true", "false"):
            cluster = value == "true"
        else:
            raise UserError(
                f"{name}={value} in the Redis address: what may stand there is replicas=N and "
                "cluster=true"
            )
    texts: dict[str, str] = {}
    for key, data in (secret or {}).items():
        if key not in ("user", "password", "ca.crt"):
            raise UserError(f"{key} is no key of a Redis secret; those are user, password, ca.crt")
        try:
            texts[key] = data.decode()
        except UnicodeDecodeError:
            raise UserError(f"the key {key} is no UTF-8 text") from None
    host = parts.hostname or ""
    netloc = f"[{host}]" if ":" in host else quote(host, safe=".-_")
    if port is not None:
        netloc += f":{port}"
    return RedisSettings(
        f"{parts.scheme}://{netloc}{parts.path}",
        texts.get("user") or unquote(parts.username or "") or None,
        texts.get("password") or unquote(parts.password or "") or None,
        texts.get("ca.crt"),
        replicas,
        cluster,
    )


def shown_address(settings: RedisSettings) -> str:
    """The address, for people."""
    return settings.address.partition("://")[2]
