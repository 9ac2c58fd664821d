"""`eventing dead-letters`: what was given up, and the way back."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote

import click

from eventing.errors import UserError
from eventing.event import Event
from eventing.json_format import decode_object, encode_object
from eventing.node.cli import terminal
from eventing.node.cli.event_options import assignments, check_json, read_data
from eventing.node.cli.following import follow, verdict
from eventing.node.cli.journey import Journey
from eventing.node.cli.letter_ids import LetterId, LetterIdType
from eventing.node.cli.letter_text import tell_letter
from eventing.node.cli.moments import Span, age
from eventing.node.cli.names import DEFAULT_BROKER, QualifiedName, short
from eventing.node.cli.node_client import NodeClient, NotThere
from eventing.node.cli.nodes_activity import NodesActivity
from eventing.node.cli.shared_options import with_node, with_output
from eventing.node.cli.terminal import Part

Letter = dict[str, Any]
PAGE = 500


@click.group("dead-letters")
def command() -> None:
    """Events whose attempts are spent, and that no dead-letter sink took.

    They stay until they are redriven or dropped, whatever the node goes through meanwhile.
    """


def _with_filters(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.option(
        "--broker", type=QualifiedName("Broker"), help="Those of this broker alone."
    )(function)
    return click.option(
        "--trigger", type=QualifiedName("Trigger"), help="Those of this trigger alone."
    )(function)


@command.command("list")
@_with_filters
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Of the list.")
@click.option("--all", "every", is_flag=True, help="Without a limit.")
@with_output("json")
@with_node
def list_(
    node: NodeClient,
    broker: str | None,
    trigger: str | None,
    limit: int,
    every: bool,
    output: str | None,
) -> int:
    """List them, oldest first."""
    letters = _letters(node, broker, trigger)
    shown = list(letters if every else islice(letters, limit))
    more = next(letters, None) is not None
    if output:
        terminal.write_json({"items": shown, "more": more})
        return 0
    if not shown:
        terminal.note("there are no dead letters")
        return 0
    rows = [
        [
            (str(_id(letter)), "bold"),
            age(letter["at"]),
            short(letter["trigger"]) or "-",
            letter["event"]["type"],
            letter["event"].get("subject") or letter["event"]["id"],
            str(letter["attempts"]),
            f"{letter['code'] or ''} {letter['reason']}".strip(),
        ]
        for letter in shown
    ]
    terminal.table(["ID", "AGE", "TRIGGER", "TYPE", "SUBJECT OR ID", ">TRIED", "REASON"], rows)
    if more:
        terminal.note(("there are more: --all lists them, --limit sets how many", "dim"))
    return 0


@command.command("show")
@click.argument("id", type=LetterIdType())
@with_output("json")
@with_node
def show(node: NodeClient, id: LetterId, output: str | None) -> int:
    """Show one whole: the event, its data, and why it failed."""
    letter = node.get(id.path)
    if output:
        terminal.write_json(letter)
    else:
        tell_letter(id, letter)
    return 0


@command.command("redrive")
@click.argument("ids", nargs=-1, type=LetterIdType())
@click.option("--all", "every", is_flag=True, help="All of them, or of the trigger or broker.")
@_with_filters
@click.option("--data", metavar="TEXT", help="Send this data in place of its own; - reads stdin.")
@click.option("--data-file", metavar="FILE", help="The same from a file; - reads stdin.")
@click.option("--edit", is_flag=True, help="Edit its data in $EDITOR on the way.")
@click.option(
    "--set-attr",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change an attribute of the event on the way; an empty value removes it.",
)
@click.option("--wait", is_flag=True, help="Follow each to its end; exit 1 if one fails again.")
@click.option("--timeout", type=Span(), default="60s", show_default=True, help="Of --wait, each.")
@with_node
def redrive(
    node: NodeClient,
    ids: tuple[LetterId, ...],
    every: bool,
    broker: str | None,
    trigger: str | None,
    data: str | None,
    data_file: str | None,
    edit: bool,
    changes: tuple[str, ...],
    wait: bool,
    timeout: float,
) -> int:
    """Deliver dead letters to their trigger again, as if they had just come.

    \b
    eventing dead-letters redrive 12
    eventing dead-letters redrive 12 --data '{"amount": 5}' --wait
    eventing dead-letters redrive --all --trigger bill

    Only their own trigger gets them. They leave the dead letters, and return if they fail again.
    """
    if sum((data is not None, data_file is not None, edit)) > 1:
        raise click.UsageError("give one of --data, --data-file and --edit")
    replaces_data = data is not None or data_file is not None or edit
    chosen = _chosen(node, ids, every, broker, trigger)
    if replaces_data and len(chosen) != 1:
        raise click.UsageError("new data is for one dead letter alone; name its id")
    attributes = assignments(changes, "--set-attr")
    body = read_data(data, data_file) if replaces_data and not edit else None
    status = 0
    for id in chosen:
        letter = node.get(id.path)
        event = decode_object(letter["event"])
        if edit:
            body = _edited(event, id)
        changed = _changed(event, attributes, body)
        status |= _redrive(node, id, letter, changed, timeout if wait else None)
    if not chosen:
        terminal.note("there are no dead letters")
    return status


@command.command("drop")
@click.argument("ids", nargs=-1, type=LetterIdType())
@click.option("--all", "every", is_flag=True, help="All of them, or of the trigger or broker.")
@_with_filters
@click.option("--yes", is_flag=True, help="Don't ask.")
@with_node
def drop(
    node: NodeClient,
    ids: tuple[LetterId, ...],
    every: bool,
    broker: str | None,
    trigger: str | None,
    yes: bool,
) -> int:
    """Remove dead letters for good."""
    chosen = _chosen(node, ids, every, broker, trigger)
    if not chosen:
        terminal.note("there are no dead letters")
        return 0
    what = f"dead letter {chosen[0]}" if len(chosen) == 1 else f"{len(chosen)} dead letters"
    if not yes:
        if not terminal.is_interactive():
            raise click.UsageError("nobody is there to be asked; --yes drops without asking")
        click.confirm(f"Drop {what} for good?", abort=True, err=True)
    for id in chosen:
        node.delete(id.path)
    terminal.line(("dropped ", "bold"), what)
    return 0


def _letters(node: NodeClient, broker: str | None, trigger: str | None) -> Iterator[Letter]:
    """Page by page, broker by broker, for ids are a broker's own."""
    brokers = [
        f"{item['namespace']}/{item['name']}"
        for item in node.get("/api/v1/resources", kind="Broker")["items"]
    ]
    if broker is not None and broker not in brokers:
        raise NotThere(f"there is no broker {broker}")
    for each in sorted([broker] if broker is not None else brokers):
        after = 0
        while True:
            items = node.get(
                "/api/v1/dead-letters", broker=each, trigger=trigger, after=after, limit=PAGE
            )["items"]
            yield from items
            if len(items) < PAGE:
                break
            after = items[-1]["id"]


def _id(letter: Letter) -> LetterId:
    return LetterId(letter["broker"], letter["id"])


def _chosen(
    node: NodeClient,
    ids: tuple[LetterId, ...],
    every: bool,
    broker: str | None,
    trigger: str | None,
) -> list[LetterId]:
    if every:
        if ids:
            raise click.UsageError("give ids or --all, not both")
        return [_id(letter) for letter in list(_letters(node, broker, trigger))]
    if not ids:
        raise click.UsageError("which ones? give their ids, or --all")
    if trigger is not None:
        raise click.UsageError("--trigger goes with --all")
    if broker is not None:
        ids = tuple(
            LetterId(broker, id.number) if id.broker == DEFAULT_BROKER else id for id in ids
        )
    return list(dict.fromkeys(ids))


def _edited(event: Event, id: LetterId) -> bytes:
    try:
        text = (event.data or b"").decode()
    except UnicodeDecodeError:
        raise UserError(
            f"the data of dead letter {id} is no text; replace it with --data-file"
        ) from None
    suffix = ".json" if "json" in event.attributes.get("datacontenttype", "") else ".txt"
    edited = click.edit(text, extension=suffix, require_save=True)
    if edited is None:
        raise UserError(f"not saved: dead letter {id} stays as it is")
    # Editors end a file with a line end that the data did not have.
    return edited.encode() if text.endswith("\n") else edited.removesuffix("\n").encode()


def _changed(event: Event, attributes: dict[str, str], data: bytes | None) -> Event | None:
    """The event to deliver in place of the dead one; None where nothing is changed."""
    if not attributes and data is None:
        return None
    merged = event.attributes | attributes
    merged = {name: value for name, value in merged.items() if value or name not in attributes}
    changed = Event(merged, event.data if data is None else data)
    check_json(changed)
    return changed


def _redrive(
    node: NodeClient, id: LetterId, letter: Letter, changed: Event | None, timeout: float | None
) -> int:
    event = changed or decode_object(letter["event"])
    body = {"event": encode_object(changed)} if changed is not None else None
    path = f"{quote(id.path)}/redrive"
    told: list[Part] = [("redriven ", "bold"), f"{id} to {_goal(letter)}"]
    if timeout is None:
        _post_redrive(node, path, body)
        terminal.line(*told)
        return 0
    journey = Journey((event.attributes["source"], event.attributes["id"]))
    if letter["trigger"]:
        journey.redriven(letter["trigger"])
    with NodesActivity(node) as stream:
        _post_redrive(node, path, body)
        terminal.line(*told)
        follow(journey, stream, node, timeout, quiet=False)
    return verdict(journey, timeout)


def _goal(letter: Letter) -> str:
    return short(letter["trigger"]) or f"broker {short(letter['broker'])}"


def _post_redrive(node: NodeClient, path: str, body: dict[str, Any] | None) -> None:
    if body is None:
        node.post_bytes(path, b"")
    else:
        node.post(path, body)
