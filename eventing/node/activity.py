"""What happens to events, as it happens: the live record behind `tail` and `send --wait`.

Costs nothing while nobody listens. A listener that can't keep up loses records, and is told how
many; the node never waits for it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from brokers.base import Dead, Done, Retry
from eventing.event import Event
from triggers.dispatcher import Attempt
from triggers.filter_index import FilterIndex

Record = dict[str, Any]
"""One JSON-ready record. Every one has `record` and `at` (Unix seconds).

accepted: `broker`, `event` (id, source, type, subject), `triggers` that want it.
attempt: `trigger`, `event`, `stage`, `attempt`, `destination`, `status`, `reason`, `seconds`,
  `outcome` (done | retry | dead_letter | dead), `retry_at`, `replies` (like `event`), `started`
  (seconds from hand-out to the handler's entry, where known).
condition: `resource`, `ready`, `reason`, `message`. log: `function`, `stream`, `text`, `event`.
reload: `error`, why changed files are not live. closing: the node shuts down; the last record.
dropped: `count` of records this listener was too slow for.
"""

QUEUE = 10_000
OUTCOMES = {Done: "done", Retry: "retry", Dead: "dead"}


class Listener:
    """One reader of the record; iterate `get` until cancelled."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Record] = asyncio.Queue(QUEUE)
        self._dropped = 0

    def put(self, record: Record) -> None:
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            self._dropped += 1

    async def get(self) -> Record:
        if self._dropped and self._queue.empty():
            count, self._dropped = self._dropped, 0
            return {"record": "dropped", "at": time.time(), "count": count}
        return await self._queue.get()


class Activity:
    """The hub. `on_listening` is called with True when the first listener comes and with False
    when the last one goes, so that dispatchers observe only while somebody reads."""

    def __init__(self, on_listening: Callable[[bool], None]) -> None:
        self._listeners: set[Listener] = set()
        self._on_listening = on_listening
        self.listening = False
        """Whether anybody reads; a plain attribute, for every event asks."""

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        listener = Listener()
        self._listeners.add(listener)
        if len(self._listeners) == 1:
            self.listening = True
            self._on_listening(True)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self.listening = False
                self._on_listening(False)

    def publish(self, record: Record) -> None:
        for listener in self._listeners:
            listener.put(record)

    def accepted(self, broker: str, event: Event, triggers: Iterable[str]) -> None:
        self.publish(
            {
                "record": "accepted",
                "at": time.time(),
                "broker": broker,
                "event": identity(event),
                "triggers": sorted(triggers),
            }
        )

    def attempt(self, attempt: Attempt) -> None:
        outcome, response = attempt.outcome, attempt.response
        name = OUTCOMES[type(outcome)]
        retry_at = None
        if isinstance(outcome, Retry):
            retry_at = outcome.at
            if outcome.stage != attempt.delivery.stage:
                name = "dead_letter"
        started = None
        if response.started:
            started = max(0.0, (response.started - attempt.received_ns) / 1e9)
        self.publish(
            {
                "record": "attempt",
                "at": attempt.at,
                "trigger": attempt.trigger,
                "event": identity(attempt.delivery.event),
                "stage": attempt.delivery.stage,
                "attempt": attempt.delivery.attempt,
                "destination": attempt.destination,
                "status": response.status,
                "reason": response.reason,
                "seconds": attempt.seconds,
                "started": started,
                "outcome": name,
                "retry_at": retry_at,
                "replies": [identity(reply) for reply in replies(outcome)],
            }
        )


def replies(outcome: object) -> tuple[Event, ...]:
    return outcome.replies if isinstance(outcome, Done) else ()


def identity(event: Event) -> dict[str, str]:
    """What names an event to a person; `source` and `id` name it to CloudEvents."""
    attributes = event.attributes
    return {
        key: attributes[key] for key in ("id", "source", "type", "subject") if key in attributes
    }


class ObservedRouter:
    """A broker's router that tells the hub what it decided."""

    def __init__(self, broker: str, router: FilterIndex, activity: Activity) -> None:
        self._broker = broker
        self._router = router
        self._activity = activity
        self.accepts = router.accepts
        self.unrouted = 0
        """Events that no trigger wanted, since this wiring began."""

    @property
    def observed(self) -> bool:
        return self._activity.listening

    def route(self, event: Event) -> Iterable[str]:
        names = self._router.route(event)
        if not names:
            self.unrouted += 1
        if self._activity.listening:
            self._activity.accepted(self._broker, event, names)
        return names
