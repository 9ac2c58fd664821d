"""`eventing init`: a small project that works, to begin from."""

from pathlib import Path

import click

from eventing.errors import OperationError, UserError
from eventing.node.cli import terminal
from eventing.node.cli.new_project import FILES


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> int:
    """Write a small project into DIR: two handlers, their wiring, a test, and how to run them.

    Nothing is overwritten.
    """
    there = sorted(name for name in FILES if (folder / name).exists())
    if there:
        raise UserError(f"{folder} has {', '.join(there)} already; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            with open(folder / name, "x", encoding="utf-8") as file:
                file.write(text)
            terminal.line(("created ", "green"), str(folder / name))
    except OSError as error:
        raise OperationError(f"{error.filename} can't be written: {error.strerror}") from None
    terminal.note()
    terminal.note("Now:")
    if folder.resolve() != Path.cwd():
        terminal.note(("  cd ", "bold"), (str(folder), "bold"))
    terminal.note(("  eventing up . --reload", "bold"))
    terminal.note("and in another terminal, in the same folder:")
    terminal.note(
        (
            '  eventing send --type order.placed --data \'{"item": "tea", "amount": 2}\' --wait',
            "bold",
        )
    )
    return 0
