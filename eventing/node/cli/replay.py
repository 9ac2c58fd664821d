"""`eventing replay`: events of the log, delivered to one trigger again."""

import click

from eventing.node.cli import terminal
from eventing.node.cli.moments import Moment
from eventing.node.cli.names import QualifiedName, short
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.shared_options import with_node, with_output


@click.command("replay")
@click.argument("trigger", type=QualifiedName("Trigger"))
@click.option("--since", type=Moment(), help="From this time on, or so long ago: 1h, 2d.")
@click.option("--until", type=Moment(), help="Up to this time, or so long ago.")
@click.option("--from", "first", type=click.IntRange(1), help="From this position of the log on.")
@click.option("--to", "last", type=click.IntRange(1), help="Up to this position, inclusive.")
@with_output("json")
@with_node
def command(
    node: NodeClient,
    trigger: str,
    since: float | None,
    until: float | None,
    first: int | None,
    last: int | None,
    output: str | None,
) -> int:
    """Deliver to TRIGGER again what its broker's log holds and its filter accepts.

    \b
    eventing replay bill --since 1h
    eventing replay bill --since 2026-01-31T12:00:00Z --until 30m

    Without any option it is the whole log. Other triggers get nothing; what is on its way to this
    one anyway is not doubled. Positions are those of 'eventing describe broker'.
    """
    if since is not None and first is not None:
        raise click.UsageError("--since and --from both say where to begin; keep one of them")
    if until is not None and last is not None:
        raise click.UsageError("--until and --to both say where to end; keep one of them")
    bounds = {"since": since, "until": until, "from": first, "to": last}
    asked = {name: value for name, value in bounds.items() if value is not None}
    answer = node.post("/api/v1/replay", {"trigger": trigger, **asked})
    if output:
        terminal.write_json(answer)
        return 0
    count = answer["replayed"]
    terminal.line(
        ("replayed ", "bold"), f"{count} {'event' if count == 1 else 'events'} to {short(trigger)}"
    )
    return 0
