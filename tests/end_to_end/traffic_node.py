"""A node with one function in several revisions, whose every call is in a journal.

What a revision does is said by its environment: VERSION is what the journal calls it, BEHAVIOUR
what its handler does with an event.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count, islice
from math import sqrt
from pathlib import Path
from typing import Any

from node_process import NodeProcess, request, wait_for, write_project

# A project is imported once for all revisions: only a handler sees what is its own.
APP = """
    import asyncio, os, time
    from eventing import CloudEvent, Context, function

    journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    seen = set()

    def note(what, context):
        version, id = os.environ.get("VERSION", "-"), context.attributes["id"]
        line = f"{what} {version} {id} {context.attempt} {time.time()}\\n"
        os.write(journal, line.encode())

    @function
    async def work(event: CloudEvent, context: Context):
        note("begin", context)
        id = context.attributes["id"]
        first, number = id not in seen, int(id.rpartition("-")[2])
        seen.add(id)
        try:
            match os.environ["BEHAVIOUR"]:
                case "fail-first" if first:
                    raise RuntimeError("fails at first")
                case "fail-odd" if number % 2:
                    raise RuntimeError("does not take odd ones")
                case "hang-first" if first and number % 10 == 0:
                    await asyncio.sleep(60)
                case "fail-while-broken" if os.path.exists(os.environ["BROKEN"]):
                    raise RuntimeError("is broken")
                case "take-time":
                    await asyncio.sleep(0.01)
        except RuntimeError:
            note("failed", context)
            raise
        note("end", context)
        if context.attributes["type"] == "asked":
            return context.event("answered", subject=os.environ["VERSION"])

    @function
    def collect(event: CloudEvent, context: Context):
        note("collected-" + context.attributes["subject"], context)
    """

FUNCTION = """\
apiVersion: functions/v1
kind: Function
metadata: {{name: work}}
spec:
  handler: app:work
  timeout: PT90S
  scale: {{min: 1, max: 1}}
  env:
    - {{name: VERSION, value: {version}}}
    - {{name: BEHAVIOUR, value: {behaviour}}}
"""

SERVICE = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {{name: work, annotations: {{functions/handler: app:work}}}}
spec:
  template:
    metadata:
      labels: {{version: {version}}}
      annotations:
        autoscaling.knative.dev/min-scale: "1"
        autoscaling.knative.dev/max-scale: "1"
    spec:
      timeoutSeconds: 90
      containers:
        - image: registry.example/work
          env:
            - {{name: VERSION, value: {version}}}
            - {{name: BEHAVIOUR, value: {behaviour}}}
"""

POLICY = """\
apiVersion: functions/v1
kind: TrafficPolicy
metadata: {name: work}
spec:
  function: work
"""

TRIGGER = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: {name}
  annotations: {{kafka.eventing.knative.dev/delivery.order: {order}}}
spec:
  broker: default
  filters: [{filter}]
  subscriber: {{ref: {{apiVersion: {version}, kind: {kind}, name: {function}}}}}
  delivery: {{retry: {retry}, backoffPolicy: linear, backoffDelay: PT0.02S}}
"""

_REQUIRED = {"specversion": "1.0", "source": "/test"}
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the journal: what happened to which event in which version, and when."""

    what: str
    version: str
    id: str
    attempt: int
    at: float


class TrafficNode:
    """Use `kill` at the end. `document` is that of the function `work`, to be formatted. `order`
    and `retry` are those of the trigger that feeds it; another one has its replies, of type
    "answered", collected."""

    def __init__(
        self,
        folder: Path,
        *,
        document: str = FUNCTION,
        order: str = "unordered",
        retry: int = 30,
    ) -> None:
        self.document = document
        self.kind = "Service" if document is SERVICE else "Function"
        self.broken = folder / "broken"
        self._journal = folder / "journal"
        self._journal.touch()
        self._numbers = count()
        trigger = TRIGGER.format(
            name="work",
            version=document.partition("\n")[0].removeprefix("apiVersion: "),
            kind=self.kind,
            function="work",
            filter="{not: {exact: {type: answered}}}",
            order=order,
            retry=retry,
        )
        collect = TRIGGER.format(
            name="collect",
            version="functions/v1",
            kind="Function",
            function="collect",
            filter="{exact: {type: answered}}",
            order="unordered",
            retry=1,
        )
        files = {"app.py": APP, "work.yaml": trigger, "collect.yaml": collect}
        self.process = NodeProcess(
            write_project(folder / "project", files),
            data=folder / "data",
            log=folder / "node.log",
            environment={"JOURNAL": str(self._journal), "BROKEN": str(self.broken)},
        ).start()

    def kill(self) -> None:
        self.process.kill()

    # What is to run

    def release(self, *behaviours: str, traffic: Mapping[str, int] | None = None) -> None:
        """Have a revision of each behaviour, called v1, v2 …, oldest first, and calls spread over
        them in percent; without `traffic` all go to the last. Returns when all that have calls
        run."""
        for number, behaviour in enumerate(behaviours, 1):
            version = f"v{number}"
            self.process.apply(self.document.format(version=version, behaviour=behaviour))
            self._wait_for_revision(number)
        if traffic is not None:
            self.spread(version, behaviour, traffic)

    def spread(self, version: str, behaviour: str, traffic: Mapping[str, int]) -> None:
        """Have calls spread so, by version, beside what the latest one is."""
        function = self.document.format(version=version, behaviour=behaviour)
        entries = [
            f"    - {{revisionName: {revision(version)}, percent: {percent}}}\n"
            for version, percent in traffic.items()
        ]
        self.process.apply(f"{function}  traffic:\n{''.join(entries)}")
        wanted = {revision(version): percent for version, percent in traffic.items() if percent}
        wait_for(lambda: self._shares() == wanted, f"calls are spread by {wanted}")

    def policy(self, spec: str) -> None:
        """Put a TrafficPolicy into effect. Returns when it is, and its revisions run."""
        self.process.apply(POLICY + spec)
        self.wait_until_in_effect("TrafficPolicy", "work")

    def wait_until_in_effect(self, kind: str, name: str) -> None:
        found = self.process.resource(kind, name)
        assert found["ready"], found["message"]
        # Of those it sends to, some may have had nothing to do until now.
        wait_for(self._all_run, "every revision with calls has an instance")

    def _wait_for_revision(self, number: int) -> None:
        name = f"work-{number:05d}"

        def serves() -> bool:
            status = self.status()
            return bool(status["latestReadyRevisionName"] == name and self._shares() == {name: 100})

        wait_for(serves, f"{name} takes the calls")

    def _all_run(self) -> bool:
        running = self.figures()
        return all(
            self.process.resource("Revision", name)["status"].get("ready") for name in running
        )

    def _shares(self) -> dict[str, float]:
        return {
            entry["revisionName"]: entry["percent"]
            for entry in self.status().get("traffic", ())
            if entry["percent"]
        }

    # What it is sent

    def send(self, number: int, type: str = "done", **attributes: str) -> list[str]:
        """So many events, in batches; their ids. All are accepted."""
        return self.send_all(dict(attributes, type=type) for _ in range(number))

    def send_all(self, events: Iterable[Mapping[str, str]]) -> list[str]:
        """The same, of the attributes that each event is to have. Sent one after the other."""
        named = [{"id": f"e-{next(self._numbers)}", **each} for each in events]
        send_batches(self.process.ingress, named)
        return [each["id"] for each in named]

    # What became of it

    def journal(self, what: str | None = None) -> list[Line]:
        """Whole lines of it, in the order they were written."""
        lines = []
        for line in self._journal.read_text().split("\n")[:-1]:
            happened, version, id, attempt, at = line.split()
            if what in (None, happened):
                lines.append(Line(happened, version, id, int(attempt), float(at)))
        return lines

    def wait_until_handled(self, ids: Iterable[str]) -> None:
        """Every one of them has been handled, and the trigger has settled all it has."""
        wanted = set(ids)
        wait_for(lambda: wanted <= {line.id for line in self.journal("end")}, "all are handled")
        self.wait_until_settled()

    def wait_until_settled(self) -> None:
        """Nothing of what was accepted is still on its way."""
        wait_for(lambda: not self.lag(), "nothing is on its way")

    def lag(self) -> int:
        triggers = [self.process.resource("Trigger", name) for name in ("work", "collect")]
        return sum(each["status"]["lag"] for each in triggers)

    def handled_by(self) -> dict[str, set[str]]:
        """The ids that each version has handled."""
        found: dict[str, set[str]] = {}
        for line in self.journal("end"):
            found.setdefault(line.version, set()).add(line.id)
        return found

    def status(self) -> dict[str, Any]:
        """Of the function."""
        found: dict[str, Any] = self.process.resource(self.kind, "work")["status"]
        return found

    def traffic(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status()["trafficFigures"]
        return found

    def figures(self) -> dict[str, dict[str, Any]]:
        """Of each revision that has a place in the function's traffic."""
        found: dict[str, dict[str, Any]] = self.traffic()["revisions"]
        return found

    def attempts(self) -> dict[str, int]:
        """What the trigger counted: attempts, and those that were retried, or given up."""
        status = self.process.resource("Trigger", "work")["status"]
        return {name: status[name] for name in ("attempts", "done", "retried", "given_up")}

    def dead_letters(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["id"] if found else 0
            path = f"/api/v1/dead-letters?limit=1000&after={after}"
            items = self.process.ask("GET", path)[1]["items"]
            if not items:
                return found
            found += items


def revision(version: str) -> str:
    """The name of the revision that the journal calls v1, v2 …"""
    return f"work-{int(version[1:]):05d}"


def most_in_flight(lines: Iterable[Line], version: str) -> int:
    """How many calls a version ever had in its handler at once."""
    most = now = 0
    for line in lines:
        if line.version == version:
            now += 1 if line.what == "begin" else -1
            most = max(most, now)
    return most


def expected(counted: int, of: int, share: float) -> bool:
    """Whether so many of so many are what chance makes of a share: six standard deviations, which
    it leaves once in 500 million times."""
    return abs(counted - of * share) <= 6 * sqrt(of * share * (1 - share))


def send_batches(ingress: str, events: Iterable[Mapping[str, str]]) -> None:
    """Send events of these attributes to broker default/default, one batch after the other. Fails
    the test where one is not accepted."""
    left = iter([{**_REQUIRED, "id": str(number), **each} for number, each in enumerate(events)])
    headers = {"content-type": "application/cloudevents-batch+json"}
    while batch := list(islice(left, _BATCH)):
        body = json.dumps(batch).encode()
        status, answer = request(ingress, "POST", "/default/default", body, headers)
        assert status == 202, answer
