"""What the tests of the HTTP client wait for, and count."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PATIENCE = 20.0
"""Seconds a condition is waited for: far above what it takes, so that only a fault reaches it."""


async def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.002)


def open_sockets() -> int:
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count
