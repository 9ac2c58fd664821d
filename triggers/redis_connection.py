"""The connection of a sink or source to its Redis, and what its errors mean for people."""

import asyncio
import ssl
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from brokers.redis import faults
from brokers.redis.settings import RedisSettings
from eventing.errors import StorageError

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
"""Seconds a request may take; those that wait for entries ask for less."""


def connect(settings: RedisSettings, name: str) -> Any:
    """A client, which connects when it is first used. `name` shows in CLIENT LIST."""
    options: dict[str, Any] = {
        "username": settings.user,
        "password": settings.password,
        "client_name": name,
        # Streams are answered as lists: entries may have a field twice.
        "protocol": 2,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
    }
    if settings.address.startswith("rediss:") and settings.ca is not None:
        options["ssl_ca_data"] = settings.ca
    if settings.cluster:
        return RedisCluster.from_url(settings.address, **options)
    return Redis.from_url(settings.address, **options)


def shown(settings: RedisSettings) -> str:
    """Its address, for people; settings hold no password in it."""
    return settings.address


def redis_error(error: BaseException, what: str, settings: RedisSettings) -> StorageError:
    """The error to raise for a failed request. `what` says what could not be done."""
    reason, said, remedy = _meaning(error)
    cause = str(error) or type(error).__name__
    return StorageError(f"{what}: Redis at {shown(settings)} {said} ({cause}); {remedy}", reason)


FAULTS: tuple[type[BaseException], ...] = (exceptions.RedisError, OSError, asyncio.TimeoutError)
"""What a client's request may raise."""


_MEANINGS = {
    faults.UNREACHABLE: ("can't be reached", "start it, or mend the address"),
    faults.AUTHENTICATION: ("does not let this node in", "mend the Secrets in dialOptions"),
    faults.NOT_AUTHORIZED: ("does not allow it", "give this user the right with ACL SETUSER"),
    faults.STORAGE_FAILED: ("refused", "see the server's log"),
}


def _meaning(error: BaseException) -> tuple[str, str, str]:
    """The reason, what Redis does, and what to do about it."""
    if str(error).startswith("WRONGTYPE"):
        said = "has a key of this name that is no stream"
        return faults.STORAGE_FAILED, said, "name another stream, or remove the key"
    reason = faults.AUTHENTICATION if _is_about_certificates(error) else faults.reason_of(error)
    return (reason, *_MEANINGS[reason])


def _is_about_certificates(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
