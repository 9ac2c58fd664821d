"""What every client of one Kafka has in common, whichever its work."""

from typing import Any

from brokers.kafka.faults import ClientErrors
from brokers.kafka.settings import KafkaSettings


def client_options(settings: KafkaSettings, client_id: str, heard: ClientErrors) -> dict[str, Any]:
    """The options of a client. It tells `heard` of its errors instead of writing them to standard
    error, and tries a broker that is away again within a second, whatever the time it was away."""
    return {
        **settings.client_options(),
        "client.id": client_id,
        "error_cb": heard,
        "log_level": 0,
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1000,
        "allow.auto.create.topics": False,
    }
