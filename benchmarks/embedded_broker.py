"""What the embedded broker costs: CPU microseconds an event, best of several rounds.

Run: python benchmarks/embedded_broker.py [--stored 1000000] [--folder DIR]
CPU is that of the whole process (loop, commit and reader threads). The floor is SQLite alone,
without sync: the same rows in the same groups, inserted and committed by bare statements.
"""

import argparse
import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import orjson
import uvloop

from brokers.base import Done, Limits
from brokers.embedded import EmbeddedBroker
from eventing.event import Event

DATA = os.urandom(1024)
ATTRIBUTES = {
    "specversion": "1.0",
    "id": "6f1c9f0e-8d0b-4c55-8f4e-0c1f9d3c7a11",
    "source": "/benchmarks/embedded",
    "type": "com.example.measured",
    "time": "2024-01-01T00:00:00Z",
    "datacontenttype": "application/octet-stream",
}
EVENT = Event(ATTRIBUTES, DATA)
ROUNDS = 5


class OneOfMany:
    """Events go to the subscriptions listed; a set lookup stands for the filter index."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def route(self, event: Event) -> Iterable[str]:
        return self.names

    def accepts(self, subscription: str, event: Event) -> bool:
        return subscription in self.names


async def measured(events: int, work: Callable[[], Awaitable[None]]) -> float:
    """CPU microseconds an event, the best of ROUNDS."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        await work()
        best = min(best, (time.process_time() - start) / events * 1e6)
    return best


async def publishing(broker: EmbeddedBroker, group: int, events: int) -> None:
    """`group` publishes of one event each at a time, as concurrent requests make them."""
    for _ in range(events // group):
        futures = [broker.publish([EVENT]) for _ in range(group)]
        for future in futures:
            await future


async def delivering(broker: EmbeddedBroker, names: list[str], group: int, events: int) -> None:
    """Publish in groups; each subscription receives and settles everything, batch by batch."""
    subscriptions = [broker.cursors[name].handle for name in names]

    async def consume(subscription) -> None:
        left = events
        settled = None
        while left:
            batch = await subscription.receive(100)
            left -= len(batch)
            settled = subscription.settle([Done(delivery) for delivery in batch])
        await settled

    await asyncio.gather(
        publishing(broker, group, events),
        *(consume(subscription) for subscription in subscriptions),
    )


def floor(folder: Path, group: int, events: int) -> float:
    """The same rows by bare statements, synchronous=OFF."""
    path = folder / "floor.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, at, only, attributes, data)")
    position = 0
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(events // group):
            connection.execute("BEGIN")
            rows = []
            for _ in range(group):
                position += 1
                rows.append((position, 0.0, None, orjson.dumps(ATTRIBUTES), DATA))
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
        best = min(best, (time.process_time() - start) / events * 1e6)
    connection.close()
    path.unlink()
    return best


async def opened(path: Path, names: list[str], idle: int = 0) -> EmbeddedBroker:
    broker = EmbeddedBroker("bench", path, Limits(retention_bytes=64 << 30))
    await broker.start()
    broker.set_router(OneOfMany(names))
    for name in names:
        await broker.subscribe(name)
    await asyncio.gather(*(broker.subscribe(f"idle-{n}") for n in range(idle)))
    return broker


def line(what: str, cost: float, note: str = "") -> None:
    print(f"{what:<58}{cost:>9.2f} µs  {note}")


async def run(folder: Path, stored: int) -> None:
    for group in (1, 10, 100):
        line(f"floor: SQLite alone, no sync, groups of {group}", floor(folder, group, group * 200))
    broker = await opened(folder / "empty.db", [])
    for group in (1, 10, 64, 100):
        events = group * 200
        cost = await measured(events, lambda g=group, e=events: publishing(broker, g, e))
        line(f"publish, durable, groups of {group}", cost)
    await broker.close()
    broker = await opened(folder / "one.db", ["a"])
    empty = await measured(6400, lambda: delivering(broker, ["a"], 64, 6400))
    line("publish, receive, settle, groups of 64", empty)
    await broker.close()
    names = [f"t{n}" for n in range(10)]
    broker = await opened(folder / "ten.db", names)
    cost = await measured(64000, lambda: delivering(broker, names, 64, 6400))
    line("the same to 10 triggers that all match, a delivery", cost)
    await broker.close()
    broker = await opened(folder / "many.db", ["a"], 1000)
    cost = await measured(6400, lambda: delivering(broker, ["a"], 64, 6400))
    line("publish, receive, settle beside 1,000 idle triggers", cost, f"{cost / empty:.2f} ×")
    await broker.close()
    if stored:
        await filled(folder / "filled.db", stored, empty)


async def filled(path: Path, stored: int, empty: float) -> None:
    broker = await opened(path, [])
    for _ in range(stored // 500):
        await broker.publish([EVENT] * 500)
    await broker.close()
    # What the kernel still has to write of the filling is no cost of what follows.
    os.sync()
    start, wall = time.process_time(), time.perf_counter()
    broker = await opened(path, ["a"])
    cpu = (time.process_time() - start) * 1e3
    wall = (time.perf_counter() - wall) * 1e3
    print(f"start with {stored:,} events stored: {wall:.0f} ms, {cpu:.0f} ms CPU")
    cost = await measured(6400, lambda: delivering(broker, ["a"], 64, 6400))
    line(f"publish, receive, settle with {stored:,} stored", cost, f"{cost / empty:.2f} ×")
    await broker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stored", type=int, default=1_000_000, help="events of the last rows")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: temporary)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        uvloop.run(run(Path(folder), options.stored))


if __name__ == "__main__":
    main()
