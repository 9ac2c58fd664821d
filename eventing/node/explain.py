"""Why an event reaches a trigger or not: every trigger's verdict, with file and line. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eventing.event import Event
from eventing.node.expressions import trigger_filter
from eventing.node.wiring import DEFAULT_BROKER, Condition, Key
from eventing.resources import Identity, Place, Resource, Trigger, loaded_place
from triggers.clauses import FailedClause


@dataclass(frozen=True, slots=True)
class Reason:
    """One clause that failed: what it says, and where it stands."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Explanation:
    """One trigger's verdict. `matches` is the filter's alone; `condition` says whether what it
    matches is also delivered now, None where no node runs that could tell. `then` says which of a
    function's revisions would get it, and what a policy does to it; "" where that is no question.
    """

    trigger: Key
    broker: Key
    matches: bool
    reasons: tuple[Reason, ...]
    place: Place
    condition: Condition | None = None
    then: str = ""

    def document(self) -> dict[str, Any]:
        """It in plain JSON values, places as `file:line:column`."""
        return {
            "trigger": self.trigger,
            "broker": self.broker,
            "matches": self.matches,
            "reasons": [
                {"text": reason.text, "place": str(reason.place)} for reason in self.reasons
            ],
            "place": str(self.place),
            "ready": self.condition.ready if self.condition is not None else None,
            "message": self.condition.message if self.condition is not None else "",
            "then": self.then,
        }


def explain(
    event: Event,
    resources: Mapping[Identity, Resource],
    *,
    broker: Key | None = DEFAULT_BROKER,
    conditions: Mapping[Identity, Condition] | None = None,
    then: Callable[[Key], str] | None = None,
) -> list[Explanation]:
    """Every trigger's verdict on an event sent to `broker` (None = whichever broker). `then` tells
    of a trigger what becomes of the event it takes."""
    explanations = []
    for resource in resources.values():
        if not isinstance(resource, Trigger):
            continue
        owner = f"{resource.broker.namespace}/{resource.broker.name}"
        condition = (conditions or {}).get(resource.identity)
        if broker is not None and owner != broker:
            text = f"it takes from the broker {owner}, the event is sent to {broker}"
            reasons: tuple[Reason, ...] = (
                Reason(text, loaded_place(resource, resource.broker.path)),
            )
            matches = False
        else:
            verdict = trigger_filter(resource).explain(event)
            matches = verdict.matches
            reasons = tuple(
                Reason(str(clause), _place(resource, clause)) for clause in verdict.failed
            )
        key = f"{resource.namespace}/{resource.name}"
        explanations.append(
            Explanation(
                key,
                owner,
                matches,
                reasons,
                resource.source,
                condition,
                then(key) if matches and then is not None else "",
            )
        )
    return explanations


def _place(trigger: Trigger, clause: FailedClause) -> Place:
    return loaded_place(trigger, ("spec", *clause.path), clause.position)
