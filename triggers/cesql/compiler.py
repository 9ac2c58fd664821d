"""From a syntax tree to a Python closure, which takes the event's attributes and returns a value.

An error interrupts the evaluation as a Fault ("fail fast mode", CESQL v1, section 4.1). Types that
can be told from the tree are cast by closures picked here; only attributes are looked at anew for
each event, as they may be String, Integer or Boolean.
"""

from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt

from triggers.cesql.casts import (
    INTEGER_MAX,
    INTEGER_MIN,
    to_boolean,
    to_integer,
    to_string,
)
from triggers.cesql.faults import Fault, FaultKind
from triggers.cesql.functions import find
from triggers.cesql.like import matcher, parse_pattern
from triggers.cesql.nodes import (
    Arithmetic,
    ArithmeticOperator,
    Attribute,
    Call,
    Comparison,
    Exists,
    In,
    Like,
    Literal,
    Logic,
    Negate,
    Node,
    Not,
    Type,
    Value,
)

Attributes = Mapping[str, Value]
Evaluate = Callable[[Attributes], Value]
EvaluateBoolean = Callable[[Attributes], bool]

REQUIRED = frozenset({"specversion", "id", "source", "type"})
"""Attributes that every valid event has (CESQL v1, section 3.4.4)."""


def value_type(node: Node) -> Type | None:
    """The type of a node's value; None for an attribute and for a function nobody knows."""
    match node:
        case Literal(value=value):
            return type(value)
        case Attribute():
            return None
        case Call(name=name, arguments=arguments):
            function = find(name, len(arguments))
            return function.returns if function else None
        case Negate() | Arithmetic():
            return int
        case _:
            return bool


def compile_node(node: Node) -> Evaluate:
    """The closure that evaluates `node`; it raises nothing but Fault."""
    match node:
        case Literal(value=value):
            return lambda attributes: value
        case Attribute():
            return _attribute(node)
        case Exists(name=name):
            if name in REQUIRED:
                return lambda attributes: True
            return lambda attributes: name in attributes
        case Call():
            return _call(node)
        case Not():
            return _not(node)
        case Negate():
            operand = _integer(node.operand, node)
            return lambda attributes: _fit(-operand(attributes), node)
        case Logic():
            return _logic(node)
        case Comparison():
            return _comparison(node)
        case Arithmetic():
            return _arithmetic(node)
        case Like():
            return _like(node)
        case In():
            return _in(node)


def _attribute(node: Attribute) -> Evaluate:
    name, message = node.name, f"the event has no attribute {node.name}"

    def evaluate(attributes: Attributes) -> Value:
        value = attributes.get(name)
        if value is None:
            raise Fault(FaultKind.MISSING_ATTRIBUTE, message, node)
        return value

    return evaluate


def _string(node: Node) -> Callable[[Attributes], str]:
    """`node` cast to String."""
    evaluate = compile_node(node)
    return lambda attributes: to_string(evaluate(attributes))


def _integer(node: Node, operation: Node) -> Callable[[Attributes], int]:
    """`node` cast to Integer for `operation`, at which the fault is told where it can't be."""
    evaluate = compile_node(node)
    if value_type(node) is int:
        return evaluate  # type: ignore[return-value]
    return lambda attributes: to_integer(evaluate(attributes), operation)


def _boolean(node: Node, operation: Node) -> EvaluateBoolean:
    """`node` cast to Boolean for `operation`."""
    evaluate = compile_node(node)
    if value_type(node) is bool:
        return evaluate  # type: ignore[return-value]
    return lambda attributes: to_boolean(evaluate(attributes), operation)


def _cast(type_: Type, value: Value, operation: Node) -> Value:
    if type_ is str:
        return to_string(value)
    if type_ is bool:
        return to_boolean(value, operation)
    return to_integer(value, operation)


def _cast_to(type_: Type, node: Node, operation: Node) -> Evaluate:
    if type_ is str:
        return _string(node)
    if type_ is bool:
        return _boolean(node, operation)
    return _integer(node, operation)


def _call(node: Call) -> Evaluate:
    function = find(node.name, len(node.arguments))
    if function is None:
        message = f"no function {node.name} takes {len(node.arguments)} arguments"

        def dispatch_fails(attributes: Attributes) -> Value:
            raise Fault(FaultKind.MISSING_FUNCTION, message, node)

        return dispatch_fails
    arguments = [
        _cast_to(function.parameter(index), argument, node)
        for index, argument in enumerate(node.arguments)
    ]
    implementation = function.implementation
    if implementation is None:
        return arguments[0]

    def evaluate(attributes: Attributes) -> Value:
        values = [argument(attributes) for argument in arguments]
        try:
            return implementation(*values)
        except Fault as fault:
            fault.node = node
            raise

    return evaluate


def _not(node: Not) -> EvaluateBoolean:
    operand = compile_node(node.operand)

    def evaluate(attributes: Attributes) -> bool:
        value = operand(attributes)
        if type(value) is int:
            # Section 3.7 lists a cast from Integer to Boolean, but the conformance suite
            # (not_operator.yaml) wants NOT 10 to be true with a cast error, so NOT has none.
            raise Fault(FaultKind.CAST, f"NOT takes a Boolean, not the Integer {value}", node, True)
        return not to_boolean(value, node)

    return evaluate


def _logic(node: Logic) -> EvaluateBoolean:
    operands = [_boolean(operand, node) for operand in node.operands]
    if node.operator == "XOR":

        def exclusive(attributes: Attributes) -> bool:
            return sum(operand(attributes) for operand in operands) % 2 == 1

        return exclusive
    if len(operands) == 2:
        left, right = operands
        if node.operator == "AND":
            return lambda attributes: left(attributes) and right(attributes)
        return lambda attributes: left(attributes) or right(attributes)
    # The operand that decides the chain: the first false one of AND, the first true one of OR.
    decisive = node.operator == "OR"

    def chain(attributes: Attributes) -> bool:
        for operand in operands:
            if operand(attributes) is decisive:
                return decisive
        return not decisive

    return chain


def _comparison(node: Comparison) -> EvaluateBoolean:
    if node.operator not in ("=", "!="):
        order = {"<": lt, "<=": le, ">": gt, ">=": ge}[node.operator]
        small, large = _integer(node.left, node), _integer(node.right, node)
        return lambda attributes: order(small(attributes), large(attributes))
    equal = _equality(node)
    if node.operator == "=":
        return equal
    return lambda attributes: not equal(attributes)


def _equality(node: Comparison) -> EvaluateBoolean:
    """The right operand's type decides, the left one is cast to it (section 3.7)."""
    match node:
        case Comparison(left=Attribute(name=name) as attribute, right=Literal(value=str() as text)):
            missing = _attribute(attribute)

            def attribute_equals_text(attributes: Attributes) -> bool:
                value = attributes.get(name)
                if type(value) is str:
                    return value == text
                return to_string(missing(attributes) if value is None else value) == text

            return attribute_equals_text
    wanted = value_type(node.right)
    right = compile_node(node.right)
    if wanted is not None:
        cast = _cast_to(wanted, node.left, node)
        return lambda attributes: cast(attributes) == right(attributes)
    left = compile_node(node.left)

    def evaluate(attributes: Attributes) -> bool:
        given, value = left(attributes), right(attributes)
        return _cast(type(value), given, node) == value

    return evaluate


def _fit(value: int, node: Node) -> int:
    if INTEGER_MIN <= value <= INTEGER_MAX:
        return value
    raise Fault(FaultKind.MATH, f"the result {value} does not fit in 32 bits", node)


def _divide(dividend: int, divisor: int) -> int:
    """Rounded towards zero, where Python rounds down."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


_OPERATIONS: dict[ArithmeticOperator, Callable[[int, int], int]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": _divide,
    "%": lambda x, y: x - y * _divide(x, y),
}


def _arithmetic(node: Arithmetic) -> Callable[[Attributes], int]:
    left, right = _integer(node.left, node), _integer(node.right, node)
    operation = _OPERATIONS[node.operator]
    divides = node.operator in ("/", "%")

    def evaluate(attributes: Attributes) -> int:
        x, y = left(attributes), right(attributes)
        if divides and y == 0:
            raise Fault(FaultKind.MATH, "division by zero", node)
        return _fit(operation(x, y), node)

    return evaluate


def _like(node: Like) -> EvaluateBoolean:
    text = _string(node.operand)
    matches = matcher(parse_pattern(node.pattern))
    if node.negated:
        return lambda attributes: not matches(text(attributes))
    return lambda attributes: matches(text(attributes))


def _in(node: In) -> EvaluateBoolean:
    """The left operand's type decides (section 3.4.5). Elements are evaluated from the left until
    one is equal, so an error in a later one does not count."""
    operand = compile_node(node.operand)
    elements = [compile_node(element) for element in node.elements]
    literals = [element.value for element in node.elements if isinstance(element, Literal)]
    # Every literal casts to String: with nothing else in the set, a String is looked up at once.
    texts = frozenset(map(to_string, literals)) if len(literals) == len(elements) else None
    found, absent = not node.negated, node.negated

    def evaluate(attributes: Attributes) -> bool:
        value = operand(attributes)
        if texts is not None and type(value) is str:
            return found if value in texts else absent
        for element in elements:
            if _cast(type(value), element(attributes), node) == value:
                return found
        return absent

    return evaluate
