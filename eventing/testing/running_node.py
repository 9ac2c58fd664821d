"""A node in a test: its files wired up and running, without a TCP port."""

import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

from cloudevents.core.v1.event import CloudEvent

from eventing.errors import UserError
from eventing.event import Event
from eventing.sdk.cloudevents import to_cloudevent
from eventing.testing.journey import Journey
from eventing.testing.making_events import to_event
from eventing.testing.node_process import NodeProcess
from eventing.testing.records import Attempt, DeadLetter, Delivery, LogLine, Verdict

DEFAULT_BROKER = "default/default"
DEFAULT_SPEED = 100.0

_ANSWER_LIMIT = 30.0
"""Seconds a node that is not asked to wait for anything may take to answer."""


class Unfinished(AssertionError):
    """Events are still on their way, and the message says where each waits and why."""


class Node:
    """A running node, as `node(…)` gives it. Names without a namespace are in "default"."""

    def __init__(self, process: NodeProcess, timeout: float) -> None:
        self._process = process
        self._timeout = timeout
        self._attempts: list[Attempt] = []

    @property
    def pid(self) -> int:
        """The process id of the node."""
        return self._process.pid

    @overload
    def send(self, events: CloudEvent, broker: str = DEFAULT_BROKER) -> Journey: ...

    @overload
    def send(self, events: Iterable[CloudEvent], broker: str = DEFAULT_BROKER) -> list[Journey]: ...

    def send(
        self, events: CloudEvent | Iterable[CloudEvent], broker: str = DEFAULT_BROKER
    ) -> Journey | list[Journey]:
        """Send an event, or several one after the other, as over HTTP: each is durable when this
        returns. Raises UserError for what the ingress refuses, with the reason."""
        if not isinstance(events, CloudEvent):
            return [self.send(each, broker) for each in events]
        sent = to_event(events)
        arguments = {"broker": _key(broker), "event": [sent.attributes, sent.data]}
        self._ask("send", arguments)
        return Journey(self, to_cloudevent(sent), _key(broker))

    def wait(self, timeout: float | None = None) -> None:
        """Wait until every event, and every reply it caused, is at its end: done or dead.

        Raises Unfinished after `timeout` seconds (default the node's), and at once where nothing
        but events is left that are held because their trigger's subscriber is not ready.
        """
        __tracebackhide__ = True
        limit = self._timeout if timeout is None else timeout
        answer = self._process.ask("wait", {"timeout": limit}, limit + _ANSWER_LIMIT)
        if not answer["waiting"]:
            return
        held = "events are held" if answer["held"] else f"events are on their way after {limit:g} s"
        lines = [f"{held}:"]
        for trigger, what in answer["waiting"].items():
            lines.append(f"  {trigger}: {what}")
            last = self.attempts(trigger)[-1:]
            lines += [f"    the latest: {attempt}" for attempt in last]
        raise Unfinished("\n".join(lines))

    def attempts(self, trigger: str | None = None) -> list[Attempt]:
        """All attempts so far, or those of one trigger, in the order they ended."""
        while page := self._ask("attempts", {"after": len(self._attempts)}):
            self._attempts += [
                Attempt(**{**record, "replies": tuple(record["replies"])}) for record in page
            ]
        key = _key(trigger) if trigger is not None else None
        return [each for each in self._attempts if key in (None, each.trigger)]

    def deliveries(self, trigger: str | None = None) -> list[Delivery]:
        """All deliveries that were attempted, or those of one trigger, in the order they began."""
        found: dict[tuple[str, str, int], list[Attempt]] = {}
        for attempt in self.attempts(trigger):
            place = (attempt.trigger, attempt.broker, attempt.position)
            found.setdefault(place, []).append(attempt)
        return [Delivery(tuple(attempts)) for attempts in found.values()]

    def events(self, type: str | None = None, broker: str | None = None) -> list[CloudEvent]:
        """Everything that entered the brokers, or one of them, replies included, oldest first;
        `type` picks those of one type."""
        brokers = [_key(broker)] if broker is not None else self._ask("brokers", {})
        return [
            to_cloudevent(found)
            for key in brokers
            for found in self._stored(key)
            if type in (None, found.attributes["type"])
        ]

    def dead_letters(self, trigger: str | None = None) -> list[DeadLetter]:
        """What the brokers have given up, oldest first. What a dead-letter sink took is not among
        it; its deliveries are "dead_lettered"."""
        letters = []
        for key in self._ask("brokers", {}):
            after = 0
            while page := self._ask("dead_letters", {"broker": key, "after": after}):
                for record in page:
                    after = record.pop("id")
                    letters.append(DeadLetter(**{**record, "event": _event(record["event"])}))
        wanted = _key(trigger) if trigger is not None else None
        return [letter for letter in letters if wanted in (None, letter.trigger)]

    def logs(self, function: str) -> list[LogLine]:
        """The last lines a function printed and logged, oldest first; "" for what modules print
        while they are imported."""
        key = _key(function) if function else ""
        return [LogLine(**record) for record in self._ask("logs", {"function": key})]

    def explain(self, event: CloudEvent, broker: str = DEFAULT_BROKER) -> list[Verdict]:
        """Every trigger's verdict on an event, sent or not."""
        given = to_event(event)
        arguments = {"broker": _key(broker), "event": [given.attributes, given.data]}
        return [
            Verdict(**{**record, "reasons": tuple(record["reasons"])})
            for record in self._ask("explain", arguments)
        ]

    def assert_events(self, type: str, count: int = 1) -> list[CloudEvent]:
        """Wait, then hold that `count` events of this type have entered the brokers, replies
        included; returns them."""
        __tracebackhide__ = True
        self.wait()
        found = self.events(type)
        if len(found) == count:
            return found
        lines = [f"{count} events of type {type!r} expected, not {len(found)}; there were:"]
        lines += [f"  {each.get_type()} {each.get_id()}" for each in self.events()]
        troubled = [each for each in self.deliveries() if each.outcome != "done"]
        if troubled:
            lines += ["and these deliveries failed:", *(f"  {each}" for each in troubled)]
        raise AssertionError("\n".join(lines))

    def _stored(self, broker: str) -> Iterator[Event]:
        after = 0
        while page := self._ask("events", {"broker": broker, "after": after}):
            for after, attributes, data in page:  # noqa: B007 - the last one is where to go on
                yield Event(attributes, data)

    def _ask(self, method: str, arguments: dict[str, Any]) -> Any:
        return self._process.ask(method, arguments, _ANSWER_LIMIT)


@contextmanager
def node(
    *paths: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    timeout: float = 30.0,
    speed: float = DEFAULT_SPEED,
) -> Iterator[Node]:
    """Run a node with these YAML files, Python files and folders for the length of a `with`.

    It is a process of its own and has the current environment and folder; it opens no port, and
    ends with the test's process, whatever ends that. `data` is the folder of its brokers, by
    default a temporary one that is removed afterwards. `timeout` (seconds) bounds its start, and
    every wait for events that says nothing else.

    Waits before retries, backoff and `Retry-After` alike, are `speed` times shorter than the
    wiring says; order, counts and the handlers' own timeouts are not touched. 1 = real time.

    Raises UserError with the command line's message (file:line:column) for a mistake in the files:
    YAML that does not load, Python that can't be imported, a handler that is none.
    """
    _check(paths, timeout, speed)
    work = Path(tempfile.mkdtemp(prefix="eventing-test-"))
    try:
        process = NodeProcess(work / "node.log")
        try:
            arguments = {
                "paths": [os.fsencode(path) for path in paths],
                "data": os.fsencode(data if data is not None else work / "data"),
                "work": os.fsencode(work),
                "speed": speed,
            }
            process.ask("start", arguments, timeout)
            yield Node(process, timeout)
        finally:
            process.stop()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check(paths: Sequence[str | os.PathLike[str]], timeout: float, speed: float) -> None:
    if not paths:
        raise UserError("node() takes the files and folders to run, as 'eventing up' does")
    for path in paths:
        if not Path(path).exists():
            raise UserError(f"{os.fspath(path)}: no such file or folder, seen from {Path.cwd()}")
    for name, value in (("timeout", timeout), ("speed", speed)):
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"node({name}={value!r}): takes a number above 0")


def _key(name: str) -> str:
    return name if "/" in name else f"default/{name}"


def _event(pair: Any) -> CloudEvent:
    attributes, data = pair
    return to_cloudevent(Event(attributes, data))
