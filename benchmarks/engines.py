"""A node over Kafka and over Redis, beside the bare client library and beside FastStream.

    python -m benchmarks.engines [--only kafka|redis] [--events 10000]

CPU microseconds an event of the node's process; those of its workers are told apart. The floors
are taken in the same run, round by round. Throughput and latency are wall-clock figures: nodes,
workers, engine and load share this machine's cores, so they say little about machines of their own.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import uvloop

from benchmarks.engine_servers import (
    EngineUnderTest,
    Kind,
    ServerUnavailable,
    engine_under_test,
    measured,
    reader_cost,
)
from benchmarks.load import drive
from benchmarks.measured_event import batch_requests
from benchmarks.node_process import RunningNode, running_node, trigger
from benchmarks.paced_load import LATENESS, send_paced
from benchmarks.table import Table

BROKER = "/default/default"
ROUNDS = 5
FLOOR_EVENTS = 50_000
"""A bare client is so quick that fewer say little."""
CONNECTIONS = 8
LATENCY_LIMIT = 0.1
"""Seconds that p99 has to stay below."""
LEAST_RATE = 1000
STEP_SECONDS = 2.0
FASTSTREAM_EVENTS = 2_000
FASTSTREAM_ROUNDS = 3
"""It acknowledges one by one: with more, this would take minutes."""
AIMS: dict[Kind, float] = {"kafka": 3.0, "redis": 2.0}

ORDERS = """
from eventing import function

@function
async def nothing(order: dict):
    pass
"""
DEFAULT = json.dumps(
    {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "metadata": {"name": "default"},
    }
)
POLL = 0.25
"""Seconds between two questions to a node that is measured: each costs it something."""


def over_engine(table: Table, kind: Kind, count: int) -> None:
    """All figures of one engine."""
    try:
        with engine_under_test(kind) as engine:
            publishing(table, engine, count)
            consuming(table, engine, count)
        print(f"\n{kind}: nodes, their workers, the load and the engine on this machine's cores")
        for number in (1, 2, 4):
            with engine_under_test(kind) as engine:
                throughput(table, engine, count * 2, number)
                latency(table, engine, number)
    except ServerUnavailable as error:
        print(f"\n{kind} is not measured: {error}")


def publishing(table: Table, engine: EngineUnderTest, count: int) -> None:
    print(f"\n{engine.kind}: CPU an event, 1 KiB, {count} events a round, floor: the bare client")
    floor_log = engine.make_log("bench-floor")
    write = ["benchmarks.bare_clients", engine.kind, "write", engine.address, floor_log]
    with running_node({"b.yaml": DEFAULT}, options=("--broker", engine.url)) as node:
        figures = []
        for number in range(ROUNDS + 1):
            floor = measured(*write, str(FLOOR_EVENTS))
            began = node.cpu()
            post_all([node], count)
            if number:
                figures.append(((node.cpu() - began) / count * 1e6, floor))
        table.row("publish: HTTP in batches of 100 → stored", figures, AIMS[engine.kind])


def consuming(table: Table, engine: EngineUnderTest, count: int) -> None:
    feed = ["benchmarks.bare_clients", engine.kind, "write", engine.address]
    scratch = engine.make_log("bench-read")
    read = ["benchmarks.bare_clients", engine.kind, "read", engine.address, scratch]
    many = str(FLOOR_EVENTS)
    floors = [reader_cost([*feed, scratch, many], *read, many) for _ in range(ROUNDS)]
    one = {"app.py": ORDERS, "b.yaml": DEFAULT, "t.yaml": trigger("one", "nothing")}
    fed = [*feed, engine.log, str(count)]
    rounds = delivered(engine, one, fed, count)
    alone = statistics.median(each.node for each in rounds)
    figures = [(each.node, floor) for each, floor in zip(rounds, floors, strict=True)]
    table.row("read → filter → function → settled", figures, None)
    workers = statistics.median(each.workers for each in rounds)
    table.value("  its workers, for a handler that does nothing", workers, "µs", None)
    if find_spec("faststream") is None:
        print("FastStream is not installed: pip install --group bench")
    else:
        other = faststream_cost(engine, engine.kind, feed)
        table.value("  FastStream, the same, acknowledged one by one", other, "µs", None)
        table.value("  … times FastStream's", alone / other, "×", 0.25)
        if engine.kind == "kafka":
            lossy = faststream_cost(engine, "kafka-default", feed)
            table.value("  FastStream, committing by time, handled or not", lossy, "µs", None)
            table.value("  … times FastStream's", alone / lossy, "×", None)
    more = {f"n{n}.yaml": trigger(f"n{n}", "nothing", f"no.{n}") for n in range(10)}
    with_more = statistics.median(each.node for each in delivered(engine, one | more, fed, count))
    each_one = (with_more - alone) / 10
    table.value("  each further trigger that does not match", each_one, "µs", None)


def faststream_cost(engine: EngineUnderTest, mode: str, feed: list[str]) -> float:
    count = str(FASTSTREAM_EVENTS)
    program = "benchmarks.faststream_subscriber"
    costs = []
    for number in range(FASTSTREAM_ROUNDS):
        log = engine.make_log(f"bench-faststream-{mode}-{number}")
        if engine.kind == "kafka":
            filling = [*feed, log, count]
        else:
            filling = [program, "publish", engine.address, log, count]
        costs.append(reader_cost(filling, program, mode, engine.address, log, count))
    return statistics.median(costs)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU µs an event, of the node and of all its workers together."""

    node: float
    workers: float


def delivered(
    engine: EngineUnderTest, files: dict[str, str], feed: list[str], count: int
) -> list[Cost]:
    """By round, from the first record another wrote to the last settled."""
    costs = []
    with running_node(files, options=("--broker", engine.url)) as node:
        for number in range(ROUNDS + 1):
            before = node.done()
            began, workers_began = node.cpu(), node.workers_cpu()
            subprocess.run([sys.executable, "-m", *feed], check=True, capture_output=True)
            node.wait_done(before + count, every=POLL)
            if number:
                node_spent, workers_spent = node.cpu() - began, node.workers_cpu() - workers_began
                costs.append(Cost(node_spent / count * 1e6, workers_spent / count * 1e6))
    return costs


def throughput(table: Table, engine: EngineUnderTest, count: int, number: int) -> None:
    """Events a second from the first request to the last event settled, over so many nodes."""
    files = {"app.py": ORDERS, "b.yaml": DEFAULT, "t.yaml": trigger("one", "nothing")}
    with running_nodes(engine, files, number) as nodes:
        for _ in range(2):  # the first time warms up
            before = sum(node.done() for node in nodes)
            began = time.monotonic()
            post_all(nodes, count)
            wait_done(nodes, before + count, every=0.05)
            rate = count / (time.monotonic() - began)
    table.value(f"throughput of {named(number)}, wall clock", rate, "events/s", None)


def latency(table: Table, engine: EngineUnderTest, number: int) -> None:
    """Doubles the rate until p99, from when an event was due to its handler, leaves the limit in
    two of two tries."""
    with tempfile.TemporaryDirectory(prefix="eventing-bench-") as folder:
        file = Path(folder) / "latencies"
        wiring = {"b.yaml": DEFAULT, "t.yaml": trigger("one", "late")}
        files = {"app.py": LATENESS.format(file=str(file)), **wiring}
        with running_nodes(engine, files, number) as nodes:
            latency_at(nodes, file, LEAST_RATE)  # the first workers start
            held, rate, failed = 0, LEAST_RATE, 0
            while failed < 2:
                p99 = latency_at(nodes, file, rate)
                print(f"  {rate:,} events/s: p99 {p99 * 1e3:.1f} ms")
                if p99 <= LATENCY_LIMIT:
                    held, rate, failed = rate, rate * 2, 0
                else:
                    failed += 1
    table.value(f"p99 of {named(number)} stays below 100 ms up to", held, "events/s", None)


def latency_at(nodes: list[RunningNode], file: Path, rate: int) -> float:
    """p99 in seconds; the first half second does not count."""
    before = sum(node.done() for node in nodes)
    file.write_text("")

    async def send() -> int:
        share = rate // len(nodes)
        loads = [send_paced(node.port, BROKER, share, STEP_SECONDS) for node in nodes]
        return sum(await asyncio.gather(*loads))

    wait_done(nodes, before + uvloop.run(send()), every=POLL)
    seconds = [float(line) for line in file.read_text().splitlines()]
    counted = sorted(seconds[rate // 2 :])
    return counted[int(len(counted) * 0.99)]


@contextmanager
def running_nodes(
    engine: EngineUnderTest, files: dict[str, str], number: int
) -> Iterator[list[RunningNode]]:
    with ExitStack() as stack:
        options = ("--broker", engine.url, "--node-name")
        yield [
            stack.enter_context(running_node(files, options=(*options, f"n{each}")))
            for each in range(number)
        ]


def wait_done(nodes: list[RunningNode], count: int, *, every: float) -> None:
    """Until all nodes together have so many deliveries behind them."""
    end = time.monotonic() + 120
    while (done := sum(node.done() for node in nodes)) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"{done} of {count} deliveries are done")
        time.sleep(every)


def named(number: int) -> str:
    return f"{number} node{'s' * (number > 1)}"


def post_all(nodes: list[RunningNode], count: int) -> None:
    """Events in batches to all nodes alike; raises RuntimeError where one is refused."""
    share = count // len(nodes)

    async def post() -> list[dict[int, int]]:
        loads = [drive(node.port, batch_requests(BROKER, share), CONNECTIONS) for node in nodes]
        return await asyncio.gather(*loads)

    for statuses in uvloop.run(post()):
        if set(statuses) != {202}:
            raise RuntimeError(f"answers other than 202: {statuses}")


def main() -> int:
    """Exit status 1 where a figure misses its aim."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000, help="events a round")
    parser.add_argument("--only", choices=["kafka", "redis"], help="one of them")
    options = parser.parse_args()
    table = Table()
    for kind in AIMS:
        if options.only in (None, kind):
            over_engine(table, kind, options.events)
    table.tell_missed()
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
