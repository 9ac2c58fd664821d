"""Follows one event live to its end, each hop told as it happens."""

import time

from eventing.node.cli import terminal
from eventing.node.cli.activity_lines import summary, time_of, word
from eventing.node.cli.journey import Journey, Record
from eventing.node.cli.moments import took
from eventing.node.cli.names import short
from eventing.node.cli.node_client import NodeClient
from eventing.node.cli.nodes_activity import NodesActivity


def follow(
    journey: Journey, stream: NodesActivity, node: NodeClient, timeout: float, *, quiet: bool
) -> None:
    """Return when the journey has ended, or after `timeout` seconds. Raises StreamEnded."""
    stream.tell_unseen()
    deadline = time.monotonic() + timeout
    while not journey.ended:
        left = deadline - time.monotonic()
        record = stream.next(left) if left > 0 else None
        if record is None:
            return
        if record["record"] == "dropped":
            terminal.warning(f"the node is too busy to tell all: {record['count']} records missed")
        if journey.take(record) and not quiet:
            _tell(journey, record)
            if record["record"] == "accepted":
                _tell_held(record["triggers"], node)


def verdict(journey: Journey, timeout: float) -> int:
    """The last line, and the exit status."""
    if journey.outcome == "pending":
        terminal.note((f"not ended after {took(timeout)}", "bold yellow"))
        for trigger, attempt in journey.pending():
            told = "no attempt yet"
            if attempt is not None:
                told = f"attempt {attempt['attempt']} failed: {attempt['reason']}"
            terminal.note(f"  {short(trigger)}: {told}")
        if not journey.seen:
            terminal.note("  the node told nothing of it")
        return 1
    if journey.outcome == "unwanted":
        terminal.note(
            ("no trigger wanted it", "bold yellow"),
            "; 'eventing explain' with the same flags says why",
        )
        return 1
    first = journey.hops[0]
    seconds = journey.hops[-1]["at"] - first["at"] + first.get("seconds", 0.0)
    if journey.outcome == "failed":
        names = ", ".join(dict.fromkeys(short(each["trigger"]) for each in journey.failed))
        terminal.note(("failed", "bold red"), f" at {names}, after {took(seconds)}")
        return 1
    terminal.note(("done", "bold green"), f" in {took(seconds)}")
    return 0


def _tell(journey: Journey, record: Record) -> None:
    indent = "  " * journey.depth(record)
    terminal.line(
        time_of(record),
        "  ",
        word(record),
        f"  {indent}",
        (f"{record['event']['type']}  ", "dim") if record["record"] == "accepted" else "",
        *summary(record),
    )


def _tell_held(triggers: list[str], node: NodeClient) -> None:
    """Say of triggers that are not ready that they hold the event, and why."""
    for item in node.get("/api/v1/resources", kind="Trigger")["items"]:
        if f"{item['namespace']}/{item['name']}" in triggers and not item["ready"]:
            terminal.warning(
                f"trigger {item['name']} is not ready and holds the event: {item['message']}"
            )
