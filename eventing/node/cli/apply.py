"""`eventing apply`: resources of files, made live on a running node and kept there."""

import sys
from pathlib import Path

import click

from eventing.errors import UserError
from eventing.node.cli import terminal
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.shared_options import with_node, with_output

STDIN = "-"
_STYLES = {"created": "green", "configured": "cyan", "unchanged": "dim"}


@click.command("apply")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    metavar="PATH",
    help="A YAML file, or a folder of them; - reads stdin. May be repeated.",
)
@with_output("json")
@with_node
def command(node: NodeClient, files: tuple[str, ...], output: str | None) -> int:
    """Add resources, or change those that were applied before.

    They are kept in the node's data folder and outlive it. A file with a mistake changes nothing;
    of several files each stands for itself. What a file that 'eventing up' reads defines is
    changed there.
    """
    results = []
    for name, content in _contents(files):
        applied = node.post_bytes("/api/v1/resources", content, file=name)
        for text in applied["warnings"]:
            terminal.warning(text)
        results += applied["results"]
        if not output:
            for each in applied["results"]:
                terminal.line(each["resource"], " ", (each["result"], _STYLES[each["result"]]))
    if output:
        terminal.write_json({"results": results})
    elif not results:
        terminal.note("there is no resource in it")
    return 0


def _contents(names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """Names and contents of all files. Raises UserError before any of them is applied."""
    contents = []
    for name in names:
        if name == STDIN:
            contents.append(("stdin", sys.stdin.buffer.read()))
            continue
        for path in _files(Path(name)):
            try:
                contents.append((str(path), path.read_bytes()))
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise UserError(f"{path} can't be read: {reason}") from None
    return contents


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    # The loader decides which files of a folder count, here as for `up`.
    from eventing.resources.files import File, find_files

    return [found.path for found in find_files([path]) if isinstance(found, File)]
