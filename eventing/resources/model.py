"""What all models of the YAML kinds share: strict, frozen, and in the words the user wrote.

A model holds the document's own values (a duration stays "PT30S"); what they mean in seconds or
bytes is a property's or a method's answer. So a model dumps to what was written.
"""

from collections.abc import Callable, Iterable
from typing import Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from eventing.resources.place import Path

Fault = tuple[Path, str]
"""Something wrong (or without effect), with its path from the model that tells of it."""


class Faults(ValueError):
    """What a model finds wrong across its fields."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(message for _, message in self.faults))


def refusing(find: Callable[[Any], Iterable[Fault]]) -> AfterValidator:
    """A check of a field that raises Faults where `find` finds any; paths are from the field."""

    def check(value: Any) -> Any:
        found = tuple(find(value))
        if found:
            raise Faults(found)
        return value

    return AfterValidator(check)


class Model(BaseModel):
    """A part of a document. Documents use the camelCase names, code the Python ones."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        defer_build=True,
        hide_input_in_errors=True,
    )

    def unless(self, faults: Iterable[Fault]) -> Self:
        """Itself, for "after" validators; raises Faults where there are any."""
        found = tuple(faults)
        if found:
            raise Faults(found)
        return self
