"""The types of fields that a TrafficPolicy shares with Istio's VirtualService and DestinationRule:
durations, percentages, matches of texts, weights, names of hosts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from eventing.resources.durations import format_duration, parse_duration, parse_go_duration
from eventing.resources.fields import NonEmpty, Number, parsed_by
from eventing.resources.linear_regex import Pattern
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path
from eventing.resources.regex_syntax import InvalidRegex

_SHORTEST = 0.001
_HOST = re.compile(
    r"(?P<name>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)"
    r"(?:\.(?P<namespace>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?:\.svc(?:\.cluster\.local)?)?)?",
    re.ASCII,
)

Unread = Any
"""What stands there is kept as it is: it has no effect here, or is refused as a whole."""


def parse_traffic_duration(text: str) -> float:
    """Seconds of `5s`, `100ms` or `1m30s`, as Istio writes them, or of an ISO 8601 duration.

    Raises ValueError, with what to write instead, for anything else.
    """
    if text.lstrip("+").startswith("P"):
        return parse_duration(text)
    try:
        seconds = parse_go_duration(text)
    except ValueError:
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        if text.startswith("-"):
            raise ValueError(f'"{shown}" is negative; a duration is not') from None
        hint = f'; did you mean "{text}s"?' if re.fullmatch(r"\d+(\.\d+)?", text) else ""
        complaint = f'"{shown}" is no duration such as "5s", "100ms" or "1m30s"'
        raise ValueError(f"{complaint}{hint}") from None
    format_duration(seconds)  # As long as any: a hundred years.
    return seconds


def _with_unit(value: object) -> object:
    if type(value) in (int, float):
        raise ValueError(f'{value} has no unit; write "{value}s" for seconds')
    return value


def _long_enough(text: str) -> str:
    if parse_traffic_duration(text) < _SHORTEST:
        raise ValueError(f'"{text}" is shorter than a millisecond')
    return text


def _long_enough_or_none(text: str) -> str:
    return text if parse_traffic_duration(text) == 0 else _long_enough(text)


_AnyDuration = Annotated[
    str,
    BeforeValidator(_with_unit),
    parsed_by(parse_traffic_duration),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\+?(P.+|([\d.]+(ns|us|µs|ms|s|m|h))+|0)$",
            "examples": ["5s", "100ms", "PT5S"],
        }
    ),
]
TrafficDuration = Annotated[_AnyDuration, AfterValidator(_long_enough)]
"""At least a millisecond."""
TrafficDurationOrNone = Annotated[_AnyDuration, AfterValidator(_long_enough_or_none)]
"""`0s` says that there is none."""


class Percent(Model):
    value: Annotated[Number, Field(ge=0, le=100)] | None = Field(
        default=None, description="Of the calls, decimals allowed; 0 where left out."
    )

    @model_validator(mode="before")
    @classmethod
    def _number_alone(cls, said: object) -> object:
        if type(said) in (int, float):
            raise ValueError(f"has to be a mapping: {{value: {said}}}")
        return said


def percentage(percent: Percent | None, default: float) -> float:
    """From 0 to 100; `default` where nothing is said at all."""
    return default if percent is None else float(percent.value or 0)


def _regex(text: str) -> str:
    try:
        Pattern(text)
    except InvalidRegex as error:
        raise ValueError(f"is no regular expression of RE2: {error}") from None
    return text


class StringMatch(Model):
    """`{}` = it is there, whatever it says."""

    exact: NonEmpty | None = None
    prefix: NonEmpty | None = None
    regex: Annotated[str, AfterValidator(_regex)] | None = Field(
        default=None, description="In RE2's syntax; has to match the whole text."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        given = [name for name in ("exact", "prefix", "regex") if getattr(self, name) is not None]
        for name in given[1:]:
            yield (name,), f'stands beside "{given[0]}"; keep one of them'


def weight_faults(weights: Sequence[int | None]) -> Iterator[Fault]:
    """What is wrong with the weights of the destinations of one route."""
    if len(weights) < 2:
        return
    for index, weight in enumerate(weights):
        if weight is None:
            yield (index,), 'needs a "weight" beside other destinations: without one it gets none'
    if None not in weights and not any(weights):
        yield (), "gives no destination any weight; the sum has to be above 0"


def given(model: Model, reasons: Mapping[str, str], path: Path = ()) -> Iterator[Fault]:
    """The fields of `reasons` that the model has set, at their names in documents."""
    fields = type(model).model_fields
    for name, reason in reasons.items():
        if getattr(model, name) is not None:
            yield (*path, fields[name].alias or name), reason


def unreached(routes: Iterable[Model], path: Path) -> Iterator[Fault]:
    """Routes that no call comes to, because one before them matches every call."""
    catching: int | None = None
    for index, route in enumerate(routes):
        if catching is not None:
            fields = type(route).model_fields
            names = [
                fields[name].alias or name for name in fields if name in route.model_fields_set
            ]
            reason = f"has no effect: {path[-1]}[{catching}] before it matches every call"
            yield (*path, index, *(names[:1] or ())), reason
        elif not getattr(route, "match", None):
            catching = index


def repeated_names(names: Iterable[str], path: Path) -> Iterator[Fault]:
    """Entries of the list at `path` whose name an earlier one has."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield (*path, index, "name"), f'"{name}" is there twice; give it another name'
        seen.add(name)


def host_of(host: str, namespace: str) -> str | None:
    """`namespace/name` of the function that a host of a cluster names: `thumbnail` (of the
    namespace it stands in), `thumbnail.shop`, `thumbnail.shop.svc.cluster.local`; None for any
    other host."""
    found = _HOST.fullmatch(host) if len(host) <= 253 else None
    return None if found is None else f"{found['namespace'] or namespace}/{found['name']}"


def _host(text: str) -> str:
    if host_of(text, "default") is None:
        raise ValueError(
            f'"{text[:80]}" is no host of a function; write "thumbnail", "thumbnail.shop" or '
            '"thumbnail.shop.svc.cluster.local" for the function thumbnail of the namespace shop'
        )
    return text


Host = Annotated[str, AfterValidator(_host)]
