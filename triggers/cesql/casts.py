"""Casts between String, Integer and Boolean (CESQL v1, section 3.7)."""

import re

from triggers.cesql.faults import Fault, FaultKind
from triggers.cesql.nodes import Node, Type, Value

INTEGER_MIN = -(2**31)
INTEGER_MAX = 2**31 - 1

_INTEGER = re.compile(r"([+-]?)0*([0-9]{1,10})\Z", re.ASCII)


def type_name(type_: Type) -> str:
    """The specification's word for a type."""
    return {str: "String", int: "Integer", bool: "Boolean"}[type_]


def to_string(value: Value) -> str:
    """Never fails."""
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    return str(value)


def read_integer(text: str) -> int | None:
    """The 32-bit integer in base 10 that a String stands for, None where it stands for none."""
    match = _INTEGER.match(text)
    if not match:
        return None
    integer = int(match[1] + match[2])
    return integer if INTEGER_MIN <= integer <= INTEGER_MAX else None


def to_integer(value: Value, node: Node) -> int:
    """Raises Fault (cast) where a String is no 32-bit integer in base 10."""
    if type(value) is int:
        return value
    if type(value) is bool:
        return 1 if value else 0
    integer = read_integer(str(value))
    if integer is None:
        raise Fault(FaultKind.CAST, f"{quoted(value)} is no 32-bit integer", node)
    return integer


def to_boolean(value: Value, node: Node) -> bool:
    """Raises Fault (cast) where a String is neither "true" nor "false" in any case."""
    if type(value) is bool:
        return value
    if type(value) is int:
        return value != 0
    folded = str(value).lower()
    if folded == "true":
        return True
    if folded == "false":
        return False
    raise Fault(FaultKind.CAST, f"{quoted(value)} is neither true nor false", node)


def quoted(value: Value) -> str:
    """A value as it is shown in messages: long ones cut."""
    if type(value) is str:
        return f'"{value}"' if len(value) <= 100 else f'"{value[:100]}…"'
    return to_string(value)
