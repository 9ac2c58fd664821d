"""From text to tokens. Keywords count in any case; strings keep every backslash but that before
their own quote, so that LIKE patterns see theirs."""

import re
from dataclasses import dataclass
from typing import Literal, NoReturn

from eventing.errors import InvalidExpression

Kind = Literal["name", "keyword", "integer", "string", "symbol", "end"]

KEYWORDS = frozenset({"AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE"})

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<integer>[0-9]+(?![A-Za-z0-9_]))
      | (?P<name>[A-Za-z0-9][A-Za-z0-9_]*)
      | (?P<string>'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*")
      | (?P<symbol>!=|<>|<=|>=|[-+*/%=<>(),])
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)

_HINTS = {
    "!": 'write NOT, or != for "is not equal"',
    "&": "write AND",
    "|": "write OR",
    "`": "attribute names stand without quotes, texts within ' or \"",
    ".": "an attribute is a plain name; the event's data cannot be reached",
    "$": "an attribute is a plain name",
    "[": "a set stands in round brackets: IN ('a', 'b')",
    "{": "a set stands in round brackets: IN ('a', 'b')",
    ";": "one expression, without an end mark",
    "_": "names start with a letter or a digit",
}


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is what it means: keywords in upper case, strings without their quotes and escapes,
    everything else as written."""

    kind: Kind
    text: str
    start: int
    end: int

    def __str__(self) -> str:
        match self.kind:
            case "end":
                return "the end of the expression"
            case "string":
                return "a text"
            case "integer":
                return f"the number {self.text}"
            case _:
                return f"'{self.text}'"


def tokenize(text: str) -> list[Token]:
    """All tokens, the last of kind "end". Raises InvalidExpression at what is none."""
    tokens: list[Token] = []
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        if not match or match.lastgroup is None:
            _refuse(text, position)
        kind: Kind = match.lastgroup  # type: ignore[assignment]
        start, position = match.span(kind)
        meaning = match[kind]
        if kind == "string":
            quote = meaning[0]
            meaning = meaning[1:-1].replace("\\" + quote, quote)
            if tokens and tokens[-1].kind == "string" and tokens[-1].end == start:
                raise InvalidExpression(
                    f"two texts side by side: a quote within a text is written \\{quote}", start
                )
        elif kind == "name" and meaning.upper() in KEYWORDS:
            kind, meaning = "keyword", meaning.upper()
        tokens.append(Token(kind, meaning, start, position))
        if kind == "end":
            return tokens


def _refuse(text: str, position: int) -> NoReturn:
    while text[position] in " \t\r\n":
        position += 1
    character = text[position]
    if character in "'\"":
        raise InvalidExpression(f"the text that starts here has no closing {character}", position)
    hint = _HINTS.get(character)
    raise InvalidExpression(
        f"unexpected character {character!r}" + (f": {hint}" if hint else ""), position
    )
