"""Output: colours and fitted tables on a terminal, plain aligned text elsewhere.

Results go to stdout, everything else to stderr. NO_COLOR is honoured. Rich is imported by what is
printed, never by what is asked.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

Part = str | tuple[str, str]
"""A text, or a text and its style in rich's words."""


@cache
def console(*, stderr: bool = False) -> "Console":
    """The terminal behind stdout or stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def on_terminal() -> bool:
    """Whether stdout is read by a person."""
    return console().is_terminal


def line(*parts: Part) -> None:
    """One line on stdout, flushed, as long as it is: the terminal wraps it."""
    _print(parts, stderr=False)


def note(*parts: Part) -> None:
    """One line on stderr: what is said beside the result."""
    _print(parts, stderr=True)


def warning(text: str) -> None:
    note(("warning: ", "yellow"), text)


def _print(parts: Iterable[Part], *, stderr: bool) -> None:
    target = console(stderr=stderr)
    if target.is_terminal:
        from rich.text import Text

        # A function's own output may hold escape sequences; they are not for this terminal.
        shown = [
            printable(part) if isinstance(part, str) else (printable(part[0]), part[1])
            for part in parts
        ]
        target.print(Text.assemble(*shown), soft_wrap=True)
    else:
        text = "".join(part if isinstance(part, str) else part[0] for part in parts)
        click.echo(text.rstrip(), err=stderr)


def printable(text: str) -> str:
    """The text without control characters but tabs and line ends."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\t\n" else "�" for each in text)


def table(titles: Sequence[str], rows: Sequence[Sequence[Part]]) -> None:
    """Rows below their titles. Titles that begin with ">" are of numbers, aligned to the right.

    On a narrow terminal the last column is wrapped, the others are cut.
    """
    names = [title.removeprefix(">") for title in titles]
    right = [title.startswith(">") for title in titles]
    if on_terminal():
        from rich.table import Table
        from rich.text import Text

        shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name, is_number in zip(names, right, strict=True):
            shown.add_column(
                name,
                justify="right" if is_number else "left",
                no_wrap=name != names[-1],
                overflow="fold" if name == names[-1] else "ellipsis",
            )
        for row in rows:
            cells = [cell if isinstance(cell, tuple) else (cell, "") for cell in row]
            shown.add_row(*(Text(printable(text), style=style) for text, style in cells))
        console().print(shown)
        return
    plain = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *plain, strict=True)]
    for texts in (names, *plain):
        fitted = [
            text.rjust(width) if is_number else text.ljust(width)
            for text, width, is_number in zip(texts, widths, right, strict=True)
        ]
        click.echo("  ".join(fitted).rstrip())


def write_json(document: Any, *, indent: int | None = 2) -> None:
    click.echo(json.dumps(document, indent=indent, ensure_ascii=False))


def write_yaml(documents: Iterable[Any]) -> None:
    """One YAML document each."""
    import yaml

    click.echo(
        yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=100), nl=False
    )


def is_interactive() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def write(document: Any, output: str) -> None:
    """The document as `output` says, "json" or "yaml"."""
    if output == "json":
        write_json(document)
    else:
        write_yaml([document])
