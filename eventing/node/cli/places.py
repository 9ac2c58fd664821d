"""Places in files as people want them: `file:line:column`, from the folder they are in."""

from pathlib import Path


def near(place: str) -> str:
    """The place relative to the current folder, where it lies below it."""
    here = f"{Path.cwd()}/"
    return place.removeprefix(here)
