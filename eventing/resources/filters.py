"""The filters of a trigger (CloudEvents Subscriptions API, filter dialects), as written."""

from collections.abc import Iterator, Sized
from typing import Annotated, Self

from pydantic import Field, model_validator

from eventing.resources.fields import NonEmpty, matching
from eventing.resources.model import Fault, Model, refusing

AttributeName = Annotated[
    str,
    matching(
        r"[a-z][a-z0-9]*",
        1000,
        "is no attribute name: lower-case letters and digits, a letter first",
    ),
]


def _nothing(entries: Sized) -> Iterator[Fault]:
    if not entries:
        yield (), "is empty"


# Not `min_length`: pydantic counts only the sound entries, and would call a faulty one missing.
_some = refusing(_nothing)
Pairs = Annotated[
    dict[AttributeName, NonEmpty], _some, Field(json_schema_extra={"minProperties": 1})
]
Filters = Annotated[tuple["Filter", ...], _some, Field(json_schema_extra={"minItems": 1})]


class Filter(Model):
    """One expression, in exactly one dialect."""

    exact: Pairs | None = Field(default=None, description="Every attribute has this value.")
    prefix: Pairs | None = Field(default=None, description="Every attribute begins so.")
    suffix: Pairs | None = Field(default=None, description="Every attribute ends so.")
    all: Filters | None = None
    any: Filters | None = None
    not_: "Filter | None" = Field(default=None, alias="not")
    cesql: NonEmpty | None = Field(default=None, description="A CloudEvents SQL expression.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        dialects = [dialect for dialect in _DIALECTS if getattr(self, dialect) is not None]
        if not dialects:
            yield (), f"names no dialect; it takes one of {', '.join(_DIALECTS.values())}"
        for dialect in dialects[1:]:
            yield (
                (_DIALECTS[dialect],),
                f'stands beside "{_DIALECTS[dialects[0]]}"; a filter has one dialect, '
                "put the other in a list item of its own",
            )


_DIALECTS = {
    "not_" if name == "not" else name: name
    for name in ("exact", "prefix", "suffix", "all", "any", "not", "cesql")
}


class AttributesFilter(Model):
    """The older form: all attributes have exactly these values."""

    attributes: dict[AttributeName, str] | None = Field(
        default=None, description='"" asks for any value but none.'
    )
