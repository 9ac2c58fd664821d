"""Options that several commands have."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from eventing.node.cli.node_address import ENVIRONMENT, find_node
from eventing.node.config import DEFAULT_DATA

Command = Callable[..., Any]


def with_node(command: Command) -> Command:
    """Gives the command `node`, a NodeClient, found by --admin and --data-dir."""

    @click.option(
        "--admin",
        metavar="URL",
        envvar=ENVIRONMENT,
        show_envvar=True,
        help="The node's admin API. Default: the node that runs on --data-dir, else port 8081.",
    )
    @click.option(
        "--data-dir",
        metavar="DIR",
        default=DEFAULT_DATA,
        show_default=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="The data folder of the node to speak to.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, admin: str | None, data_dir: Path, **kwargs: Any) -> Any:
        from eventing.node.cli.node_client import NodeClient

        return command(*args, node=NodeClient(find_node(admin, data_dir)), **kwargs)

    return wrapped


def with_output(*formats: str) -> Callable[[Command], Command]:
    """Gives the command `output`, one of `formats`, or None for people."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        help="For scripts, on stdout alone.",
    )
