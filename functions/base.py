"""The contract of everything that runs or receives an event: one call in, one response out."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from eventing.event import Event

# Tuples, not frozen dataclasses: made for every attempt, and made three times as fast.


class Response(NamedTuple):
    """A subscriber's answer to one attempt.

    `status` is an HTTP status or its like for what has none: 0 = no answer at all (no connection,
    crash, timeout). `replies` are the events it answered with. `body` is the start of the answer's
    body, for `knativeerrordata`; `reason` one line for people, empty on success. `retry_after` in
    seconds, where the subscriber named one. `started` is the CLOCK_MONOTONIC time in nanoseconds
    at which the handler was entered, 0 where nobody can tell.
    """

    status: int
    replies: tuple[Event, ...] = ()
    body: bytes = b""
    reason: str = ""
    retry_after: float | None = None
    started: int = 0


class Call(NamedTuple):
    """One attempt: the event as the subscriber is to see it, and what the handler may ask about."""

    event: Event
    attempt: int
    trigger: str
    timeout: float | None = None
    """Seconds from the handler's start; the subscriber's own limit counts where it is shorter."""
    ttl: int = 255
    """Brokers the event may still pass through (`knativebrokerttl`), which `event` doesn't show."""
    path: str = ""
    """Where an instance that speaks HTTP is to be called, "" = where its own document says."""
    format: Literal["binary", "json"] | None = None
    """In which mode of CloudEvents over HTTP it is to get the event; None = binary."""


class Service(Protocol):
    """Something that takes calls. `submit` never raises and never blocks."""

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        """Begin the call. `done` is called exactly once, on the event loop, perhaps before
        `submit` returns. There is no task and no future a call: this is the hot path."""
