"""`eventing rollout`: move the calls of a function to a revision in steps, and watch it."""

import time
from typing import Any

import click

from eventing.node.cli import terminal
from eventing.node.cli.activity_lines import ROLLOUT_STYLES
from eventing.node.cli.moments import Span
from eventing.node.cli.names import QualifiedName, short
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.shared_options import with_node, with_output

EVERY = 0.5
"""Seconds between two looks while it is watched."""


class Steps(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4
    """Percentages, written 1,5,10."""

    name = "percent,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        try:
            return [float(part.strip().removesuffix("%")) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is no list of percentages such as 1,5,10,25,50,100", param, ctx)


@click.command("rollout")
@click.argument("function", type=QualifiedName("Function"))
@click.option("--to", "revision", metavar="REVISION", help="Default: the latest.")
@click.option("--steps", type=Steps(), help="Percentages of the calls, rising: 1,5,10,25,50,100.")
@click.option("--interval", type=Span(), help="How long each step lasts at least: 30s, 5m.")
@click.option("--min-events", type=click.IntRange(1), help="Calls the new revision answers a step.")
@click.option(
    "--max-error-rate-increase",
    type=click.FloatRange(0, 1),
    help="By how much its share of failed calls may exceed the old one's: 0.05.",
)
@click.option(
    "--latency-factor",
    type=click.FloatRange(1),
    help="How many times as long as the old one's its calls may take on average: 2.",
)
@click.option("-w", "--watch", is_flag=True, help="Stay until it is complete or rolled back.")
@click.option("--status", is_flag=True, help="Begin nothing: show how the last one goes.")
@with_output("json")
@with_node
def command(
    node: NodeClient,
    function: str,
    revision: str | None,
    watch: bool,
    status: bool,
    output: str | None,
    **plan: Any,
) -> int:
    """Move the calls of FUNCTION to its latest revision in steps, while that one's errors and
    latency stay within bounds against the old one's, and back at once when they don't.

    \b
    eventing rollout thumbnail --watch
    eventing rollout thumbnail --to thumbnail-00007 --steps 10,50,100 --interval 1m
    eventing rollout thumbnail --status

    What is not said here is as the function's 'rollout' says, or its defaults. Exit status 1 where
    a rollout that is shown or watched was rolled back.
    """
    given = {name: value for name, value in plan.items() if value is not None}
    if status and (given or revision):
        raise click.UsageError("--status begins nothing; leave the other options out")
    if not status:
        asked: dict[str, Any] = {"function": function, "plan": given}
        if revision:
            asked["to"] = revision
        node.post("/api/v1/rollout", asked)
    shown = None
    while True:
        told = node.get("/api/v1/rollout", function=function)
        if not output and told != shown:
            _show(function, told)
            shown = told
        if not watch or told["state"] != "rolling":
            break
        time.sleep(EVERY)
    if output:
        terminal.write_json(told)
    return 1 if told["state"] == "rolled back" else 0


def _show(function: str, told: dict[str, Any]) -> None:
    reason = f": {told['reason']}" if told["reason"] else ""
    terminal.line(
        (f"{short(function)} ", "bold"),
        f"{told['from']} → {told['to']}, {told['percent']:g}% of the calls: ",
        (told["state"], ROLLOUT_STYLES[told["state"]]),
        reason,
    )
