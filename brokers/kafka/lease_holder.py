"""The member of a lease's consumer group, in a thread of its own: who has the group's one
partition holds the lease.

It proves by a commit every second or two that the partition is still its own. Who can't prove it
any more, because the process was paused or cut off from Kafka, does not hold the lease from the
moment on at which the group may have given the partition to another.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from brokers.kafka.client_options import client_options
from brokers.kafka.faults import UNREACHABLE, ClientErrors, reason_of, storage_error
from brokers.kafka.group_protocol import SESSION_SECONDS, Protocol, group_options
from brokers.kafka.settings import KafkaSettings
from eventing.errors import StorageError

_POLL_SECONDS = 0.2
_PROVE_SECONDS = 1.5


class LeaseHolder:
    """Wants the partition from when it is made until `end`, and gives it up then. `changed` is
    called in its thread whenever `held` is another, and `ended` once it is over: with an error
    where it can't go on."""

    def __init__(
        self,
        settings: KafkaSettings,
        client_id: str,
        topic: str,
        group: str,
        protocol: Protocol,
        changed: Callable[[], None],
        ended: Callable[[StorageError | None], None],
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._group = group
        self._changed = changed
        self._ended = ended
        self._heard = ClientErrors()
        self._ending = threading.Event()
        self._assigned = False
        self._sure_until = 0.0
        self._proving_since: float | None = None
        self._told = False
        self._options = {
            **client_options(settings, client_id, self._heard),
            **group_options(protocol),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "latest",
            "on_commit": self._proved,
        }
        threading.Thread(target=self._run, name=f"lease {group}", daemon=True).start()

    @property
    def held(self) -> bool:
        return self._assigned and time.monotonic() < self._sure_until

    def end(self) -> None:
        """It is held no more; the group hears of it at once, where Kafka can be reached."""
        self._ending.set()
        self._assigned = False

    def _run(self) -> None:
        error: StorageError | None = None
        try:
            consumer: Any = Consumer(self._options)
            try:
                consumer.subscribe(
                    [self._topic],
                    on_assign=self._on_assign,
                    on_revoke=self._on_revoke,
                    on_lost=self._on_revoke,
                )
                while not self._ending.is_set():
                    self._hear(consumer.poll(_POLL_SECONDS))
                    self._prove(consumer)
                    self._tell()
            finally:
                self._assigned = False
                self._tell()
                consumer.close()
        except KafkaException as failed:
            error = self._error(failed)
        except StorageError as failed:
            error = failed
        finally:
            self._ended(error)

    def _hear(self, message: Any) -> None:
        """Raises StorageError for what waiting does not mend."""
        error = None if message is None else message.error()
        if error is None:
            return
        if error.fatal() or reason_of(error) != UNREACHABLE:
            raise self._error(error)
        self._heard(error)

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        if partitions and not self._ending.is_set():
            consumer.pause(partitions)
            self._assigned = True
            self._sure_until = time.monotonic() + SESSION_SECONDS
            self._proving_since = None

    def _on_revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._assigned = False
            self._tell()
        consumer.incremental_unassign(partitions)

    def _prove(self, consumer: Any) -> None:
        now = time.monotonic()
        if not self._assigned:
            return
        since = self._proving_since
        due = self._sure_until - SESSION_SECONDS + _PROVE_SECONDS
        if now < due or (since is not None and now - since < SESSION_SECONDS):
            return
        self._proving_since = now
        try:
            consumer.commit(offsets=[TopicPartition(self._topic, 0, 0)], asynchronous=True)
        except KafkaException:
            self._proving_since = None

    def _proved(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        since, self._proving_since = self._proving_since, None
        if since is not None and error is None and all(each.error is None for each in places):
            self._heard.clear()
            self._tell()  # Where it was unsure meanwhile, this is not to go unsaid.
            self._sure_until = since + SESSION_SECONDS
            self._tell()

    def _tell(self) -> None:
        held = self.held
        if held is not self._told:
            self._told = held
            self._changed()

    def _error(self, error: KafkaException | KafkaError) -> StorageError:
        servers = self._settings.bootstrap_servers
        return storage_error(error, f"group {self._group!r} can't be joined", servers, self._heard)
