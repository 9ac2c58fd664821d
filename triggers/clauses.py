"""The clauses a filter is made of: what each matches, and why it did not.

A clause is a value: two that accept the same events by the same rule are equal, wherever in a
trigger they stand. Attributes are those of an `Event`: strings all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from triggers.cesql import Expression

Attributes = Mapping[str, str]
Predicate = Callable[[Attributes], bool]
Path = tuple[str | int, ...]


def render_path(path: Path) -> str:
    """As people write it: filters[1].any[0].cesql."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


@dataclass(frozen=True, slots=True)
class FailedClause:
    """One clause that an event did not meet.

    `path` leads to it from the trigger's spec. `wanted` says what it asks for: of cesql the part of
    the expression that was false, whose offset is `position`. `found` holds what the event has for
    every attribute the clause speaks of (None = it has none); `attribute` is that attribute where
    there is one only. `error` says why an expression could not be evaluated.
    """

    path: Path
    dialect: str
    attribute: str | None
    wanted: str
    found: Mapping[str, str | None]
    error: str | None = None
    position: int | None = None

    def __str__(self) -> str:
        if self.error:
            outcome = self.error
        else:
            outcome = ", ".join(
                f"the event has no {name}" if value is None else f"{name} is {_quoted(value)}"
                for name, value in self.found.items()
            )
        return f"{render_path(self.path)}: wanted {self.wanted}" + (outcome and f", but {outcome}")


def _quoted(value: str) -> str:
    return f'"{value}"' if len(value) <= 100 else f'"{value[:100]}…"'


Test = Literal["exact", "prefix", "suffix", "present"]

_WORDS: dict[Test, str] = {"exact": "=", "prefix": "starting with", "suffix": "ending with"}


@dataclass(frozen=True, slots=True)
class AttributeClause:
    """A test of one attribute's value; "present" wants it not empty. A missing one never passes."""

    test: Test
    attribute: str
    value: str = ""
    path: Path = field(default=(), compare=False)

    def __str__(self) -> str:
        if self.test == "present":
            return f"{self.attribute} to be there and not empty"
        return f"{self.attribute} {_WORDS[self.test]} {_quoted(self.value)}"

    def predicate(self) -> Predicate:
        name, wanted = self.attribute, self.value

        def starts(attributes: Attributes) -> bool:
            value = attributes.get(name)
            return value is not None and value.startswith(wanted)

        def ends(attributes: Attributes) -> bool:
            value = attributes.get(name)
            return value is not None and value.endswith(wanted)

        match self.test:
            case "exact":
                return lambda attributes: attributes.get(name) == wanted
            case "prefix":
                return starts
            case "suffix":
                return ends
            case "present":
                return lambda attributes: bool(attributes.get(name))

    def failures(self, attributes: Attributes) -> list[FailedClause]:
        if self.predicate()(attributes):
            return []
        # In a trigger's spec presence is asked for as an exact value, the empty one.
        dialect = "exact" if self.test == "present" else self.test
        found = {self.attribute: attributes.get(self.attribute)}
        return [FailedClause(self.path, dialect, self.attribute, str(self), found)]


@dataclass(frozen=True, slots=True)
class SqlClause:
    """A CloudEvents SQL expression; an error while it is evaluated means no match."""

    text: str
    expression: Expression = field(compare=False, repr=False)
    path: Path = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"({self.text})"

    def predicate(self) -> Predicate:
        return self.expression.accepts

    def failures(self, attributes: Attributes) -> list[FailedClause]:
        return [
            FailedClause(
                path=self.path,
                dialect="cesql",
                attribute=next(iter(part.found)) if len(part.found) == 1 else None,
                wanted=part.expression,
                found={name: attributes.get(name) for name in part.found},
                error=part.error,
                position=part.position,
            )
            for part in self.expression.blame(attributes)
        ]


@dataclass(frozen=True, slots=True)
class AllClause:
    """Every clause has to match; without any, every event does."""

    clauses: "tuple[Clause, ...]"
    path: Path = field(default=(), compare=False)

    def __str__(self) -> str:
        return " and ".join(map(str, self.clauses)) or "every event"

    def predicate(self) -> Predicate:
        predicates = [clause.predicate() for clause in self.clauses]
        match predicates:
            case []:
                return lambda attributes: True
            case [only]:
                return only
            case [first, second]:
                return lambda attributes: first(attributes) and second(attributes)

        def every(attributes: Attributes) -> bool:
            for predicate in predicates:  # noqa: SIM110 - all() over a generator costs twice this
                if not predicate(attributes):
                    return False
            return True

        return every

    def failures(self, attributes: Attributes) -> list[FailedClause]:
        return [failed for clause in self.clauses for failed in clause.failures(attributes)]


@dataclass(frozen=True, slots=True)
class AnyClause:
    """One clause has to match; there is at least one."""

    clauses: "tuple[Clause, ...]"
    path: Path = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"({' or '.join(map(str, self.clauses))})"

    def predicate(self) -> Predicate:
        predicates = [clause.predicate() for clause in self.clauses]
        if len(predicates) == 1:
            return predicates[0]

        def some(attributes: Attributes) -> bool:
            for predicate in predicates:  # noqa: SIM110 - any() over a generator costs twice this
                if predicate(attributes):
                    return True
            return False

        return some

    def failures(self, attributes: Attributes) -> list[FailedClause]:
        if self.predicate()(attributes):
            return []
        return [failed for clause in self.clauses for failed in clause.failures(attributes)]


@dataclass(frozen=True, slots=True)
class NotClause:
    """The clause within must not match."""

    clause: "Clause"
    path: Path = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"not ({self.clause})"

    def predicate(self) -> Predicate:
        predicate = self.clause.predicate()
        return lambda attributes: not predicate(attributes)

    def failures(self, attributes: Attributes) -> list[FailedClause]:
        if self.predicate()(attributes):
            return []
        names = attribute_names(self.clause)
        found = {name: attributes.get(name) for name in names}
        only = names[0] if len(names) == 1 else None
        return [FailedClause(self.path, "not", only, str(self), found)]


Clause = AttributeClause | SqlClause | AllClause | AnyClause | NotClause
"""Each has a `path`; `str()` gives it as people say it; `predicate()` makes the function that
decides, which never raises; `failures(attributes)` tells what kept it from matching."""


def attribute_names(clause: Clause) -> tuple[str, ...]:
    """Names of all attributes a clause speaks of, each once, in the order they are written."""
    match clause:
        case AttributeClause():
            return (clause.attribute,)
        case SqlClause():
            return clause.expression.attribute_names
        case AllClause() | AnyClause():
            within = (name for each in clause.clauses for name in attribute_names(each))
            return tuple(dict.fromkeys(within))
        case NotClause():
            return attribute_names(clause.clause)
