"""Embedded brokers over one place on disk that survives their crash."""

import shutil
from pathlib import Path

from brokers.base import Limits
from brokers.embedded import EmbeddedBroker


class EmbeddedHarness:
    """A crash is a copy of the files as they are at that moment, from which the next one starts:
    what was not written by then never will be."""

    own_records = 0
    takeover = 0.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lives = 0

    @property
    def path(self) -> Path:
        return self._folder / str(self._lives) / "broker.db"

    async def open(self, limits: Limits | None = None) -> EmbeddedBroker:
        broker = EmbeddedBroker("test", self.path, limits)
        await broker.start()
        return broker

    async def crash(self, broker: EmbeddedBroker) -> None:
        died = self.path
        self._lives += 1
        self.path.parent.mkdir()
        # The log last: it holds whatever a checkpoint moves while the copy is made.
        for suffix in ("", "-wal"):
            source = died.with_name(died.name + suffix)
            if source.exists():
                shutil.copyfile(source, self.path.with_name(source.name))
        await broker.close()
