"""`eventing fire`: the event of a PingSource, now."""

import click

from eventing.node.cli import terminal
from eventing.node.cli.names import QualifiedName, short
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.shared_options import with_node, with_output

_SAID = {
    "taken": ("taken by its sink", "green"),
    "dead-lettered": ("not taken by its sink, and a dead letter now", "red"),
    "given up": ("not taken by its sink", "red"),
    "abandoned": ("not taken by its sink so far", "yellow"),
}


@click.command("fire")
@click.argument("source", metavar="PINGSOURCE", type=QualifiedName("PingSource"))
@with_output("json")
@with_node
def command(node: NodeClient, source: str, output: str | None) -> int:
    """Have PINGSOURCE send its event now, whatever its schedule: to try what it sets off.

    \b
    eventing fire nightly

    The node that is asked sends it, also where another one has the schedule in hand. Exit status 1
    where the sink did not take the event.
    """
    answer = node.post("/api/v1/fire", {"source": source})
    taken = answer["end"] == "taken"
    if output:
        terminal.write_json(answer)
        return 0 if taken else 1
    words, colour = _SAID[answer["end"]]
    reason = f": {answer['reason']}" if answer["reason"] else ""
    event = f"event {answer['id']}" if answer["id"] else "the event"
    terminal.line(("fired ", "bold"), f"{short(source)}: {event} was ", (words, colour), reason)
    return 0 if taken else 1
