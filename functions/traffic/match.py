"""Which calls a route is for, by the attributes of their events. Compiled once, then called."""

import re
from collections.abc import Callable, Mapping

from functions.traffic.policy import Match, StringMatch

Attributes = Mapping[str, str]
Predicate = Callable[[Attributes], bool]


def compile_matches(matches: tuple[Match, ...]) -> Predicate | None:
    """Whether any of them matches; None where that is every call, since there are none.

    A Match that asks for nothing matches every call, as in Istio.
    """
    predicates = [_compile_match(match) for match in matches]
    if any(predicate is None for predicate in predicates):
        return None
    wanted = [predicate for predicate in predicates if predicate is not None]
    if not wanted:
        return None
    if len(wanted) == 1:
        return wanted[0]
    return lambda attributes: any(predicate(attributes) for predicate in wanted)


def _compile_match(match: Match) -> Predicate | None:
    conditions = [_holds(name, string) for name, string in match.attributes.items()]
    conditions += [_fails(name, string) for name, string in match.without.items()]
    if not conditions:
        return None
    # Two nested calls cost less than a loop over two conditions; a third is rare.
    matches = conditions[0]
    for condition in conditions[1:]:
        matches = _both(matches, condition)
    return matches


def _both(first: Predicate, second: Predicate) -> Predicate:
    return lambda attributes: first(attributes) and second(attributes)


def _holds(name: str, string: StringMatch) -> Predicate:
    text = string.text
    if string.kind == "exact":
        return lambda attributes: attributes.get(name) == text
    if string.kind == "prefix":
        return lambda attributes: name in attributes and attributes[name].startswith(text)
    fullmatch = (string.pattern or re.compile(text)).fullmatch
    return lambda attributes: name in attributes and fullmatch(attributes[name]) is not None


def _fails(name: str, string: StringMatch) -> Predicate:
    holds = _holds(name, string)
    return lambda attributes: not holds(attributes)
