"""Why an expression was not true of an event: the smallest parts that made it so."""

from collections.abc import Mapping
from dataclasses import dataclass

from triggers.cesql.casts import quoted, to_boolean, type_name
from triggers.cesql.compiler import Attributes, compile_node
from triggers.cesql.faults import Fault
from triggers.cesql.nodes import Logic, Node, Value, attribute_names


@dataclass(frozen=True, slots=True)
class Blame:
    """One part that was false, or that could not be evaluated, and then `error` says why.

    `expression` is its text, `position` its offset in the whole; `found` holds what the event has
    for every attribute it speaks of, None = the event has none.
    """

    expression: str
    position: int
    found: Mapping[str, Value | None]
    error: str | None = None


def blame(text: str, root: Node, attributes: Attributes) -> list[Blame]:
    """Empty where the expression is true. Of AND the first part that failed, of OR all of them."""
    try:
        value = compile_node(root)(attributes)
    except Fault:
        return _inquire(text, root, attributes)
    if value is True:
        return []
    if value is False:
        return _inquire(text, root, attributes)
    error = f"its value is the {type_name(type(value))} {quoted(value)}, not a Boolean"
    return [_single(text, root, attributes, error)]


def _inquire(text: str, node: Node, attributes: Attributes) -> list[Blame]:
    """For a node that is false or fails."""
    try:
        compile_node(node)(attributes)
    except Fault as fault:
        if isinstance(node, Logic):
            for operand in node.operands:
                if _truth(operand, attributes) is None:
                    return _inquire(text, operand, attributes)
        return [_single(text, node, attributes, fault.message)]
    match node:
        case Logic(operator="AND" | "OR", operands=operands):
            false = [each for each in operands if not _truth(each, attributes)]
            guilty = false[:1] if node.operator == "AND" else false
            return [found for each in guilty for found in _inquire(text, each, attributes)]
        case _:
            return [_single(text, node, attributes)]


def _truth(node: Node, attributes: Attributes) -> bool | None:
    """As an operand of AND, OR or XOR; None = it fails."""
    try:
        return to_boolean(compile_node(node)(attributes), node)
    except Fault:
        return None


def _single(text: str, node: Node, attributes: Attributes, error: str | None = None) -> Blame:
    return Blame(
        text[node.span.start : node.span.end],
        node.span.start,
        {name: attributes.get(name) for name in attribute_names(node)},
        error,
    )
