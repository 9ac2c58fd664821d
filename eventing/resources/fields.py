"""The types of fields that many kinds share: names, durations, quantities, counts."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictFloat, StrictInt, WithJsonSchema

from eventing.resources.durations import ISO_PATTERN, parse_duration
from eventing.resources.quantities import QUANTITY_PATTERN, parse_cores, parse_quantity

_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_QUALIFIED = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"


def matching(pattern: str, longest: int, rule: str) -> AfterValidator:
    """A check that a text has the form; the complaint shows the text, the rule and, where there
    is one, a text like it that would do."""
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if len(text) > longest or compiled.fullmatch(text) is None:
            mended = re.sub(r"[^a-z0-9.-]+", "-", text.lower())[:longest].strip("-.")
            hint = f'; "{mended}" would do' if compiled.fullmatch(mended) else ""
            shown = text if len(text) <= 80 else f"{text[:80]}…"
            raise ValueError(f'"{shown}" {rule}{hint}')
        return text

    return AfterValidator(check)


def parsed_by(parse: Callable[[str], object]) -> AfterValidator:
    """A check that `parse` takes the text; the field keeps the text."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def _number_as_text(value: object) -> object:
    return str(value) if type(value) in (int, float) else value


def _above_zero(text: str) -> str:
    if parse_duration(text) == 0:
        raise ValueError(f'"{text}" has to be more than zero')
    return text


ResourceName = Annotated[
    str,
    matching(
        _SUBDOMAIN,
        253,
        'is no valid name: only a-z, 0-9, "-" and ".", with a letter or digit at both ends',
    ),
]
LabelName = Annotated[
    str,
    matching(
        _LABEL,
        63,
        'is no valid name: only a-z, 0-9 and "-", with a letter or digit at both ends, '
        "at most 63 characters",
    ),
]
Dns1035Label = Annotated[
    str,
    matching(
        r"[a-z](?:[a-z0-9-]*[a-z0-9])?",
        63,
        'is no valid name: only a-z, 0-9 and "-", a letter first and no "-" last, '
        "at most 63 characters",
    ),
]
"""What becomes a part of a host's name."""
QualifiedName = Annotated[
    str,
    matching(
        rf"(?:{_SUBDOMAIN}/)?{_QUALIFIED}",
        317,
        "is no valid key: at most 63 letters, digits, "
        '"-", "_" and ".", perhaps behind a domain and a slash',
    ),
]
LabelValue = Annotated[
    str,
    matching(
        rf"(?:{_QUALIFIED})?",
        63,
        'is no valid label: at most 63 letters, digits, "-", "_" and "."',
    ),
]
Ignored = Annotated[Any, AfterValidator(lambda _: None), Field(exclude=True, repr=False)]
"""Let through and forgotten: two resources that differ in it alone are equal."""

NonEmpty = Annotated[str, Field(min_length=1)]
Duration = Annotated[
    str,
    parsed_by(parse_duration),
    WithJsonSchema({"type": "string", "pattern": ISO_PATTERN, "examples": ["PT30S"]}),
]
PositiveDuration = Annotated[Duration, AfterValidator(_above_zero)]
Quantity = Annotated[
    str,
    BeforeValidator(_number_as_text),
    parsed_by(parse_quantity),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": QUANTITY_PATTERN}, {"type": "number"}],
            "examples": ["256Mi"],
        }
    ),
]
Cores = Annotated[
    str,
    BeforeValidator(_number_as_text),
    parsed_by(parse_cores),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": QUANTITY_PATTERN}, {"type": "number"}],
            "examples": ["500m", "1.5"],
        }
    ),
]
"""A quantity that may be a fraction of one."""
Count = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
