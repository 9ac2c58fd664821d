"""Where something stands in a file, and what is wrong there."""

from dataclasses import dataclass

Path = tuple[str | int, ...]
"""The way to a field: names of fields and, in lists, positions from 0."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a text: `line` and `column` count from 1, in characters.

    Line 0 means the file as a whole, or that there is no file.
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A mistake (or a warning) for the author of a file: what, where, and how to mend it."""

    file: str
    line: int
    column: int
    message: str

    @classmethod
    def at(cls, place: Place, message: str) -> "Problem":
        return cls(place.file, place.line, place.column, message)

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.column)

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


def dotted(path: Path) -> str:
    """`("spec", "filters", 1, "exact")` as people write it: `spec.filters[1].exact`."""
    written = ""
    for step in path:
        if isinstance(step, int):
            written += f"[{step}]"
        elif step.isidentifier():
            written += f".{step}"
        else:
            written += f'["{step}"]'
    return written.removeprefix(".")
