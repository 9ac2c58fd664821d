"""What a node in a test tells of: attempts, deliveries, dead letters, log lines, verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cloudevents.core.v1.event import CloudEvent

Attributes = Mapping[str, str]
"""An event's attributes in their canonical string form."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one delivery.

    `number` counts from 1 within the `stage`; `destination` is where it went, `function:{key}`,
    `broker:{key}`, `transform:{key}` or a URI. `status` is an HTTP status or its like, 0 where
    there was no answer; `reason` one line, empty on success. `outcome`: "done", "retry",
    "dead_letter" (the subscriber's attempts are spent, the dead-letter sink is next) or "dead" (it
    stays among the broker's dead letters). `seconds` is how long it took, `wait` how many seconds
    the wiring says until the next one, whatever the node's speed; None where none follows.
    `event` and `replies` are the attributes of the event and of what it was answered with.
    """

    trigger: str
    broker: str
    position: int
    event: Attributes
    number: int
    stage: Literal["subscriber", "dead_letter"]
    destination: str
    status: int
    reason: str
    seconds: float
    outcome: Literal["done", "retry", "dead_letter", "dead"]
    wait: float | None
    replies: tuple[Attributes, ...]

    def __str__(self) -> str:
        what = "attempt" if self.stage == "subscriber" else "dead-letter attempt"
        text = f"{what} {self.number} at {self.destination}: {self.status}"
        if self.reason:
            text += f", {self.reason}"
        match self.outcome:
            case "retry":
                return f"{text} → again after {self.wait:g} s"
            case "dead_letter":
                return f"{text} → to the dead-letter sink"
            case "dead":
                return f"{text} → dead letter"
        if self.replies:
            text += f" → replied {', '.join(reply['type'] for reply in self.replies)}"
        return text


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one trigger's subscriber, with its attempts so far, one at least."""

    attempts: tuple[Attempt, ...]

    @property
    def trigger(self) -> str:
        return self.attempts[0].trigger

    @property
    def event(self) -> Attributes:
        """The event's attributes."""
        return self.attempts[0].event

    @property
    def outcome(self) -> Literal["waiting", "done", "dead_lettered", "dead"]:
        """ "done": the subscriber took it. "dead_lettered": the dead-letter sink did. "dead": it is
        among the broker's dead letters. "waiting": there will be another attempt."""
        last = self.attempts[-1]
        if last.outcome == "done":
            return "done" if last.stage == "subscriber" else "dead_lettered"
        return "dead" if last.outcome == "dead" else "waiting"

    def __str__(self) -> str:
        event = self.event
        lines = [f"{event['type']} {event['id']} by {self.trigger}: {self.outcome}"]
        return "\n".join([*lines, *(f"  {attempt}" for attempt in self.attempts)])


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event the broker has given up, for want of a dead-letter sink that took it.

    `code` is the last attempt's status, `reason` one line, `text` the start of the answer's body:
    of a handler that raised, the end of its traceback.
    """

    trigger: str
    broker: str
    event: CloudEvent
    destination: str
    code: int
    reason: str
    text: str
    attempts: int

    def __str__(self) -> str:
        what = f"{self.event.get_type()} {self.event.get_id()}"
        return f"{what} by {self.trigger}, {self.attempts} attempts: {self.code}, {self.reason}"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line a function printed or logged; `stream` "node" is what the node has to say of it.

    `event_id` and `event_source` are those of the event that was handled, "" where none was.
    """

    stream: Literal["stdout", "stderr", "node"]
    level: str
    text: str
    event_id: str
    event_source: str

    def __str__(self) -> str:
        return f"{self.level} {self.text}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trigger takes an event: `reasons` has one line for each clause that fails, with
    its place in the file. `problem` says why what it takes is held, "" where it is delivered."""

    trigger: str
    broker: str
    matches: bool
    reasons: tuple[str, ...]
    place: str
    problem: str

    def __str__(self) -> str:
        if self.matches:
            text = f"{self.trigger} ({self.place}) takes it"
            return f"{text}, but holds it: {self.problem}" if self.problem else text
        return f"{self.trigger} ({self.place}) does not: {'; '.join(self.reasons)}"
