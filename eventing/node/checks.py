"""What can be wrong with resources that load: expressions, limits, what may not change.

The loader knows the shape of documents; this knows what the layers above make of them. Everything
is told with its place in the file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from eventing.errors import InvalidExpression
from eventing.node.expressions import trigger_filter
from eventing.resources import (
    Broker,
    ConfigMap,
    Engine,
    EventTransform,
    Identity,
    Problem,
    Resource,
    Trigger,
    Workload,
    broker_config,
    loaded_place,
)
from triggers.filters import InvalidFilter
from triggers.transform import compile_transform

TRIGGER_TRANSFORM = ("spec", "transform", "jsonata", "expression")
TRANSFORM = ("spec", "jsonata", "expression")
REPLY = ("spec", "reply", "jsonata", "expression")


@dataclass(frozen=True, slots=True)
class Findings:
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check(
    resources: Iterable[Resource],
    running: Mapping[Identity, Resource] | None = None,
    engine: Engine = "embedded",
) -> Findings:
    """Errors and warnings of these resources, `running` being those at work now, and `engine` that
    of brokers that don't name one."""
    by_identity = {resource.identity: resource for resource in resources}
    errors: list[Problem] = []
    warnings: list[Problem] = []
    errors += _names_taken(by_identity.values())
    for resource in by_identity.values():
        match resource:
            case Trigger():
                errors += _filter_problems(resource)
                errors += _expression_problems(resource, resource.transform, TRIGGER_TRANSFORM)
                errors += _moved(resource, (running or {}).get(resource.identity))
            case EventTransform():
                errors += _expression_problems(resource, resource.expression, TRANSFORM)
                errors += _expression_problems(resource, resource.reply_expression, REPLY)
            case Broker() if resource.config is not None:
                config = by_identity.get(resource.config.identity)
                if isinstance(config, ConfigMap):
                    parsed = broker_config(config, resource.engine or engine)
                    errors += parsed.errors
                    warnings += parsed.warnings
    return Findings(tuple(dict.fromkeys(errors)), tuple(dict.fromkeys(warnings)))


def _names_taken(resources: Iterable[Resource]) -> Iterable[Problem]:
    """Functions of whatever kind share their names: what runs is called by it."""
    first: dict[tuple[str, str], Workload] = {}
    for resource in resources:
        if isinstance(resource, Workload):
            other = first.setdefault((resource.namespace, resource.name), resource)
            if other is not resource:
                yield Problem.at(
                    loaded_place(resource, ("metadata", "name")),
                    f"the {other.kind} in {other.source} has this name; give one of them another",
                )


def _filter_problems(trigger: Trigger) -> Iterable[Problem]:
    try:
        trigger_filter(trigger)
    except InvalidFilter as error:
        place = loaded_place(trigger, ("spec", *error.path), error.position)
        yield Problem.at(place, error.reason)


def _expression_problems(
    resource: Resource, expression: str | None, path: tuple[str, ...]
) -> Iterable[Problem]:
    if expression is None:
        return
    try:
        compile_transform(expression)
    except InvalidExpression as error:
        place = loaded_place(resource, path, error.position)
        yield Problem.at(place, f"the JSONata expression does not parse: {error}")


def _moved(trigger: Trigger, running: Resource | None) -> Iterable[Problem]:
    if isinstance(running, Trigger) and running.broker.identity != trigger.broker.identity:
        yield Problem.at(
            loaded_place(trigger, trigger.broker.path),
            f"a trigger's broker can't be changed: {trigger.name} takes from "
            f"{running.broker.name}; give the trigger for {trigger.broker.name} another name",
        )
