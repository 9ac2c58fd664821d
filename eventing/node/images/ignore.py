"""Which files of a project stay out of an image: the rules of `.dockerignore`, ours before them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from eventing.errors import UserError

OURS = (
    # Hidden: versions, virtual environments, caches, data of a node, settings with secrets.
    "**/.*",
    "**/__pycache__",
    "**/*.py[co]",
    "**/node_modules",
    "**/*.egg-info",
    "Dockerfile",
    "Containerfile",
)
SECRETS = (
    "**/*.pem",
    "**/*.key",
    "**/*.p12",
    "**/*.pfx",
    "**/*.jks",
    "**/*.kdbx",
    "**/id_rsa",
    "**/id_ed25519",
    "**/*.env",
)
"""What looks like one; who means it to be in the image says so in `.dockerignore` with `!`."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line: what it matches stays out, or with `!` comes in again."""

    text: str
    keeps: bool
    expression: re.Pattern[str]

    def matches(self, path: str) -> bool:
        """Whether it matches the path or a folder above it."""
        return self.expression.match(path) is not None

    def may_match_below(self, folder: str) -> bool:
        """Whether it could match something in this folder."""
        literal = re.split(r"[*?\[]", self.text)[0]
        return f"{folder}/".startswith(literal) or literal.startswith(f"{folder}/")


def pattern(line: str) -> Pattern:
    """Of a line of a .dockerignore. Raises UserError."""
    keeps = line.startswith("!")
    text = line[1:].strip() if keeps else line
    parts = [part for part in PurePosixPath("/", text).parts[1:] if part != "."]
    if not parts or ".." in parts:
        raise UserError(f"{line!r} is no pattern of files in the project; give paths below it")
    joined = "/".join(parts)
    try:
        # What lies in a folder that matches, matches.
        expression = re.compile(f"{_expression(joined)}(?:/.*)?\\Z", re.DOTALL)
    except re.error as error:
        raise UserError(f"{line!r} is no pattern: {error}") from None
    return Pattern(joined, keeps, expression)


def patterns_of(folder: Path) -> list[Pattern]:
    """Ours, then those of the folder's .dockerignore: the last that matches decides. Raises
    UserError with file and line."""
    found = [pattern(line) for line in (*OURS, *SECRETS)]
    file = folder / ".dockerignore"
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return found
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} can't be read: {error}") from None
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            try:
                found.append(pattern(line))
            except UserError as error:
                raise UserError(f"{file}:{number}: {error}") from None
    return found


def stays_out(path: str, patterns: Iterable[Pattern]) -> Pattern | None:
    """The pattern that keeps this path out, None where it is taken."""
    decides: Pattern | None = None
    for each in patterns:
        if each.matches(path):
            decides = None if each.keeps else each
    return decides


def all_stays_out(folder: str, patterns: Sequence[Pattern]) -> bool:
    """Whether nothing in this folder can come in, so that nobody needs to look into it."""
    return stays_out(folder, patterns) is not None and not any(
        each.keeps and each.may_match_below(folder) for each in patterns
    )


def _expression(text: str) -> str:
    """A regular expression of a pattern as Go's filepath.Match has them, with `**` beside."""
    made = ""
    position = 0
    while position < len(text):
        rest = text[position:]
        if rest.startswith("**/"):
            made += "(?:.*/)?"
            position += 3
        elif rest.startswith("**"):
            made += ".*"
            position += 2
        elif rest[0] == "*":
            made += "[^/]*"
            position += 1
        elif rest[0] == "?":
            made += "[^/]"
            position += 1
        elif rest[0] == "[" and "]" in rest[2:]:
            end = rest.index("]", 2)
            made += f"[{rest[1:end]}]".replace("\\", "\\\\")
            position += end + 1
        elif rest[0] == "\\" and len(rest) > 1:
            made += re.escape(rest[1])
            position += 2
        else:
            made += re.escape(rest[0])
            position += 1
    return made
