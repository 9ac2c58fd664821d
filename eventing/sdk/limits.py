"""What a worker sets for its own process before the user's code runs in it."""

import os
import random
import resource
import signal
import sys

_STACKS = 64 << 20
"""Bytes left for the stacks of threads, which count as data though they are hardly touched."""

_RESET = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGALRM,
    signal.SIGCHLD,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def limit_memory(limit: int) -> None:
    """Refuse what would take this process's data beyond its present size and `limit` bytes.

    The node looks at resident memory and kills what is over; between two looks a single huge
    allocation could take the whole machine, so that fails here, as a MemoryError.
    """
    with open("/proc/self/statm") as statm:
        data = int(statm.read().split()[5]) * resource.getpagesize()
    ceiling = data + limit + _STACKS
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, hard))


def reset_signals() -> None:
    """Default handlers: what a parent or an import has set is not this process's."""
    signal.set_wakeup_fd(-1)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)


def reseed() -> None:
    """Fresh random state, so that workers forked from one process do not draw the same numbers."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def take_output(stdout: int, stderr: int) -> None:
    """Make these descriptors standard output and error, and /dev/null standard input."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for descriptor in {null, stdout, stderr} - {0, 1, 2}:
        os.close(descriptor)
