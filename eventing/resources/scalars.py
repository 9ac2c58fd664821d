"""What a plain YAML scalar means: the YAML 1.2 core schema (spec chapter 10.3).

`on`, `no`, `1:30`, `1_000` and dates are text; YAML 1.1 made booleans and numbers of them.
"""

import re

Scalar = str | int | float | bool | None

_INFINITIES: dict[str, Scalar] = {
    sign + written: float(f"{sign}inf")
    for sign in ("", "+", "-")
    for written in (".inf", ".Inf", ".INF")
}
_CONSTANTS: dict[str, Scalar] = {
    **_INFINITIES,
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    ".nan": float("nan"),
    ".NaN": float("nan"),
    ".NAN": float("nan"),
}

_NUMBER_STARTS = frozenset("+-.0123456789")
_LONGEST_NUMBER = 400
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")


def resolve(text: str) -> Scalar:
    """The value of a plain scalar. What is no core-schema constant or number is text."""
    if text[:1] not in _NUMBER_STARTS:
        return _CONSTANTS.get(text, text)
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return _CONSTANTS.get(text, text)


def is_ambiguous(text: str) -> bool:
    """Whether YAML 1.1 reads it as octal and YAML 1.2 as decimal: `012`."""
    return _LEADING_ZERO.fullmatch(text) is not None
