"""How records of what happens to events read, for `tail`, `send --wait` and `redrive --wait`."""

from typing import Any

from eventing.node.cli.moments import clock, took
from eventing.node.cli.names import DEFAULT_BROKER, short
from eventing.node.cli.terminal import Part

Record = dict[str, Any]

STYLES = {
    "done": "green",
    "retry": "yellow",
    "dead_letter": "red",
    "dead": "bold red",
    "accepted": "cyan",
}
ROLLOUT_STYLES = {"complete": "green", "rolled back": "red", "rolling": "yellow"}
LEVEL_STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
"""Of log lines; those that are missing have none."""

WORDS = {"dead_letter": "failed", "dead": "dead"}
_WORD_WIDTH = 8
_SLOW_START = 0.001
"""Seconds before the handler was entered, from which on they are worth telling."""


def word(record: Record) -> Part:
    """The record in one word, as wide as any of them."""
    outcome: str = record["outcome" if record["record"] == "attempt" else "record"]
    if record.get("stage") == "dead_letter" and outcome == "done":
        return ("to sink".ljust(_WORD_WIDTH), "red")
    return (WORDS.get(outcome, outcome).ljust(_WORD_WIDTH), STYLES[outcome])


def time_of(record: Record) -> Part:
    return (clock(record["at"]), "dim")


def summary(record: Record) -> list[Part]:
    """Everything after the event's name."""
    return _accepted(record) if record["record"] == "accepted" else _attempt(record)


def _accepted(record: Record) -> list[Part]:
    elsewhere = record["broker"] != DEFAULT_BROKER
    parts: list[Part] = [(f"in {record['broker']} ", "dim")] if elsewhere else []
    if not record["triggers"]:
        return [*parts, ("no trigger wants it", "yellow")]
    return [*parts, ("→ ", "dim"), ", ".join(short(each) for each in record["triggers"])]


def _attempt(record: Record) -> list[Part]:
    parts: list[Part] = [(short(record["trigger"]), "bold")]
    destination = record["destination"]
    if record["stage"] == "dead_letter":
        parts.append((f" dead-letter sink {plain_destination(destination)}", "dim"))
    elif plain_destination(destination) != short(record["trigger"]):
        parts.append((f" → {plain_destination(destination)}", "dim"))
    parts.append(f"  {took(record['seconds'])}")
    started = record["started"]
    if started is not None and started >= _SLOW_START:
        parts.append((f" ({took(started)} until the handler began)", "dim"))
    if record["attempt"] > 1 or record["outcome"] != "done":
        parts.append((f"  attempt {record['attempt']}", "dim"))
    if record["outcome"] != "done":
        reason = record["reason"] or "no reason given"
        status = f"{record['status']} " if record["status"] else ""
        parts.append((f"  {status}{reason}", STYLES[record["outcome"]]))
    if record["outcome"] == "retry":
        parts.append((f", again in {took(max(0.0, record['retry_at'] - record['at']))}", "dim"))
    elif record["outcome"] == "dead_letter":
        parts.append((", goes to the dead-letter sink", "dim"))
    elif record["outcome"] == "dead":
        parts.append((", kept in 'eventing dead-letters'", "dim"))
    for reply in record["replies"]:
        parts += [("  ↳ ", "dim"), reply["type"]]
    return parts


def plain_destination(destination: str) -> str:
    """`function:default/hello` as `hello`; URIs, and brokers, as they are."""
    if destination.startswith("function:"):
        return short(destination.removeprefix("function:"))
    return destination
