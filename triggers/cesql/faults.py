"""What goes wrong while an expression is evaluated (CESQL v1, section 3.3)."""

from enum import StrEnum

from triggers.cesql.nodes import Node, Value


class FaultKind(StrEnum):
    """The specification's error types that an evaluation can end in."""

    MATH = "math"
    CAST = "cast"
    MISSING_ATTRIBUTE = "missingAttribute"
    MISSING_FUNCTION = "missingFunction"
    FUNCTION_EVALUATION = "functionEvaluation"


class Fault(Exception):
    """An evaluation interrupted by an error ("fail fast mode", section 4.1).

    `node` is the operation that failed; `value` what it returns all the same, None = the zero
    value of its type.
    """

    def __init__(
        self, kind: FaultKind, message: str, node: Node | None = None, value: Value | None = None
    ) -> None:
        self.kind = kind
        self.message = message
        self.node = node
        self.value = value
