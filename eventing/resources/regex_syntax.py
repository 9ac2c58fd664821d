"""Reads a regular expression in RE2's syntax, without what events have no use for. Pure.

What it takes means what it means to RE2, with `\\d`, `\\w` and `\\s` of ASCII. Look-around and
back-references are no part of RE2; word boundaries, `(?m)` and `\\p{…}` are, and are refused here.
"""

from dataclasses import dataclass, replace
from typing import Literal

LONGEST = 1024
"""Characters of an expression, as in Istio."""
_LARGEST = 2_000
"""Steps of an expression once its counts are written out."""
_MOST_REPEATS = 1_000

Range = tuple[str, str]


class InvalidRegex(ValueError):
    """`position` is the character, from 0, at which it stops being an expression."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.position = position


@dataclass(frozen=True, slots=True)
class Characters:
    """One character of any of these ranges; of none of them where `negated`."""

    ranges: tuple[Range, ...]
    negated: bool = False
    fold: bool = False

    def take(self, character: str) -> bool:
        cases: tuple[str, ...] = (character,)
        if self.fold:
            # Those of two characters (as of "ß") are no case of this one.
            cases += tuple(c for c in (character.lower(), character.upper()) if len(c) == 1)
        found = any(low <= case <= high for case in cases for low, high in self.ranges)
        return found is not self.negated


@dataclass(frozen=True, slots=True)
class Edge:
    """Nothing, but at one end of the text alone."""

    end: Literal["start", "end"]


@dataclass(frozen=True, slots=True)
class Sequence:
    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    branches: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`most` None = any number."""

    part: "Expression"
    least: int
    most: int | None


Expression = Characters | Edge | Sequence | Choice | Repeat

_ANY = Characters((("\n", "\n"),), negated=True)
_EVERY = Characters((), negated=True)
_DIGIT: tuple[Range, ...] = (("0", "9"),)
_SPACE: tuple[Range, ...] = (("\t", "\n"), ("\f", "\r"), (" ", " "))
_WORD: tuple[Range, ...] = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_SETS = {"d": _DIGIT, "s": _SPACE, "w": _WORD}
_CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NAMED: dict[str, tuple[Range, ...]] = {
    "alnum": (("0", "9"), ("A", "Z"), ("a", "z")),
    "alpha": (("A", "Z"), ("a", "z")),
    "ascii": (("\0", "\x7f"),),
    "blank": (("\t", "\t"), (" ", " ")),
    "cntrl": (("\0", "\x1f"), ("\x7f", "\x7f")),
    "digit": _DIGIT,
    "graph": (("!", "~"),),
    "lower": (("a", "z"),),
    "print": ((" ", "~"),),
    "punct": (("!", "/"), (":", "@"), ("[", "`"), ("{", "~")),
    "space": (("\t", "\r"), (" ", " ")),
    "upper": (("A", "Z"),),
    "word": _WORD,
    "xdigit": (("0", "9"), ("A", "F"), ("a", "f")),
}
_ALONE = {"*", "+", "?"}
_DEEPEST = 50


def parse(text: str) -> Expression:
    """The expression that `text` is. Raises InvalidRegex."""
    if not text:
        raise InvalidRegex(0, "an empty expression matches no text")
    if len(text) > LONGEST:
        raise InvalidRegex(LONGEST, f"an expression has at most {LONGEST} characters")
    parser = _Parser(text)
    found = parser.choice(_Flags(), 0)
    if parser.position < len(text):
        raise InvalidRegex(parser.position, 'a ")" without its "("')
    if size(found) > _LARGEST:
        raise InvalidRegex(0, "the expression is too large once its counts are written out")
    return found


def size(expression: Expression) -> int:
    """How many steps it is once its counts are written out."""
    match expression:
        case Sequence(parts) | Choice(parts):
            return 1 + sum(map(size, parts))
        case Repeat(part, least, most):
            return 1 + size(part) * max(1, least, most or 0)
    return 1


@dataclass(frozen=True, slots=True)
class _Flags:
    fold: bool = False
    all: bool = False
    """Whether "." takes line feeds too."""


class _Parser:
    """Recursive descent; `position` is the next character to be read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def next(self) -> str:
        return self.text[self.position : self.position + 1]

    def take(self, expected: str) -> bool:
        if self.text.startswith(expected, self.position):
            self.position += len(expected)
            return True
        return False

    def fail(self, message: str, start: int | None = None) -> InvalidRegex:
        return InvalidRegex(self.position if start is None else start, message)

    def choice(self, flags: _Flags, depth: int) -> Expression:
        if depth > _DEEPEST:
            raise self.fail(f"groups stand in one another more than {_DEEPEST} deep")
        branches: list[Expression] = []
        parts: list[Expression] = []
        while self.next() not in ("", ")"):
            start = self.position
            if self.take("|"):
                branches.append(Sequence(tuple(parts)))
                parts = []
            elif self.take("("):
                inner = self._group_flags(flags, start)
                if inner is not flags and self.take(")"):  # "(?i)" holds for what follows.
                    flags = inner
                    continue
                if inner is not flags:
                    self.take(":")
                group = self.choice(inner, depth + 1)
                if not self.take(")"):
                    raise self.fail('a "(" without its ")"', start)
                parts.append(self._repeated(group))
            else:
                parts.append(self._repeated(self._single(flags)))
        branches.append(Sequence(tuple(parts)))
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _group_flags(self, flags: _Flags, start: int) -> _Flags:
        """What comes behind a "(": the flags that hold within; a value of their own where the
        group names them, which then end at a ":" or a ")"."""
        if not self.take("?"):
            return flags
        for named in ("P<", "<"):
            if self.text.startswith(("<=", "<!"), self.position):
                raise self.fail("look-behind is not supported, as in RE2", start)
            if self.take(named):
                name, found, _ = self.text[self.position :].partition(">")
                if not found or not name.isidentifier():
                    raise self.fail("a group's name is letters, digits and _, then >", start)
                self.position += len(name) + 1
                return flags
        if self.next() in ("=", "!"):
            raise self.fail("look-ahead is not supported, as in RE2", start)
        if self.take("P="):
            raise self.fail("back-references are not supported, as in RE2", start)
        on, flags = True, replace(flags)
        while self.next() not in (":", ")"):
            flag = self.next()
            self.position += 1
            if flag == "-" and on:
                on = False
            elif flag == "i":
                flags = replace(flags, fold=on)
            elif flag == "s":
                flags = replace(flags, all=on)
            elif flag != "U":  # Which of several matches is found first makes no difference.
                raise self.fail(f'"(?{flag}" is not supported; known are i, s and U', start)
        return flags

    def _repeated(self, part: Expression) -> Expression:
        start = self.position
        least, most = 1, None
        if self.take("*"):
            least = 0
        elif self.take("?"):
            least, most = 0, 1
        elif not self.take("+"):
            counts = self._counts()
            if counts is None:
                return part
            least, most = counts
        self.take("?")
        if self.next() in _ALONE:
            raise self.fail("a repeat of a repeat; put the first into a group")
        if least > _MOST_REPEATS or (most or 0) > _MOST_REPEATS:
            raise self.fail(f"a count is at most {_MOST_REPEATS}", start)
        if most is not None and most < least:
            raise self.fail(f"{most} is less than {least}", start)
        if isinstance(part, Edge):
            raise self.fail("nothing to repeat before it", start)
        return Repeat(part, least, most)

    def _counts(self) -> tuple[int, int | None] | None:
        """`{2}`, `{2,}` or `{2,5}`; any other brace is one, as in RE2."""
        if self.next() != "{":
            return None
        inside, found, _ = self.text[self.position + 1 :].partition("}")
        low, comma, high = inside.partition(",")
        is_count = low.isdecimal() and low.isascii() and len(low) < 10
        is_bound = not high or (high.isdecimal() and high.isascii() and len(high) < 10)
        if not found or not is_count or not is_bound:
            return None
        self.position += len(inside) + 2
        if not comma:
            return int(low), int(low)
        return int(low), int(high) if high else None

    def _single(self, flags: _Flags) -> Expression:
        start = self.position
        character = self.next()
        if character in _ALONE:
            raise self.fail("nothing to repeat before it")
        if character == "\\":
            return self._escaped(flags)
        self.position += 1
        if character == "[":
            return self._set(flags, start)
        if character == ".":
            return _EVERY if flags.all else _ANY
        if character == "^":
            return Edge("start")
        if character == "$":
            return Edge("end")
        return Characters(((character, character),), fold=flags.fold)

    def _escaped(self, flags: _Flags) -> Expression:
        start = self.position
        letter = self.text[start + 1 : start + 2]
        if letter == "A" or letter == "z":
            self.position += 2
            return Edge("start" if letter == "A" else "end")
        ranges = self._ranges()
        if isinstance(ranges, Characters):
            return ranges
        return Characters(((ranges, ranges),), fold=flags.fold)

    def _ranges(self) -> Characters | str:
        """What stands behind a backslash: a set, or one character."""
        start = self.position
        self.position += 2
        letter = self.text[start + 1 : start + 2]
        if letter.lower() in _SETS:
            return Characters(_SETS[letter.lower()], negated=letter.isupper())
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        if letter == "x":
            return self._hexadecimal(start)
        if letter == "":
            raise self.fail("a backslash with nothing behind it", start)
        if letter.isdigit():
            raise self.fail("back-references are not supported, as in RE2", start)
        if letter in ("b", "B"):
            raise self.fail("word boundaries are not supported here", start)
        if letter in ("p", "P"):
            raise self.fail("Unicode classes are not supported here; write ranges", start)
        if letter.isascii() and letter.isalpha():
            raise self.fail(f'"\\{letter}" is not known', start)
        return letter

    def _hexadecimal(self, start: int) -> str:
        digits = self.text[self.position : self.position + 2]
        length, is_whole = 2, len(digits) == 2
        if digits[:1] == "{":
            digits, closed, _ = self.text[self.position + 1 :].partition("}")
            length = len(digits) + 2
            is_whole = bool(closed) and len(digits) in range(1, 7)
        try:
            if not is_whole or not digits.isalnum():
                raise ValueError
            character = chr(int(digits, 16))
        except ValueError:
            raise self.fail(r"it has to be \xHH or \x{H…}, in hexadecimal", start) from None
        self.position += length
        return character

    def _set(self, flags: _Flags, start: int) -> Expression:
        negated = self.take("^")
        ranges: list[Range] = []
        first = True
        while first or self.next() != "]":
            if not self.next():
                raise self.fail('a "[" without its "]"', start)
            first = False
            at = self.position
            low = self._of_set()
            if isinstance(low, tuple):
                ranges.extend(low)
                continue
            high = low
            if self.next() == "-" and self.text[self.position + 1 : self.position + 2] != "]":
                self.position += 1
                if not self.next():
                    raise self.fail('a "[" without its "]"', start)
                upper = self._of_set()
                if isinstance(upper, tuple) or upper < low:
                    raise self.fail("a range goes from a character to a later one", at)
                high = upper
            ranges.append((low, high))
        self.position += 1
        return Characters(tuple(ranges), negated, flags.fold)

    def _of_set(self) -> str | tuple[Range, ...]:
        """One member of a `[…]`: a character, or the ranges of a set within."""
        start = self.position
        if self.take("[:"):
            name, found, _ = self.text[self.position :].partition(":]")
            known = _NAMED.get(name.removeprefix("^"))
            if not found or known is None:
                raise self.fail(f'"[:{name[:10]}" is no class; known: {", ".join(_NAMED)}', start)
            self.position += len(name) + 2
            return _others(known) if name.startswith("^") else known
        if self.next() == "\\":
            member = self._ranges()
            if isinstance(member, str):
                return member
            return _others(member.ranges) if member.negated else member.ranges
        self.position += 1
        return self.text[start]


def _others(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """All that is in none of these ranges, which are in order."""
    found: list[Range] = []
    low = 0
    for start, end in ranges:
        if ord(start) > low:
            found.append((chr(low), chr(ord(start) - 1)))
        low = ord(end) + 1
    return (*found, (chr(low), chr(0x10FFFF)))
