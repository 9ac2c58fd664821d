"""`eventing get`: resources, whether they are ready, and how they do."""

import time
from typing import Any

import click

from eventing.node.cli import terminal
from eventing.node.cli.manifests import manifest
from eventing.node.cli.names import (
    ALL,
    DEFAULT_NAMESPACE,
    GROUPS,
    KINDS,
    NODES,
    SINKS,
    SOURCES,
    Kind,
)
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.node_table import show_nodes
from eventing.node.cli.resource_choice import find_one, names_of_kind, split_name
from eventing.node.cli.resource_tables import columns
from eventing.node.cli.shared_options import with_node, with_output

Item = dict[str, Any]

EVERY = 1.0
"""Seconds between two looks of --watch."""


@click.command("get")
@click.argument("kind", type=Kind(more=(ALL, SOURCES, SINKS, NODES)), default=ALL)
@click.argument("name", required=False, shell_complete=names_of_kind)
@click.option("-n", "--namespace", help="Of this namespace alone. Default: all of them.")
@click.option("-w", "--watch", is_flag=True, help="Show it again as it changes, until Ctrl-C.")
@with_output("json", "yaml", "wide", "name")
@with_node
def command(
    node: NodeClient,
    kind: str,
    name: str | None,
    namespace: str | None,
    watch: bool,
    output: str | None,
) -> int:
    """List resources: KIND is brokers, triggers, functions, services, inferenceservices, revisions,
    trafficpolicies, virtualservices, destinationrules, eventtransforms, sources (kafkasources,
    redisstreamsources, pingsources), sinks (kafkasinks, redisstreamsinks), configmaps, secrets,
    namespaces, nodes, or all.

    \b
    eventing get
    eventing get triggers -o wide
    eventing get trigger bill -o yaml
    eventing get nodes

    LAG counts events of the log a trigger has not settled yet, RETRYING those that wait for their
    next attempt, DEAD its dead letters, UNROUTED events that no trigger wanted.
    """
    if kind == NODES and name is not None:
        raise click.UsageError("'eventing get nodes' takes no name: it lists them all")
    if name is not None and (kind == ALL or kind in GROUPS):
        raise click.UsageError("a name needs a kind: eventing get trigger NAME")
    if watch and output in ("json", "yaml", "name"):
        raise click.UsageError(f"--watch shows tables; it has no -o {output}")
    chosen = split_name(kind, namespace or DEFAULT_NAMESPACE, name) if name is not None else None
    if output in (None, "wide"):
        _warn_of_old_code(node)
    if not watch:
        items = _items(node, kind, namespace, chosen)
        _show(kind, items, output, one=name is not None)
        return 0
    before: list[Item] | None = None
    while True:
        items = _items(node, kind, namespace, chosen)
        if items != before:
            if terminal.on_terminal():
                click.clear()
            elif before is not None:
                click.echo()
            _show(kind, items, output, one=name is not None)
            before = items
        time.sleep(EVERY)


def _items(
    node: NodeClient, kind: str, namespace: str | None, one: tuple[str, str] | None
) -> list[Item]:
    if one is not None:
        return [find_one(node, kind, *one)]
    if kind == NODES:
        nodes: list[Item] = node.get("/api/v1/nodes")["items"]
        return nodes
    wanted = None if kind == ALL or kind in GROUPS else kind
    items: list[Item] = node.get("/api/v1/resources", kind=wanted, namespace=namespace)["items"]
    order = list(KINDS)
    # What a function was before is for those who ask.
    whole = [each for each in order if each != "Revision"]
    kinds = GROUPS.get(kind, whole if kind == ALL else order)
    return sorted(
        (item for item in items if item["kind"] in kinds),
        key=lambda item: (order.index(item["kind"]), item["namespace"], item["name"]),
    )


def _show(kind: str, items: list[Item], output: str | None, *, one: bool) -> None:
    if kind == NODES:
        show_nodes(items, output)
        return
    match output:
        case "json":
            documents = [manifest(item) for item in items]
            whole = {"apiVersion": "v1", "kind": "List", "items": documents}
            terminal.write_json(documents[0] if one else whole)
        case "yaml":
            terminal.write_yaml(manifest(item) for item in items)
        case "name":
            for item in items:
                parts = (item["kind"], item["namespace"], item["name"])
                click.echo("/".join(part for part in parts if part))
        case _:
            _tables(items, wide=output == "wide")


def _warn_of_old_code(node: NodeClient) -> None:
    """Figures of a node whose files have changed, and don't load, are those of the old ones."""
    error = node.get("/api/v1/node")["reloadError"]
    if error:
        terminal.warning(f"changed files are not live, the old version goes on:\n{error}")


def _tables(items: list[Item], *, wide: bool) -> None:
    if not items:
        terminal.note("there are none")
    namespaced = any(item["namespace"] not in ("", DEFAULT_NAMESPACE) for item in items)
    kinds = [kind for kind in KINDS if any(item["kind"] == kind for item in items)]
    for index, kind in enumerate(kinds):
        if index:
            terminal.line()
        if len(kinds) > 1:
            terminal.line((KINDS[kind][1].upper(), "bold cyan"))
        own = [item for item in items if item["kind"] == kind]
        shown = columns(kind, namespaced=namespaced, wide=wide)
        # A column of reasons is for those that have one.
        if all(item["ready"] for item in own):
            shown = [column for column in shown if column[0] != "REASON"]
        terminal.table(
            [title for title, _ in shown], [[cell(item) for _, cell in shown] for item in own]
        )
