"""`eventing usage`: a bill of what functions have used."""

import math
import time
from pathlib import Path

import click

from eventing.node.cli import terminal
from eventing.node.cli.moments import moment
from eventing.node.cli.names import QualifiedName, short
from eventing.node.cli.node_client import NodeClient, NodeUnreachable
from eventing.node.cli.shared_options import with_node, with_output
from eventing.node.cli.usage_bill import Bill, Prices
from eventing.node.cli.usage_bounds import Bound
from eventing.node.cli.usage_sources import Found, ask_nodes, read_folder
from eventing.node.cli.usage_table import document, show_table, write_csv
from eventing.node.usage_query import PERIODS, By, UsageQuery
from functions.usage import HOUR, hour_of


class _Price(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4
    name = "price"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            price = float(str(value))
        except ValueError:
            price = math.nan
        if not (math.isfinite(price) and price >= 0):
            self.fail(f"{value!r} is no price; write a number such as 0.20", param, ctx)
        return price


class _Currency(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4
    name = "currency"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        text = str(value)
        if not 1 <= len(text) <= 8 or not text.isprintable() or " " in text:
            self.fail(f"{text!r} is no currency; write one such as USD or €", param, ctx)
        return text


@click.command("usage")
@click.argument("function", type=QualifiedName("Function"), required=False)
@click.option(
    "--since", type=Bound(), default="30d", show_default=True, help="From this hour on, or ago."
)
@click.option("--until", type=Bound(), help="Up to this hour, exclusive. Default: now.")
@click.option(
    "--by",
    type=click.Choice(PERIODS),
    default="total",
    show_default=True,
    help="A line for each of these, UTC.",
)
@click.option("--by-revision", is_flag=True, help="A line for each revision.")
@click.option(
    "--price-gb-second",
    type=_Price(),
    default="0.0000166667",
    show_default=True,
    help="Of memory times execution time.",
)
@click.option(
    "--price-million",
    type=_Price(),
    default="0.20",
    show_default=True,
    help="Of a million invocations.",
)
@click.option(
    "--currency", type=_Currency(), default="USD", show_default=True, help="What prices are in."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Read the file in a data folder itself, of a node that is stopped.",
)
@with_output("json", "yaml", "csv")
@with_node
@click.pass_context
def command(
    context: click.Context,
    node: NodeClient,
    function: str | None,
    since: float,
    until: float | None,
    by: By,
    by_revision: bool,
    price_gb_second: float,
    price_million: float,
    currency: str,
    data: Path | None,
    output: str | None,
) -> int:
    """A bill of what functions, or FUNCTION alone, have used: invocations, execution time,
    GB-seconds, cold starts, the time of workers, and what scaling to zero has saved.

    \b
    eventing usage
    eventing usage thumbnail --since 7d --by day
    eventing usage --since 2026-11 --until 2026-12 --by-revision -o csv
    eventing usage --data /var/lib/eventing

    Of all nodes that share an engine with the one that is asked. Dates are UTC, periods are whole
    hours. The prices are those AWS Lambda lists (x86, without its free share), unless you set them.
    """
    first = hour_of(since)
    last = -hour_of(-(time.time() if until is None else until))
    if until is None:
        last = max(last, first + HOUR)
    if last <= first:
        raise click.UsageError(
            f"--since {moment(first)} is not before --until {moment(last)}, so no hour is between"
        )
    query = UsageQuery(first, last, by, by_revision, function)
    found = _find(context, node, data, query)
    prices = Prices(price_gb_second, price_million, currency)
    bill = Bill(found, prices, first, last, by, by_revision)
    for name, url in found.unreached:
        terminal.warning(f"usage of node {name} is missing: its admin API at {url} is not reached")
    match output:
        case "json" | "yaml":
            terminal.write(document(bill), output)
        case "csv":
            write_csv(bill)
        case _:
            _tell(bill, function)
    return 0


def _find(context: click.Context, node: NodeClient, data: Path | None, query: UsageQuery) -> Found:
    if data is None:
        try:
            return ask_nodes(node, query)
        except NodeUnreachable as error:
            raise NodeUnreachable(
                f"{error}; what a stopped node has stored is read with --data DIR"
            ) from None
    given = click.core.ParameterSource.COMMANDLINE
    for name in ("admin", "data_dir"):
        if context.get_parameter_source(name) is given:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(
                f"--data reads a file and {option} asks a node; keep one of them"
            )
    return read_folder(data, query)


def _tell(bill: Bill, function: str | None) -> None:
    between = f"from {moment(bill.since)} to {moment(bill.until)}, {bill.found.whose}"
    if not bill.lines:
        what = f"{short(function)} has used nothing" if function else "nothing was used"
        terminal.note(f"{what} {between}")
        return
    terminal.note((between, "dim"))
    show_table(bill)
