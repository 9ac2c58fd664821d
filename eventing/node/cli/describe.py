"""`eventing describe`: everything about one resource, for people."""

from typing import Any

import click

from eventing.node.cli import terminal
from eventing.node.cli.activity_lines import ROLLOUT_STYLES
from eventing.node.cli.manifests import manifest
from eventing.node.cli.moments import moment, took
from eventing.node.cli.names import short
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.places import near
from eventing.node.cli.resource_choice import find_one, with_resource
from eventing.node.cli.resource_tables import size
from eventing.node.cli.shared_options import with_node, with_output
from eventing.node.cli.terminal import Part
from eventing.node.cli.traffic_figures import rows_of_one, tell_by_revision

Item = dict[str, Any]
Row = tuple[str, Part]

_LETTERS = 5
"""Dead letters that are shown of a trigger."""


@click.command("describe")
@with_resource
@with_output("json", "yaml")
@with_node
def command(node: NodeClient, kind: str, namespace: str, name: str, output: str | None) -> int:
    """Show everything about the resource KIND NAME: its condition, its figures, its last errors,
    and the place it comes from.

    \b
    eventing describe trigger bill
    eventing describe function bill
    """
    item = find_one(node, kind, namespace, name)
    if output:
        terminal.write(manifest(item), output)
        return 0
    terminal.line((f"{kind} ", "bold cyan"), (name, "bold"))
    _tell([("Namespace", item["namespace"])] if item["namespace"] else [])
    _tell([("Source", _source(item)), ("Ready", _condition(item))])
    match kind:
        case "Broker":
            _tell(_broker(item["status"]))
            _tell_triggers(node, f"{namespace}/{name}")
        case "Trigger":
            _tell(_trigger(item["status"]))
            _tell_letters(node, f"{namespace}/{name}")
        case "KafkaSource" | "RedisStreamSource" | "PingSource":
            _tell(_source_rows(kind, item["status"]))
        case "KafkaSink" | "RedisStreamSink":
            _tell(_sink_rows(item["status"]))
        case "Function" | "Service" | "InferenceService":
            _tell(_function(item["status"]))
            _tell_policies(item["status"])
            _tell_traffic(item["status"])
            _tell_errors(item["status"])
        case "Revision":
            _tell(_revision(item["status"]))
    if item["document"] is not None:
        _tell_document(item["document"])
    return 0


def _tell(rows: list[Row]) -> None:
    for title, value in rows:
        terminal.line((f"{title:<16}", "dim"), value)


def _source(item: Item) -> str:
    if item["applied"]:
        return "applied"
    return near(item["source"]) or "there without being declared"


def _condition(item: Item) -> Part:
    if item["ready"]:
        return ("yes", "green")
    return (f"no: {item['reason']}, {item['message']}", "red")


def _broker(status: Item) -> list[Row]:
    if "head" not in status:
        return []
    return [
        ("Address", status["url"]),
        ("Kept in", status["engine"]),
        ("Log", f"{status['events']} events, newest at position {status['head']}"),
        ("Size", size(status["bytes"])),
        ("Unrouted", f"{status['unrouted']} events no trigger wanted, since the last change"),
    ]


def _trigger(status: Item) -> list[Row]:
    if not status:
        return []
    rows: list[Row] = [
        ("Broker", short(status["broker"])),
        ("Wants", status["filter"]),
        ("Subscriber", status["subscriber"] or ("not resolved", "red")),
        ("Order", status["order"]),
    ]
    if "lag" in status:
        rows += [
            ("Lag", f"{status['lag']} events not settled"),
            ("In flight", str(status["in_flight"])),
            ("Retrying", str(status["retrying"])),
            ("Dead letters", (str(status["dead"]), "red" if status["dead"] else "")),
        ]
    if "attempts" in status:
        rows.append(
            (
                "Attempts",
                f"{status['attempts']}: {status['done']} done, {status['retried']} retried, "
                f"{status['dead_lettered']} to the dead-letter sink, "
                f"{status['given_up']} given up (since the node's start)",
            )
        )
    return rows


def _source_rows(kind: str, status: Item) -> list[Row]:
    """Figures are those of this node, since its start."""
    rows: list[Row] = [("Sink", status.get("sink") or ("not resolved", "red"))]
    if status.get("deadLetterSink"):
        rows.append(("Dead letters to", status["deadLetterSink"]))
    if "state" not in status:
        return rows
    if kind == "PingSource":
        rows += [
            ("Schedule", status["from"]),
            ("Last", status["lastTick"] or "never"),
            ("Next", status["nextTick"] or "never"),
        ]
        if status["skipped"]:
            rows.append(("Skipped", (str(status["skipped"]), "red")))
    else:
        rows += [("From", status["from"]), ("Group", status["group"])]
        if "partitions" in status:
            rows.append(("Partitions", f"{status['partitions']} on this node"))
        if status["lag"] is not None:
            rows.append(("Lag", str(status["lag"])))
        rows.append(("Unreadable", (str(status["unreadable"]), _red(status["unreadable"]))))
    rows += [
        ("State", status["state"]),
        (
            "Events",
            f"{status['taken']} taken by the sink, {status['deadLettered']} dead-lettered, "
            f"{status['givenUp']} given up, {status['inFlight']} in flight; "
            f"{status['failedAttempts']} attempts failed (here, since its start)",
        ),
    ]
    if status["obstacle"]:
        rows.append(("Waits for", (status["obstacle"], "red")))
    return rows


def _sink_rows(status: Item) -> list[Row]:
    if not status:
        return []
    rows: list[Row] = [("To", status["to"]), ("Server", status["servers"])]
    if "mode" in status:
        rows.append(("Mode", status["mode"]))
    rows += [
        ("Stored", f"{status['stored']} (by this node, since its start)"),
        ("Failed", (str(status["failed"]), _red(status["failed"]))),
    ]
    return rows


def _red(count: int) -> str:
    return "red" if count else ""


def _function(status: Item) -> list[Row]:
    if "starting" not in status:
        return []  # it does not run here
    return [
        *_at_work(status),
        ("Cold starts", _cold_starts(status)),
        ("Restarts", (str(status["restarts"]), _red(status["restarts"]))),
        ("Killed", (str(status["kills"]), _red(status["kills"]))),
    ]


def _at_work(status: Item) -> list[Row]:
    runs = ("Image", status["image"]) if "image" in status else ("Handler", status["handler"])
    return [
        runs,
        (
            "Workers",
            f"{status['ready']} ready, {status['starting']} starting, "
            f"{status['draining']} draining",
        ),
        ("Calls", f"{status['inFlight']} in flight, {status['waiting']} waiting"),
        ("Answered", str(status["answered"])),
    ]


def _revision(status: Item) -> list[Row]:
    rows: list[Row] = [
        ("Function", short(status["function"])),
        ("Made", moment(status["created"])),
        ("Traffic", f"{status['percent']:g}% of the calls"),
    ]
    if status["tags"]:
        rows.append(("Tags", ", ".join(status["tags"])))
    if "answered" in status:
        rows += _at_work(status)
    if "trafficFigures" in status:
        rows += rows_of_one(status["trafficFigures"])
    return rows


def _tell_policies(status: Item) -> None:
    policies = [policy.replace("/", " ", 1) for policy in status.get("policies", ())]
    if policies:
        shown = (
            f"{kind} {short(key)}" for kind, _, key in (each.partition(" ") for each in policies)
        )
        _tell([("Calls follow", ", ".join(shown))])


def _tell_traffic(status: Item) -> None:
    """Where it says more than that there is one revision."""
    traffic = status.get("traffic", [])
    rollout = status.get("rollout")
    if len(traffic) > 1 or rollout is not None:
        terminal.line()
        terminal.line(("Traffic", "bold"))
        for entry in traffic:
            tag = f", tag {entry['tag']}" if "tag" in entry else ""
            latest = ", the latest" if entry["latestRevision"] else ""
            terminal.line(f"  {entry['percent']:>5g}%  {entry['revisionName']}{latest}{tag}")
    if rollout is not None:
        colour = ROLLOUT_STYLES[rollout["state"]]
        reason = f": {rollout['reason']}" if rollout["reason"] else ""
        terminal.line(
            f"  rollout from {rollout['from']} to {rollout['to']}: ",
            (rollout["state"], colour),
            reason,
        )
    if "trafficFigures" in status:
        tell_by_revision(status["trafficFigures"])


def _cold_starts(status: Item) -> str:
    times = sorted(status["coldStartSeconds"])
    if not times:
        return str(status["coldStarts"])
    middle = times[len(times) // 2]
    return f"{status['coldStarts']}, of the last {len(times)}: median {took(middle)}, " + (
        f"slowest {took(times[-1])}"
    )


def _tell_errors(status: Item) -> None:
    errors = status.get("errors") or []
    if errors:
        terminal.line()
        terminal.line(("Last errors of workers", "bold"))
    for error in errors:
        terminal.line(f"  {error}")


def _tell_triggers(node: NodeClient, broker: str) -> None:
    items = node.get("/api/v1/resources", kind="Trigger")["items"]
    own = [item for item in items if item["status"].get("broker") == broker]
    if own:
        terminal.line()
        terminal.line(("Triggers", "bold"))
    for item in sorted(own, key=lambda item: str(item["name"])):
        terminal.line(
            f"  {short(item['namespace'] + '/' + item['name'])}  ",
            (item["status"]["filter"], "dim"),
        )


def _tell_letters(node: NodeClient, trigger: str) -> None:
    letters = node.get("/api/v1/dead-letters", trigger=trigger, limit=1000)["items"]
    if not letters:
        return
    terminal.line()
    terminal.line(("Last dead letters", "bold"))
    for letter in letters[-_LETTERS:]:
        terminal.line(f"  {letter['id']}  {letter['event']['type']}  ", (letter["reason"], "red"))
    terminal.line((f"  'eventing dead-letters list --trigger {short(trigger)}' has all", "dim"))


def _tell_document(document: Item) -> None:
    import yaml

    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    terminal.line()
    terminal.line(("As written", "bold"))
    for row in text.rstrip().splitlines():
        terminal.line(f"  {row}")
