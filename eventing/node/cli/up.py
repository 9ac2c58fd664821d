"""`eventing up`: run a node until it is told to stop."""

import logging
import os
import re
import sys
from pathlib import Path

import click

from eventing.errors import UserError
from eventing.node.config import DEFAULT_ADMIN_PORT, DEFAULT_DATA, DEFAULT_PORT, NodeConfig

PORT = click.IntRange(0, 65535)
_NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")


def _engine_url(context: click.Context, option: click.Parameter, url: str) -> str:
    from eventing.node.engines import parse_engine_url

    try:
        parse_engine_url(url)
    except UserError as error:
        raise click.BadParameter(str(error)) from None
    return url


def _node_name(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    if name is None or _NODE_NAME.fullmatch(name):
        return name
    raise click.BadParameter("it is made of letters, digits, and - . _ between them; 128 at most")


@click.command("up")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option("--reload", is_flag=True, help="Make changed files live as they are saved.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the ingress.")
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=PORT,
    help="Port of the ingress; 0 takes a free one.",
)
@click.option(
    "--admin-host",
    default="127.0.0.1",
    show_default=True,
    help="Address of the admin API. Whoever reaches it may do everything.",
)
@click.option(
    "--admin-port",
    default=DEFAULT_ADMIN_PORT,
    show_default=True,
    type=PORT,
    help="Port of the admin API; 0 takes a free one.",
)
@click.option(
    "--data",
    "--data-dir",
    "data",
    default=DEFAULT_DATA,
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the brokers and of what is applied.",
)
@click.option(
    "--grace",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.1),
    help="Seconds that what is in flight has to end at shutdown.",
)
@click.option(
    "--max-event-bytes",
    default=16 << 20,
    show_default=True,
    type=click.IntRange(1024),
    help="Size of an event the ingress takes.",
)
@click.option(
    "--scale-to-zero-grace",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.0),
    help="Seconds a function's last worker stays after the decision for none.",
)
@click.option(
    "--tokens",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of bearer tokens, one a line, of those who may send events.",
)
@click.option(
    "--broker",
    default="embedded",
    show_default=True,
    envvar="EVENTING_BROKER",
    metavar="URL",
    callback=_engine_url,
    help="Where brokers live that name no class: kafka://host:port, redis://host:port, or embedded."
    " From the environment: EVENTING_BROKER.",
)
@click.option(
    "--node-name",
    envvar="EVENTING_NODE_NAME",
    metavar="NAME",
    callback=_node_name,
    help="Tells this node from others of the same engine. Default: made up, and kept in --data."
    " From the environment: EVENTING_NODE_NAME.",
)
@click.option(
    "--container-engine",
    envvar="EVENTING_CONTAINER_ENGINE",
    metavar="URL",
    help="What runs functions in containers: unix:///path/of/socket or tcp://host:port of Docker or"
    " Podman. Default: DOCKER_HOST, else a socket at the usual places. From the environment:"
    " EVENTING_CONTAINER_ENGINE.",
)
def command(
    paths: tuple[Path, ...],
    reload: bool,
    host: str,
    port: int,
    admin_host: str,
    admin_port: int,
    data: Path,
    grace: float,
    max_event_bytes: int,
    scale_to_zero_grace: float,
    tokens: Path | None,
    broker: str,
    node_name: str | None,
    container_engine: str | None,
) -> int:
    """Run a node from PATHS: YAML files, Python files, or folders of both.

    SIGTERM and Ctrl-C stop it: it takes no more events, lets what is in flight end, and exits 0.
    A second signal ends it at once; nothing that was accepted is lost then either.
    """
    _log_to_stderr()
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    # Imported late: the checks of the arguments above need none of it.
    from eventing.node.process import run_node

    return run_node(
        NodeConfig(
            paths=paths,
            data=data,
            host=host,
            port=port,
            admin_host=admin_host,
            admin_port=admin_port,
            reload=reload,
            grace=grace,
            max_event_bytes=max_event_bytes,
            scale_to_zero_grace=scale_to_zero_grace,
            tokens=tokens,
            broker=broker,
            name=node_name,
            container_engine=container_engine,
        )
    )


_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


class _ForTerminals(logging.Formatter):
    """The time of day, dim, and the level in its colour."""

    def format(self, record: logging.LogRecord) -> str:
        time = click.style(self.formatTime(record, "%H:%M:%S"), dim=True)
        level = click.style(f"{record.levelname:<7}", fg=_COLOURS.get(record.levelname, "cyan"))
        return f"{time} {level} {super().format(record)}"


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        handler.setFormatter(_ForTerminals())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
