"""What Kafka's client reports, put into words."""

import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from brokers.kafka.faults import (
    ClientErrors,
    kafka_error,
    produce_error,
    reason_of,
    refuses,
    storage_error,
    too_large,
)
from eventing.errors import EventTooLarge, StorageError

AWAY = KafkaError(KafkaError._TRANSPORT, "localhost:1: Connection refused")
ALL_AWAY = KafkaError(KafkaError._ALL_BROKERS_DOWN)
REFUSED = KafkaError(KafkaError._AUTHENTICATION, "localhost:1: SASL authentication failed")
TIMED_OUT = KafkaError(KafkaError._TIMED_OUT)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (KafkaError._TRANSPORT, "EngineUnreachable"),
        (KafkaError._MSG_TIMED_OUT, "EngineUnreachable"),
        (KafkaError.COORDINATOR_NOT_AVAILABLE, "EngineUnreachable"),
        (KafkaError._SSL, "AuthenticationFailed"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, "AuthenticationFailed"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "NotAuthorized"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "TopicMissing"),
        (KafkaError.NOT_ENOUGH_REPLICAS, "StorageFailed"),
    ],
)
def test_a_reason_is_one_word(code: int, reason: str) -> None:
    error = KafkaError(code)
    assert reason_of(error) == reason
    assert storage_error(error, "it can't be done", "kafka:9092").reason == reason
    assert refuses(error) == (reason == "AuthenticationFailed")


def test_a_message_says_what_where_why_and_how_to_mend_it() -> None:
    error = storage_error(AWAY, "topic 'orders' can't be described", "kafka:9092")
    assert str(error) == (
        "topic 'orders' can't be described: Kafka at kafka:9092 can't be reached "
        "(localhost:1: Connection refused); start it, or mend bootstrap.servers"
    )


def test_too_few_copies_have_a_remedy_of_their_own() -> None:
    error = storage_error(KafkaError(KafkaError.NOT_ENOUGH_REPLICAS), "it failed", "kafka:9092")
    assert "min.insync.replicas" in str(error)


def test_an_exception_is_the_error_inside_it() -> None:
    assert kafka_error(KafkaException(REFUSED)) is REFUSED
    assert kafka_error(REFUSED) is REFUSED
    assert kafka_error(TimeoutError()).code() == KafkaError._TIMED_OUT
    assert kafka_error(ValueError("no number")).str() == "no number"
    assert kafka_error(ValueError()).str() == "ValueError"


def test_a_timeout_is_explained_by_what_the_client_heard() -> None:
    heard = ClientErrors()
    assert reason_of(TIMED_OUT, heard) == "EngineUnreachable"
    heard(REFUSED)
    assert reason_of(TIMED_OUT, heard) == "AuthenticationFailed"
    assert "SASL authentication failed" in str(storage_error(TIMED_OUT, "it failed", "k", heard))
    # What has an explanation of its own keeps it.
    missing = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    assert reason_of(missing, heard) == "TopicMissing"


def test_of_several_errors_the_most_telling_is_kept() -> None:
    heard = ClientErrors()
    for error in (AWAY, REFUSED, AWAY, ALL_AWAY):
        heard(error)
    assert heard.recent is REFUSED
    assert heard.down


def test_all_brokers_away_is_what_it_is_until_something_succeeds() -> None:
    heard = ClientErrors()
    assert not heard.down
    heard(AWAY)
    assert not heard.down
    heard(ALL_AWAY)
    assert heard.down
    assert heard.recent is AWAY
    heard.clear()
    assert not heard.down
    assert heard.recent is None


def test_what_was_heard_before_a_moment_does_not_count_after_it() -> None:
    heard = ClientErrors()
    before = time.monotonic()
    heard(AWAY)
    assert heard.since(before) is AWAY
    assert heard.since(time.monotonic() + 1) is None


def test_each_error_is_told_on() -> None:
    told: list[KafkaError] = []
    heard = ClientErrors(told.append)
    for error in (REFUSED, ALL_AWAY):
        heard(error)
    assert told == [REFUSED, ALL_AWAY]


@pytest.mark.parametrize("code", [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE])
def test_a_record_that_can_never_be_stored_is_the_senders_mistake(code: int) -> None:
    error = produce_error(KafkaError(code), "orders", "kafka:9092")
    assert isinstance(error, EventTooLarge)
    assert "'orders'" in str(error)


def test_any_other_record_may_be_stored_later() -> None:
    error = produce_error(KafkaException(AWAY), "orders", "kafka:9092")
    assert isinstance(error, StorageError)
    assert str(error).startswith("a record was not stored in topic 'orders': Kafka at kafka:9092")


def test_a_size_and_its_limit_are_told_where_they_are_known() -> None:
    assert "of 12 bytes" in str(too_large("orders", 12, 10))
    assert "of 10 bytes" in str(too_large("orders", 12, 10))
    assert "bytes" not in str(too_large("orders")).partition(";")[0]
