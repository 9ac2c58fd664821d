"""Keeps workers under their memory limits: looks at what they hold, kills what is over."""

import asyncio
import resource
from typing import Final

from functions.worker_process import ProcessWorker

EVERY: Final = 0.1
"""Seconds between two looks."""

_PAGE = resource.getpagesize()


def private_bytes(pid: int) -> int:
    """Resident memory that is the process's own: without files and shared memory. 0 = gone."""
    try:
        with open(f"/proc/{pid}/statm") as statm:
            _, resident, shared, *_ = statm.read().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE


class MemoryWatch:
    """Looks at the workers that have a limit, and sleeps while there are none."""

    def __init__(self) -> None:
        self._workers: set[ProcessWorker] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, worker: ProcessWorker) -> None:
        if worker.revision.memory is None:
            return
        self._workers.add(worker)
        if self._timer is None:
            self._schedule()

    def discard(self, worker: ProcessWorker) -> None:
        self._workers.discard(worker)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._look)

    def _look(self) -> None:
        self._timer = None
        for worker in tuple(self._workers):
            limit = worker.revision.memory
            if limit is not None and worker.pid and private_bytes(worker.pid) > limit:
                worker.kill(f"killed, over its memory limit of {_size(limit)} (OOM)")
        if self._workers:
            self._schedule()


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count % (1 << 20) == 0 else f"{count} bytes"
