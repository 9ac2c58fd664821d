"""`eventing explain`: which triggers would take an event, and which clause keeps the others."""

from pathlib import Path
from typing import Any

import click

from eventing.errors import UserError
from eventing.event import Event
from eventing.json_format import encode_object
from eventing.node.cli import terminal
from eventing.node.cli.event_options import with_event
from eventing.node.cli.names import QualifiedName, did_you_mean, short
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.places import near
from eventing.node.cli.shared_options import with_node, with_output

Explained = dict[str, Any]
"""One trigger's: see eventing.node.explain.Explanation.document."""


@click.command("explain")
@with_event
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Explain by these files and folders, without a node. May be repeated.",
)
@click.option("--trigger", type=QualifiedName("Trigger"), help="Of this trigger alone.")
@with_output("json")
@with_node
def command(
    node: NodeClient,
    event: Event,
    broker: str,
    files: tuple[Path, ...],
    trigger: str | None,
    output: str | None,
) -> int:
    """Say for every trigger whether it would take an event, and if not, why.

    \b
    eventing explain --type order.created --ext region=eu
    eventing explain --event event.json -f wiring.yaml --trigger bill

    Asks the running node, or reads files with -f. Nothing is sent. Exit status 0: at least one
    trigger (or the one of --trigger) would take it; 1: none.
    """
    found = _from_files(files, event, broker) if files else _from_node(node, event, broker)
    if trigger is not None:
        names = [each["trigger"] for each in found]
        found = [each for each in found if each["trigger"] == trigger]
        if not found:
            known = [short(name) for name in names]
            raise UserError(
                f"there is no trigger {short(trigger)}; {did_you_mean(short(trigger), known)}"
            )
    found.sort(key=lambda each: (not each["matches"], each["broker"] != broker))
    matching = sum(each["matches"] for each in found)
    if output:
        terminal.write_json({"matching": matching, "triggers": found})
    else:
        _tell(event, broker, found, matching)
    return 0 if matching else 1


def _from_node(node: NodeClient, event: Event, broker: str) -> list[Explained]:
    brokers = [
        f"{item['namespace']}/{item['name']}"
        for item in node.get("/api/v1/resources", kind="Broker")["items"]
    ]
    _require_broker(broker, brokers)
    asked = {"event": encode_object(event), "broker": broker}
    found: list[Explained] = node.post("/api/v1/explain", asked)["triggers"]
    return found


def _from_files(files: tuple[Path, ...], event: Event, broker: str) -> list[Explained]:
    from eventing.node.checks import check
    from eventing.node.explain import explain
    from eventing.node.wiring import DEFAULT_BROKER
    from eventing.resources import Broker, load

    loaded = load(file for file in files if file.suffix != ".py")
    errors = [*loaded.errors, *check(loaded.resources).errors]
    if errors:
        raise UserError("\n".join(["the files don't load:", *map(str, errors)]))
    declared = [
        f"{each.namespace}/{each.name}" for each in loaded.resources if isinstance(each, Broker)
    ]
    _require_broker(broker, [DEFAULT_BROKER, *declared])
    resources = {resource.identity: resource for resource in loaded.resources}
    return [each.document() for each in explain(event, resources, broker=broker)]


def _require_broker(broker: str, known: list[str]) -> None:
    if broker not in known:
        raise UserError(f"there is no broker {broker}; {did_you_mean(broker, known)}")


def _tell(event: Event, broker: str, found: list[Explained], matching: int) -> None:
    attributes = event.attributes
    terminal.line(
        (attributes["type"], "bold"), f" from {attributes['source']}", f" to {short(broker)}"
    )
    for each in found:
        name = short(each["trigger"])
        terminal.line()
        if each["matches"]:
            terminal.line(("✓ ", "bold green"), (name, "bold"), (f"  {near(each['place'])}", "dim"))
            if each["then"]:
                terminal.line(("  then: ", "dim"), each["then"])
            if each["ready"] is False:
                terminal.line(("  but it is not ready, and holds it: ", "yellow"), each["message"])
            continue
        terminal.line(("✗ ", "bold red"), (name, "bold"), (f"  {near(each['place'])}", "dim"))
        for reason in each["reasons"]:
            terminal.line(f"  {reason['text']}")
            terminal.line((f"    at {near(reason['place'])}", "dim"))
    terminal.line()
    if found:
        many = "trigger" if len(found) == 1 else "triggers"
        terminal.line(
            (f"{matching} of {len(found)} {many} would take it", "green" if matching else "yellow")
        )
    else:
        terminal.line(("there are no triggers at all", "yellow"))
