"""Which columns `get` shows of each kind."""

from collections.abc import Callable
from typing import Any

from eventing.node.cli.activity_lines import plain_destination
from eventing.node.cli.places import near
from eventing.node.cli.terminal import Part

Item = dict[str, Any]
Column = tuple[str, Callable[[Item], Part]]
"""A title (">" = of numbers) and what stands below it."""


def columns(kind: str, *, namespaced: bool, wide: bool) -> list[Column]:
    """Those of a kind; `namespaced` adds the namespace, `wide` what else is known."""
    name: list[Column] = [("NAME", lambda item: (item["name"], "bold"))]
    if namespaced and kind != "Namespace":
        name.insert(0, ("NAMESPACE", lambda item: item["namespace"]))
    own = [*name, *_READY, *_COLUMNS.get(kind, [])]
    if kind in _KEYED:
        own = [*name, ("KEYS", _keys)]
    if kind == "Namespace":
        own = name
    if wide:
        own += [*_WIDE.get(kind, []), ("SOURCE", _source), *_LAST.get(kind, [])]
    return own


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _figure(name: str) -> Callable[[Item], Part]:
    return lambda item: str(item["status"].get(name, "-"))


def _alarming(name: str) -> Callable[[Item], Part]:
    """A figure that is better zero."""

    def cell(item: Item) -> Part:
        value = item["status"].get(name)
        return (str(value), "red") if value else ("-" if value is None else "0")

    return cell


def _ready(item: Item) -> Part:
    return ("True", "green") if item["ready"] else ("False", "red")


def _workers(item: Item) -> Part:
    status = item["status"]
    if "starting" not in status:
        return "-"
    starting = f"+{status['starting']}" if status["starting"] else ""
    return f"{status['ready']}{starting}"


def _runs(item: Item) -> Part:
    status = item["status"]
    return status.get("image") or status.get("handler") or "-"


def _percent(item: Item) -> Part:
    percent = item["status"]["percent"]
    return (f"{percent:g}%", "bold") if percent else "0%"


def _bytes(item: Item) -> Part:
    return size(item["status"]["bytes"]) if "bytes" in item["status"] else "-"


def _keys(item: Item) -> Part:
    document = item["document"] or {}
    names = {**document.get("data", {}), **document.get("binaryData", {})}
    names |= document.get("stringData", {})
    return ", ".join(names) or "-"


def _sink(item: Item) -> Part:
    return plain_destination(item["status"].get("sink", "")) or "-"


def _lag(item: Item) -> Part:
    lag = item["status"].get("lag")
    return "-" if lag is None else str(lag)


def _moment(name: str) -> Callable[[Item], Part]:
    return lambda item: item["status"].get(name) or "-"


def _source(item: Item) -> Part:
    if item["applied"]:
        return "applied"
    return near(item["source"]) or "(implicit)"


_KEYED = ("ConfigMap", "Secret")

_READY: list[Column] = [("READY", _ready), ("REASON", lambda item: item["reason"])]

_OUT: list[Column] = [
    (">TAKEN", _figure("taken")),
    (">DEAD LETTERED", _alarming("deadLettered")),
    (">GIVEN UP", _alarming("givenUp")),
]
_STREAMED: list[Column] = [
    ("FROM", _figure("from")),
    ("SINK", _sink),
    ("STATE", _figure("state")),
    (">LAG", _lag),
    *_OUT,
]
_STORED: list[Column] = [
    ("TO", _figure("to")),
    (">STORED", _figure("stored")),
    (">FAILED", _alarming("failed")),
]

_FUNCTION: list[Column] = [
    (">WORKERS", _workers),
    (">IN FLIGHT", _figure("inFlight")),
    (">WAITING", _figure("waiting")),
    (">ANSWERED", _figure("answered")),
    (">COLD STARTS", _figure("coldStarts")),
    (">RESTARTS", _alarming("restarts")),
]

_COLUMNS: dict[str, list[Column]] = {
    "Broker": [
        (">EVENTS", _figure("events")),
        (">HEAD", _figure("head")),
        (">SIZE", _bytes),
        (">UNROUTED", _figure("unrouted")),
    ],
    "Trigger": [
        ("BROKER", lambda item: item["status"].get("broker", "-").removeprefix("default/")),
        ("SUBSCRIBER", lambda item: plain_destination(item["status"].get("subscriber", "")) or "-"),
        (">LAG", _figure("lag")),
        (">IN FLIGHT", _figure("in_flight")),
        (">RETRYING", _figure("retrying")),
        (">DEAD", _alarming("dead")),
    ],
    "Function": _FUNCTION,
    "Service": _FUNCTION,
    "InferenceService": _FUNCTION,
    "Revision": [
        ("FUNCTION", lambda item: item["status"]["function"].removeprefix("default/")),
        (">TRAFFIC", _percent),
        ("TAGS", lambda item: ", ".join(item["status"]["tags"]) or "-"),
        (">WORKERS", _workers),
        (">ANSWERED", _figure("answered")),
        ("RUNS", _runs),
    ],
    "KafkaSource": _STREAMED,
    "RedisStreamSource": _STREAMED,
    "PingSource": [
        ("SCHEDULE", _figure("from")),
        ("SINK", _sink),
        ("STATE", _figure("state")),
        ("LAST", _moment("lastTick")),
        ("NEXT", _moment("nextTick")),
        *_OUT,
    ],
    "KafkaSink": _STORED,
    "RedisStreamSink": _STORED,
}

_WIDE: dict[str, list[Column]] = {
    "Broker": [("URL", _figure("url"))],
    "Trigger": [
        (">DONE", _figure("done")),
        ("ORDER", _figure("order")),
    ],
    "Function": [("RUNS", _runs), ("REVISION", _figure("latestReadyRevisionName"))],
    "Service": [("RUNS", _runs), ("REVISION", _figure("latestReadyRevisionName"))],
    "InferenceService": [("RUNS", _runs), ("REVISION", _figure("latestReadyRevisionName"))],
    "KafkaSource": [(">PARTITIONS", _figure("partitions")), ("GROUP", _figure("group"))],
    "RedisStreamSource": [("GROUP", _figure("group"))],
    "KafkaSink": [("SERVERS", _figure("servers")), ("MODE", _figure("mode"))],
    "RedisStreamSink": [("SERVER", _figure("servers"))],
}

_LAST: dict[str, list[Column]] = {"Trigger": [("FILTER", _figure("filter"))]}
