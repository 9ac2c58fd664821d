"""`eventing get nodes`: the nodes that share an engine."""

import time
from typing import Any

import click

from eventing.node.cli import terminal
from eventing.node.cli.moments import age
from eventing.node.cli.terminal import Part

Item = dict[str, Any]


def show_nodes(items: list[Item], output: str | None) -> None:
    """As a table, or as json, yaml or names."""
    match output:
        case "json":
            terminal.write_json({"items": items})
        case "yaml":
            terminal.write_yaml(items)
        case "name":
            for item in items:
                click.echo(f"Node/{item['name']}")
        case _:
            _table(items, wide=output == "wide")


def _table(items: list[Item], *, wide: bool) -> None:
    titles = ["NAME", "READY", ">TRIGGERS", ">WORKERS", ">IN FLIGHT", ">LAG", "UP", "SEEN"]
    if wide:
        titles += ["ADMIN", "INGRESS", "HOST", ">PID", "VERSION"]
    if any(item["reason"] for item in items):
        titles.append("REASON")
    rows: list[list[Part]] = []
    for item in items:
        row: list[Part] = [
            (item["name"], "bold"),
            ("True", "green") if item["ready"] else ("False", "red"),
            str(item["triggers"]),
            str(item["workers"]),
            str(item["inFlight"]),
            str(item["lag"]),
            age(item["startedAt"]) if item["startedAt"] else "-",
            f"{max(0.0, time.time() - item['seenAt']):.0f}s ago",
        ]
        if wide:
            row += [item["admin"], item["ingress"], item["host"], str(item["pid"])]
            row.append(item["version"])
        if "REASON" in titles:
            row.append(item["reason"])
        rows.append(row)
    terminal.table(titles, rows)
