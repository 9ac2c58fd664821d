"""The Broker: where events are sent to, and what triggers take them from."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from eventing.resources.delivery import DeliverySpec, dead_letter_target
from eventing.resources.destination import KReference, Target
from eventing.resources.model import Fault, Model
from eventing.resources.resource import Reference, Resource

CLASS = "eventing.knative.dev/broker.class"
Engine = Literal["embedded", "kafka", "redis"]
"""What keeps a broker's events."""
_ENGINES: dict[str, Engine] = {"Embedded": "embedded", "Kafka": "kafka", "Redis": "redis"}
_DEFAULT_CLASSES = (None, "MTChannelBasedBroker")


class BrokerSpec(Model):
    config: KReference | None = Field(
        default=None, description="The ConfigMap that holds its limits, and where its engine is."
    )
    delivery: DeliverySpec | None = Field(
        default=None, description="For every trigger that has no delivery of its own."
    )


class Broker(Resource):
    """A pool of events. Its class says what keeps them: Embedded, Kafka or Redis."""

    api_version: Literal["eventing.knative.dev/v1"] = "eventing.knative.dev/v1"
    kind: Literal["Broker"] = "Broker"
    spec: BrokerSpec | None = None

    @property
    def broker_class(self) -> str | None:
        return self.metadata.annotation(CLASS)

    @property
    def engine(self) -> Engine | None:
        """What its class asks for; None = the node's own choice."""
        return _ENGINES.get(self.broker_class or "")

    @property
    def delivery(self) -> DeliverySpec | None:
        return self.spec.delivery if self.spec else None

    @property
    def config(self) -> Reference | None:
        """The ConfigMap with its limits and its engine's settings; see `broker_config`."""
        if self.spec is None or self.spec.config is None:
            return None
        return self.spec.config.resolved(self.namespace, ("spec", "config"))

    @property
    def dead_letter_sink(self) -> Target | None:
        """Where the dead letters of its triggers go that name no sink of their own."""
        return dead_letter_target(self.delivery, self.namespace)

    def references(self) -> Iterator[Reference]:
        if self.config is not None:
            yield self.config
        if self.dead_letter_sink is not None and self.dead_letter_sink.reference is not None:
            yield self.dead_letter_sink.reference

    def without_effect(self) -> Iterator[Fault]:
        if self.broker_class not in (*_DEFAULT_CLASSES, *_ENGINES):
            message = (
                f'has no effect: there is no class "{self.broker_class}" here, only '
                f"{', '.join(_ENGINES)}; the broker is one of the node's default class"
            )
            yield ("metadata", "annotations", CLASS), message
        yield from self.metadata.unhonoured_annotations((CLASS,))
        if self.delivery is not None:
            yield from self.delivery.without_effect(("spec", "delivery"))
