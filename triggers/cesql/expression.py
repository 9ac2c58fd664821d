"""A CloudEvents SQL v1 expression, ready to be evaluated."""

from dataclasses import dataclass

from triggers.cesql.blame import Blame, blame
from triggers.cesql.compiler import Attributes, compile_node, value_type
from triggers.cesql.faults import Fault, FaultKind
from triggers.cesql.nodes import Node, Value, attribute_names
from triggers.cesql.parser import check_functions, parse


@dataclass(frozen=True, slots=True)
class Result:
    """What an evaluation gives: always a value, and an error where there was one.

    `error_position` is the offset of the operation that failed.
    """

    value: Value
    error: FaultKind | None = None
    message: str = ""
    error_position: int | None = None


class Expression:
    """A parsed and compiled expression; pure, so one serves all events.

    Attributes may be String, Integer or Boolean. An `Event` holds all of them as strings, so there
    `myflag = true` is right and `myflag` alone, a String, is never true.
    """

    __slots__ = ("_evaluate", "root", "text")

    def __init__(self, text: str, *, missing_functions: bool = False) -> None:
        """Raises InvalidExpression, with the offset, where `text` is no expression.

        A function that does not exist is refused here as well; with `missing_functions` it becomes
        an error of each evaluation that calls it (section 3.5).
        """
        self.text = text
        self.root: Node = parse(text)
        if not missing_functions:
            check_functions(self.root)
        self._evaluate = compile_node(self.root)

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Names of all attributes it speaks of, each once, in the order they are written."""
        return attribute_names(self.root)

    def evaluate(self, attributes: Attributes) -> Result:
        """The value; after an error that of the operation that failed, where this is the whole
        expression, or the zero value of the expression's type (section 4.1, "fail fast")."""
        try:
            return Result(self._evaluate(attributes))
        except Fault as fault:
            failed = fault.node or self.root
            value = fault.value if failed is self.root else None
            if value is None:
                type_ = value_type(self.root)
                value = type_() if type_ else False
            return Result(value, fault.kind, fault.message, failed.span.start)

    def accepts(self, attributes: Attributes) -> bool:
        """As a filter (section 1.2): true only for the Boolean true, without errors."""
        try:
            return self._evaluate(attributes) is True
        except Fault:
            return False

    def blame(self, attributes: Attributes) -> list[Blame]:
        """The parts that made `accepts` false; empty where it is true."""
        return blame(self.text, self.root, attributes)
