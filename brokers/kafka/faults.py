"""What Kafka's client reports, put into words: what failed, where, and how to mend it.

A client tells of refused connections and credentials through its error callback alone, while its
requests just time out: `ClientErrors` remembers what it heard, so that both make one message.
"""

import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from eventing.errors import EventTooLarge, StorageError

UNREACHABLE = "EngineUnreachable"
AUTHENTICATION = "AuthenticationFailed"
NOT_AUTHORIZED = "NotAuthorized"
TOPIC_MISSING = "TopicMissing"
STORAGE_FAILED = "StorageFailed"

_UNREACHABLE = frozenset(
    (
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._WAIT_COORD,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    )
)
_AUTHENTICATION = frozenset(
    (
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
    )
)
_NOT_AUTHORIZED = frozenset(
    (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    )
)
_TOPIC_MISSING = frozenset(
    (
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    )
)
_TOO_LARGE = frozenset((KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE))
_TOO_FEW_REPLICAS = frozenset(
    (KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
)
_REMEDIES = {
    UNREACHABLE: "start it, or mend bootstrap.servers",
    AUTHENTICATION: "mend the credentials that it is given, in its Secret or its address",
    NOT_AUTHORIZED: "give this user the right with kafka-acls.sh",
    TOPIC_MISSING: "make the topic with kafka-topics.sh --create",
    STORAGE_FAILED: "see the server's log",
}
_SAID = {
    UNREACHABLE: "can't be reached",
    AUTHENTICATION: "does not let this node in",
    NOT_AUTHORIZED: "does not allow it",
    TOPIC_MISSING: "has no such topic",
    STORAGE_FAILED: "refused",
}
_FRESH = 30.0
"""Seconds for which what a client heard explains a request that timed out."""


class ClientErrors:
    """Remembers what one client reports: give it as the client's `error_cb`.

    Of several the most telling one is kept: refused credentials are followed by "all brokers are
    down". May be called from any thread; `tell`, where given, is called with each, in the thread
    in which the client calls back.
    """

    def __init__(self, tell: Callable[[KafkaError], None] | None = None) -> None:
        self._tell = tell
        self._heard: tuple[float, KafkaError] | None = None
        self._down = False

    def __call__(self, error: KafkaError) -> None:
        now = time.monotonic()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._down = True
        heard = self._heard
        if heard is None or now - heard[0] > _FRESH or _rank(error) >= _rank(heard[1]):
            self._heard = (now, error)
        if self._tell is not None:
            self._tell(error)

    def since(self, moment: float) -> KafkaError | None:
        """The most telling error heard after `moment` (time.monotonic()); None if there is none."""
        heard = self._heard
        return heard[1] if heard is not None and heard[0] >= moment else None

    @property
    def recent(self) -> KafkaError | None:
        """The most telling error of the last half minute; None if there is none."""
        return self.since(time.monotonic() - _FRESH)

    @property
    def down(self) -> bool:
        """Whether no broker could be reached, and nothing has succeeded since."""
        return self._down

    def clear(self) -> None:
        """A request succeeded: what was heard before explains nothing any more."""
        self._heard = None
        self._down = False


def kafka_error(error: BaseException | KafkaError) -> KafkaError:
    """The client's error inside an exception; anything else counts as a timeout's or a fault's."""
    if isinstance(error, KafkaError):
        return error
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return error.args[0]
    if isinstance(error, TimeoutError):
        return KafkaError(KafkaError._TIMED_OUT)
    return KafkaError(KafkaError._FAIL, str(error) or type(error).__name__)


def reason_of(error: BaseException | KafkaError, heard: ClientErrors | None = None) -> str:
    """The one word of a StorageError for it; a timeout is what the client heard meanwhile."""
    return _reason(_explained(kafka_error(error), heard))


def refuses(error: KafkaError) -> bool:
    """Whether it is about credentials or TLS: waiting does not mend it."""
    return error.code() in _AUTHENTICATION


def storage_error(
    error: BaseException | KafkaError, what: str, servers: str, heard: ClientErrors | None = None
) -> StorageError:
    """The error to raise for a failed request. `what` says what could not be done, such as
    "topic 'orders' can't be described"; `servers` are the bootstrap servers."""
    cause = _explained(kafka_error(error), heard)
    reason = _reason(cause)
    remedy = _REMEDIES[reason]
    if cause.code() in _TOO_FEW_REPLICAS:
        remedy = "bring the missing brokers back, or lower the topic's min.insync.replicas"
    return StorageError(
        f"{what}: Kafka at {servers} {_SAID[reason]} ({cause.str()}); {remedy}", reason
    )


def produce_error(
    error: BaseException | KafkaError, topic: str, servers: str, heard: ClientErrors | None = None
) -> StorageError | EventTooLarge:
    """The error of a record that was not stored: EventTooLarge where it never can be."""
    if kafka_error(error).code() in _TOO_LARGE:
        return too_large(topic)
    return storage_error(error, f"a record was not stored in topic {topic!r}", servers, heard)


def too_large(topic: str, size: int | None = None, limit: int | None = None) -> EventTooLarge:
    """The error of an event that the topic does not take; `size` and `limit` in bytes."""
    is_size = "" if size is None else f" of {size} bytes"
    of_limit = "" if limit is None else f" of {limit} bytes"
    return EventTooLarge(
        f"the event's record{is_size} is over what topic {topic!r} takes{of_limit}; send less, "
        "or raise the topic's max.message.bytes with kafka-configs.sh"
    )


def _explained(error: KafkaError, heard: ClientErrors | None) -> KafkaError:
    recent = heard.recent if heard is not None and error.code() in _UNREACHABLE else None
    return error if recent is None else recent


def _reason(error: KafkaError) -> str:
    code = error.code()
    if code in _UNREACHABLE:
        return UNREACHABLE
    if code in _AUTHENTICATION:
        return AUTHENTICATION
    if code in _NOT_AUTHORIZED:
        return NOT_AUTHORIZED
    if code in _TOPIC_MISSING:
        return TOPIC_MISSING
    return STORAGE_FAILED


def _rank(error: KafkaError) -> int:
    code = error.code()
    if code in _AUTHENTICATION:
        return 3
    return 1 if code == KafkaError._ALL_BROKERS_DOWN else 2
