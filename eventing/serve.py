"""`python -m eventing.serve app:thumbnail`: one handler over HTTP, for containers.

The same handler that runs as a process of a node runs so in any container platform, and in
Knative.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType


def main() -> None:
    """Serve until SIGTERM. Ends the process: with 0 after it, with 2 for a mistake of the user's,
    with 1 for what failed."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # As process 1 of a container it would not die of a signal by default, and imports take
        # their time.
        signal.signal(number, _leave)
    _leave_current_folder()
    from eventing.sdk.serve_command import command

    command(prog_name="python -m eventing.serve")


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _leave_current_folder() -> None:
    """Off the import path until the handler is imported: its modules are not ours to import."""
    here = Path.cwd()
    if here != Path(__file__).resolve().parent.parent:
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]


if __name__ == "__main__":
    main()
