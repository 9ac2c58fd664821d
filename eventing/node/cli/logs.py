"""`eventing logs`: what a function prints and logs, with the event it was about."""

from collections import Counter
from typing import Any

import click

from eventing.node.cli import terminal
from eventing.node.cli.activity_lines import LEVEL_STYLES
from eventing.node.cli.moments import clock
from eventing.node.cli.names import QualifiedName, did_you_mean, short
from eventing.node.cli.node_client import NodeClient, NotThere
from eventing.node.cli.shared_options import with_node, with_output

Line = dict[str, Any]

_ID_WIDTH = 12


@click.command("logs")
@click.argument("function", type=QualifiedName("Function"))
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option(
    "-n", "--lines", default=200, show_default=True, type=click.IntRange(0), help="How many lines."
)
@with_output("json")
@with_node
def command(node: NodeClient, function: str, follow: bool, lines: int, output: str | None) -> int:
    """Show the last lines that FUNCTION has printed or logged, in all its workers.

    The node keeps 2,000 lines of each function. With -o json each line is a JSON object.
    """
    if not follow:
        _tell_all(_kept(node, function, lines), output)
        return 0
    with node.activity() as stream:
        kept = _kept(node, function, lines)
        _tell_all(kept, output)
        # Lines that came while both were asked for are told by both.
        told = Counter(map(_identity, kept))
        while True:
            record = stream.next()
            if record is None or record["record"] != "log" or record["function"] != function:
                continue
            if told[_identity(record)]:
                told[_identity(record)] -= 1
                continue
            _tell(record, output)


def _kept(node: NodeClient, function: str, lines: int) -> list[Line]:
    items: list[Line] = node.get("/api/v1/logs", function=function, lines=lines)["items"]
    if not items:
        functions = node.get("/api/v1/resources", kind="Function")["items"]
        known = [f"{item['namespace']}/{item['name']}" for item in functions]
        if function not in known:
            hint = did_you_mean(short(function), [short(name) for name in known])
            raise NotThere(f"there is no function {short(function)}; {hint}")
    return items


def _identity(line: Line) -> tuple[float, str, str]:
    return line["at"], line["stream"], line["text"]


def _tell_all(lines: list[Line], output: str | None) -> None:
    for line in lines:
        _tell(line, output)


def _tell(line: Line, output: str | None) -> None:
    if output:
        terminal.write_json(line, indent=None)
        return
    id = line["event"]["id"]
    shown = id if len(id) <= _ID_WIDTH else f"{id[: _ID_WIDTH - 1]}…"
    terminal.line(
        (clock(line["at"]), "dim"),
        "  ",
        (f"{line['level']:8}", LEVEL_STYLES.get(line["level"], "cyan")),
        (f"  {shown:{_ID_WIDTH}}  ", "dim"),
        (line["text"], LEVEL_STYLES.get(line["level"], "")),
    )
