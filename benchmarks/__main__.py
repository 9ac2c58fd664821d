"""`make bench`: the node's figures against the floor of the same run.

CPU microseconds of the node's process an event; the floor is a bare uvicorn app that answers 202
to the same requests. Ratios are what counts: absolute times on shared machines mean little. Every
figure is the median of several rounds, each with a floor of its own measured beside it.
"""

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from benchmarks.containers import containers
from benchmarks.engines import over_engine
from benchmarks.load import batches, cpu_seconds, drive, events, floor_server, memory_bytes
from benchmarks.node_process import RunningNode, running_node, trigger
from benchmarks.table import Table
from benchmarks.traffic_policy import traffic_policy

BROKER = "/default/default"
ROUNDS = 5
CONNECTIONS = 64

NOTHING = """
from eventing import function

@function
def nothing(event):
    pass
"""

IMPORTS = """
import numpy, PIL.Image
from eventing import function
"""

THREAD = """
import threading, time
threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
"""


def rounds(
    node: RunningNode,
    floor: tuple[int, int],
    requests: Callable[[int], Iterator[bytes]],
    count: int,
    *,
    deliveries: int = 1,
    connections: int = CONNECTIONS,
) -> list[tuple[float, float]]:
    """(node's, floor's) CPU µs an event, by round. A first round warms up and is not counted."""
    figures = []
    for number in range(ROUNDS + 1):
        began = cpu_seconds(floor[0])
        uvloop.run(drive(floor[1], events(BROKER, count), connections))
        of_floor = (cpu_seconds(floor[0]) - began) / count * 1e6
        before = node.done()
        began = node.cpu()
        statuses = uvloop.run(drive(node.port, requests(count), connections))
        if set(statuses) != {202}:
            raise RuntimeError(f"answers other than 202: {statuses}")
        node.wait_done(before + count * deliveries)
        if number:
            figures.append(((node.cpu() - began) / count * 1e6, of_floor))
    return figures


@contextmanager
def subscriber() -> Iterator[str]:
    with floor_server() as (_, port):
        yield f"http://127.0.0.1:{port}/"


def paths(table: Table, count: int) -> None:
    print(f"\nCPU an event, 1 KiB, {CONNECTIONS} connections, {count} events a round")
    to_function = {"app.py": NOTHING, "t.yaml": trigger("one", "nothing")}
    with floor_server() as floor:
        with running_node(
            {"b.yaml": trigger("none", "nothing", "other"), "app.py": NOTHING}
        ) as node:
            figures = rounds(node, floor, lambda n: events(BROKER, n), count, deliveries=0)
            table.row("HTTP in → durable (no trigger wants it)", figures, None)
            figures = rounds(
                node, floor, lambda n: batches(BROKER, n), count, deliveries=0, connections=8
            )
            table.row("the same in batches of 100", figures, None)
        with running_node(to_function) as node:
            figures = rounds(node, floor, lambda n: events(BROKER, n), count)
            one = statistics.median(figure for figure, _ in figures)
            table.row("HTTP in → durable → filter → function → acknowledged", figures, 2.0)
            figures = rounds(node, floor, lambda n: batches(BROKER, n), count, connections=8)
            table.row("the same in batches of 100", figures, 0.7)
        with subscriber() as uri, running_node({"t.yaml": trigger("one", uri)}) as node:
            figures = rounds(node, floor, lambda n: events(BROKER, n), count)
            table.row("the same, one by one, to an HTTP subscriber", figures, 4.0)
        ten = {f"t{n}.yaml": trigger(f"t{n}", "nothing") for n in range(10)}
        with running_node({"app.py": NOTHING, **ten}) as node:
            figures = rounds(node, floor, lambda n: events(BROKER, n), count // 5, deliveries=10)
            table.row("to 10 triggers that all match (an event)", figures, None)
            delivery = statistics.median(figure for figure, _ in figures) / 10
            table.value("  … a delivery, beside one trigger's", delivery, "µs", round(one, 1))
        many = {
            f"t{n}.yaml": trigger(f"t{n}", "nothing", "com.example.bench" if n == 0 else f"no.{n}")
            for n in range(1000)
        }
        with running_node({"app.py": NOTHING, **many}) as node:
            figures = rounds(node, floor, lambda n: events(BROKER, n), count // 2)
            thousand = statistics.median(figure for figure, _ in figures)
            table.row("with 1,000 triggers, one of which matches", figures, None)
            table.value("  … times the cost with one trigger", thousand / one, "×", 2.0)


def a_million(table: Table, count: int) -> None:
    print("\nA broker that holds 1,000,000 events")
    files = {"app.py": NOTHING, "t.yaml": trigger("one", "nothing")}
    with tempfile.TemporaryDirectory(prefix="eventing-bench-", dir="/var/tmp") as name:
        data = Path(name)
        with floor_server() as floor:
            with running_node(files, data=data) as node:
                figures = rounds(node, floor, lambda n: events(BROKER, n), count)
                empty = statistics.median(ratio / of for ratio, of in figures)
                have = count * (ROUNDS + 1)
                before = node.done()
                uvloop.run(drive(node.port, batches(BROKER, 1_000_000 - have, size=64), 8))
                node.wait_done(before + 1_000_000 - have, 600)
            # What filling it left for the kernel to write is not the next rounds' cost.
            os.sync()
            database = next(data.glob("brokers/**/*.db"))
            with sqlite3.connect(database) as connection:
                stored = connection.execute("SELECT count(*) FROM events").fetchone()[0]
            began = time.monotonic()
            with running_node(files, data=data) as node:
                table.value(
                    f"start with {stored:,} events stored, wall clock",
                    time.monotonic() - began,
                    "s",
                    2.0,
                )
                figures = rounds(node, floor, lambda n: events(BROKER, n), count)
                full = statistics.median(ratio / of for ratio, of in figures)
            table.value("cost an event, times that of an empty broker", full / empty, "×", 1.2)


def memory(table: Table) -> None:
    print("\nStart and memory")
    example = Path(__file__).parent.parent / "examples" / "thumbnails"
    files = {
        str(path.relative_to(example)): path.read_text()
        for path in example.glob("*")
        if path.suffix in (".py", ".yaml") and not path.name.startswith(("test_", "demo"))
    }
    with running_node(files) as node:
        cpu = node.cpu() + sum(map(cpu_seconds, node.children()))
        table.value("`eventing up` of the example until ready, CPU", cpu, "s", 1.0)
    spec = {"scale": {"min": 8, "max": 8, "initial": 8}}
    scaled = json.dumps(
        {
            "apiVersion": "functions/v1",
            "kind": "Function",
            "metadata": {"name": "nothing"},
            "spec": {"handler": "app:nothing", **spec},
        }
    )
    idle = scaled.replace("8", "0")
    for what, imports in (("nothing", ""), ("numpy and Pillow", "import numpy, PIL.Image")):
        code = f"{imports}\n{NOTHING}"
        with running_node({"app.py": code, "f.yaml": idle}) as node:
            time.sleep(1)
            table.value(
                "idle node without workers, resident", memory_bytes(node.pid) / 1e6, "MB", 80.0
            )
            alone = sum(memory_bytes(pid, "Pss") for pid in node.children())
        with running_node({"app.py": code, "f.yaml": scaled}) as node:
            end = time.monotonic() + 20
            while len(node.children()) < 9 and time.monotonic() < end:
                time.sleep(0.05)
            time.sleep(1)
            together = sum(memory_bytes(pid, "Pss") for pid in node.children())
            table.value(
                f"each idle worker that imports {what}, PSS", (together - alone) / 8e6, "MB", 12.0
            )


def cold_starts(table: Table, functions: int) -> None:
    print("\nCold start: from the event's acceptance to the handler's entry, workers at zero")
    for what, imports, median_aim, late_aim in (
        ("fork, numpy and Pillow imported", IMPORTS, 10.0, 30.0),
        ("fresh interpreter, numpy and Pillow imported", IMPORTS + THREAD, None, None),
        (
            "fresh interpreter, nothing imported",
            "from eventing import function" + THREAD,
            None,
            None,
        ),
    ):
        names = [f"f{number}" for number in range(functions)]
        code = imports + "".join(
            f"\n@function(scale=(0, 1))\ndef {name}(event):\n    pass\n" for name in names
        )
        wiring = {f"{name}.yaml": trigger(name, name, name) for name in names}
        zero = {
            f"z{name}.yaml": json.dumps(
                {
                    "apiVersion": "functions/v1",
                    "kind": "Function",
                    "metadata": {"name": name},
                    "spec": {"handler": f"app:{name}", "scale": {"initial": 0}},
                }
            )
            for name in names
        }
        with running_node({"app.py": code, **wiring, **zero}) as node:
            seconds: list[float] = []
            over = threading.Event()

            def follow(
                node: RunningNode = node,
                seconds: list[float] = seconds,
                over: threading.Event = over,
            ) -> None:
                with urllib.request.urlopen(f"{node.admin}/api/v1/activity") as lines:
                    over.set()
                    for line in lines:
                        record = json.loads(line) if line.strip() else {}
                        if record.get("record") == "attempt":
                            seconds.append(record["started"])
                            over.set()

            threading.Thread(target=follow, daemon=True).start()
            over.wait(10)
            for name in names:
                over.clear()
                uvloop.run(drive(node.port, events(BROKER, 1, type=name), 1))
                if not over.wait(20):
                    raise TimeoutError("an event was not handled within 20 s")
            figures = sorted(each * 1e3 for each in seconds)
        late = figures[min(len(figures) - 1, int(len(figures) * 0.99))]
        table.value(f"{what}, p50 of {len(figures)}", statistics.median(figures), "ms", median_aim)
        table.value(f"{what}, p99", late, "ms", late_aim)


def reloads(table: Table, times: int) -> None:
    print("\nReload: from saving a handler to its being live")
    code = """
import numpy, PIL.Image
from eventing import function

@function(reply_type="bench.word")
def word(event):
    return "0"
"""
    with running_node(
        {"app.py": code, "t.yaml": trigger("one", "word")}, options=("--reload",)
    ) as node:
        time.sleep(1)
        app = node.folder / "project" / "app.py"
        live = f"{node.admin}/api/v1/node"
        figures = []
        for number in range(times):
            before = node.log.read_text().count("reloaded in")
            text = app.read_text()
            began = time.monotonic()
            app.write_text(text.replace(f'"{number}"', f'"{number + 1}"'))
            while node.log.read_text().count("reloaded in") == before:
                if time.monotonic() - began > 20:
                    raise TimeoutError("the change was not live within 20 s")
                time.sleep(0.001)
            figures.append((time.monotonic() - began) * 1e3)
            with urllib.request.urlopen(live) as answer:
                if json.load(answer)["reloadError"]:
                    raise RuntimeError("the change did not load")
            time.sleep(0.5)  # the next spare process gets ready, as between two saves of a person
    figures.sort()
    table.value(f"numpy and Pillow imported, p50 of {times}", statistics.median(figures), "ms", 300)
    table.value("the slowest", figures[-1], "ms", 300)


def main() -> int:
    """Exit status 1 where a figure misses its aim."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000, help="events a round")
    parser.add_argument(
        "--only",
        choices=[
            "memory",
            "cold",
            "reload",
            "paths",
            "million",
            "kafka",
            "redis",
            "traffic",
            "containers",
        ],
        help="one part of it",
    )
    options = parser.parse_args()
    table = Table()
    parts: dict[str, Callable[[], None]] = {
        "memory": lambda: memory(table),
        "cold": lambda: cold_starts(table, 100),
        "reload": lambda: reloads(table, 20),
        "paths": lambda: paths(table, options.events),
        "million": lambda: a_million(table, options.events),
        "kafka": lambda: over_engine(table, "kafka", options.events),
        "redis": lambda: over_engine(table, "redis", options.events),
        "traffic": lambda: traffic_policy(table),
        "containers": lambda: containers(table),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            part()
    table.tell_missed()
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
