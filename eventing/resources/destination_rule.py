"""Istio's DestinationRule: what counts for the calls to a function's revisions, and names for them.

As for the VirtualService, what changes nothing here is told, and what would change which calls it
is for is refused.
"""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from eventing.resources.destination_settings import IstioDestinationSettings
from eventing.resources.fields import LabelName, LabelValue, QualifiedName
from eventing.resources.istio_fields import Host, Unread, host_of, repeated_names
from eventing.resources.model import Fault, Model
from eventing.resources.resource import Resource
from eventing.resources.virtual_service import export_faults, without_export

REVISION_LABEL = "serving.knative.dev/revision"
"""The label that Knative gives to all that belongs to a revision: its name."""


class LabelledSubset(Model):
    """Istio's Subset."""

    name: LabelName
    labels: dict[QualifiedName, LabelValue] | None = Field(
        default=None,
        description="serving.knative.dev/revision names a revision; other labels mean the newest "
        "revision whose template has them all.",
    )
    traffic_policy: IstioDestinationSettings | None = Field(
        default=None, description="Each of its parts in place of that of `trafficPolicy` above."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if not self.labels:
            yield (), f'needs "labels" that choose a revision, such as {REVISION_LABEL}'


class DestinationRuleSpec(Model):
    host: Host = Field(
        description="The function: name, name.namespace, name.namespace.svc.cluster.local."
    )
    traffic_policy: IstioDestinationSettings | None = Field(
        default=None, description="For the calls to every revision."
    )
    subsets: tuple[LabelledSubset, ...] | None = None
    export_to: tuple[str, ...] | None = None
    workload_selector: Unread = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        yield from repeated_names((subset.name for subset in self.subsets or ()), ("subsets",))
        if self.workload_selector is not None:
            yield (
                ("workloadSelector",),
                "is not supported: all calls come from the node, which has no labels; leave it out "
                "where the rule is for all calls",
            )
        yield from export_faults(self.export_to)


class DestinationRule(Resource):
    """Istio's DestinationRule for one function."""

    api_version: Literal[
        "networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"
    ] = "networking.istio.io/v1"
    kind: Literal["DestinationRule"] = "DestinationRule"
    spec: DestinationRuleSpec

    @property
    def function(self) -> str:
        """`namespace/name` of the function it is for, named at `spec.host`."""
        return host_of(self.spec.host, self.namespace) or ""

    def without_effect(self) -> Iterator[Fault]:
        yield from self.metadata.unhonoured_annotations(())
        if self.spec.traffic_policy is not None:
            yield from self.spec.traffic_policy.without_effect(("spec", "trafficPolicy"))
        for index, subset in enumerate(self.spec.subsets or ()):
            if subset.traffic_policy is not None:
                path = ("spec", "subsets", index, "trafficPolicy")
                yield from subset.traffic_policy.without_effect(path)
        yield from without_export(self.spec.export_to)
