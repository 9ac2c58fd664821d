"""What a handler may ask about the attempt it serves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import logging

    from cloudevents.core.v1.event import CloudEvent


class Trace(NamedTuple):
    """The W3C trace context of the event (CloudEvents distributed tracing extension), "" = none."""

    traceparent: str = ""
    tracestate: str = ""


@dataclass(slots=True)
class Context:
    """One attempt at one event. A handler gets it in a parameter annotated `Context`.

    `attempt` counts from 1 and `trigger` names the trigger that sent the event. `attributes` are
    the event's, in their canonical string form. `expires` is the CLOCK_MONOTONIC time in seconds
    at which the attempt times out, None = never. Every field has a default, so a unit test makes
    its own: `thumbnail(event, Context(attempt=3))`.
    """

    attempt: int = 1
    trigger: str = ""
    function: str = ""
    namespace: str = "default"
    attributes: Mapping[str, str] = field(default_factory=dict)
    expires: float | None = None
    _replies: int = field(default=0, repr=False)

    @property
    def remaining(self) -> float | None:
        """Seconds left until the timeout, never below 0; None = no timeout."""
        return None if self.expires is None else max(0.0, self.expires - time.monotonic())

    @property
    def deadline(self) -> datetime | None:
        """When the attempt times out, in UTC; None = never."""
        left = self.remaining
        return None if left is None else datetime.now(UTC) + timedelta(seconds=left)

    @property
    def trace(self) -> Trace:
        """The event's trace context; replies without one continue it by themselves."""
        get = self.attributes.get
        return Trace(get("traceparent", ""), get("tracestate", ""))

    @property
    def logger(self) -> logging.Logger:
        """The function's logger; its lines carry the event's id and source."""
        import logging

        return logging.getLogger(self.function or "eventing")

    def event(self, type: str, data: Any = None, **attributes: Any) -> CloudEvent:
        """A new event to return: `source` is the function, `id` is made from the incoming event.

        The n-th event a handler makes for an incoming event has the same id every time, so where
        an attempt is repeated its replies are told apart as duplicates (by `source` + `id`). An
        event made with `CloudEvent(…)` without an id has a random one, and is not.
        """
        from eventing.sdk.replies import event_from_data

        made = event_from_data(
            data,
            type=type,
            function=self.function,
            namespace=self.namespace,
            incoming=self.attributes,
            index=f"event-{self._replies}",
            extra=attributes,
        )
        self._replies += 1
        return made
