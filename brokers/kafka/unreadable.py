"""A record that is no CloudEvent, as the event that is kept of it."""

from datetime import UTC, datetime

from brokers.base import Failure
from brokers.kafka.share import Unreadable
from eventing.event import Event

UNREADABLE_TYPE = "dev.eventing.record.unreadable"


def unreadable_event(topic: str, partition: int, offset: int, found: Unreadable) -> Event:
    """The record's value as data, and in attributes where it stands. Its headers are told by name
    and length in none: they are in the topic."""
    return Event(
        {
            "specversion": "1.0",
            "id": f"partition:{partition}/offset:{offset}",
            "source": f"/kafka/topics/{topic}",
            "type": UNREADABLE_TYPE,
            "time": datetime.fromtimestamp(max(0.0, found.timestamp), UTC)
            .isoformat()
            .replace("+00:00", "Z"),
            **_content_type(found),
        },
        found.value,
    )


def unreadable_failure(topic: str, partition: int, offset: int, reason: str) -> Failure:
    """Where it stands, and why it is no event."""
    return Failure(
        f"kafka:{topic}",
        0,
        f"topic {topic}, partition {partition}, offset {offset} is no CloudEvent: {reason}",
    )


def _content_type(found: Unreadable) -> dict[str, str]:
    """The one it claims, where that may stand in an event."""
    for name, value in found.headers:
        if name == "content-type" and value:
            claimed = value.decode("latin-1")
            if claimed.isascii() and claimed.isprintable() and claimed == claimed.strip():
                return {"datacontenttype": claimed}
    return {}
