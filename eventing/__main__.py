"""`eventing` and `python -m eventing`: the command line, clear of a user's own packages."""

import os
import sys
from pathlib import Path

OURS = ("brokers", "functions", "triggers")
"""Packages beside this one, whose names a user's project may well have too."""


def main() -> None:
    """Run the command line and exit with its status."""
    _leave_users_folders()
    from eventing.node.cli import run

    sys.exit(run())


def _leave_users_folders() -> None:
    """Take the current folder, and folders of PYTHONPATH that hold packages of our names, off the
    import path. Workers put a project's folders on theirs.

    A checkout of this project that is itself such a folder stays.
    """
    home = Path(__file__).resolve().parent.parent
    users = [
        Path(entry or ".").resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)
    ]
    left = {folder for folder in users if _holds_ours(folder)} | {Path.cwd()}
    left.discard(home)
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in left]


def _holds_ours(folder: Path) -> bool:
    return any((folder / name).is_dir() or (folder / f"{name}.py").is_file() for name in OURS)


if __name__ == "__main__":
    main()
