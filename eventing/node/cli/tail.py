"""`eventing tail`: every event's way, as it happens."""

from fnmatch import fnmatchcase
from typing import Any

import click

from eventing.node.cli import terminal
from eventing.node.cli.activity_lines import LEVEL_STYLES, ROLLOUT_STYLES, summary, time_of, word
from eventing.node.cli.names import QualifiedName, short
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.nodes_activity import NodesActivity
from eventing.node.cli.shared_options import with_node, with_output

Record = dict[str, Any]

_TYPE_WIDTH = 24
_ID_WIDTH = 12


@click.command("tail")
@click.option("--type", "types", multiple=True, help="Events of this type; * stands for anything.")
@click.option("--trigger", type=QualifiedName("Trigger"), help="What this trigger does.")
@click.option("--broker", type=QualifiedName("Broker"), help="What happens in this broker.")
@click.option("--failed", is_flag=True, help="Attempts that failed, and dead letters, alone.")
@click.option("--logs", is_flag=True, help="Also what functions print and log.")
@with_output("json")
@with_node
def command(
    node: NodeClient,
    types: tuple[str, ...],
    trigger: str | None,
    broker: str | None,
    failed: bool,
    logs: bool,
    output: str | None,
) -> int:
    """Watch events from now on, until Ctrl-C.

    Each event is told when it is accepted, with the triggers that take it, and at every attempt:
    done, retry (with the time of the next), failed (it goes to the dead-letter sink), dead (it is
    kept in the broker's dead letters).

    With -o json each line is a JSON object.
    """
    wanted = _Wanted(node, types, trigger, broker, failed, logs)
    with NodesActivity(node) as stream:
        if not output:
            terminal.note(("watching; Ctrl-C ends it", "dim"))
        stream.tell_unseen()
        while True:
            record = stream.next()
            if record is None or not wanted(record):
                continue
            if output:
                terminal.write_json(record, indent=None)
            else:
                _tell(record)


class _Wanted:
    """Whether a record passes the filters."""

    def __init__(
        self,
        node: NodeClient,
        types: tuple[str, ...],
        trigger: str | None,
        broker: str | None,
        failed: bool,
        logs: bool,
    ) -> None:
        self._node = node
        self._types = types
        self._trigger = trigger
        self._broker = broker
        self._failed = failed
        self._logs = logs
        self._broker_of: dict[str, str] = {}

    def __call__(self, record: Record) -> bool:
        match record["record"]:
            case "log":
                return self._logs
            case "accepted":
                if self._failed or (self._broker and record["broker"] != self._broker):
                    return False
                if self._trigger and self._trigger not in record["triggers"]:
                    return False
            case "attempt":
                done = record["outcome"] == "done" and record["stage"] == "subscriber"
                if self._failed and done:
                    return False
                if self._trigger and record["trigger"] != self._trigger:
                    return False
                if self._broker and self._of_trigger(record["trigger"]) != self._broker:
                    return False
            case _:
                return True
        kind = record["event"]["type"]
        return not self._types or any(fnmatchcase(kind, each) for each in self._types)

    def _of_trigger(self, trigger: str) -> str:
        """The trigger's broker; asked again where it came after the last look."""
        if trigger not in self._broker_of:
            self._broker_of = {
                f"{item['namespace']}/{item['name']}": item["status"].get("broker", "")
                for item in self._node.get("/api/v1/resources", kind="Trigger")["items"]
            }
            self._broker_of.setdefault(trigger, "")
        return self._broker_of[trigger]


def _tell(record: Record) -> None:
    match record["record"]:
        case "accepted" | "attempt":
            event = record["event"]
            terminal.line(
                time_of(record),
                "  ",
                word(record),
                "  ",
                _fitted(event["type"], _TYPE_WIDTH),
                "  ",
                (_fitted(event["id"], _ID_WIDTH), "dim"),
                "  ",
                *summary(record),
            )
        case "log":
            terminal.line(
                time_of(record),
                "  ",
                ("log       ", "blue"),
                (f"{short(record['function'])}: ", "dim"),
                (record["text"], LEVEL_STYLES.get(record["level"], "")),
            )
        case "reload":
            terminal.line(time_of(record), "  ", ("not reloaded", "bold red"))
            terminal.line((record["error"], "red"))
        case "rollout":
            reason = f": {record['reason']}" if record["reason"] else ""
            terminal.line(
                time_of(record),
                "  ",
                ("rollout   ", "magenta"),
                (f"{short(record['function'])}  ", "bold"),
                f"{record['from']} → {record['to']}, {record['percent']:g}% of the calls, ",
                (record["state"], ROLLOUT_STYLES[record["state"]]),
                reason,
            )
        case "dropped":
            terminal.warning(f"the node is too busy to tell all: {record['count']} records missed")


def _fitted(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"
