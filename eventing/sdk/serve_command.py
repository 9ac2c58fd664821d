"""The options of `python -m eventing.serve`, and how its mistakes show: one line, no traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NoReturn

import click

from eventing.errors import EventingError, UserError
from eventing.sdk import container, plain_log
from eventing.sdk.function import Function
from eventing.sdk.http_server import bind
from eventing.sdk.project import Handler, Project, put_first
from eventing.sdk.serving import Settings, serve

MAX_EVENT_BYTES: Final = 64 << 20
"""As between a node and its workers."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("handler", metavar="MODULE:NAME")
@click.option(
    "--folder",
    metavar="DIR",
    default=".",
    show_default="the current one",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the handler's modules are.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="",
    show_default="every address",
    help="Where to listen; 127.0.0.1 keeps it on this machine.",
)
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    show_default="$PORT, else 8080",
    help="Where to listen; 0 = any free port.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    show_default="the decorator's, else none",
    help="How long a call may take.",
)
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(0),
    show_default="the decorator's, else 100",
    help="Calls of an async handler at a time; 0 = 100. A sync handler serves one.",
)
@click.option(
    "--grace",
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    help="How long what has begun may take to end after SIGTERM.",
)
@click.option(
    "--max-event-bytes",
    metavar="N",
    default=MAX_EVENT_BYTES,
    show_default=True,
    type=click.IntRange(1),
    help="The largest request that is taken.",
)
@click.option("--access-log", is_flag=True, help="A line on stderr for each request.")
@click.option("--check", is_flag=True, help="Import the handler, say so, and end.")
def command(
    handler: str,
    folder: Path,
    host: str,
    port: int | None,
    timeout: float | None,
    concurrency: int | None,
    grace: float,
    max_event_bytes: int,
    access_log: bool,
    check: bool,
) -> None:
    """Serve a handler over HTTP: `python -m eventing.serve app:thumbnail`.

    Takes CloudEvents by POST, answers with the handler's replies. GET /healthz is 200 once it is
    ready. SIGTERM ends it in order.
    """
    try:
        plain_log.start()
        found = _load(handler, folder)
        if check:
            click.echo(f"{found.name} at {handler} can be served")
            return
        port = container.port(os.environ) if port is None else port
        _serve(
            found,
            host,
            port,
            timeout=timeout,
            concurrency=concurrency,
            grace=grace,
            max_event_bytes=max_event_bytes,
            access_log=access_log,
        )
    except EventingError as error:
        _fail(error)


def _load(address: str, folder: Path) -> Handler:
    put_first([str(folder.resolve())])
    handler = Project().handler(address)
    if isinstance(handler.target, Function):
        for name, value in handler.target.options.env.items():
            os.environ.setdefault(name, value)
    return handler


def _serve(
    handler: Handler,
    host: str,
    port: int,
    *,
    timeout: float | None,
    concurrency: int | None,
    grace: float,
    max_event_bytes: int,
    access_log: bool,
) -> NoReturn:
    if isinstance(handler.target, Function):
        options = handler.target.options
        timeout = options.timeout if timeout is None else timeout
        concurrency = options.concurrency if concurrency is None else concurrency
    settings = Settings(
        name=container.function_name(os.environ, handler.name),
        namespace=container.namespace(os.environ),
        timeout=timeout,
        concurrency=concurrency or 0,
        grace=grace,
        max_event_bytes=max_event_bytes,
        access_log=access_log,
    )
    serve(handler, bind(host, port), settings)


def _fail(error: EventingError) -> NoReturn:
    """The first line says it all; a traceback of the user's own import may follow it."""
    first = str(error).partition("\n")[0]
    click.echo(f"eventing.serve: {first}", err=True)
    sys.exit(2 if isinstance(error, UserError) else 1)
