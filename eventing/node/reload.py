"""Watches a node's files and says what kind of change to reload for."""

import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from watchfiles import Change, DefaultFilter, awatch

YAML_SUFFIXES = (".yaml", ".yml", ".json")


class _Sources(DefaultFilter):
    """Python and YAML files, without what tools write beside them."""

    def __call__(self, change: Change, path: str) -> bool:
        return path.endswith((".py", *YAML_SUFFIXES)) and super().__call__(change, path)


async def changes(paths: Iterable[Path], *, ignored: Iterable[Path]) -> AsyncIterator[set[Path]]:
    """Sets of changed `.py` and YAML files, gathered over some 50 ms, until cancelled.
    What lies below an `ignored` folder is none of them.

    Network file systems tell of no changes: WATCHFILES_FORCE_POLLING=1 in the environment has
    them polled.
    """
    # A file's folder is watched, for editors replace a file rather than write to it.
    folders = {path if path.is_dir() else path.parent for path in paths}
    below = [path.resolve() for path in ignored]
    files = {path.resolve() for path in paths if not path.is_dir()}
    whole = [path.resolve() for path in paths if path.is_dir()]
    async for changed in awatch(
        *folders, watch_filter=_Sources(), debounce=50, step=10, recursive=True
    ):
        seen = {_real(path) for _, path in changed}
        wanted = {
            path
            for path in seen
            if not any(path.is_relative_to(folder) for folder in below)
            and (
                path in files
                or path.suffix == ".py"
                or any(path.is_relative_to(folder) for folder in whole)
            )
        }
        if wanted:
            yield wanted


def _real(path: str) -> Path:
    return Path(os.path.realpath(path))
