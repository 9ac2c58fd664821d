"""Which of many triggers want an event, without asking each of them.

From every filter a *condition* is taken that any event it accepts must meet: an attribute that is
equal to, starts with or ends with one of some texts, or is there at all. Conditions are looked up
by the event's values; only filters whose condition holds are asked. What is looked up:

- exact (a text or, in cesql, a number): one hash lookup an attribute, whatever the number of
  filters;
- prefix and suffix: one binary search an attribute, then one step for each that matches;
- presence: nothing is saved among filters that ask for the same attribute.

Conditions are taken from exact, prefix, suffix, all, any, and of cesql from `=` and IN between an
attribute and texts or numbers, LIKE whose pattern starts or ends with plain text, EXISTS, AND and
OR. Every other operation (NOT, !=, <, functions) only tells which attributes must be there. Filters
without any condition, such as `not` and those that take every event, are asked for every event:
their cost grows with their number. So does that of many filters that share the one condition an
event meets.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal as OneOf

from eventing.event import Event
from triggers.cesql.casts import read_integer, to_string
from triggers.cesql.compiler import REQUIRED
from triggers.cesql.like import parse_pattern
from triggers.cesql.nodes import (
    Attribute,
    Comparison,
    Exists,
    In,
    Like,
    Literal,
    Logic,
    Node,
    children,
)
from triggers.clauses import AllClause, AnyClause, AttributeClause, Clause, Predicate, SqlClause
from triggers.filters import Filter

Kind = OneOf["exact", "integer", "prefix", "suffix", "present"]


@dataclass(frozen=True, slots=True)
class Key:
    """A test of one attribute that the index can look up."""

    kind: Kind
    attribute: str
    text: str = ""


Condition = tuple[Key, ...]
"""Keys of which at least one holds for every event that the filter accepts."""


class FilterIndex:
    """The brokers' Router over the filters of one broker's triggers, by the triggers' names.

    Never changed after it is made; making one for 1,000 filters takes 5 to 45 ms of CPU.
    """

    def __init__(self, filters: Mapping[str, Filter]) -> None:
        self._filters = dict(filters)
        names: dict[Filter, list[str]] = {}
        for name, each in filters.items():
            names.setdefault(each, []).append(name)
        choices = {each: list(conditions(each.clause)) for each in names}
        crowd = Counter(
            key for offered in choices.values() for condition in offered for key in condition
        )
        self._unindexed: list[_Group] = []
        entries: dict[str, list[tuple[Key, _Group]]] = {}
        self._overlapping = False
        for each, named in names.items():
            group = _Group(each.accepts, tuple(named))
            condition = min(
                choices[each],
                key=lambda keys: (sum(crowd[key] for key in keys), _rank(keys)),
                default=None,
            )
            if condition is None:
                self._unindexed.append(group)
                continue
            distinct = dict.fromkeys(condition)
            # With several keys one event may lead to the same filter more than once.
            self._overlapping = self._overlapping or len(distinct) > 1
            for key in distinct:
                entries.setdefault(key.attribute, []).append((key, group))
        self._tables = [(attribute, _Table(found)) for attribute, found in entries.items()]

    def route(self, event: Event) -> list[str]:
        """Names of all triggers whose filter matches. Never raises."""
        attributes = event.attributes
        candidates = self._unindexed.copy()
        for attribute, table in self._tables:
            value = attributes.get(attribute)
            if value is not None:
                table.collect(value, candidates)
        names: list[str] = []
        for group in dict.fromkeys(candidates) if self._overlapping else candidates:
            if group.accepts(attributes):
                names.extend(group.names)
        return names

    def accepts(self, subscription: str, event: Event) -> bool:
        """Whether this trigger's filter matches; an unknown trigger takes nothing."""
        found = self._filters.get(subscription)
        return found is not None and found.accepts(event.attributes)


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Triggers of one and the same filter."""

    accepts: Predicate
    names: tuple[str, ...]


class _Table:
    """The keys that speak of one attribute."""

    __slots__ = ("_exact", "_integers", "_prefixes", "_present", "_suffixes")

    def __init__(self, entries: Iterable[tuple[Key, _Group]]) -> None:
        found: dict[Kind, dict[str, list[_Group]]] = {
            "exact": {}, "integer": {}, "prefix": {}, "suffix": {}, "present": {},
        }  # fmt: skip
        for key, group in entries:
            text = key.text[::-1] if key.kind == "suffix" else key.text
            found[key.kind].setdefault(text, []).append(group)
        self._exact = found["exact"]
        self._integers = found["integer"]
        self._prefixes = _Prefixes(found["prefix"]) if found["prefix"] else None
        self._suffixes = _Prefixes(found["suffix"]) if found["suffix"] else None
        self._present = found["present"].get("")

    def collect(self, value: str, candidates: list[_Group]) -> None:
        """Add the filters whose key holds for the attribute's value."""
        groups = self._exact.get(value)
        if groups:
            candidates.extend(groups)
        if self._integers:
            candidates.extend(self._integers.get(str(read_integer(value)), ()))
        if self._prefixes:
            self._prefixes.collect(value, candidates)
        if self._suffixes:
            self._suffixes.collect(value[::-1], candidates)
        if self._present:
            candidates.extend(self._present)


class _Prefixes:
    """Sorted texts, each knowing the longest other one that it starts with.

    The texts that a value starts with are found from its neighbour in the order: every text
    between one of them and the value starts with it as well, so they are all on the way from the
    neighbour up.
    """

    __slots__ = ("_groups", "_parents", "_texts")

    def __init__(self, groups: Mapping[str, list[_Group]]) -> None:
        self._texts = sorted(groups)
        self._groups = [groups[text] for text in self._texts]
        self._parents: list[int] = []
        for index, text in enumerate(self._texts):
            parent = index - 1
            while parent >= 0 and not text.startswith(self._texts[parent]):
                parent = self._parents[parent]
            self._parents.append(parent)

    def collect(self, value: str, candidates: list[_Group]) -> None:
        texts, parents = self._texts, self._parents
        index = bisect_right(texts, value) - 1
        while index >= 0 and not value.startswith(texts[index]):
            index = parents[index]
        while index >= 0:
            candidates.extend(self._groups[index])
            index = parents[index]


_RANKS: dict[Kind, int] = {"exact": 0, "integer": 0, "prefix": 1, "suffix": 1, "present": 2}


def _rank(condition: Condition) -> tuple[int, int, int]:
    """Lower is likely to let fewer events through: by the worst key, the number of them, and the
    length of the shortest text."""
    return (
        max((_RANKS[key.kind] for key in condition), default=0),
        len(condition),
        -min((len(key.text) for key in condition), default=0),
    )


def conditions(clause: Clause) -> Iterator[Condition]:
    """Conditions that every event which `clause` accepts meets: all of them, so any will do."""
    match clause:
        case AttributeClause():
            yield (Key(clause.test, clause.attribute, clause.value),)
        case SqlClause():
            yield from _of_expression(clause.expression.root)
        case AllClause():
            for each in clause.clauses:
                yield from conditions(each)
        case AnyClause():
            yield from _union([conditions(each) for each in clause.clauses])


def _union(alternatives: Iterable[Iterable[Condition]]) -> Iterator[Condition]:
    """Of each alternative its best condition; none where one has none."""
    best = [min(each, key=_rank, default=None) for each in alternatives]
    known = [condition for condition in best if condition is not None]
    if len(known) == len(best):
        yield tuple(key for condition in known for key in condition)


def _of_expression(node: Node) -> Iterator[Condition]:
    """For a node that is true, and evaluated without an error. Attributes are strings."""
    match node:
        case Logic(operator="AND", operands=operands):
            for operand in operands:
                yield from _of_expression(operand)
            return
        case Logic(operator="OR", operands=operands):
            yield from _union([_of_expression(operand) for operand in operands])
        case Comparison("=", Attribute(name), Literal(str() as text)):
            yield (Key("exact", name, text),)
        case Comparison("=", Literal(value), Attribute(name)):
            yield (Key("exact", name, to_string(value)),)
        case Comparison("=", Attribute(name), Literal(value)) if type(value) is int:
            yield (Key("integer", name, str(value)),)
        case In(Attribute(name), elements, False):
            texts = [to_string(each.value) for each in elements if isinstance(each, Literal)]
            if len(texts) == len(elements):
                yield tuple(Key("exact", name, text) for text in texts)
        case Like(Attribute(name), text, False):
            pattern = parse_pattern(text)
            if pattern.exact is not None:
                yield (Key("exact", name, pattern.exact),)
            if pattern.prefix:
                yield (Key("prefix", name, pattern.prefix),)
            if pattern.suffix:
                yield (Key("suffix", name, pattern.suffix),)
        case Exists(name) if name not in REQUIRED:
            yield (Key("present", name),)
    for name in _read(node):
        yield (Key("present", name),)


def _read(node: Node) -> Iterator[str]:
    """Attributes that are read whenever `node` is evaluated: without them it fails."""
    match node:
        case Attribute(name=name):
            yield name
        case Logic(operator="AND" | "OR", operands=operands):
            yield from _read(operands[0])
        case In(operand=operand, elements=elements):
            yield from _read(operand)
            yield from _read(elements[0])
        case _:
            for child in children(node):
                yield from _read(child)
