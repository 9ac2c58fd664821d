"""How functions and their revisions do, as `get` and `describe` show it."""

from typing import Any

from eventing.node.node import Node
from eventing.node.revisions import Revision, Revisions, Rollout
from eventing.node.traffic_policies import documents_for
from eventing.node.traffic_status import revision_figures, traffic_figures
from eventing.node.wiring import FunctionPlan, Key, RevisionPlan
from functions.pool_stats import PoolStats

Status = dict[str, Any]

_SUMS = {
    "ready": "ready",
    "starting": "starting",
    "draining": "draining",
    "inFlight": "in_flight",
    "waiting": "waiting",
    "answered": "answered",
    "coldStarts": "cold_starts",
    "restarts": "restarts",
    "kills": "kills",
}
"""Figures that are those of all revisions together."""


def function_status(node: Node, key: Key) -> Status:
    """Of a function: its figures, and how its calls are spread; empty where it does not run."""
    functions = node.runtime.functions
    plan = functions.plan(key)
    if plan is None:
        return _policy(node, key)
    stats = {name: pool.stats() for name, pool in functions.pools(key).items()}
    known = node.revisions.revisions.get(key)
    status: Status = _runs(plan.revisions.get(plan.latest) or next(iter(plan.revisions.values())))
    status |= {
        name: sum(getattr(each, field) for each in stats.values()) for name, field in _SUMS.items()
    }
    seconds = [second for each in stats.values() for second in each.cold_start_seconds]
    status["coldStartSeconds"] = seconds
    several = len(stats) > 1
    status["errors"] = [
        f"{name}: {error}" if several else error
        for name, each in stats.items()
        for error in each.errors
    ]
    status["latestCreatedRevisionName"] = plan.latest
    status["latestReadyRevisionName"] = known.serving if known is not None else plan.latest
    status["traffic"] = _traffic(plan)
    status |= _policy(node, key)
    if known is not None and known.rollout is not None:
        status["rollout"] = rollout_document(known.rollout)
    return status


def _policy(node: Node, key: Key) -> Status:
    """Which documents say how its calls are handled, and how that goes; without any, and with one
    revision alone, there is nothing to tell."""
    wiring = node.runtime.wiring
    router = node.runtime.router(key)
    status: Status = {}
    documents = [each.identity for each in documents_for(key, wiring.resources.values())]
    in_effect = [str(each) for each in documents if wiring.conditions[each].ready]
    if in_effect:
        status["policies"] = in_effect
    if router is not None:
        status["trafficFigures"] = traffic_figures(router.stats())
    return status


def rollout_document(rollout: Rollout) -> Status:
    """Of a rollout: `state`, `from` and `to` which revision, at what `percent`."""
    return {
        "state": rollout.state,
        "from": rollout.old,
        "to": rollout.new,
        "percent": rollout.percent,
        "since": rollout.since,
        "reason": rollout.reason,
    }


def revision_items(node: Node) -> list[dict[str, Any]]:
    """One of every revision that is kept, newest first."""
    items = []
    for key in node.runtime.functions:
        revisions = node.revisions.revisions.get(key)
        if revisions is None:
            continue
        namespace = key.partition("/")[0]
        router = node.runtime.functions.router(key)
        traffic = router.stats().revisions if router is not None else {}
        for revision in reversed(revisions.known):
            status = _revision_status(node, key, revision)
            if revision.name in traffic:
                status["trafficFigures"] = revision_figures(traffic[revision.name])
            items.append(
                {
                    "kind": "Revision",
                    "namespace": namespace,
                    "name": revision.name,
                    **_condition(node, key, revisions, revision),
                    "source": "",
                    "applied": False,
                    "document": None,
                    "status": status,
                }
            )
    return items


def _condition(
    node: Node, key: Key, revisions: Revisions, revision: Revision
) -> dict[str, str | bool]:
    pool = node.runtime.functions.pools(key).get(revision.name)
    if pool is None:
        return {"ready": True, "reason": "NoTraffic", "message": "nothing is sent to it"}
    if pool.failing:
        return {"ready": False, "reason": "StartFailed", "message": pool.stats().errors[-1]}
    if not revision.ready:
        message = f"no instance of it has been ready; {revisions.serving} goes on"
        if revisions.serving == revision.name:
            message = "no instance of it has been ready"
        return {"ready": False, "reason": "Starting", "message": message}
    return {"ready": True, "reason": "", "message": ""}


def _revision_status(node: Node, key: Key, revision: Revision) -> Status:
    functions = node.runtime.functions
    plan = functions.plan(key)
    status: Status = {
        "function": key,
        "number": revision.number,
        "created": revision.created,
        "percent": 0.0,
        "tags": [],
    }
    if plan is None:
        return status
    status["percent"] = sum(
        share.weight for share in plan.shares if share.revision == revision.name
    )
    status["tags"] = sorted(tag for tag, name in plan.tags.items() if name == revision.name)
    found = plan.revisions.get(revision.name)
    pool = functions.pools(key).get(revision.name)
    if found is not None and pool is not None:
        status |= _runs(found) | _figures(pool.stats())
    return status


def _figures(stats: PoolStats) -> Status:
    return {name: getattr(stats, field) for name, field in _SUMS.items()}


def _runs(plan: RevisionPlan) -> Status:
    if plan.container is not None:
        return {"image": plan.container.image}
    return {"handler": plan.revision.handler}


def _traffic(plan: FunctionPlan) -> list[Status]:
    """As Knative's status tells it, but with percentages that need not be whole."""
    told: list[Status] = [
        {
            "revisionName": share.revision,
            "percent": share.weight,
            "latestRevision": share.revision == plan.latest,
        }
        for share in plan.shares
    ]
    for tag, name in plan.tags.items():
        entry = next((each for each in told if each["revisionName"] == name), None)
        if entry is None or "tag" in entry:
            entry = {"revisionName": name, "percent": 0, "latestRevision": name == plan.latest}
            told.append(entry)
        entry["tag"] = tag
    return told
