"""How a bill is shown: as a table for people, as a document or rows for scripts."""

import csv
import sys
from collections.abc import Callable
from typing import Any

from eventing.node.cli import terminal
from eventing.node.cli.moments import moment, took
from eventing.node.cli.names import DEFAULT_NAMESPACE
from eventing.node.cli.terminal import Part
from eventing.node.cli.usage_bill import Bill, period_name
from eventing.node.usage_query import Line, usage_document
from functions.usage import Usage


def show_table(bill: Bill) -> None:
    named = _names(bill)
    figures = _figures(bill)
    rows: list[list[Part]] = [
        [*(cell(line) for _, cell in named), *(cell(usage) for _, cell in figures)]
        for line, usage in bill.lines.items()
    ]
    if len(rows) > 1:
        first: list[Part] = [("TOTAL", "bold"), *[""] * (len(named) - 1)]
        rows.append([*first, *((_text(cell(bill.total)), "bold") for _, cell in figures)])
    terminal.table([title for title, _ in (*named, *figures)], rows)


def document(bill: Bill) -> dict[str, Any]:
    return {
        "since": moment(bill.since),
        "until": moment(bill.until),
        "by": bill.by,
        "nodes": list(bill.found.nodes),
        "unreached": [name for name, _ in bill.found.unreached],
        "folder": bill.found.folder,
        "prices": {
            "gbSecond": bill.prices.gb_second,
            "millionInvocations": bill.prices.million,
            "currency": bill.prices.currency,
        },
        "items": [_item(bill, line, usage) for line, usage in bill.lines.items()],
        "total": _priced(bill, bill.total),
    }


def write_csv(bill: Bill) -> None:
    """A row a line, and none for the sum."""
    items = [_item(bill, line, usage) for line, usage in bill.lines.items()]
    blank = _item(bill, Line(0, "", "", ""), Usage())
    writer = csv.DictWriter(sys.stdout, list(blank), lineterminator="\n")
    writer.writeheader()
    writer.writerows(items)


def _item(bill: Bill, line: Line, usage: Usage) -> dict[str, Any]:
    named: dict[str, Any] = {}
    if bill.by != "total":
        named["period"] = period_name(line, bill.by)
    named |= {"namespace": line.namespace, "function": line.function}
    if bill.by_revision:
        named["revision"] = line.revision
    return named | _priced(bill, usage)


def _priced(bill: Bill, usage: Usage) -> dict[str, Any]:
    return {
        **usage_document(usage),
        "cost": bill.prices.cost(usage),
        "avoidedCost": bill.prices.avoided(usage),
    }


def _names(bill: Bill) -> list[tuple[str, Callable[[Line], Part]]]:
    columns: list[tuple[str, Callable[[Line], Part]]] = []
    if bill.by != "total":
        columns.append((bill.by.upper(), lambda line: period_name(line, bill.by)))
    if any(line.namespace != DEFAULT_NAMESPACE for line in bill.lines):
        columns.append(("NAMESPACE", lambda line: line.namespace))
    columns.append(("FUNCTION", lambda line: (line.function, "bold")))
    if bill.by_revision:
        columns.append(("REVISION", lambda line: line.revision))
    return columns


def _figures(bill: Bill) -> list[tuple[str, Callable[[Usage], Part]]]:
    prices = bill.prices
    return [
        (">CALLS", lambda usage: f"{usage.invocations:,}"),
        (">FAILED", lambda usage: (f"{usage.failed:,}", "red") if usage.failed else "0"),
        (">EXECUTION", lambda usage: _spent(usage.execution)),
        (">GB-S", lambda usage: f"{usage.gb_seconds:,.3f}"),
        (">COLD STARTS", _cold_starts),
        (">WORKERS", lambda usage: _spent(usage.instances)),
        (">IDLE", lambda usage: _spent(usage.idle)),
        (f">COST {prices.currency}", lambda usage: (f"{prices.cost(usage):,.4f}", "bold")),
        (f">AVOIDED {prices.currency}", lambda usage: f"{prices.avoided(usage):,.4f}"),
    ]


def _cold_starts(usage: Usage) -> str:
    """How many, and how long one took."""
    if not usage.cold_starts:
        return "0"
    return f"{usage.cold_starts:,} ({took(usage.cold_start / usage.cold_starts)})"


def _spent(seconds: float) -> str:
    """A sum of time, which may be months."""
    if seconds < 120:
        return took(seconds) if seconds else "0"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _text(part: Part) -> str:
    return part if isinstance(part, str) else part[0]
