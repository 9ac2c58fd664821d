"""Topics as an administrator sees them: made, described, enlarged, measured, deleted.

Every call has a deadline and raises StorageError, whose message tells what to do about it.
"""

import asyncio
import math
import shlex
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import (
    OFFSET_INVALID,
    IsolationLevel,
    KafkaError,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from brokers.kafka.admin_requests import PATIENCE_SECONDS, REQUEST_SECONDS, AdminRequests
from brokers.kafka.faults import (
    NOT_AUTHORIZED,
    TOPIC_MISSING,
    UNREACHABLE,
    reason_of,
    storage_error,
)
from brokers.kafka.group_offsets import committed_offsets
from brokers.kafka.settings import KafkaSettings
from eventing.errors import StorageError

_LOOK_AGAIN = 0.05
"""Seconds."""

_GROUP_MOVING = frozenset(
    (
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    )
)
"""Another broker is about to take charge of a group: for moments, after a restart of one."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is to be where it has to be made. `options` are the server's topic options,
    such as `cleanup.policy`. What exists already is left as it is."""

    name: str
    partitions: int = 1
    replication_factor: int = 1
    options: Mapping[str, str] = field(default_factory=dict)

    def command(self, servers: str) -> str:
        """The command line that makes it."""
        options = [
            f"--config {shlex.quote(f'{name}={self.options[name]}')}" for name in self.options
        ]
        return " ".join(
            (
                f"kafka-topics.sh --bootstrap-server {servers} --create --topic {self.name}",
                f"--partitions {self.partitions} --replication-factor {self.replication_factor}",
                *options,
            )
        )


@dataclass(frozen=True, slots=True)
class Watermarks:
    """`low`: the first offset a partition still has; `high`: the one its next record will get,
    records of open transactions included."""

    low: int
    high: int


class Topics:
    """One administration client, opened at once and closed by `close`.

    Methods are called on one event loop and never block it.
    """

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._servers = settings.bootstrap_servers
        self._requests = AdminRequests(settings, client_id)

    async def ensure(self, topics: Iterable[Topic]) -> None:
        """Make those that are missing, and wait until every partition has a leader.

        Raises StorageError: TopicMissing where making one is denied or impossible, with the
        command that makes it.
        """
        wanted = {topic.name: topic for topic in topics}
        missing = [wanted[name] for name in await self._unready(wanted, missing_only=True)]
        if missing:
            await self._create(missing)
        waiting = list(wanted)
        deadline = asyncio.get_running_loop().time() + REQUEST_SECONDS
        while waiting := await self._unready(waiting):
            if asyncio.get_running_loop().time() > deadline:
                raise self._leaderless(waiting[0])
            await asyncio.sleep(0.05)

    async def partitions(self, name: str) -> int:
        """How many partitions it has. Raises StorageError (TopicMissing)."""
        answer = (await self._describe([name]))[name]
        if isinstance(answer, KafkaError):
            raise self._error(answer, f"topic {name!r} can't be described")
        return len(answer.partitions)

    async def identity(self, name: str) -> str:
        """What tells it from one of the same name that was deleted before or is made later. Raises
        StorageError (TopicMissing)."""
        answer = (await self._describe([name]))[name]
        if isinstance(answer, KafkaError):
            raise self._error(answer, f"topic {name!r} can't be described")
        return str(answer.topic_id)

    async def enlarge(self, name: str, partitions: int) -> None:
        """Give it that many partitions where it has fewer."""
        if await self.partitions(name) >= partitions:
            return
        change = [NewPartitions(name, partitions)]
        answers = await self._requests.all(
            self._admin.create_partitions(change, request_timeout=REQUEST_SECONDS)
        )
        for answer in answers.values():
            if isinstance(answer, KafkaError) and await self.partitions(name) < partitions:
                raise self._error(answer, f"topic {name!r} can't get {partitions} partitions")
        deadline = asyncio.get_running_loop().time() + REQUEST_SECONDS
        # What is described may lag behind what was done.
        while await self.partitions(name) < partitions:
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_LOOK_AGAIN)

    async def watermarks(self, name: str, partitions: Iterable[int]) -> dict[int, Watermarks]:
        """First and next offset of these partitions."""
        partitions = list(partitions)
        lows, highs = await asyncio.gather(
            self._offsets(name, partitions, OffsetSpec.earliest()), self.highs(name, partitions)
        )
        return {
            partition: Watermarks(lows[partition], highs[partition]) for partition in partitions
        }

    async def highs(self, name: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offset that each partition's next record will get, records of open transactions
        included."""
        return await self._offsets(name, partitions, OffsetSpec.latest())

    async def stable_ends(self, name: str, partitions: Iterable[int]) -> dict[int, int]:
        """The end of what a reader of committed records can see now: below it no transaction is
        open. It may lag a moment behind a transaction that was answered as committed."""
        return await self._offsets(
            name, partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED
        )

    async def offsets_at(
        self, name: str, partitions: Iterable[int], seconds: float
    ) -> dict[int, int]:
        """Per partition, the offset of its first record stored at or after `seconds` (Unix); the
        next offset where there is none."""
        partitions = list(partitions)
        moment = OffsetSpec.for_timestamp(max(0, math.ceil(seconds * 1000)))
        # The ends first: a record that comes in between would otherwise be passed over.
        ends = await self.highs(name, partitions)
        found = await self._offsets(name, partitions, moment)
        return {
            partition: ends[partition] if offset < 0 else offset
            for partition, offset in found.items()
        }

    async def max_message_bytes(self, name: str) -> int | None:
        """The most bytes one batch of records may have in this topic; None where this user may
        not read the topic's options."""
        value = await self.option(ResourceType.TOPIC, name, ("max.message.bytes",))
        return None if value is None else int(value["max.message.bytes"])

    async def option(
        self, kind: ResourceType, name: str, options: Iterable[str]
    ) -> dict[str, str] | None:
        """These options of a topic, broker or group, as far as the server knows them; None where
        this user may not read them."""
        resource = ConfigResource(kind, name)
        answers = await self._requests.all(
            self._admin.describe_configs([resource], request_timeout=REQUEST_SECONDS)
        )
        (answer,) = answers.values()
        if isinstance(answer, KafkaError):
            if reason_of(answer) == NOT_AUTHORIZED:
                return None
            raise self._error(answer, f"the options of {name!r} can't be read")
        return {option: answer[option].value for option in options if option in answer}

    async def set_option(self, kind: ResourceType, name: str, option: str, value: str) -> bool:
        """Set one option of a topic or group; False where this user may not."""
        entry = ConfigEntry(option, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(kind, name, incremental_configs=[entry])
        answers = await self._requests.all(
            self._admin.incremental_alter_configs([resource], request_timeout=REQUEST_SECONDS)
        )
        (answer,) = answers.values()
        if isinstance(answer, KafkaError):
            if reason_of(answer) == NOT_AUTHORIZED:
                return False
            raise self._error(answer, f"{option} of {name!r} can't be set")
        return True

    async def any_broker(self) -> str:
        """The number of one of the brokers."""
        future = self._admin.describe_cluster(request_timeout=REQUEST_SECONDS)
        answer = (await self._requests.all({"": future}))[""]
        if isinstance(answer, KafkaError):
            raise self._error(answer, "the cluster can't be described")
        return str(answer.nodes[0].id)

    async def delete_before(self, name: str, offsets: Mapping[int, int]) -> bool:
        """Delete the records below these offsets, by partition; False where this user may not."""
        if not offsets:
            return True
        places = [TopicPartition(name, partition, offset) for partition, offset in offsets.items()]
        answers = await self._requests.all(
            self._admin.delete_records(places, request_timeout=REQUEST_SECONDS)
        )
        for answer in answers.values():
            if isinstance(answer, KafkaError):
                if reason_of(answer) == NOT_AUTHORIZED:
                    return False
                raise self._error(answer, f"records of topic {name!r} can't be deleted")
        return True

    async def delete(self, names: Iterable[str]) -> None:
        """Delete topics; what is not there is fine."""
        names = list(names)
        if not names:
            return
        answers = await self._requests.all(
            self._admin.delete_topics(names, request_timeout=REQUEST_SECONDS)
        )
        for name, answer in answers.items():
            if isinstance(answer, KafkaError) and reason_of(answer) != TOPIC_MISSING:
                raise self._error(answer, f"topic {name!r} can't be deleted")

    async def group_offsets(
        self, group: str, topic: str, *, stable: bool = False
    ) -> dict[int, tuple[int, str]]:
        """Committed offset and metadata by partition, of the partitions that have one; empty where
        the group is unknown. `stable`: wait for transactions that are about to commit one. Takes a
        connection of its own, and some hundredths of a second."""
        partitions = await self.partitions(topic)
        found = await asyncio.to_thread(
            committed_offsets,
            self._settings,
            self._client_id,
            group,
            [(topic, partition) for partition in range(partitions)],
            stable=stable,
            seconds=REQUEST_SECONDS,
            patience=PATIENCE_SECONDS,
            ended=lambda: self._requests.admin is None,
        )
        return {partition: committed for (_, partition), committed in found.items()}

    async def delete_group(self, group: str) -> bool:
        """Delete a consumer group and its offsets. False where it has members now; True where it
        is gone, or was never there."""
        answer = await self._of_group(
            group,
            lambda: self._admin.delete_consumer_groups([group], request_timeout=REQUEST_SECONDS),
        )
        if isinstance(answer, KafkaError):
            if answer.code() == KafkaError.NON_EMPTY_GROUP:
                return False
            if answer.code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise self._error(answer, f"group {group!r} can't be deleted")
        return True

    async def close(self) -> None:
        """Within a second, also when Kafka is away."""
        await self._requests.close()

    @property
    def _admin(self) -> Any:
        if self._requests.admin is None:
            raise StorageError(f"the connection to Kafka at {self._servers} is closed")
        return self._requests.admin

    def _error(self, error: KafkaError, what: str) -> StorageError:
        return storage_error(error, what, self._servers, self._requests.heard)

    async def _of_group(self, group: str, ask: Callable[[], Mapping[str, Future[Any]]]) -> Any:
        """The answer about a group, as soon as one of the brokers has taken charge of it."""
        deadline = asyncio.get_running_loop().time() + REQUEST_SECONDS
        while True:
            answer = (await self._requests.all(ask()))[group]
            moving = isinstance(answer, KafkaError) and answer.code() in _GROUP_MOVING
            if not moving or asyncio.get_running_loop().time() > deadline:
                return answer
            await asyncio.sleep(0.1)

    def _leaderless(self, name: str) -> StorageError:
        return StorageError(
            f"topic {name!r}: Kafka at {self._servers} has no leader for it; see that enough "
            "brokers are up for its replicas",
            UNREACHABLE,
        )

    async def _describe(self, names: Iterable[str]) -> dict[str, Any]:
        futures: Mapping[str, Future[Any]] = self._admin.describe_topics(
            TopicCollection(list(names)), request_timeout=REQUEST_SECONDS
        )
        return await self._requests.all(futures)

    async def _unready(self, names: Iterable[str], *, missing_only: bool = False) -> list[str]:
        unready = []
        for name, answer in (await self._describe(names)).items():
            if isinstance(answer, KafkaError):
                if reason_of(answer) != TOPIC_MISSING:
                    raise self._error(answer, f"topic {name!r} can't be described")
                unready.append(name)
            elif not missing_only and any(each.leader is None for each in answer.partitions):
                unready.append(name)
        return unready

    async def _create(self, topics: list[Topic]) -> None:
        made = [
            NewTopic(
                topic.name,
                num_partitions=topic.partitions,
                replication_factor=topic.replication_factor,
                config=dict(topic.options),
            )
            for topic in topics
        ]
        answers = await self._requests.all(
            self._admin.create_topics(
                made, operation_timeout=REQUEST_SECONDS, request_timeout=REQUEST_SECONDS
            )
        )
        for topic in topics:
            answer = answers[topic.name]
            if isinstance(answer, KafkaError) and answer.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._not_made(topic, answer)

    def _not_made(self, topic: Topic, error: KafkaError) -> StorageError:
        told = self._error(error, f"topic {topic.name!r} can't be made")
        if told.reason in (UNREACHABLE, "AuthenticationFailed"):
            return told
        return StorageError(
            f"topic {topic.name!r} is missing, and Kafka at {self._servers} does not let this node "
            f"make it ({error.str()}); make it: {topic.command(self._servers)}",
            TOPIC_MISSING,
        )

    async def _offsets(
        self,
        name: str,
        partitions: Iterable[int],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[int, int]:
        wanted = {TopicPartition(name, partition): spec for partition in partitions}
        if not wanted:
            return {}
        deadline = asyncio.get_running_loop().time() + REQUEST_SECONDS
        while True:
            answers = await self._requests.all(
                self._admin.list_offsets(
                    wanted, isolation_level=isolation, request_timeout=REQUEST_SECONDS
                )
            )
            # A leader that was chosen a moment ago may not know it yet.
            if not any(_is_moving(each) for each in answers.values()):
                break
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_LOOK_AGAIN)
        offsets = {}
        for place, answer in answers.items():
            if not isinstance(answer, KafkaError) and answer.offset == OFFSET_INVALID:
                # What the client answers for a leader that did not.
                answer = KafkaError(KafkaError._TIMED_OUT)
            if isinstance(answer, KafkaError):
                if answer.code() == KafkaError._NOENT:
                    await self.partitions(name)  # Says so where it is the topic that is missing.
                    raise self._leaderless(name)
                raise self._error(answer, f"the offsets of topic {name!r} can't be read")
            offsets[place.partition] = answer.offset
        return offsets


def _is_moving(answer: object) -> bool:
    return isinstance(answer, KafkaError) and answer.code() in (
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    )
