"""The name a user probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, whatever its case and separators; None if none is near."""
    by_letters = {_letters(candidate): candidate for candidate in known}
    close = get_close_matches(_letters(name[:200]), by_letters, n=1, cutoff=0.7)
    return by_letters[close[0]] if close else None


def alike(name: str, other: str) -> bool:
    """Whether they differ in case and separators at most."""
    return _letters(name) == _letters(other)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean "x"?` where a known name is near, else the list of them all."""
    names = list(known)
    near = nearest(name, names)
    if near is not None:
        return f'did you mean "{near}"?'
    return f"known are: {', '.join(names)}"


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
