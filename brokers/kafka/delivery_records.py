"""A delivery that waits, as a record of its trigger's deliveries topic."""

import uuid
from collections.abc import Sequence
from typing import cast

from brokers.base import Delivery, Failure, Stage
from brokers.kafka.kept_event import Record, failure_facts, failure_of, keep, kept, missing_fact
from eventing.errors import InvalidEvent
from eventing.event import Event


def log_key(offset: int) -> bytes:
    """The key of the delivery of the event at this offset of the broker's topic."""
    return b"%d" % offset


def new_key() -> bytes:
    """A key that no other delivery has: for an event that is delivered once more."""
    return f"again-{uuid.uuid4().hex}".encode()


def delivery_record(
    key: bytes,
    event: Event,
    position: int,
    *,
    attempt: int = 1,
    stage: Stage = "subscriber",
    failure: Failure | None = None,
    due: float | None = None,
) -> Record:
    """The record of a delivery to be made at `due` (Unix seconds); None = as soon as its turn
    comes: at once, or when its key is free."""
    facts = {"position": b"%d" % position, "attempt": b"%d" % attempt, "stage": stage.encode()}
    if failure is not None:
        facts.update(failure_facts(failure))
    if due is not None:
        facts["due"] = repr(float(due)).encode()
    return keep(key, event, facts)


def decode_delivery(
    headers: Sequence[tuple[str, bytes | None]] | None, value: bytes | None
) -> tuple[Delivery, float | None]:
    """The delivery of a record, and when it is due. Raises InvalidEvent for a record that is
    none."""
    event, facts = kept(headers, value)
    try:
        stage = facts["stage"].decode()
        if stage not in ("subscriber", "dead_letter"):
            raise ValueError(f"its stage is {stage!r}")
        due = float(facts["due"]) if "due" in facts else None
        failure = failure_of(facts) if "reason" in facts else None
        attempt, position = int(facts["attempt"]), int(facts["position"])
    except KeyError as missing:
        raise missing_fact(missing) from None
    except ValueError as error:
        raise InvalidEvent(f"a delivery that waits can't be read: {error}") from None
    return Delivery(event, position, attempt, cast(Stage, stage), failure), due
