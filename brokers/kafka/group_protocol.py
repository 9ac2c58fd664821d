"""Which rebalance protocol a consumer group speaks, and how soon a dead node is noticed.

Broker options and their bounds: Kafka's documentation, "Broker configs" and "Group configs".
"""

from typing import Literal

from confluent_kafka.admin import ResourceType

from brokers.kafka.topics import Topics

Protocol = Literal["consumer", "classic"]
SESSION_SECONDS = 6.0
"""Seconds of silence after which a node's partitions go to others, where it can be chosen."""
HEARTBEAT_SECONDS = 1.5
"""Seconds between two signs of life, where they can be chosen."""
LONGEST_SESSION_SECONDS = 10.0
"""The next-generation protocol is not used where its session would have to be longer."""

_PROTOCOLS = "group.coordinator.rebalance.protocols"
_SESSION = "group.consumer.session.timeout.ms"
_SHORTEST_SESSION = "group.consumer.min.session.timeout.ms"
_HEARTBEAT = "group.consumer.heartbeat.interval.ms"
_SHORTEST_HEARTBEAT = "group.consumer.min.heartbeat.interval.ms"
_GROUP_SESSION = "consumer.session.timeout.ms"
_GROUP_HEARTBEAT = "consumer.heartbeat.interval.ms"


async def choose_protocol(topics: Topics) -> Protocol:
    """The next-generation protocol (KIP-848) where the cluster offers it and notices a dead member
    within 10 seconds, or can be told to for a group (`shorten_session`); otherwise, and where the
    brokers' options may not be read, the classic one. Raises StorageError where Kafka is away."""
    options = await _options(topics)
    # Where the list of protocols is no option any more, all of them are offered.
    offered = options.get(_PROTOCOLS, "consumer").split(",")
    shortest = min(_seconds(options, _SHORTEST_SESSION), _seconds(options, _SESSION))
    if "consumer" in (each.strip() for each in offered) and shortest <= LONGEST_SESSION_SECONDS:
        return "consumer"
    return "classic"


async def shorten_session(topics: Topics, group: str) -> bool:
    """For a group of the protocol "consumer": have its dead members noticed after SESSION_SECONDS
    where the cluster's own session timeout is longer than 10 s. Nothing happens otherwise. False
    where this user may not set it: the group had better speak the classic protocol then."""
    options = await _options(topics)
    if _seconds(options, _SESSION) <= LONGEST_SESSION_SECONDS:
        return True
    session = max(SESSION_SECONDS, _seconds(options, _SHORTEST_SESSION))
    heartbeat = max(HEARTBEAT_SECONDS, _seconds(options, _SHORTEST_HEARTBEAT))
    if heartbeat < min(_seconds(options, _HEARTBEAT), session) and not await topics.set_option(
        ResourceType.GROUP, group, _GROUP_HEARTBEAT, str(round(heartbeat * 1000))
    ):
        return False
    return await topics.set_option(
        ResourceType.GROUP, group, _GROUP_SESSION, str(round(session * 1000))
    )


def group_options(protocol: Protocol) -> dict[str, str | int]:
    """The consumer's options for it: protocol, assignor and session."""
    if protocol == "consumer":
        return {"group.protocol": "consumer"}
    return {
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": round(SESSION_SECONDS * 1000),
        "heartbeat.interval.ms": round(HEARTBEAT_SECONDS * 1000),
    }


async def _options(topics: Topics) -> dict[str, str]:
    names = (_PROTOCOLS, _SESSION, _SHORTEST_SESSION, _HEARTBEAT, _SHORTEST_HEARTBEAT)
    found = await topics.option(ResourceType.BROKER, await topics.any_broker(), names)
    return found or {}


def _seconds(options: dict[str, str], name: str) -> float:
    """Infinite where the cluster does not know the option."""
    value = options.get(name)
    return float("inf") if value is None else int(value) / 1000
