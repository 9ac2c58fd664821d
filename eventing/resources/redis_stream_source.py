"""The RedisStreamSource: entries of a Redis stream, each brought to a sink as an event."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from eventing.resources.delivery import Delivery, DeliverySpec, dead_letter_target, resolve_delivery
from eventing.resources.destination import Target
from eventing.resources.fields import Count, NonEmpty
from eventing.resources.model import Fault
from eventing.resources.redis_connection import RedisConnection
from eventing.resources.resource import Reference
from eventing.resources.source import Source, SourceSpec

_DEFAULT_DELIVERY = DeliverySpec(retry=5, backoff_delay="PT0.05S")
"""Knative's."""


class RedisStreamSourceSpec(SourceSpec, RedisConnection):
    stream: NonEmpty
    group: NonEmpty | None = Field(
        default=None, description="knative-redis-source-NAMESPACE.NAME where left out."
    )
    consumers: Count | None = Field(
        default=None,
        description="Entries that are out at once to a sink that is no broker; 0 = it is paused, "
        "1 where left out: in order.",
    )
    delivery: DeliverySpec | None = Field(
        default=None, description="To a sink that is no broker. Knative's source has none."
    )


class RedisStreamSource(Source):
    """Knative's v1alpha1 RedisStreamSource."""

    api_version: Literal["sources.knative.dev/v1alpha1"] = "sources.knative.dev/v1alpha1"
    kind: Literal["RedisStreamSource"] = "RedisStreamSource"
    spec: RedisStreamSourceSpec

    @property
    def group(self) -> str:
        """The consumer group. The default is made of namespace and name, so that every node finds
        the same one, and a source that was away goes on where it was."""
        # A namespace has no dot: no two sources share a group by chance.
        return self.spec.group or f"knative-redis-source-{self.namespace}.{self.name}"

    @property
    def at_once(self) -> int:
        """Entries that are out at once; 0 = it is paused."""
        return 1 if self.spec.consumers is None else self.spec.consumers

    @property
    def secrets(self) -> dict[str, Reference]:
        """The entries of Secrets that let it in: `user`, `password`, `ca.crt`."""
        return self.spec.secrets(self.namespace, ("spec",))

    @property
    def dead_letter_sink(self) -> Target | None:
        return dead_letter_target(self.spec.delivery, self.namespace)

    @property
    def delivery(self) -> Delivery:
        """Its own, with defaults; or 5 retries from PT0.05S, as Knative's source makes them."""
        return resolve_delivery(self.spec.delivery or _DEFAULT_DELIVERY, self.dead_letter_sink)

    def references(self) -> Iterator[Reference]:
        yield from super().references()
        yield from self.secrets.values()

    def without_effect(self) -> Iterator[Fault]:
        yield from super().without_effect()
        yield from self.spec.connection_without_effect(("spec",))
        if self.spec.delivery is not None:
            yield from self.spec.delivery.without_effect(("spec", "delivery"))
