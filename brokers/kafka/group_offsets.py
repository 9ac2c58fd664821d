"""What a consumer group has committed, asked for from outside the group.

Not through the administration client, whose process librdkafka ends with a segmentation fault when
a group has just moved to another Kafka broker (librdkafka issue 5040; still so in 2.16).
"""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from brokers.kafka.client_options import client_options
from brokers.kafka.faults import ClientErrors, kafka_error, refuses, storage_error
from brokers.kafka.settings import KafkaSettings

_STEP_SECONDS = 1.0
_AGAIN_SECONDS = 0.1

_PASSING = frozenset(
    (
        KafkaError._TIMED_OUT,
        KafkaError._WAIT_COORD,
        KafkaError._TRANSPORT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    )
)
"""Errors that asking again mends, once a Kafka broker has taken charge of the group."""


def committed_offsets(
    settings: KafkaSettings,
    client_id: str,
    group: str,
    places: Iterable[tuple[str, int]],
    *,
    stable: bool,
    seconds: float,
    patience: float,
    ended: Callable[[], bool],
) -> dict[tuple[str, int], tuple[int, str]]:
    """Committed offset and metadata by topic and partition, of those of `places` that have one.

    Blocks; joins nothing and commits nothing. `stable`: wait for transactions that are about to
    commit one. Raises StorageError after `seconds`, after `patience` seconds where no broker can
    be reached, and soon after `ended` says that nobody waits any more.
    """
    heard = ClientErrors()
    consumer = Consumer(
        {
            **client_options(settings, client_id, heard),
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed" if stable else "read_uncommitted",
        }
    )
    wanted = [TopicPartition(topic, partition) for topic, partition in places]
    started = time.monotonic()
    try:
        while True:
            try:
                answers = consumer.committed(wanted, _STEP_SECONDS)
                error = next((each.error for each in answers if each.error is not None), None)
            except KafkaException as failed:
                error = kafka_error(failed)
            if error is None:
                return {
                    (each.topic, each.partition): (each.offset, each.metadata or "")
                    for each in answers
                    if each.offset >= 0
                }
            consumer.poll(0)
            elapsed = time.monotonic() - started
            hopeless = heard.recent is not None and refuses(heard.recent)
            away = heard.down and elapsed > patience
            if error.code() not in _PASSING or hopeless or away or elapsed > seconds or ended():
                raise storage_error(
                    error,
                    f"the offsets of group {group!r} can't be read",
                    settings.bootstrap_servers,
                    heard,
                )
            time.sleep(_AGAIN_SECONDS)
    finally:
        consumer.close()
