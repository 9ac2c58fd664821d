"""`eventing` and `python -m eventing`: the command line, clear of the current folder's packages."""

import sys
from pathlib import Path


def main() -> None:
    """Run the command line and exit with its status."""
    _leave_current_folder()
    from eventing.node.cli import run

    sys.exit(run())


def _leave_current_folder() -> None:
    """Take the current folder off the import path.

    A user's project may have packages called `functions` or `brokers`; the node's own are meant
    here. Ours are found where this file was: a checkout that is itself the current folder stays.
    """
    home = Path(__file__).resolve().parent.parent
    here = Path.cwd()
    if here == home:
        return
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]


if __name__ == "__main__":
    main()
