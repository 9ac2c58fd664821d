"""An event made from flags, a file or stdin: what `send` and `explain` have in common."""

import functools
import json
import mimetypes
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from eventing.errors import InvalidEvent, UserError
from eventing.event import Event, declares_json, validate_event
from eventing.json_format import decode_json
from eventing.node.cli import terminal
from eventing.node.cli.names import DEFAULT_BROKER, QualifiedName

Command = Callable[..., Any]

DEFAULT_SOURCE = "/eventing/cli"
_FLAGS = ("type", "source", "subject", "id")

_OPTIONS = (
    click.option("--type", "type", metavar="TYPE", help="Of the event, like order.created."),
    click.option("--source", metavar="URI", help=f"Default: {DEFAULT_SOURCE}"),
    click.option("--subject", metavar="TEXT"),
    click.option("--id", "id", metavar="TEXT", help="Default: a new one."),
    click.option("--data", metavar="TEXT", help="The event's data; - reads stdin."),
    click.option("--data-file", metavar="FILE", help="A file with the data; - reads stdin."),
    click.option(
        "--content-type",
        metavar="TYPE",
        help="Of the data. Default: by the file's name, or what the data looks like.",
    ),
    click.option(
        "--ext",
        "extensions",
        multiple=True,
        metavar="NAME=VALUE",
        help="An extension, or any other attribute. May be repeated.",
    ),
    click.option(
        "--event",
        "event_file",
        metavar="FILE",
        help="A whole event in JSON format; - reads stdin. Flags beside it count.",
    ),
    click.option(
        "--broker",
        type=QualifiedName("Broker"),
        default=DEFAULT_BROKER,
        show_default=True,
        help="Where it is sent.",
    ),
)


def with_event(command: Command) -> Command:
    """Gives the command `event`, an Event, and `broker`, its `namespace/name`."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        flags = {name: kwargs.pop(name) for name in _FLAGS}
        event = build_event(
            flags,
            kwargs.pop("extensions"),
            data=kwargs.pop("data"),
            data_file=kwargs.pop("data_file"),
            content_type=kwargs.pop("content_type"),
            event_file=kwargs.pop("event_file"),
        )
        return command(*args, event=event, **kwargs)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def build_event(
    flags: dict[str, str | None],
    extensions: tuple[str, ...],
    *,
    data: str | None,
    data_file: str | None,
    content_type: str | None,
    event_file: str | None,
) -> Event:
    """The event that is meant. Raises UserError, and click.UsageError for flags that can't be
    together."""
    if data is not None and data_file is not None:
        raise click.UsageError("--data and --data-file are both given; keep one of them")
    if event_file == "-" and "-" in (data, data_file):
        raise click.UsageError("--event and the data can't both be read from stdin")
    start = read_event(event_file) if event_file is not None else Event({"specversion": "1.0"})
    attributes = start.attributes | {name: text for name, text in flags.items() if text is not None}
    attributes |= assignments(extensions, "--ext")
    if "type" not in attributes:
        raise click.UsageError("what is the event's type? name it with --type, or give --event")
    attributes.setdefault("source", DEFAULT_SOURCE)
    attributes.setdefault("id", str(uuid.uuid4()))
    body = start.data
    if data is not None or data_file is not None:
        body = read_data(data, data_file)
        attributes.pop("datacontenttype", None)
        content_type = content_type or media_type(body, data_file)
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    event = Event(attributes, body)
    validate_event(event)
    return event


def read_event(file: str) -> Event:
    """The event in a JSON file. Raises UserError."""
    try:
        return decode_json(read_bytes(file))
    except InvalidEvent as error:
        raise UserError(f"{'stdin' if file == '-' else file}: {error}") from None


def read_data(text: str | None, file: str | None) -> bytes:
    """The data of --data or --data-file. Raises UserError."""
    if file is not None:
        return read_bytes(file)
    if text == "-":
        return read_bytes("-")
    try:
        return (text or "").encode()
    except UnicodeEncodeError:
        raise UserError("--data is no UTF-8; put it into a file and use --data-file") from None


def read_bytes(file: str) -> bytes:
    """A file's content, or that of stdin for "-". Raises UserError."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UserError(f"{file} can't be read: {(error.strerror or str(error)).lower()}") from None


def assignments(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """`name=value` texts as a dict. Raises click.UsageError."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} {text!r}: write it as NAME=VALUE")
        found[name] = value
    return found


def media_type(data: bytes, file: str | None) -> str:
    """What data most likely is, by its file's name and its look."""
    named = mimetypes.guess_type(file)[0] if file else None
    if named is not None:
        return named
    try:
        json.loads(data)
        return "application/json"
    except ValueError as error:
        mistake = error
    try:
        data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    if data.lstrip().startswith((b"{", b"[")):
        terminal.warning(
            f"the data looks like JSON but is none ({mistake}), so it is text/plain; "
            "mend it, or say what it is with --content-type"
        )
    return "text/plain; charset=utf-8"


def check_json(event: Event) -> None:
    """Raises UserError where the data is to be JSON and is none."""
    if event.data is None or not declares_json(event.attributes.get("datacontenttype", "")):
        return
    try:
        json.loads(event.data)
    except ValueError as error:
        raise UserError(
            f"the data is to be {event.attributes['datacontenttype']}, but is no JSON: {error}; "
            "mend it, or set another datacontenttype"
        ) from None
