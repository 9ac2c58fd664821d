"""Starts Python interpreters that run the SDK beside a user's code, tied to this node's life."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import eventing
from eventing.errors import OperationError

_SINGLE_THREADED: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""Read by numeric libraries when they are imported. One thread each: several workers share the
machine already, and a process with threads can't be forked. A user's own setting stays."""

_HOME = str(Path(next(iter(eventing.__path__))).parent)

# The SDK is imported from where this node has it; then that folder leaves the path again unless
# it was on it, so that what lies beside the SDK never meets the user's code.
_BOOT = """
import sys
_, home, module, *numbers = sys.argv
known = home in sys.path
if not known:
    sys.path.insert(0, home)
from importlib import import_module
main = import_module(module).main
if not known:
    sys.path.remove(home)
main(*map(int, numbers))
"""


class Lifeline:
    """A pipe nothing is written to: when its owner closes it or dies, so do those that hold it."""

    def __init__(self) -> None:
        self.descriptor, self._end = os.pipe2(os.O_CLOEXEC)

    def cut(self) -> None:
        """End, by the kernel's hand and at once, every process tied to it."""
        if self._end >= 0:
            os.close(self._end)
            os.close(self.descriptor)
            self._end = -1


def start_interpreter(
    python: str,
    module: str,
    descriptors: Sequence[int],
    *,
    stdout: int | None = None,
    stderr: int | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run `module.main(*descriptors)` in a new interpreter; returns its process id.

    The process leads its own group, and the current folder is not on its path. Descriptors stay
    open here. Raises OperationError where there is no such interpreter.
    """
    environment = dict.fromkeys(_SINGLE_THREADED, "1") | dict(os.environ) | dict(env or {})
    arguments = [python, "-P", "-c", _BOOT, _HOME, module, *map(str, descriptors)]
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(descriptors),
            env=environment,
            process_group=0,
        )
    except OSError as error:
        raise OperationError(
            f"no worker can be started with {python}: {error}; calls wait until one can"
        ) from None
    # It is waited for through its pidfd (functions.process_exit), not by this object.
    process.returncode = 0
    return process.pid
