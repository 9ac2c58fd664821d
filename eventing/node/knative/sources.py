"""Sources of events, and sinks in other engines."""

import json
import re
from collections.abc import Iterator

from eventing.node.knative.delivery import delivery
from eventing.node.knative.manifest import Document, Manifest, Notes
from eventing.node.knative.scope import Scope
from eventing.resources import (
    KafkaSink,
    KafkaSource,
    PingSource,
    RedisStreamSink,
    RedisStreamSource,
    Source,
)
from eventing.resources.durations import parse_go_duration
from eventing.resources.schedule import zone_of

_EVERY = re.compile(r"@every\s+(\S+)")
_SUNDAY = re.compile(r"(\w+)-7")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def sources(scope: Scope, notes: Notes) -> Iterator[Manifest]:
    for source in scope.each(Source):
        document = scope.document(source)
        spec = document["spec"]
        spec["sink"] = scope.destination(source, source.spec.sink, ("spec", "sink"), notes)
        match source:
            case PingSource():
                if not _can_tick(source, spec, notes):
                    continue
            case KafkaSource():
                _kafka(source, spec, scope, notes)
            case RedisStreamSource():
                _redis(source, spec, notes)
        yield Manifest(document, source.source)


def sinks(scope: Scope) -> Iterator[Manifest]:
    for kind in (KafkaSink, RedisStreamSink):
        for sink in scope.each(kind):
            yield Manifest(scope.document(sink), sink.source)


def _can_tick(source: PingSource, spec: Document, notes: Notes) -> bool:
    """Whether a cluster takes its schedule and data; the schedule becomes one of the same
    moments where that has to be."""
    schedule = source.spec.schedule
    if schedule is not None:
        line = cluster_schedule(schedule, source.spec.timezone or "")
        if line is None:
            notes.add(
                source,
                ("spec", "schedule"),
                f'the source is left out: a cluster has no schedule of the moments of "{schedule}"',
                "write a cron line without L, W and #; or an interval that divides a minute, an "
                "hour or a day evenly, without a zone",
            )
            return False
        spec["schedule"] = line
    payload = source.payload
    is_json = payload is not None and source.spec.content_type == "application/json"
    if is_json and not isinstance(json.loads(payload or b""), dict):
        notes.add(
            source,
            ("spec", "dataBase64" if source.spec.data_base64 else "data"),
            "the source is left out: a cluster takes JSON data that is an object and no other",
            'put the value into an object, as in {"value": 1}',
        )
        return False
    return True


def cluster_schedule(schedule: str, timezone: str) -> str | None:
    """A schedule of the same moments that a cluster takes; None where there is none."""
    zone = zone_of(schedule)
    prefix, line = "", schedule.strip()
    if zone is not None:
        prefix, line = f"CRON_TZ={zone} ", line.partition(" ")[2].strip()
    every = _EVERY.fullmatch(line)
    if every is not None:
        in_utc = (zone or timezone) in ("", "UTC")
        found = _line_of_interval(int(parse_go_duration(every[1])), in_utc)
    else:
        found = line if line.startswith("@") else _line_of_cluster(line)
    if found == line:
        return schedule
    return None if found is None else prefix + found


def _line_of_interval(seconds: int, in_utc: bool) -> str | None:
    """A line of the moments that are multiples of so many seconds since the Unix epoch. A zone is
    off by quarters of an hour, and in the past by any number of minutes."""
    if _MINUTE % seconds == 0:
        return f"*/{seconds} * * * * *" if seconds < _MINUTE else "* * * * *"
    if not in_utc:
        return None
    if seconds % _MINUTE == 0 and _HOUR % seconds == 0:
        return f"*/{seconds // _MINUTE} * * * *" if seconds < _HOUR else "0 * * * *"
    if seconds % _HOUR == 0 and _DAY % seconds == 0:
        return f"0 */{seconds // _HOUR} * * *" if seconds < _DAY else "0 0 * * *"
    return None


def _line_of_cluster(line: str) -> str | None:
    """A cluster has no L, W and #, and calls Sunday 0 alone."""
    fields = line.split()
    day_of_month, day_of_week = fields[-3].upper(), fields[-1].upper()
    if set("LW") & set(day_of_month) or set("L#") & set(re.sub("[A-Z]{3}", "", day_of_week)):
        return None
    if "7" not in day_of_week:
        return line
    days = [_SUNDAY.sub(r"\1-6,0", day) if day != "7" else "0" for day in day_of_week.split(",")]
    return " ".join([*fields[:-1], ",".join(days)]) if "7" not in "".join(days) else None


def _kafka(source: KafkaSource, spec: Document, scope: Scope, notes: Notes) -> None:
    if source.spec.delivery is not None:
        written = delivery(source, source.spec.delivery, spec["delivery"], scope, notes)
        if written.pop("format", None) is not None:
            notes.add(
                source,
                ("spec", "delivery", "format"),
                "format is left out: a cluster's KafkaSource always sends in binary mode",
                "put a broker and a trigger with that format in between",
            )
        spec["delivery"] = written
    sasl = spec.get("net", {}).get("sasl", {})
    for name in ("tokenProvider", "roleARN"):
        if sasl.pop(name, None):
            notes.add(
                source,
                ("spec", "net", "sasl", name),
                f"{name} is left out: a cluster's KafkaSource has no such field",
                "let it in with user and password, or with TLS",
            )


def _redis(source: RedisStreamSource, spec: Document, notes: Notes) -> None:
    if spec.pop("delivery", None) is not None:
        notes.add(
            source,
            ("spec", "delivery"),
            "delivery is left out: a cluster's RedisStreamSource has none",
            "let its sink be a broker, and name the delivery there",
        )
