"""A JSONata expression, as the kinds that transform events carry it."""

from pydantic import Field

from eventing.resources.fields import NonEmpty
from eventing.resources.model import Model


class Jsonata(Model):
    expression: NonEmpty = Field(
        description="A JSONata expression over the event in its structured JSON form."
    )
