"""What Redis and its client report, put into words: what failed, where, and how to mend it."""

from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)

from eventing.errors import StorageError

UNREACHABLE: Final = "EngineUnreachable"
AUTHENTICATION: Final = "AuthenticationFailed"
NOT_AUTHORIZED: Final = "NotAuthorized"
TOO_OLD: Final = "EngineTooOld"
STORAGE_FAILED: Final = "StorageFailed"
TOO_FEW_REPLICAS: Final = "TooFewReplicas"

LEAST_VERSION: Final = 7

_REMEDIES: Final = {
    UNREACHABLE: "start it, or mend the address",
    AUTHENTICATION: "mend the user and password that it is given, in its Secret or its address",
    NOT_AUTHORIZED: "give this user the commands and keys that docs/redis.md lists, with ACL "
    "SETUSER",
    STORAGE_FAILED: "see the server's log",
}
_SAID: Final = {
    UNREACHABLE: "can't be reached",
    AUTHENTICATION: "does not let this node in",
    NOT_AUTHORIZED: "does not allow it",
    STORAGE_FAILED: "refused",
}
_CREDENTIALS: Final = ("WRONGPASS", "NOAUTH", "invalid username-password", "invalid password")
_ELSEWHERE: Final = (
    "MOVED",
    "ASK",
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "UNBLOCKED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Redis has no memory left for it (`maxmemory`)."""
    return isinstance(error, OutOfMemoryError) or str(error).startswith("OOM ")


def has_moved(error: BaseException) -> bool:
    """Whether this server is not, or not now, the one that takes the request: a replica, one that
    loads its data, one that gave the slot away. Where to ask has to be found out anew."""
    name = type(error).__name__
    return name in (
        "MovedError",
        "AskError",
        "ReadOnlyError",
        "MasterDownError",
        "ClusterDownError",
        "TryAgainError",
        "BusyLoadingError",
    ) or str(error).startswith(_ELSEWHERE)


def reason_of(error: BaseException) -> str:
    """The one word of a StorageError for it."""
    text = str(error)
    if isinstance(error, (AuthenticationError, AuthorizationError)) and not isinstance(
        error, NoPermissionError
    ):
        return AUTHENTICATION
    if any(word in text for word in _CREDENTIALS):
        return AUTHENTICATION
    if isinstance(error, NoPermissionError) or text.startswith("NOPERM"):
        return NOT_AUTHORIZED
    if isinstance(error, ResponseError) and not has_moved(error):
        return STORAGE_FAILED
    return UNREACHABLE


def storage_error(error: BaseException, what: str, where: str) -> StorageError:
    """The error to raise for a failed request. `what` says what could not be done, `where` is the
    server's address."""
    if isinstance(error, StorageError):
        return error
    reason = reason_of(error)
    cause = _cause(error)
    said = "takes no writes now" if has_moved(error) else _SAID[reason]
    return StorageError(f"{what}: Redis at {where} {said} ({cause}); {_REMEDIES[reason]}", reason)


def too_old(version: str, where: str) -> StorageError:
    """The error for a server that lacks what is needed."""
    return StorageError(
        f"Redis at {where} is version {version}; Redis {LEAST_VERSION} or newer, or Valkey, is "
        "needed: update it",
        TOO_OLD,
    )


def _cause(error: BaseException) -> str:
    text = str(error).rstrip(".")
    if isinstance(error, RedisError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
