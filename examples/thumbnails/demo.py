"""Runs the example for real and checks every promise it makes: `make demo`.

Starts `eventing up` on this folder as a process of its own, posts pictures to it over HTTP, a
broken one and one that fails twice among them, follows each to its end, and says what happened.
Exit status 0 only if all of it went as it should.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from journeys import Journey, Ledger, Upload, uploads
from node_process import Failed, Node
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from verdict import faults

HERE = Path(__file__).resolve().parent
QUIET_LIMIT = 60.0
"""Seconds without any news after which what is still open counts as lost."""
SLEEP_LIMIT = 90.0
"""Seconds the workers may take to be gone after the last event."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Images in, thumbnails out.")
    parser.add_argument("--images", type=Path, help="a folder of pictures of your own")
    chosen: Path | None = parser.parse_args().images
    if chosen and not chosen.is_dir():
        parser.error(f"{chosen} is no folder")
    # The node is ended on the way out, so there has to be a way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 120)
    pictures = uploads(chosen and chosen.resolve())
    work = Path(tempfile.mkdtemp(prefix="thumbnails-"))
    try:
        run(pictures, work, console)
    except Failed as failure:
        console.print(f"[red]failed:[/red] {escape(str(failure))}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    shutil.rmtree(work / "data", ignore_errors=True)
    console.print(f"[green]all {len(pictures)} pictures went as they should[/green]")
    return 0


def run(pictures: list[Upload], work: Path, console: Console) -> None:
    """The whole demo; raises Failed with all that was not as it should be."""
    thumbnails, quarantine = work / "thumbnails", work / "quarantine"
    environment = {"THUMBNAILS_DIR": str(thumbnails), "QUARANTINE_DIR": str(quarantine)}
    with running(work, environment, console) as node:
        ledger = Ledger(pictures)
        node.follow(ledger.take)
        feed_and_follow(node, ledger, console)
        show_journeys(ledger, console)
        functions = node.functions()
        show_cold_starts(functions, console)
        left = wait_for_sleep(node, console)
        wrong = list(faults(ledger, thumbnails, quarantine))
        wrong += [
            f"{name} never started from zero workers"
            for name, figures in functions.items()
            if not figures["coldStarts"]
        ]
        if left:
            wrong.append(f"after {SLEEP_LIMIT:.0f} s there still were workers of {', '.join(left)}")
        else:
            console.print("\nall workers are gone again")
        console.print(f"thumbnails: {thumbnails}\nquarantine: {quarantine}", soft_wrap=True)
        if wrong:
            lines = "\n".join(f"  - {line}" for line in wrong)
            raise Failed(f"not all is as it should be:\n{lines}")


@contextmanager
def running(work: Path, environment: dict[str, str], console: Console) -> Iterator[Node]:
    """A node that is ready, ended on the way out; where anything fails, its last words show."""
    began = time.monotonic()
    node = Node(HERE, work, environment)
    try:
        node.wait_until_ready()
        ready = time.monotonic() - began
        console.print(f"eventing up {HERE}: ready after {ready:.1f} s", soft_wrap=True)
        yield node
        status = node.stop()
        if status != 0:
            raise Failed(f"the node ended with status {status} when asked to stop")
    except Failed:
        node.stop()
        console.rule("the node's last words")
        console.print(node.last_words(), markup=False, highlight=False, soft_wrap=True)
        console.rule()
        console.print(f"all of them: {node.log}", soft_wrap=True)
        raise
    finally:
        node.stop()


def feed_and_follow(node: Node, ledger: Ledger, console: Console) -> None:
    """Post every picture, then wait until each has come to its end, or no news come any more."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    total = len(ledger.journeys)
    with Progress(*columns, console=console) as progress:
        sent = progress.add_task("pictures sent", total=total)
        ended = progress.add_task("come to their end", total=total)
        for journey in ledger.journeys.values():
            status, said = node.post(journey.upload)
            if status == 413:
                journey.ending, journey.reason = "refused", said
            elif status != 202:
                raise Failed(f"{journey.upload.name} was answered {status}: {said}")
            progress.update(sent, advance=1)
            progress.update(ended, completed=ledger.ended())
        with ledger.news:
            while ledger.ended() < total and ledger.news.wait(QUIET_LIMIT):
                progress.update(ended, completed=ledger.ended())
        progress.update(ended, completed=ledger.ended())


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


def show_journeys(ledger: Ledger, console: Console) -> None:
    table = plain_table("What happened to each picture")
    table.add_column("picture", overflow="fold")
    table.add_column("trigger")
    table.add_column("tries", justify="right")
    table.add_column("waited", justify="right")
    table.add_column("ended as", overflow="fold")
    for name, journey in ledger.journeys.items():
        table.add_row(
            escape(name),
            journey.trigger,
            str(journey.attempts),
            milliseconds(journey.entered),
            ending(journey),
        )
    console.print(table)


def show_cold_starts(functions: dict[str, dict[str, Any]], console: Console) -> None:
    table = plain_table("Cold starts: from no worker to the handler")
    table.add_column("function")
    for figure in ("cold starts", "shortest", "median", "longest"):
        table.add_column(figure, justify="right")
    for name, figures in functions.items():
        seconds = sorted(figures["coldStartSeconds"])
        picked = (seconds[0], seconds[len(seconds) // 2], seconds[-1]) if seconds else ()
        table.add_row(name, str(figures["coldStarts"]), *map(milliseconds, picked))
    console.print(table)


def plain_table(title: str) -> Table:
    """Without rules, which leaves its last column room in 80 columns, and a line apart."""
    return Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )


def ending(journey: Journey) -> str:
    reason = escape(journey.reason)
    match journey.ending:
        case "thumbnails":
            focus = {"face": ", for a face", "energy": ", for its detail"}.get(journey.found, "")
            return f"[green]{journey.stored} thumbnails[/green]{focus}"
        case "quarantine":
            return f"[yellow]quarantine[/yellow]: {reason}"
        case "refused":
            return f"[yellow]refused as too large[/yellow]: {reason}"
        case "dead letter":
            return f"[red]dead letter[/red]: {reason}"
        case None:
            return f"[red]no end[/red] {reason}".rstrip()


def milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
