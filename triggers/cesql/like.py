"""LIKE patterns (CESQL v1, section 3.4.3): `%` any characters, `_` one, `\\%` and `\\_` themselves.

A matcher takes time linear in the text for each part of the pattern between two `%`, whatever the
pattern: it never backtracks over more than one part.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

Matcher = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern: its parts between the `%`, in which None stands for `_`."""

    parts: tuple[tuple[str | None, ...], ...]

    @property
    def exact(self) -> str | None:
        """The one text it matches, None where it has wildcards."""
        return _text(self.parts[0]) if len(self.parts) == 1 else None

    @property
    def prefix(self) -> str:
        """What every text it matches starts with."""
        return _leading(self.parts[0])

    @property
    def suffix(self) -> str:
        """What every text it matches ends with."""
        return _leading(self.parts[-1][::-1])[::-1]


def parse_pattern(pattern: str) -> Pattern:
    """Every string is a pattern: a backslash before anything else stands for itself."""
    parts: list[tuple[str | None, ...]] = []
    part: list[str | None] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\" and pattern[position + 1 : position + 2] in ("%", "_"):
            position += 1
            part.append(pattern[position])
        elif character == "%":
            parts.append(tuple(part))
            part = []
        elif character == "_":
            part.append(None)
        else:
            part.append(character)
        position += 1
    return Pattern((*parts, tuple(part)))


def matcher(pattern: Pattern) -> Matcher:
    """A function that says whether a text matches as a whole."""
    texts = [_text(part) for part in pattern.parts]
    match texts:
        case [str() as whole]:
            return whole.__eq__
        case [str() as prefix, ""]:
            return lambda text: text.startswith(prefix)
        case ["", str() as suffix]:
            return lambda text: text.endswith(suffix)
        case ["", str() as middle, ""]:
            return lambda text: middle in text
    return _general(pattern)


def _general(pattern: Pattern) -> Matcher:
    """First and last part are held to the ends; the others are looked for from left to right, each
    at its first place: as parts have a fixed length, a later place could never help."""
    if len(pattern.parts) == 1:
        whole = _regex(pattern.parts[0])
        return lambda text: whole.fullmatch(text) is not None
    first, *middle, last = pattern.parts
    head = _regex(first)
    searches = [_regex(part) for part in middle if part]
    tail = _regex(last)
    length = len(last)

    def matches(text: str) -> bool:
        found = head.match(text)
        if not found:
            return False
        position = found.end()
        for search in searches:
            found = search.search(text, position)
            if not found:
                return False
            position = found.end()
        end = len(text) - length
        return end >= position and tail.fullmatch(text, end) is not None

    return matches


def _regex(part: tuple[str | None, ...]) -> re.Pattern[str]:
    return re.compile(
        "".join("." if character is None else re.escape(character) for character in part),
        re.DOTALL,
    )


def _text(part: tuple[str | None, ...]) -> str | None:
    """The part as text, None where it has a `_`."""
    return None if None in part else "".join(filter(None, part))


def _leading(part: tuple[str | None, ...]) -> str:
    end = part.index(None) if None in part else len(part)
    return "".join(filter(None, part[:end]))
