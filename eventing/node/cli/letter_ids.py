"""What dead letters are called: `12` of the default broker, `namespace/broker:12` of any other."""

from dataclasses import dataclass
from typing import Any

import click

from eventing.node.cli.names import DEFAULT_BROKER, qualified


@dataclass(frozen=True, slots=True)
class LetterId:
    """Ids are a broker's own, so it takes both. `str()` gives the shortest form."""

    broker: str
    number: int

    def __str__(self) -> str:
        return str(self.number) if self.broker == DEFAULT_BROKER else f"{self.broker}:{self.number}"

    @property
    def path(self) -> str:
        """Its place in the admin API."""
        return f"/api/v1/dead-letters/{self.broker}/{self.number}"


class LetterIdType(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4
    """An argument that is a dead letter's id."""

    name = "id"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> LetterId:
        if isinstance(value, LetterId):
            return value
        broker, colon, number = str(value).rpartition(":")
        try:
            named = qualified(broker) if colon else DEFAULT_BROKER
            if not (number.isascii() and number.isdigit() and len(number) < 19):
                raise ValueError
        except ValueError:
            self.fail(
                f"{value!r} is no dead letter; write its id as 'eventing dead-letters list' shows "
                "it: 12, or namespace/broker:12",
                param,
                ctx,
            )
        return LetterId(named, int(number))
