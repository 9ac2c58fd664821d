"""Where the call for an event would go, and what a policy does to it, in words. Pure."""

from collections.abc import Callable, Iterator

from eventing.errors import UserError
from eventing.event import Event
from eventing.node.traffic_policies import documents_for
from eventing.node.wiring import FunctionPlan, Key, TriggerPlan, Wiring
from functions.traffic.match import compile_matches
from functions.traffic.policy import Fault, HttpRoute, Policy, Weighted
from triggers.delivery import outgoing


def call_in_words(
    event: Event, trigger: Key, wiring: Wiring, running: Callable[[Key], FunctionPlan | None]
) -> str:
    """Of the event as the trigger hands it over; "" where there is neither a policy nor a choice.
    `running` tells how a function runs now."""
    plan = wiring.triggers.get(trigger)
    function = _function(plan) if plan is not None else ""
    if plan is None or not function:
        return ""
    runs = running(function)
    policy = runs.policy if runs is not None else wiring.remotes.get(function)
    shares = runs.shares if runs is not None else ()
    if policy is None:
        return _shares(shares) if len(shares) > 1 else ""
    try:
        sent = outgoing(event)
        sent = plan.transform.apply(sent) if plan.transform is not None else sent
    except UserError as error:
        return f"its transform fails: {error}"
    index, route = _route(policy, sent)
    split = route.split or shares
    parts = [_name(index, route, function, wiring), *_on_purpose(route.fault)]
    if split:
        parts.append(_shares(split))
    parts += [f"copies of {each.percentage:g} % to {each.revision}" for each in route.mirrors]
    return "; ".join(parts)


def _function(plan: TriggerPlan) -> Key:
    destination = plan.destination
    if destination is None:
        return ""
    return destination.name if destination.kind == "function" else destination.function


def _route(policy: Policy, event: Event) -> tuple[int | None, HttpRoute]:
    for index, route in enumerate(policy.routes):
        matches = compile_matches(route.matches)
        if matches is None or matches(event.attributes):
            return index, route
    return None, HttpRoute()


def _name(index: int | None, route: HttpRoute, function: Key, wiring: Wiring) -> str:
    documents = documents_for(function, wiring.resources.values())
    kinds = ("TrafficPolicy", "VirtualService")
    for each in documents:
        if each.kind in kinds and wiring.conditions[each.identity].ready:
            named = f' "{route.name}"' if route.name else ""
            which = "no route" if index is None else f"route {index}{named}"
            return f"{which} of {each.identity}"
    return "no route"


def _shares(shares: tuple[Weighted, ...]) -> str:
    total = sum(each.weight for each in shares)
    if len(shares) == 1:
        return f"to {shares[0].revision}"
    return ", ".join(f"{each.weight * 100 / total:g} % to {each.revision}" for each in shares)


def _on_purpose(fault: Fault | None) -> Iterator[str]:
    if fault is None:
        return
    if fault.delay_percentage:
        yield f"{fault.delay_percentage:g} % are held back for {fault.delay:g} s on purpose"
    if fault.abort_percentage:
        yield f"{fault.abort_percentage:g} % are answered {fault.abort_status} on purpose"
