"""`eventing delete`: a resource that was applied, gone again."""

from urllib.parse import quote

import click

from eventing.node.cli import terminal
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.resource_choice import find_one, with_resource
from eventing.node.cli.shared_options import with_node


@click.command("delete")
@with_resource
@with_node
def command(node: NodeClient, kind: str, namespace: str, name: str) -> int:
    """Remove the resource KIND NAME that came by 'eventing apply'.

    What stands in a file that 'eventing up' reads is removed there. The events of a deleted broker
    stay in the data folder; those not yet delivered to a deleted trigger stay in the broker's log.
    """
    item = find_one(node, kind, namespace, name)
    place = "/".join(quote(item[part] or "-", safe="") for part in ("kind", "namespace", "name"))
    answer = node.delete(f"/api/v1/resources/{place}")
    terminal.line(answer["deleted"], " ", ("deleted", "yellow"))
    return 0
