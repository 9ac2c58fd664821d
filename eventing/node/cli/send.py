"""`eventing send`: an event to the node's ingress, and its way to the end."""

import os
from datetime import UTC, datetime

import click

from eventing.event import Event
from eventing.http_encoding import encode_http_binary
from eventing.node.cli import terminal
from eventing.node.cli.event_options import with_event
from eventing.node.cli.following import follow, verdict
from eventing.node.cli.journey import Journey
from eventing.node.cli.moments import Span
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.nodes_activity import NodesActivity
from eventing.node.cli.shared_options import with_node, with_output


@click.command("send")
@with_event
@click.option("--wait", is_flag=True, help="Follow it, and every reply it causes, to their end.")
@click.option(
    "--timeout",
    type=Span(),
    default="60s",
    show_default=True,
    help="How long --wait waits.",
)
@with_output("json")
@with_node
def command(
    node: NodeClient, event: Event, broker: str, wait: bool, timeout: float, output: str | None
) -> int:
    """Send an event to a broker.

    \b
    eventing send --type order.created --data '{"id": 7}' --wait
    eventing send --event event.json --subject other
    curl … | eventing send --type page.fetched --data - --content-type text/html

    It is accepted once it is durable. With --wait, exit status 1 means that a delivery failed for
    good (dead letter), that no trigger wanted the event, or that it has not ended in time.
    A node that asks for a bearer token gets the one in EVENTING_TOKEN.
    """
    event.attributes.setdefault("time", datetime.now(UTC).isoformat().replace("+00:00", "Z"))
    headers, body = encode_http_binary(event)
    token = os.environ.get("EVENTING_TOKEN")
    if token:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    names = {key: event.attributes[key] for key in ("id", "source", "type")}
    if not wait:
        node.send(f"/{broker}", headers, body)
        if output:
            terminal.write_json({"broker": broker, "event": names, "outcome": "accepted"})
        else:
            _tell_sent(event, broker)
        return 0
    journey = Journey((event.attributes["source"], event.attributes["id"]))
    with NodesActivity(node) as stream:
        node.send(f"/{broker}", headers, body)
        if not output:
            _tell_sent(event, broker)
        follow(journey, stream, node, timeout, quiet=bool(output))
    if output:
        terminal.write_json(
            {"broker": broker, "event": names, "outcome": journey.outcome, "hops": journey.hops}
        )
        return 0 if journey.succeeded else 1
    return verdict(journey, timeout)


def _tell_sent(event: Event, broker: str) -> None:
    terminal.line(
        ("sent ", "bold"), event.attributes["type"], f" {event.attributes['id']}", f" to {broker}"
    )
