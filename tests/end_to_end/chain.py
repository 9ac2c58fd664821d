"""A wiring that loses nothing unseen: order -> check -> ship -> record, and an audit beside it.

Every handler writes down each of its calls, so that a test can compare what was accepted with
what was handled, by whom and how often.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from node_process import write_project

# One write of one line to a file opened with O_APPEND: no other's line falls into it. Who reads
# while it is written may see a part.
APP = """
    import os
    from eventing import Context, CloudEvent, function

    _journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(name, context):
        event = context.attributes
        line = f"{name} {event['subject']} {event['id']} {context.attempt}\\n"
        os.write(_journal, line.encode())

    @function
    def check(event: CloudEvent, context: Context):
        note("check", context)
        return context.event("checked", subject=context.attributes["subject"])

    @function
    async def ship(event: CloudEvent, context: Context):
        note("ship", context)
        return context.event("shipped", subject=context.attributes["subject"])

    @function
    def record(event: CloudEvent, context: Context):
        note("record", context)

    @function
    def audit(event: CloudEvent, context: Context):
        note("audit", context)
    """

_TRIGGER = """
    apiVersion: eventing.knative.dev/v1
    kind: Trigger
    metadata: {{name: {name}}}
    spec:
      broker: default
      filter: {{attributes: {{type: {type}}}}}
      subscriber: {{ref: {{apiVersion: functions/v1, kind: Function, name: {name}}}}}
      delivery: {{retry: 10, backoffPolicy: linear, backoffDelay: PT0.2S}}
    """

WANTS = {"check": "order", "audit": "order", "ship": "checked", "record": "shipped"}
"""Which function, by a trigger of the same name, wants which type."""


def write_chain(folder: Path) -> Path:
    files = {f"{name}.yaml": _TRIGGER.format(name=name, type=WANTS[name]) for name in WANTS}
    return write_project(folder, {"app.py": APP, **files})


@dataclass(frozen=True, slots=True)
class HandledCall:
    """One call of a handler. `subject` is the id of the event that began the chain."""

    function: str
    subject: str
    id: str
    attempt: int


class Journal:
    """The file the handlers of a chain write to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def size(self) -> int:
        return self.path.stat().st_size

    def calls(self, start: int = 0, end: int | None = None) -> list[HandledCall]:
        """Those written between two sizes of the file; not a line whose end is still to come."""
        with self.path.open("rb") as file:
            file.seek(start)
            text = file.read() if end is None else file.read(end - start)
        calls = []
        for line in text.decode().split("\n")[:-1]:
            function, subject, id, attempt = line.split()
            calls.append(HandledCall(function, subject, id, int(attempt)))
        return calls

    def handled(self) -> dict[str, Counter[str]]:
        """For every function, how often it handled each chain."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for call in self.calls():
            counts[call.function][call.subject] += 1
        return counts
