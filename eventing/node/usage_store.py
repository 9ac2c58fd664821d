"""Keeps usage in the node's data folder: one thread, and the file it writes (functions.metering).

A file that can't be opened or written fails each call until it can; a file that is moved away is
followed by a new one.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from eventing.node.usage_file import FILE, UsageFile
from eventing.node.usage_query import Lines, UsageQuery
from functions.usage import HourOf, Usage

CLOSING = 2.0
"""Seconds that closing the file may take."""

Result = TypeVar("Result")


class UsageStore:
    """Of the data folder `data`, which has to be there once it is used. Nothing is opened before
    that. Every method may raise StorageError."""

    def __init__(self, data: Path, *, wall: Callable[[], float] = time.time) -> None:
        self._path = data / FILE
        self._wall = wall
        self._file: UsageFile | None = None
        # SQLite's connections belong to the thread that opened them.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="usage")

    async def add(self, usage: Mapping[HourOf, Usage]) -> None:
        """Add to what is kept; on the disk when this returns, or nothing of it is."""
        await self._in_thread(lambda file: file.add(usage, self._wall()))

    async def read(self, query: UsageQuery) -> Lines:
        return await self._in_thread(lambda file: file.read(query))

    async def functions(self) -> list[str]:
        """Every function there is usage of, as namespace/name."""
        return await self._in_thread(lambda file: file.functions())

    async def close(self) -> None:
        """A disk that hangs does not hold the node: what its thread does is waited for in vain."""
        dropped = asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)
        await asyncio.wait([dropped], timeout=CLOSING)

    async def _in_thread(self, work: Callable[[UsageFile], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._with, work)

    def _with(self, work: Callable[[UsageFile], Result]) -> Result:
        if self._file is not None and not self._file.in_place:
            self._drop()
        if self._file is None:
            self._file = UsageFile.opened(self._path)
        try:
            return work(self._file)
        except Exception:
            # Whatever it was, the next call begins anew.
            self._drop()
            raise

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
