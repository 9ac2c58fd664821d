"""For the demo: what happened, as tables."""

from typing import Any

from journeys import Journey, Ledger
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show_journeys(ledger: Ledger, console: Console, *, by: bool) -> None:
    """`by`: which nodes worked on each counts."""
    table = plain_table("What happened to each picture")
    table.add_column("picture", overflow="fold")
    table.add_column("trigger")
    table.add_column("tries", justify="right")
    table.add_column("waited", justify="right")
    if by:
        table.add_column("nodes")
    table.add_column("ended as", overflow="fold")
    for name, journey in ledger.journeys.items():
        cells = [
            escape(name),
            journey.trigger,
            str(journey.attempts),
            milliseconds(journey.entered),
        ]
        cells += [", ".join(sorted(journey.nodes))] if by else []
        table.add_row(*cells, ending(journey))
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
            return f"[green]{len(journey.stored)} thumbnails[/green]{focus}"
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
