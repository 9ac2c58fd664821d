"""How events are delivered: retries, backoff, timeouts, dead-letter sinks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from eventing.resources.destination import Destination, Target
from eventing.resources.durations import parse_duration
from eventing.resources.fields import Count, Duration, PositiveDuration
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path

BackoffPolicy = Literal["linear", "exponential"]
Format = Literal["binary", "json"]


class DeliverySpec(Model):
    """Knative's duck.v1 DeliverySpec."""

    dead_letter_sink: Destination | None = Field(
        default=None, description="Gets the events whose attempts are spent."
    )
    retry: Count | None = Field(default=None, description="Retries after the first attempt.")
    backoff_policy: BackoffPolicy | None = Field(
        default=None, description="exponential where left out."
    )
    backoff_delay: Duration | None = Field(default=None, description="PT1S where left out.")
    timeout: PositiveDuration | None = Field(default=None, description="Of each attempt.")
    retry_after_max: Duration | None = Field(
        default=None, description="Up to where a Retry-After is honoured; PT0S ignores it."
    )
    format: Format | None = Field(default=None, description="Forces the HTTP encoding.")

    def without_effect(self, path: Path) -> Iterator[Fault]:
        if self.dead_letter_sink is not None:
            yield from self.dead_letter_sink.without_effect((*path, "deadLetterSink"))
        if self.retry in (None, 0) and (self.backoff_delay or self.backoff_policy):
            name = "backoffDelay" if self.backoff_delay else "backoffPolicy"
            yield (*path, name), 'has no effect without "retry": there are no retries'


@dataclass(frozen=True, slots=True)
class Delivery:
    """The rules of one trigger's deliveries, all times in seconds.

    retry: retries after the first attempt. backoff_delay: before the k-th retry it counts k times
    (linear) or 2^(k-1) times (exponential). timeout: of one attempt, None = the subscriber's own.
    retry_after_max: upper bound of an honoured Retry-After, 0 = ignore it, None = no bound.
    format: the HTTP encoding asked for, None = as it is. dead_letter_sink: None = the broker keeps
    the event among its dead letters.
    """

    retry: int = 0
    backoff_policy: BackoffPolicy = "exponential"
    backoff_delay: float = 1.0
    timeout: float | None = None
    retry_after_max: float | None = None
    format: Format | None = None
    dead_letter_sink: Target | None = None


def dead_letter_target(spec: DeliverySpec | None, namespace: str) -> Target | None:
    """Where the `spec.delivery` of a resource in this namespace sends dead letters."""
    if spec is None or spec.dead_letter_sink is None:
        return None
    return spec.dead_letter_sink.target(namespace, ("spec", "delivery", "deadLetterSink"))


def resolve_delivery(spec: DeliverySpec | None, dead_letter_sink: Target | None = None) -> Delivery:
    """A spec with its defaults filled in."""
    spec = spec or DeliverySpec()
    return Delivery(
        retry=spec.retry or 0,
        backoff_policy=spec.backoff_policy or "exponential",
        backoff_delay=parse_duration(spec.backoff_delay or "PT1S"),
        timeout=_seconds(spec.timeout),
        retry_after_max=_seconds(spec.retry_after_max),
        format=spec.format,
        dead_letter_sink=dead_letter_sink,
    )


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else parse_duration(duration)
