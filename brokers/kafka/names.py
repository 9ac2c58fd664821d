"""Names of topics and groups: those of Knative's Kafka broker, and beside them our own."""

from brokers.kafka.topics import Topic


def broker_topic(broker: str) -> str:
    """The topic of the broker `namespace/name`."""
    return f"knative-broker-{broker.replace('/', '-')}"


def trigger_group(trigger: str, broker: str) -> str:
    """The consumer group of the trigger `namespace/name`; the namespace is the broker's where it
    says none."""
    namespace, _, _ = broker.rpartition("/")
    full = trigger if "/" in trigger or not namespace else f"{namespace}/{trigger}"
    return f"knative-trigger-{full.replace('/', '-')}"


def deliveries_topic(group: str, partitions: int, replication_factor: int) -> Topic:
    """The topic of what waits for a trigger, as it has to be made."""
    return Topic(
        f"{group}-deliveries",
        partitions,
        replication_factor,
        {
            "cleanup.policy": "compact",
            # Most entries are removed soon after they were written.
            "min.cleanable.dirty.ratio": "0.1",
            "segment.ms": "3600000",
            # A record here is longer than its event's.
            "max.message.bytes": str(64 << 20),
            "segment.bytes": str(128 << 20),
        },
    )
