"""The Trigger: which events of a broker go to which subscriber, and how."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eventing.resources.api_versions import API_VERSIONS
from eventing.resources.broker import Broker
from eventing.resources.delivery import Delivery, DeliverySpec, dead_letter_target, resolve_delivery
from eventing.resources.destination import Destination, KReference, Target
from eventing.resources.fields import QualifiedName, ResourceName
from eventing.resources.filters import AttributesFilter, Filter
from eventing.resources.jsonata import Jsonata
from eventing.resources.metadata import Metadata
from eventing.resources.model import Fault, Model, refusing
from eventing.resources.nearest import suggestion
from eventing.resources.resource import Reference, Resource

Order = Literal["ordered", "unordered"]

ORDER = "kafka.eventing.knative.dev/delivery.order"
START = "eventing.dev/start"
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[-+]\d\d:\d\d)", re.ASCII
)


def _annotation_faults(annotations: dict[str, str]) -> Iterator[Fault]:
    for name, value in annotations.items():
        if name == ORDER:
            if value not in ("ordered", "unordered"):
                yield (name,), f'"{value}" is neither "ordered" nor "unordered"'
        elif name == START:
            if value != "earliest" and _unix_seconds(value) is None:
                message = f'"{value}" is neither "earliest" nor a time with its zone'
                yield (name,), f'{message}, as in "2026-01-31T12:00:00Z"'
        elif name.startswith("eventing.dev/"):
            yield (name,), f"unknown annotation; {suggestion(name, [START])}"


class TriggerMetadata(Metadata):
    annotations: Annotated[dict[QualifiedName, str], refusing(_annotation_faults)] | None = None


class Transform(Model):
    jsonata: Jsonata = Field(description="Applied to each event before it is delivered.")


class TriggerSpec(Model):
    broker: ResourceName | None = Field(
        default=None, description="The broker, in the trigger's namespace."
    )
    broker_ref: KReference | None = Field(
        default=None, description="In place of `broker`, for one in another namespace."
    )
    filter: AttributesFilter | None = None
    filters: tuple[Filter, ...] | None = Field(
        default=None, description="An event has to pass all; `filter` is not looked at then."
    )
    transform: Transform | None = None
    subscriber: Destination
    delivery: DeliverySpec | None = Field(
        default=None, description="In place of the broker's, as a whole."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.broker is None and self.broker_ref is None:
            yield (), 'names no broker; add "broker"'
        elif self.broker is not None and self.broker_ref is not None:
            yield ("brokerRef",), 'stands beside "broker"; keep one of them'
        elif self.broker_ref is not None and self.broker_ref.kind != "Broker":
            yield ("brokerRef", "kind"), f'"{self.broker_ref.kind}" is not "Broker"'


class Trigger(Resource):
    """A subscription to a broker's events."""

    api_version: Literal["eventing.knative.dev/v1"] = "eventing.knative.dev/v1"
    kind: Literal["Trigger"] = "Trigger"
    metadata: TriggerMetadata
    spec: TriggerSpec

    @property
    def broker(self) -> Reference:
        if self.spec.broker_ref is not None:
            return self.spec.broker_ref.resolved(self.namespace, ("spec", "brokerRef"))
        name = self.spec.broker or ""
        path = ("spec", "broker")
        return Reference(API_VERSIONS["Broker"], "Broker", self.namespace, name, path)

    @property
    def subscriber(self) -> Target:
        return self.spec.subscriber.target(self.namespace, ("spec", "subscriber"))

    @property
    def dead_letter_sink(self) -> Target | None:
        """Its own; `delivery` also looks at the broker's."""
        return dead_letter_target(self.spec.delivery, self.namespace)

    @property
    def order(self) -> Order:
        return "ordered" if self.metadata.annotation(ORDER) == "ordered" else "unordered"

    @property
    def start(self) -> float | None:
        """Where a new trigger begins: Unix seconds, 0.0 for the earliest event there is, None for
        the next one to come."""
        value = self.metadata.annotation(START)
        if value is None:
            return None
        return 0.0 if value == "earliest" else _unix_seconds(value)

    @property
    def transform(self) -> str | None:
        """The JSONata expression; it stands at `spec.transform.jsonata.expression`."""
        return self.spec.transform.jsonata.expression if self.spec.transform else None

    def delivery(self, broker: Broker | None = None) -> Delivery:
        """Its delivery with defaults: its own as a whole, or the broker's where it has none. The
        broker's dead-letter sink counts wherever its own names none."""
        inherited = broker.delivery if broker else None
        sink = self.dead_letter_sink or (broker.dead_letter_sink if broker else None)
        return resolve_delivery(self.spec.delivery or inherited, sink)

    def references(self) -> Iterator[Reference]:
        yield self.broker
        for target in (self.subscriber, self.dead_letter_sink):
            if target is not None and target.reference is not None:
                yield target.reference

    def without_effect(self) -> Iterator[Fault]:
        yield from self.metadata.unhonoured_annotations((ORDER, START))
        if self.spec.filters and self.spec.filter and self.spec.filter.attributes:
            yield ("spec", "filter"), 'has no effect: "filters" takes its place'
        yield from self.spec.subscriber.without_effect(("spec", "subscriber"))
        if self.spec.delivery is not None:
            yield from self.spec.delivery.without_effect(("spec", "delivery"))


def _unix_seconds(text: str) -> float | None:
    if _RFC3339.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        return None
