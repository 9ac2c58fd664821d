"""The syntax tree of an expression: what the parser builds and the compiler reads.

Every node knows its place (`start`, `end`: offsets in characters, end exclusive) and, where it can
be told without an event, the type of its value.
"""

from dataclasses import dataclass
from typing import Literal as OneOf

Value = str | int | bool
Type = type[str] | type[int] | type[bool]

LogicOperator = OneOf["AND", "OR", "XOR"]
ComparisonOperator = OneOf["=", "!=", "<", "<=", ">", ">="]
ArithmeticOperator = OneOf["*", "/", "%", "+", "-"]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node stands in its expression."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Literal:
    value: Value
    span: Span


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Exists:
    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Call:
    """`name` in upper case, as the functions are listed."""

    name: str
    arguments: "tuple[Node, ...]"
    span: Span


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Node"
    span: Span


@dataclass(frozen=True, slots=True)
class Negate:
    operand: "Node"
    span: Span


@dataclass(frozen=True, slots=True)
class Logic:
    """Two or more operands: a chain of one operator is one node, so its length costs no depth."""

    operator: LogicOperator
    operands: "tuple[Node, ...]"
    span: Span


@dataclass(frozen=True, slots=True)
class Comparison:
    operator: ComparisonOperator
    left: "Node"
    right: "Node"
    span: Span


@dataclass(frozen=True, slots=True)
class Arithmetic:
    operator: ArithmeticOperator
    left: "Node"
    right: "Node"
    span: Span


@dataclass(frozen=True, slots=True)
class Like:
    operand: "Node"
    pattern: str
    negated: bool
    span: Span


@dataclass(frozen=True, slots=True)
class In:
    operand: "Node"
    elements: "tuple[Node, ...]"
    negated: bool
    span: Span


Node = (
    Literal | Attribute | Exists | Call | Not | Negate | Logic | Comparison | Arithmetic | Like | In
)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right below, in the order they are written."""
    match node:
        case Call(arguments=arguments):
            return arguments
        case Not(operand=operand) | Negate(operand=operand) | Like(operand=operand):
            return (operand,)
        case Logic(operands=operands):
            return operands
        case Comparison(left=left, right=right) | Arithmetic(left=left, right=right):
            return (left, right)
        case In(operand=operand, elements=elements):
            return (operand, *elements)
        case _:
            return ()


def attribute_names(node: Node) -> tuple[str, ...]:
    """Names of all attributes an expression speaks of, each once, in the order they are written."""
    names: dict[str, None] = {}
    pending = [node]
    while pending:
        each = pending.pop()
        if isinstance(each, Attribute | Exists):
            names[each.name] = None
        pending.extend(reversed(children(each)))
    return tuple(names)
