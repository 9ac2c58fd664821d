"""Runs the example for real and checks every promise it makes: `make demo`.

Starts `eventing up` on this folder as a process of its own, posts pictures to it over HTTP, a
broken one and one that fails twice among them, follows each to its end, and says what happened.
Over Kafka or Redis (`make demo BROKER=kafka`) there are two such nodes, and one of them is killed
in the middle. Exit status 0 only if all of it went as it should.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from itertools import cycle
from pathlib import Path
from typing import Any

from engines import ADDRESS, SCHEMES, engine
from journeys import Journey, Ledger, Upload, uploads
from node_process import START_LIMIT, Failed, Node
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from tables import show_cold_starts, show_journeys
from verdict import faults

HERE = Path(__file__).resolve().parent
QUIET_LIMIT = 60.0
"""Seconds without any news after which what is still open counts as lost."""
SLEEP_LIMIT = 90.0
"""Seconds the workers may take to be gone after the last event."""
MEET_LIMIT = 30.0
"""Seconds until two nodes of one engine see each other, and until a killed one is missed."""
BUSY_LIMIT = 5.0
"""Seconds a node may take to be in the middle of something."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Images in, thumbnails out. Over kafka and redis with two nodes, one of them "
        f"killed on the way; {ADDRESS}=kafka://host:port names a server that is there, without it "
        "one is started here."
    )
    parser.add_argument("--images", type=Path, help="a folder of pictures of your own")
    parser.add_argument("--broker", choices=["embedded", *SCHEMES], default="embedded")
    parser.add_argument(
        "--start-limit",
        type=float,
        default=START_LIMIT,
        metavar="SECONDS",
        help="how long a node may take to be ready; %(default)s by default",
    )
    options = parser.parse_args()
    chosen: Path | None = options.images
    if chosen and not chosen.is_dir():
        parser.error(f"{chosen} is no folder")
    if other := other_engine(options.broker):
        parser.error(f"--broker is {options.broker}, but {ADDRESS} is an address of {other}")
    # The nodes are ended on the way out, so there has to be a way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 120)
    pictures = uploads(chosen and chosen.resolve())
    work = Path(tempfile.mkdtemp(prefix="thumbnails-"))
    try:
        if options.broker == "embedded":
            run(pictures, work, console, {"solo": "embedded"}, options.start_limit)
        else:
            with engine(options.broker, console) as address:
                run(pictures, work, console, {"a": address, "b": address}, options.start_limit)
    except Failed as failure:
        console.print(f"[red]failed:[/red] {escape(str(failure))}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    for data in work.glob("*/data"):
        shutil.rmtree(data, ignore_errors=True)
    console.print(f"[green]all {len(pictures)} pictures went as they should[/green]")
    return 0


def other_engine(broker: str) -> str:
    """The scheme of what the environment names, where it is of another engine than asked for."""
    scheme = os.environ.get(ADDRESS, "embedded").partition(":")[0]
    meant = broker == "embedded" or scheme in ("embedded", *SCHEMES[broker])
    return "" if meant else scheme


def run(
    pictures: list[Upload], work: Path, console: Console, nodes: dict[str, str], start_limit: float
) -> None:
    """The whole demo, on nodes of these names and brokers' addresses; raises Failed with all that
    was not as it should be."""
    thumbnails, quarantine = work / "thumbnails", work / "quarantine"
    environment = {"THUMBNAILS_DIR": str(thumbnails), "QUARANTINE_DIR": str(quarantine)}
    with ExitStack() as stack:
        running = [
            stack.enter_context(one_node(name, address, work, environment, console, start_limit))
            for name, address in nodes.items()
        ]
        ledger = Ledger(pictures)
        for node in running:
            node.follow(ledger.take)
        if len(running) > 1:
            wait_for_company(running)
        feed_and_follow(running, ledger, console)
        last = running[-1]
        show_journeys(ledger, console, by=len(running) > 1)
        functions = last.functions()
        show_cold_starts(functions, console)
        left = wait_for_sleep(last, console)
        wrong = list(faults(ledger, thumbnails, quarantine))
        if len(running) == 1:
            wrong += [
                f"{name} never started from zero workers"
                for name, figures in functions.items()
                if not figures["coldStarts"]
            ]
        elif not wait_until(lambda: list(last.nodes()) == [last.name], MEET_LIMIT):
            wrong.append(f"node {last.name} still counts the killed one: {sorted(last.nodes())}")
        if left:
            wrong.append(f"after {SLEEP_LIMIT:.0f} s there still were workers of {', '.join(left)}")
        else:
            console.print("\nall workers are gone again")
        console.print(f"thumbnails: {thumbnails}\nquarantine: {quarantine}", soft_wrap=True)
        if wrong:
            lines = "\n".join(f"  - {line}" for line in wrong)
            raise Failed(f"not all is as it should be:\n{lines}")


@contextmanager
def one_node(
    name: str,
    broker: str,
    work: Path,
    environment: dict[str, str],
    console: Console,
    start_limit: float,
) -> Iterator[Node]:
    """A node that is ready, ended on the way out; where anything fails, its last words show."""
    began = time.monotonic()
    node = Node(HERE, work / name, environment, name=name, broker=broker)
    try:
        node.wait_until_ready(start_limit)
        ready = time.monotonic() - began
        called = "eventing up" if broker == "embedded" else f"node {name}: eventing up"
        console.print(f"{called} {HERE}: ready after {ready:.1f} s", soft_wrap=True)
        yield node
        if not node.killed and (status := node.stop()) != 0:
            raise Failed(f"node {name} ended with status {status} when asked to stop")
    except Failed:
        node.stop()
        console.rule(f"the last words of node {name}")
        console.print(node.last_words(), markup=False, highlight=False, soft_wrap=True)
        console.rule()
        console.print(f"all of them: {node.log}", soft_wrap=True)
        raise
    finally:
        node.stop()


def wait_for_company(nodes: list[Node]) -> None:
    """Until every node sees all of them."""
    names = {node.name for node in nodes}
    for node in nodes:
        if not wait_until(lambda node=node: names <= node.nodes().keys(), MEET_LIMIT):
            raise Failed(f"node {node.name} does not see the others, only {sorted(node.nodes())}")


def feed_and_follow(nodes: list[Node], ledger: Ledger, console: Console) -> None:
    """Post every picture, to one node after the other, then wait until each has come to its end,
    or no news come any more. Of several nodes the first is killed while the second half is sent to
    the others."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    journeys = list(ledger.journeys.values())
    total = len(journeys)
    first, others = nodes[0], nodes[1:]
    killed = 0.0
    with Progress(*columns, console=console) as progress:
        sent = progress.add_task("pictures sent", total=total)
        ended = progress.add_task("come to their end", total=total)

        def feed(some: list[Journey], to: list[Node]) -> None:
            for journey, node in zip(some, cycle(to), strict=False):
                send(journey, node)
                progress.update(sent, advance=1)
                progress.update(ended, completed=ledger.ended())

        if others:
            feed(journeys[: total // 2], nodes)
            with ThreadPoolExecutor(1, "feed") as pool:
                rest = pool.submit(feed, journeys[total // 2 :], others)
                kill_in_the_middle(first, ledger, progress.console)
                killed = time.monotonic()
                rest.result()
        else:
            feed(journeys, nodes)
        with ledger.news:
            while ledger.ended() < total and ledger.news.wait(QUIET_LIMIT):
                progress.update(ended, completed=ledger.ended())
        progress.update(ended, completed=ledger.ended())
    if killed:
        console.print(f"the last one ended {time.monotonic() - killed:.1f} s after the kill")


def send(journey: Journey, node: Node) -> None:
    """Raises Failed where the node does not take the picture."""
    status, said = node.post(journey.upload)
    if status == 413:
        journey.ending, journey.reason = "refused", said
    elif status != 202:
        raise Failed(f"{journey.upload.name} was answered {status}: {said}")


def kill_in_the_middle(node: Node, ledger: Ledger, console: Console) -> None:
    """kill -9 once something has come to its end and the node is at work on something else, or
    after BUSY_LIMIT, as with few pictures it may get none."""
    events = 0

    def busy() -> bool:
        nonlocal events
        events = node.at_work() if ledger.ended() else 0
        return events > 0

    wait_until(busy, BUSY_LIMIT, pause=0.001)
    node.kill()
    hands = f"{events or 'no'} event{'s' * (events != 1)} in its hands"
    ended = f"{ledger.ended()} of {len(ledger.journeys)} pictures"
    console.print(
        f"node {node.name} killed (kill -9) with {hands}; so far {ended} have come to their end"
    )


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Whether it came true in time, asked every `pause` seconds. A node that does not answer may
    do so later."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError, HTTPException):
            if condition():
                return True
        time.sleep(pause)
    return False


def wait_for_sleep(node: Node, console: Console) -> list[str]:
    """Wait until no function has a worker any more; returns the names of those that have."""
    deadline = time.monotonic() + SLEEP_LIMIT
    with console.status("waiting for the workers to go, as nothing is left to do"):
        while True:
            left = [name for name, figures in node.functions().items() if awake(figures)]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)


def awake(figures: dict[str, Any]) -> int:
    """How many workers a function has, whatever they are at."""
    return sum(figures[state] for state in ("starting", "ready", "draining"))


if __name__ == "__main__":
    sys.exit(main())
