"""From tokens to a syntax tree, by precedence climbing (CESQL v1, sections 2 and 3.6).

AND, OR and XOR bind equally and group from the left, as section 3.6 says; engines built on the
grammar file beside the specification group them from the right, so mixed chains are best written
with brackets. NOT and - bind closer than every other operator: `NOT a = b` is `(NOT a) = b`.
"""

import re
from difflib import get_close_matches
from typing import NoReturn

from eventing.errors import InvalidExpression
from triggers.cesql.casts import INTEGER_MAX, INTEGER_MIN
from triggers.cesql.functions import FUNCTIONS, arity, find
from triggers.cesql.nodes import (
    Arithmetic,
    ArithmeticOperator,
    Attribute,
    Call,
    Comparison,
    ComparisonOperator,
    Exists,
    In,
    Like,
    Literal,
    Logic,
    LogicOperator,
    Negate,
    Node,
    Not,
    Span,
    Value,
    children,
)
from triggers.cesql.tokens import Token, tokenize

MAX_DEPTH = 100
"""How deep operations may lie within each other. Chains of one AND, OR or XOR count once."""

_LOGIC: dict[str, LogicOperator] = {"AND": "AND", "OR": "OR", "XOR": "XOR"}
_COMPARISONS: dict[str, ComparisonOperator] = {
    "=": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
}  # fmt: skip
_ARITHMETIC: dict[str, ArithmeticOperator] = {"*": "*", "/": "/", "%": "%", "+": "+", "-": "-"}
# LIKE and IN bind closer than all of these, and so are taken wherever they stand.
_PRECEDENCE = (
    dict.fromkeys(_LOGIC, 1)
    | dict.fromkeys(_COMPARISONS, 2)
    | dict.fromkeys("+-", 3)
    | dict.fromkeys("*/%", 4)
)

_SQL_HINTS = {
    "NULL": "there is no NULL: test with EXISTS or NOT EXISTS",
    "IS": "there is no IS: test with EXISTS or NOT EXISTS",
    "BETWEEN": "there is no BETWEEN: write a >= x AND a <= y",
    "ESCAPE": "there is no ESCAPE: \\% and \\_ stand for themselves",
}


def parse(text: str) -> Node:
    """The tree of an expression. Raises InvalidExpression with the offset of what is wrong.

    Names of functions are not looked at; that is `check_functions`.
    """
    parser = _Parser(text)
    root = parser.whole()
    _check_depth(root)
    return root


def check_functions(root: Node) -> None:
    """Raises InvalidExpression at the first call that no built-in function takes."""
    pending = [root]
    while pending:
        node = pending.pop()
        pending.extend(reversed(children(node)))
        if isinstance(node, Call) and not find(node.name, len(node.arguments)):
            raise InvalidExpression(_no_such_function(node), node.span.start)


def _no_such_function(call: Call) -> str:
    given = len(call.arguments)
    if call.name in FUNCTIONS:
        return f"{call.name} takes {arity(call.name)}, {given} given"
    nearest = get_close_matches(call.name, FUNCTIONS, 1)
    remedy = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(FUNCTIONS)}"
    return f"unknown function {call.name}: {remedy}"


def _check_depth(root: Node) -> None:
    pending = [(root, 1)]
    while pending:
        node, depth = pending.pop()
        if depth > MAX_DEPTH:
            _too_deep(node.span.start)
        pending.extend((child, depth + 1) for child in children(node))


def _too_deep(position: int) -> NoReturn:
    raise InvalidExpression(
        f"nested more than {MAX_DEPTH} levels deep: split it into several filters", position
    )


class _Parser:
    """Reads one expression; `whole` is called once."""

    def __init__(self, text: str) -> None:
        self._tokens = tokenize(text)
        self._position = 0
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._position]

    @property
    def _end(self) -> int:
        """Where the last token taken ends."""
        return self._tokens[self._position - 1].end

    def _take(self) -> Token:
        token = self._next
        self._position += 1
        return token

    def _take_if(self, *texts: str) -> Token | None:
        token = self._next
        if token.kind in ("symbol", "keyword") and token.text in texts:
            return self._take()
        return None

    def _expect(self, symbol: str, why: str) -> None:
        if not self._take_if(symbol):
            self._refuse(f"expected '{symbol}' {why}, found {self._next}")

    def _refuse(self, message: str) -> NoReturn:
        raise InvalidExpression(message, self._next.start)

    def whole(self) -> Node:
        if len(self._tokens) == 1:
            self._refuse("the expression is empty: expected an attribute, a value or a function")
        root = self._expression(0)
        if self._next.kind != "end":
            self._refuse_rest()
        return root

    def _refuse_rest(self) -> NoReturn:
        token = self._next
        message = f"expected an operator or the end of the expression, found {token}"
        hint = ""
        if token.text == ")":
            hint = "this bracket was never opened"
        elif token.text.upper() in _SQL_HINTS:
            hint = _SQL_HINTS[token.text.upper()]
        elif token.kind == "name":
            nearest = get_close_matches(token.text.upper(), ("AND", "OR", "XOR", "LIKE", "IN"), 1)
            hint = f"did you mean {nearest[0]}?" if nearest else ""
        self._refuse(f"{message}: {hint}" if hint else message)

    def _expression(self, minimum: int) -> Node:
        """Everything from here on whose operators bind at least as close as `minimum`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _too_deep(self._next.start)
        start = self._next.start
        left = self._prefixed()
        while True:
            token = self._next
            if token.kind not in ("symbol", "keyword"):
                break
            if token.text in ("LIKE", "IN", "NOT"):
                left = self._like_or_in(left, start)
                continue
            precedence = _PRECEDENCE.get(token.text, -1)
            if precedence < max(minimum, 0):
                break
            self._take()
            right = self._expression(precedence + 1)
            left = self._binary(token.text, left, right, Span(start, self._end))
        self._depth -= 1
        return left

    def _binary(self, operator: str, left: Node, right: Node, span: Span) -> Node:
        if operator in _COMPARISONS:
            return Comparison(_COMPARISONS[operator], left, right, span)
        if operator in _ARITHMETIC:
            return Arithmetic(_ARITHMETIC[operator], left, right, span)
        logic = _LOGIC[operator]
        # A bracketed chain may be joined as well: (a AND b) AND c means a AND b AND c.
        if isinstance(left, Logic) and left.operator == logic:
            return Logic(logic, (*left.operands, right), span)
        return Logic(logic, (left, right), span)

    def _like_or_in(self, left: Node, start: int) -> Node:
        negated = self._take_if("NOT") is not None
        if self._take_if("LIKE"):
            if self._next.kind != "string":
                self._refuse(f"expected a text as the pattern of LIKE, found {self._next}")
            pattern = self._take().text
            return Like(left, pattern, negated, Span(start, self._end))
        if not self._take_if("IN"):
            self._refuse(f"expected LIKE or IN after NOT, found {self._next}")
        self._expect("(", "before the set of IN")
        if self._next.text == ")" and self._next.kind == "symbol":
            self._refuse("expected a value in the set of IN, which may not be empty, found ')'")
        elements = self._list("after the set of IN")
        return In(left, elements, negated, Span(start, self._end))

    def _list(self, why: str) -> tuple[Node, ...]:
        """Expressions between commas and the bracket that closes them."""
        items = [self._expression(0)]
        while self._take_if(","):
            items.append(self._expression(0))
        if not self._take_if(")"):
            self._refuse(f"expected ',' or ')' {why}, found {self._next}")
        return tuple(items)

    def _prefixed(self) -> Node:
        """An operand with the NOT and - before it, which are read in a loop: any number of them
        is refused by depth, not by the interpreter's stack."""
        prefixes: list[Token] = []
        while True:
            sign = self._next
            number = self._tokens[min(self._position + 1, len(self._tokens) - 1)]
            if (
                sign.kind == "symbol"
                and sign.text in "+-"
                and number.kind == "integer"
                and number.start == sign.end
            ):
                self._take()
                operand = self._integer(sign.text)
                break
            if prefix := self._take_if("NOT", "-"):
                prefixes.append(prefix)
                continue
            operand = self._operand()
            break
        for prefix in reversed(prefixes):
            span = Span(prefix.start, self._end)
            operand = Not(operand, span) if prefix.text == "NOT" else Negate(operand, span)
        return operand

    def _integer(self, sign: str = "") -> Node:
        token = self._take()
        start = token.start - len(sign)
        digits = token.text.lstrip("0") or "0"
        # Longer ones are out of range anyhow, and int() refuses to read very long ones.
        value = int(sign + digits) if len(digits) <= 10 else None
        if value is None or not INTEGER_MIN <= value <= INTEGER_MAX:
            raise InvalidExpression(
                f"the number is out of range: integers go from {INTEGER_MIN} to {INTEGER_MAX}",
                start,
            )
        return Literal(value, Span(start, token.end))

    def _operand(self) -> Node:
        token = self._next
        if token.kind == "integer":
            return self._integer()
        if token.kind == "name":
            following = self._tokens[self._position + 1]
            if following.text == "(" and following.kind == "symbol":
                return self._call()
            return Attribute(self._name(), Span(token.start, token.end))
        if token.kind == "string":
            self._take()
            return Literal(token.text, Span(token.start, token.end))
        if constant := self._take_if("TRUE", "FALSE"):
            value: Value = constant.text == "TRUE"
            return Literal(value, Span(token.start, token.end))
        if self._take_if("EXISTS"):
            if self._next.kind != "name":
                self._refuse(f"expected an attribute name after EXISTS, found {self._next}")
            name = self._name()
            return Exists(name, Span(token.start, self._end))
        if self._take_if("("):
            inner = self._expression(0)
            self._expect(")", "to close the bracket")
            return inner
        message = f"expected an attribute, a value, a function or '(', found {token}"
        before = self._tokens[self._position - 1] if self._position else None
        if token.text == "=" and before and before.text in ("=", "!="):
            message += f": write {before.text} alone"
        elif token.kind == "keyword":
            message += ", which is a reserved word"
        raise InvalidExpression(message, token.start)

    def _name(self) -> str:
        """An attribute's name; upper case is taken for lower, which all attribute names are in."""
        token = self._take()
        if "_" in token.text:
            raise InvalidExpression(
                f"'{token.text}' is no attribute name: they have letters and digits only",
                token.start,
            )
        return token.text.lower()

    def _call(self) -> Node:
        token = self._take()
        if not re.fullmatch("[A-Za-z][A-Za-z_]*", token.text):
            raise InvalidExpression(
                f"'{token.text}' is no function name: they have letters and _ only", token.start
            )
        self._take()
        arguments = () if self._take_if(")") else self._list(f"after the arguments of {token.text}")
        return Call(token.text.upper(), arguments, Span(token.start, self._end))
