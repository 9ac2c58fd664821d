"""`eventing rollback`: the calls of a function to the revision before, at once."""

import click

from eventing.node.cli import terminal
from eventing.node.cli.names import QualifiedName, short
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.shared_options import with_node, with_output


@click.command("rollback")
@click.argument("function", type=QualifiedName("Function"))
@click.option("--to", "revision", metavar="REVISION", help="Default: the one that served before.")
@with_output("json")
@with_node
def command(node: NodeClient, function: str, revision: str | None, output: str | None) -> int:
    """Send the calls of FUNCTION to an older revision at once, and end a rollout under way.

    \b
    eventing rollback thumbnail
    eventing rollback thumbnail --to thumbnail-00003
    eventing get revisions

    It stays so until the function's document changes, or 'eventing rollout' moves the calls again.
    Calls that have begun end where they are; failed ones are retried on the older revision.
    """
    asked = {"function": function} | ({"to": revision} if revision else {})
    answer = node.post("/api/v1/rollback", asked)
    if output:
        terminal.write_json(answer)
        return 0
    terminal.line(
        ("rolled back ", "bold"), f"{short(function)} from {answer['to']} to {answer['from']}"
    )
    return 0
