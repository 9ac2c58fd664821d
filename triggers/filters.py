"""A trigger's filter: compiled from its spec when it is loaded, asked for every event.

All dialects of Knative's Trigger: `filter.attributes`, and `filters` with exact, prefix, suffix,
all, any, not and cesql.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from eventing.errors import InvalidExpression
from eventing.event import Event
from triggers.cesql import Expression
from triggers.clauses import (
    AllClause,
    AnyClause,
    AttributeClause,
    Clause,
    FailedClause,
    NotClause,
    Path,
    SqlClause,
    Test,
    render_path,
)

DIALECTS = ("exact", "prefix", "suffix", "all", "any", "not", "cesql")
MAX_DEPTH = 32
"""How deep all, any and not may lie within each other."""

_ATTRIBUTE_NAME = re.compile(r"[a-z][a-z0-9]*\Z")
_SHOWN = 6


class InvalidFilter(InvalidExpression):
    """A filter that can't be: `path` leads to the mistake from the trigger's spec, `reason` is the
    message without it, and `position` the offset within a cesql expression (None elsewhere)."""

    def __init__(self, reason: str, path: Path, position: int | None = None) -> None:
        place = "" if position is None else f" at character {position + 1}"
        super().__init__(f"{render_path(path)}{place}: {reason}", position)
        self.reason = reason
        self.path = path


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a filter takes an event and, if not, every clause that failed. `str()` is one line
    for people."""

    matches: bool
    failed: tuple[FailedClause, ...] = ()

    def __str__(self) -> str:
        if self.matches:
            return "matches"
        shown = [str(clause) for clause in self.failed[:_SHOWN]]
        if len(self.failed) > _SHOWN:
            shown.append(f"and {len(self.failed) - _SHOWN} more")
        return f"no match: {'; '.join(shown)}"


class Filter:
    """What a trigger wants. Two filters of the same rule are equal."""

    __slots__ = ("accepts", "clause")

    def __init__(self, clause: Clause) -> None:
        self.clause = clause
        self.accepts = clause.predicate()
        """`matches`, given the event's attributes alone."""

    def matches(self, event: Event) -> bool:
        """Whether it takes the event. Never raises."""
        return self.accepts(event.attributes)

    def explain(self, event: Event) -> Verdict:
        """The same, with every clause that failed, at 20 to 100 times the cost of `matches`."""
        if self.matches(event):
            return Verdict(True)
        return Verdict(False, tuple(self.clause.failures(event.attributes)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self.clause == other.clause

    def __hash__(self) -> int:
        return hash(self.clause)

    def __str__(self) -> str:
        return str(self.clause)

    def __repr__(self) -> str:
        return f"Filter({self})"


def compile_filter(
    attributes: Mapping[str, str] | None, filters: Sequence[Mapping[str, Any]] | None
) -> Filter:
    """The filter of a trigger whose spec has `filter.attributes` and `filters`.

    Where both stand, `filters` counts alone; an empty or absent one does not stand, and without
    both every event matches. Raises InvalidFilter.
    """
    if filters:
        return Filter(_all(filters, ("filters",)))
    if attributes:
        path: Path = ("filter", "attributes")
        return Filter(_values(attributes, "exact", path, presence=True))
    return Filter(AllClause(()))


def _all(filters: Any, path: Path) -> AllClause:
    return AllClause(_clauses(filters, path), path)


def _clauses(filters: Any, path: Path) -> tuple[Clause, ...]:
    if not isinstance(filters, Sequence) or isinstance(filters, str):
        raise InvalidFilter("expected a list of filters", path)
    if not filters:
        raise InvalidFilter("expected at least one filter, the list is empty", path)
    return tuple(_clause(each, (*path, index)) for index, each in enumerate(filters))


def _clause(filter_: Any, path: Path) -> Clause:
    if len(path) > 2 * MAX_DEPTH:
        raise InvalidFilter(f"filters nested more than {MAX_DEPTH} levels deep", path)
    if not isinstance(filter_, Mapping):
        raise InvalidFilter(f"expected a filter, one of {', '.join(DIALECTS)}", path)
    for dialect in filter_:
        if dialect not in DIALECTS:
            raise InvalidFilter(_unknown_dialect(dialect), (*path, str(dialect)))
    if len(filter_) != 1:
        given = " and ".join(map(str, filter_)) or "none"
        raise InvalidFilter(
            f"expected exactly one dialect, found {given}: make each a filter of its own", path
        )
    [(dialect, content)] = filter_.items()
    path = (*path, dialect)
    match dialect:
        case "exact" | "prefix" | "suffix":
            return _values(content, dialect, path)
        case "all":
            return _all(content, path)
        case "any":
            return AnyClause(_clauses(content, path), path)
        case "not":
            return NotClause(_clause(content, path), path)
        case _:
            return _sql(content, path)


def _unknown_dialect(dialect: object) -> str:
    nearest = get_close_matches(str(dialect).lower(), DIALECTS, 1)
    if str(dialect).lower() == "sql":
        nearest = ["cesql"]
    remedy = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(DIALECTS)}"
    return f"unknown dialect {dialect}: {remedy}"


def _values(values: Any, test: Test, path: Path, presence: bool = False) -> Clause:
    """Pairs of attribute and value, which must all hold. With `presence` the value "" wants the
    attribute to be there at all."""
    if not isinstance(values, Mapping):
        raise InvalidFilter("expected attributes and their values", path)
    if not values:
        raise InvalidFilter("expected at least one attribute", path)
    clauses = tuple(
        _value(name, value, test, (*path, str(name)), presence) for name, value in values.items()
    )
    return clauses[0] if len(clauses) == 1 else AllClause(clauses, path)


def _value(name: Any, value: Any, test: Test, path: Path, presence: bool) -> Clause:
    if not isinstance(name, str) or not _ATTRIBUTE_NAME.match(name):
        raise InvalidFilter(
            f"{name!r} is no attribute name: a lower-case letter, then lower-case letters and "
            "digits",
            path,
        )
    if not isinstance(value, str):
        raise InvalidFilter(
            f"the value of an attribute is a text, found {value!r}: write it within quotes", path
        )
    if value:
        return AttributeClause(test, name, value, path)
    if presence:
        return AttributeClause("present", name, path=path)
    raise InvalidFilter(
        f"the value is empty: to ask for any {name}, write the filter cesql: EXISTS {name}", path
    )


def _sql(text: Any, path: Path) -> SqlClause:
    if not isinstance(text, str):
        raise InvalidFilter(f"expected an expression, found {text!r}: write it within quotes", path)
    try:
        return SqlClause(text, Expression(text), path)
    except InvalidExpression as error:
        raise InvalidFilter(str(error), path, error.position) from None
