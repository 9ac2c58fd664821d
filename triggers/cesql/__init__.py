"""CloudEvents SQL v1: expressions over an event's context attributes.

`Expression` is all that the rest of the project needs; the modules follow an expression's way:
tokens, nodes, parser, compiler (with casts, functions, like), blame.
"""

from triggers.cesql.expression import Expression, Result
from triggers.cesql.faults import FaultKind
from triggers.cesql.nodes import Value

__all__ = ["Expression", "FaultKind", "Result", "Value"]
