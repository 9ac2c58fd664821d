"""The metadata of a resource: name, namespace, labels, annotations."""

from collections.abc import Container, Iterator

from pydantic import Field

from eventing.resources.fields import Ignored, LabelName, LabelValue, QualifiedName, ResourceName
from eventing.resources.model import Fault, Model

_SET_BY_KNATIVE = ("eventing.knative.dev/creator", "eventing.knative.dev/lastModifier")


class Metadata(Model):
    """What a Kubernetes server adds to it is let through and forgotten."""

    name: ResourceName = Field(description="Unique among those of its kind and namespace.")
    namespace: LabelName = Field(default="default", description='"default" where left out.')
    labels: dict[QualifiedName, LabelValue] | None = None
    annotations: dict[QualifiedName, str] | None = None

    uid: Ignored = None
    generation: Ignored = None
    resource_version: Ignored = None
    creation_timestamp: Ignored = None
    deletion_timestamp: Ignored = None
    deletion_grace_period_seconds: Ignored = None
    managed_fields: Ignored = None
    owner_references: Ignored = None
    finalizers: Ignored = None
    self_link: Ignored = None

    def annotation(self, name: str) -> str | None:
        return self.annotations.get(name) if self.annotations else None

    def unhonoured_annotations(self, honoured: Container[str]) -> Iterator[Fault]:
        """Annotations of Knative Eventing that change nothing in this version."""
        for name in self.annotations or ():
            asks = "eventing.knative.dev/" in name or name == "knative.dev/dependency"
            if asks and name not in honoured and name not in _SET_BY_KNATIVE:
                yield ("metadata", "annotations", name), "has no effect in this version"
