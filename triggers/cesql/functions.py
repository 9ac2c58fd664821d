"""The built-in functions (CESQL v1, section 3.5), told apart by name and number of arguments.

An implementation gets its arguments cast already; where it fails it raises a Fault that carries
the value to return all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

from triggers.cesql.casts import INTEGER_MAX, INTEGER_MIN
from triggers.cesql.faults import Fault, FaultKind
from triggers.cesql.nodes import Type, Value

# Unicode's White_Space property: str.strip() alone would also take the separators U+001C–U+001F.
_WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


@dataclass(frozen=True, slots=True)
class Function:
    """`parameters` are the types arguments are cast to, `rest` that of any further ones (None =
    there are none). INT, BOOL and STRING cast: their `implementation` is None and the cast is the
    whole of them."""

    parameters: tuple[Type, ...]
    returns: Type
    implementation: Callable[..., Value] | None
    rest: Type | None = None

    def takes(self, count: int) -> bool:
        """Whether it can be called with so many arguments."""
        wanted = len(self.parameters)
        return count >= wanted if self.rest else count == wanted

    def parameter(self, index: int) -> Type:
        """The type of the argument at `index`, for a call that it takes."""
        if index < len(self.parameters) or self.rest is None:
            return self.parameters[index]
        return self.rest


def find(name: str, count: int) -> Function | None:
    """The function of this upper-case name that takes so many arguments."""
    for function in FUNCTIONS.get(name, ()):
        if function.takes(count):
            return function
    return None


def arity(name: str) -> str:
    """How many arguments a known function takes, for people."""
    counts = [
        f"at least {len(function.parameters)}" if function.rest else str(len(function.parameters))
        for function in FUNCTIONS[name]
    ]
    plural = "" if counts == ["1"] else "s"
    return f"{' or '.join(counts)} argument{plural}"


def _left(text: str, count: int) -> str:
    if count < 0:
        raise Fault(
            FaultKind.FUNCTION_EVALUATION, f"LEFT of {count} characters: below zero", value=text
        )
    return text[:count]


def _right(text: str, count: int) -> str:
    if count < 0:
        raise Fault(
            FaultKind.FUNCTION_EVALUATION, f"RIGHT of {count} characters: below zero", value=text
        )
    return text[max(0, len(text) - count) :]


def _substring(text: str, position: int, length: int = INTEGER_MAX) -> str:
    if abs(position) > len(text):
        raise Fault(
            FaultKind.FUNCTION_EVALUATION,
            f"SUBSTRING from {position} of a text of {len(text)} characters",
        )
    if length < 0:
        raise Fault(FaultKind.FUNCTION_EVALUATION, f"SUBSTRING of {length} characters: below zero")
    if position == 0:
        return ""
    start = position - 1 if position > 0 else len(text) + position
    return text[start : start + length]


def _absolute(number: int) -> int:
    if number == INTEGER_MIN:
        raise Fault(FaultKind.MATH, f"ABS({number}) is above {INTEGER_MAX}", value=INTEGER_MAX)
    return abs(number)


FUNCTIONS: dict[str, tuple[Function, ...]] = {
    "INT": (Function((int,), int, None),),
    "BOOL": (Function((bool,), bool, None),),
    "STRING": (Function((str,), str, None),),
    "LENGTH": (Function((str,), int, len),),
    "CONCAT": (Function((), str, lambda *texts: "".join(texts), rest=str),),
    "CONCAT_WS": (Function((str,), str, lambda glue, *texts: glue.join(texts), rest=str),),
    "LOWER": (Function((str,), str, str.lower),),
    "UPPER": (Function((str,), str, str.upper),),
    "TRIM": (Function((str,), str, lambda text: text.strip(_WHITE_SPACE)),),
    "LEFT": (Function((str, int), str, _left),),
    "RIGHT": (Function((str, int), str, _right),),
    "SUBSTRING": (
        Function((str, int), str, _substring),
        Function((str, int, int), str, _substring),
    ),
    "ABS": (Function((int,), int, _absolute),),
}
