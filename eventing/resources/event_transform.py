"""The EventTransform: a service that answers an event with a transformed one, or sends it on."""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, StrictBool, model_validator

from eventing.resources.destination import Destination, Target
from eventing.resources.jsonata import Jsonata
from eventing.resources.model import Fault, Model
from eventing.resources.resource import Reference, Resource


class Reply(Model):
    jsonata: Jsonata | None = Field(default=None, description="Applied to the sink's reply.")
    discard: StrictBool | None = Field(default=None, description="Drop the sink's reply.")


class EventTransformSpec(Model):
    jsonata: Jsonata
    sink: Destination | None = Field(
        default=None, description="Gets the transformed event; it is the reply where left out."
    )
    reply: Reply | None = Field(default=None, description="What to make of the sink's reply.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.reply is None:
            return
        if self.sink is None:
            yield ("reply",), 'needs a "sink" whose reply it is'
        if self.reply.discard and self.reply.jsonata is not None:
            yield ("reply", "discard"), 'stands beside "jsonata"; keep one of them'


class EventTransform(Resource):
    """Knative's v1alpha1 EventTransform, with JSONata as its one language."""

    api_version: Literal["eventing.knative.dev/v1alpha1"] = "eventing.knative.dev/v1alpha1"
    kind: Literal["EventTransform"] = "EventTransform"
    spec: EventTransformSpec

    @property
    def expression(self) -> str:
        """It stands at `spec.jsonata.expression`."""
        return self.spec.jsonata.expression

    @property
    def reply_expression(self) -> str | None:
        """It stands at `spec.reply.jsonata.expression`."""
        reply = self.spec.reply
        return reply.jsonata.expression if reply and reply.jsonata else None

    @property
    def discards_reply(self) -> bool:
        return bool(self.spec.reply and self.spec.reply.discard)

    @property
    def sink(self) -> Target | None:
        return self.spec.sink.target(self.namespace, ("spec", "sink")) if self.spec.sink else None

    def references(self) -> Iterator[Reference]:
        if self.sink is not None and self.sink.reference is not None:
            yield self.sink.reference

    def without_effect(self) -> Iterator[Fault]:
        if self.spec.sink is not None:
            yield from self.spec.sink.without_effect(("spec", "sink"))
