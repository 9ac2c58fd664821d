"""The figures of a function's traffic, as `describe` tells them."""

from collections.abc import Callable
from typing import Any

from eventing.node.cli import terminal
from eventing.node.cli.moments import took
from eventing.node.cli.terminal import Part

Figures = dict[str, Any]
Column = tuple[str, Callable[[Figures], Part]]


def tell_by_revision(figures: Figures) -> None:
    """Of a function: a table of its revisions, then what was done on purpose."""
    revisions: dict[str, Figures] = figures["revisions"]
    terminal.line()
    terminal.line(("Calls by revision", "bold"))
    columns = _columns(list(revisions.values()))
    terminal.table(
        ["  REVISION", *(title for title, _ in columns)],
        [[f"  {name}", *(cell(each) for _, cell in columns)] for name, each in revisions.items()],
    )
    for name, each in revisions.items():
        copies = copies_in_words(each)
        if copies:
            terminal.line(f"  copies for {name}: {copies}")
    if figures["delayed"] or figures["aborted"]:
        terminal.line(
            f"  faults on purpose: {figures['delayed']} delayed, {figures['aborted']} aborted"
        )
    if figures["unhealthy"]:
        terminal.line(
            (f"  {figures['unhealthy']} answered 503, as every revision was ejected", "red")
        )


def rows_of_one(figures: Figures) -> list[tuple[str, Part]]:
    """Of a revision."""
    rows: list[tuple[str, Part]] = [
        (
            "Failed",
            f"{figures['errors']} errors and {figures['refused']} refused of {figures['calls']} "
            "calls",
        ),
        (
            "Time of a call",
            f"mean {took(figures['meanSeconds'])}, half below {took(figures['p50Seconds'])}, "
            f"99 % below {took(figures['p99Seconds'])}",
        ),
    ]
    by_policy = [
        f"{figures[name]} {word}"
        for name, word in (
            ("retried", "retried"),
            ("timedOut", "timed out"),
            ("overflowed", "refused as it was full"),
        )
        if figures[name]
    ]
    if by_policy:
        rows.append(("By its policy", ", ".join(by_policy)))
    if figures["ejections"]:
        rows.append(("Ejected", _ejected(figures)))
    copies = copies_in_words(figures)
    if copies:
        rows.append(("Copies", copies))
    return rows


def copies_in_words(figures: Figures) -> str:
    """What a revision got of calls to others; "" where that is nothing."""
    mirror = figures["mirror"]
    if not mirror["calls"] and not mirror["inFlight"] and not mirror["dropped"]:
        return ""
    words = (
        f"{mirror['calls']} answered, {mirror['errors']} errors, {mirror['refused']} refused, "
        f"mean {took(mirror['meanSeconds'])}"
    )
    if mirror["dropped"]:
        words += f", {mirror['dropped']} not sent since too many were out"
    return words


def _columns(revisions: list[Figures]) -> list[Column]:
    """Those that say nothing of any revision are left out."""
    told = [each for each in _POLICY if any(figures[each[0]] for figures in revisions)]
    columns = [(title, _count(name)) for name, title in told]
    if any(figures["ejections"] for figures in revisions):
        columns.append(("EJECTED", _ejected))
    return [*_ALWAYS, *columns]


def _count(name: str) -> Callable[[Figures], Part]:
    return lambda figures: str(figures[name])


def _alarming(name: str) -> Callable[[Figures], Part]:
    return lambda figures: (str(figures[name]), "red" if figures[name] else "")


def _time(name: str) -> Callable[[Figures], Part]:
    return lambda figures: took(figures[name]) if figures["calls"] else "-"


def _ejected(figures: Figures) -> Part:
    count, left = figures["ejections"], figures["ejectedForSeconds"]
    often = "once" if count == 1 else f"{count} times"
    if left:
        return (f"{often}, for {took(left)} more", "red")
    return often if count else "-"


_ALWAYS: list[Column] = [
    (">CALLS", _count("calls")),
    (">ERRORS", _alarming("errors")),
    (">REFUSED", _alarming("refused")),
    (">MEAN", _time("meanSeconds")),
    (">P99", _time("p99Seconds")),
]

_POLICY = [
    ("waiting", ">WAITING"),
    ("retried", ">RETRIED"),
    ("timedOut", ">TIMED OUT"),
    ("overflowed", ">OVERFLOWED"),
]
"""Shown where there is something to show."""
