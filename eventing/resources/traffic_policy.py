"""The TrafficPolicy: what is done with the calls between triggers and a function's revisions.

Its fields carry the names and the meaning of Istio's VirtualService and DestinationRule; where
these match headers and name hosts, it matches attributes and names revisions.
"""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, StrictBool, model_validator

from eventing.resources.api_versions import API_VERSIONS
from eventing.resources.call_policy import FaultInjection, HttpRetry
from eventing.resources.destination import KReference
from eventing.resources.destination_settings import DestinationSettings
from eventing.resources.fields import Count, LabelName, ResourceName
from eventing.resources.filters import AttributeName
from eventing.resources.istio_fields import (
    Percent,
    StringMatch,
    TrafficDurationOrNone,
    repeated_names,
    unreached,
    weight_faults,
)
from eventing.resources.model import Fault, Model
from eventing.resources.nearest import suggestion
from eventing.resources.place import Path
from eventing.resources.resource import Reference, Resource
from eventing.resources.workload import WORKLOADS


class RevisionChoice(Model):
    """Names one revision."""

    revision: ResourceName | None = None
    tag: LabelName | None = Field(default=None, description="Of the function's spec.traffic.")
    latest: StrictBool | None = Field(
        default=None, description="true: the newest revision that has been ready."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        ways = [name for name in _WAYS if getattr(self, name, None) is not None]
        if not ways:
            known = [name for name in _WAYS if name in type(self).model_fields]
            yield (), f"names no revision; it takes one of {', '.join(known)}"
        for way in ways[1:]:
            yield (way,), f'stands beside "{ways[0]}"; keep one of them'
        if self.latest is False:
            yield ("latest",), 'is false; leave it out, and name a "revision" or a "tag"'


_WAYS = ("revision", "tag", "subset", "latest")


class RevisionDestination(RevisionChoice):
    subset: LabelName | None = Field(default=None, description="One of `subsets`.")


class WeightedRevision(Model):
    destination: RevisionDestination
    weight: Count | None = Field(
        default=None, description="Relative to the others; not needed where there is one."
    )


class MirrorPolicy(Model):
    destination: RevisionDestination
    percentage: Percent | None = Field(default=None, description="Of the calls; all without it.")


class AttributesMatch(Model):
    """All of it has to hold."""

    name: str | None = Field(default=None, description="For people.")
    attributes: dict[AttributeName, StringMatch] | None = None
    without_attributes: dict[AttributeName, StringMatch] | None = Field(
        default=None, description="None of these may hold."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if not self.attributes and not self.without_attributes:
            yield (), 'names no attribute; leave "match" out where every call is meant'


class PolicyRoute(Model):
    """Istio's HTTPRoute."""

    name: str | None = Field(default=None, description="For people.")
    match: tuple[AttributesMatch, ...] | None = Field(
        default=None, description="One of them has to hold; every call without it."
    )
    route: tuple[WeightedRevision, ...] | None = Field(
        default=None, description="The function's own traffic split where left out."
    )
    timeout: TrafficDurationOrNone | None = Field(
        default=None, description="Of a call with all its retries; 0s = none."
    )
    retries: HttpRetry | None = None
    fault: FaultInjection | None = None
    mirror: RevisionDestination | None = None
    mirror_percentage: Percent | None = Field(
        default=None, description="Of the calls `mirror` gets; all without it."
    )
    mirrors: tuple[MirrorPolicy, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        for path, message in weight_faults([each.weight for each in self.route or ()]):
            yield ("route", *path), message
        if self.mirror is not None and self.mirrors is not None:
            yield ("mirrors",), 'stands beside "mirror"; put that into the list'
        if self.mirror_percentage is not None and self.mirror is None:
            yield ("mirrorPercentage",), 'stands without "mirror"'

    @property
    def destinations(self) -> Iterator[tuple[Path, RevisionDestination]]:
        """All that it names, with their places."""
        for index, weighted in enumerate(self.route or ()):
            yield ("route", index, "destination"), weighted.destination
        if self.mirror is not None:
            yield ("mirror",), self.mirror
        for index, mirror in enumerate(self.mirrors or ()):
            yield ("mirrors", index, "destination"), mirror.destination

    def without_effect(self, path: Path) -> Iterator[Fault]:
        if self.retries is not None:
            yield from self.retries.without_effect((*path, "retries"))
        if self.fault is not None:
            yield from self.fault.without_effect((*path, "fault"))


class RevisionSubset(RevisionChoice):
    """A name for a revision, and what counts for the calls to it."""

    name: LabelName
    traffic_policy: DestinationSettings | None = Field(
        default=None, description="Each of its parts in place of that of `trafficPolicy` above."
    )


class TrafficPolicySpec(Model):
    function: LabelName | None = Field(
        default=None, description="A function of the policy's namespace, of whatever kind."
    )
    ref: KReference | None = Field(
        default=None, description="In place of `function`: a Function, Service or InferenceService."
    )
    http: tuple[PolicyRoute, ...] | None = Field(
        default=None, description="The first route that matches a call counts."
    )
    traffic_policy: DestinationSettings | None = Field(
        default=None, description="For the calls to every revision."
    )
    subsets: tuple[RevisionSubset, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.function is None and self.ref is None:
            yield (), 'names no function; add "function"'
        elif self.function is not None and self.ref is not None:
            yield ("ref",), 'stands beside "function"; keep one of them'
        elif self.ref is not None and self.ref.kind not in WORKLOADS:
            kinds = ", ".join(WORKLOADS)
            yield ("ref", "kind"), f'"{self.ref.kind}" has no revisions; it takes one of {kinds}'
        names = [subset.name for subset in self.subsets or ()]
        yield from repeated_names(names, ("subsets",))
        for index, route in enumerate(self.http or ()):
            for path, destination in route.destinations:
                subset = destination.subset
                if subset is not None and subset not in names:
                    where = ("http", index, *path, "subset")
                    hint = suggestion(subset, names) if names else 'there are no "subsets"'
                    yield where, f'"{subset}" is not among the subsets; {hint}'


class TrafficPolicy(Resource):
    """How the calls of one function are routed, retried, bounded, mirrored and disturbed."""

    api_version: Literal["functions/v1"] = "functions/v1"
    kind: Literal["TrafficPolicy"] = "TrafficPolicy"
    spec: TrafficPolicySpec

    @property
    def function(self) -> Reference:
        """What it is for. Where it does not say the kind, any that has revisions is meant, and
        this calls it a Function."""
        if self.spec.ref is not None:
            return self.spec.ref.resolved(self.namespace, ("spec", "ref"))
        name = self.spec.function or ""
        path = ("spec", "function")
        return Reference(API_VERSIONS["Function"], "Function", self.namespace, name, path)

    def references(self) -> Iterator[Reference]:
        yield self.function

    def without_effect(self) -> Iterator[Fault]:
        yield from self.metadata.unhonoured_annotations(())
        for index, route in enumerate(self.spec.http or ()):
            yield from route.without_effect(("spec", "http", index))
        yield from unreached(self.spec.http or (), ("spec", "http"))
        if self.spec.traffic_policy is not None:
            yield from self.spec.traffic_policy.without_effect(("spec", "trafficPolicy"))
        for index, subset in enumerate(self.spec.subsets or ()):
            if subset.traffic_policy is not None:
                path = ("spec", "subsets", index, "trafficPolicy")
                yield from subset.traffic_policy.without_effect(path)
