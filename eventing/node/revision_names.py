"""What the revisions of functions are called, for the policies that name them. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from eventing.node.revisions import Key, Revisions, UnknownRevision, split
from eventing.node.traffic_policies import RevisionNames, function_of, policies
from eventing.resources import (
    DestinationRule,
    Path,
    Resource,
    TrafficPolicy,
    VirtualService,
    Workload,
)


def revision_names(
    resources: Iterable[Resource], revisions: Mapping[Key, Revisions]
) -> dict[Key, RevisionNames]:
    """Of each function that a document describes. One that runs elsewhere has a single one, its own
    name; one whose document splits its calls wrongly is left out."""
    names: dict[Key, RevisionNames] = {}
    for workload in resources:
        if not isinstance(workload, Workload):
            continue
        key = f"{workload.namespace}/{workload.name}"
        if workload.uri is not None:
            names[key] = RevisionNames((workload.name,), workload.name, kind=workload.kind)
            continue
        known = revisions[key]
        try:
            spread = split(workload.traffic, known)
        except UnknownRevision:
            continue
        names[key] = RevisionNames(
            known.names,
            known.serving,
            spread.tags,
            {each.name: _labels(each.template) for each in known.known},
            spread.shares,
            frozenset(each.name for each in known.known if not each.ready),
            workload.kind,
        )
    return names


def running_revisions(
    resources: Iterable[Resource], revisions: Mapping[Key, Revisions]
) -> dict[Key, frozenset[str]]:
    """Of each function that a document describes, those that calls or a tag may reach, by its own
    traffic and by policies."""
    resources = tuple(resources)
    names = revision_names(resources, revisions)
    in_effect = policies(resources, names).policies
    running: dict[Key, frozenset[str]] = {}
    for workload in resources:
        if isinstance(workload, Workload) and workload.uri is None:
            key = f"{workload.namespace}/{workload.name}"
            if key in names:
                policy = in_effect.get(key)
                targets = policy.targets if policy is not None else frozenset()
                running[key] = split(workload.traffic, revisions[key]).running | targets
    return running


def misnamed(
    resources: Iterable[Resource], revisions: Mapping[Key, Revisions]
) -> list[tuple[Resource, Path, str]]:
    """Where policies name revisions, tags and subsets that the function they are for does not have.
    A function that no document describes may be in the code: that is told when it is known."""
    resources = tuple(resources)
    names = revision_names(resources, revisions)
    problems = policies(resources, names).problems
    return [
        (resource, path, message)
        for resource in resources
        if isinstance(resource, TrafficPolicy | VirtualService | DestinationRule)
        and resource.identity in problems
        and function_of(resource) in names
        for path, message in problems[resource.identity].found
    ]


def _labels(template: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = template.get("metadata", {}).get("labels") or {}
    return labels
