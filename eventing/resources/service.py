"""Knative's Service: a container that is called with events, its revisions and their traffic."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictInt, model_validator

from eventing.resources.container import ContainerSpec
from eventing.resources.fields import Count, Dns1035Label, Ignored, LabelValue, QualifiedName
from eventing.resources.metadata import Metadata
from eventing.resources.model import Fault, Model, refusing
from eventing.resources.place import Path
from eventing.resources.pod import PodSpec
from eventing.resources.pod_workload import PodWorkload
from eventing.resources.rollout import (
    ROLLOUT,
    ROLLOUT_ANNOTATIONS,
    RolloutPlan,
    rollout,
    rollout_faults,
    rollout_overruled,
)
from eventing.resources.scaling import (
    ANNOTATION_PREFIX,
    Scaling,
    annotation_faults,
    annotations_without_effect,
    conflicts,
    scaling,
)
from eventing.resources.traffic_target import (
    TrafficSpec,
    TrafficTarget,
    rollout_without_effect,
    traffic,
)
from eventing.resources.workload import (
    PROGRESS_DEADLINE,
    REVISION_ANNOTATIONS,
    knative_annotations_without_effect,
    own_annotation_faults,
)

DEFAULT_TIMEOUT = 300
"""Seconds: Knative's `revision-timeout-seconds`."""
_LONGEST_TIMEOUT = 600
_TEMPLATE: Path = ("spec", "template")


def _resource_annotations(annotations: dict[str, str]) -> Iterator[Fault]:
    for name in annotations:
        if name.startswith(ANNOTATION_PREFIX):
            yield (name,), "counts among spec.template.metadata.annotations alone; move it there"
    yield from rollout_faults(annotations)
    yield from own_annotation_faults(annotations, (*REVISION_ANNOTATIONS, ROLLOUT))


def _template_annotations(annotations: dict[str, str]) -> Iterator[Fault]:
    yield from annotation_faults(annotations)
    yield from own_annotation_faults(annotations, REVISION_ANNOTATIONS)


def _no_container(containers: tuple[ContainerSpec, ...]) -> Iterator[Fault]:
    if not containers:
        yield (), "is empty; one container is what a service runs"


class ServiceMetadata(Metadata):
    name: Dns1035Label = Field(description="Unique among those of its kind and namespace.")
    annotations: Annotated[dict[QualifiedName, str], refusing(_resource_annotations)] | None = None


class TemplateMetadata(Model):
    """Of every revision made of the template."""

    name: Dns1035Label | None = Field(
        default=None, description="The revision's own, beginning with the service's and a dash."
    )
    labels: dict[QualifiedName, LabelValue] | None = None
    annotations: Annotated[dict[QualifiedName, str], refusing(_template_annotations)] | None = None
    generate_name: str | None = None
    namespace: Ignored = None
    creation_timestamp: Ignored = None
    generation: Ignored = None
    resource_version: Ignored = None
    uid: Ignored = None


class RevisionSpec(PodSpec):
    """Knative's RevisionSpec: a pod, and how it is called."""

    containers: Annotated[tuple[ContainerSpec, ...], refusing(_no_container)] = Field(
        description="One."
    )
    container_concurrency: Annotated[StrictInt, Field(ge=0, le=1000)] | None = Field(
        default=None, description="Calls in flight in one container; no limit where left out or 0."
    )
    timeout_seconds: Annotated[StrictInt, Field(ge=0, le=_LONGEST_TIMEOUT)] | None = Field(
        default=None, description="Of one call; 300 where left out or 0."
    )
    response_start_timeout_seconds: Count | None = None
    idle_timeout_seconds: Count | None = None


class RevisionTemplate(Model):
    metadata: TemplateMetadata | None = None
    spec: RevisionSpec

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(conflicts(None, self.annotations))

    @property
    def annotations(self) -> dict[str, str]:
        return (self.metadata.annotations or {}) if self.metadata else {}


class ServiceSpec(Model):
    template: RevisionTemplate = Field(description="A change of it makes a new revision.")
    traffic: TrafficSpec | None = Field(
        default=None, description="Shares of the revisions; all to the latest where left out."
    )


class Service(PodWorkload):
    """A container, or with the annotation `functions/handler` a process in its place here."""

    api_version: Literal["serving.knative.dev/v1"] = "serving.knative.dev/v1"
    kind: Literal["Service"] = "Service"
    metadata: ServiceMetadata
    spec: ServiceSpec

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        name = self.revision_name
        prefix = f"{self.name}-"
        if name is not None and not name.startswith(prefix):
            message = f'"{name}" has to begin with "{prefix}", the name of the service'
            yield (*_TEMPLATE, "metadata", "name"), message
        for annotation in REVISION_ANNOTATIONS:
            if annotation in self._own and annotation in self.spec.template.annotations:
                path: Path = (*_TEMPLATE, "metadata", "annotations", annotation)
                yield path, "stands on the service too; keep one of them"
        if self.handler is None:
            for path, message in self._revision.missing():
                yield (*_TEMPLATE, "spec", *path), message

    @property
    def _own(self) -> dict[str, str]:
        return self.metadata.annotations or {}

    @property
    def _annotations(self) -> dict[str, str]:
        """Those of the revision, wherever they stand."""
        own = {name: self._own[name] for name in REVISION_ANNOTATIONS if name in self._own}
        return own | self.spec.template.annotations

    @property
    def _revision(self) -> RevisionSpec:
        return self.spec.template.spec

    @property
    def _pod(self) -> PodSpec:
        return self._revision

    @property
    def says_timeout(self) -> bool:
        return bool(self._revision.timeout_seconds)

    @property
    def timeout(self) -> float:
        return float(self._revision.timeout_seconds or DEFAULT_TIMEOUT)

    @property
    def concurrency(self) -> int | None:
        return self._revision.container_concurrency

    @property
    def scaling(self) -> Scaling:
        return scaling(None, self.spec.template.annotations)

    @property
    def _container_path(self) -> Path:
        return (*_TEMPLATE, "spec", "containers", self._revision.serving)

    @property
    def traffic(self) -> tuple[TrafficTarget, ...]:
        return traffic(self.spec.traffic)

    @property
    def rollout(self) -> RolloutPlan | None:
        return rollout(self._own)

    @property
    def revision_name(self) -> str | None:
        metadata = self.spec.template.metadata
        return metadata.name if metadata else None

    @property
    def template(self) -> dict[str, Any]:
        template: dict[str, Any] = self.said()["spec"]["template"]
        metadata = template.pop("metadata", {})
        metadata.pop("generateName", None)
        if self._annotations:
            metadata["annotations"] = self._annotations
        kept = {name: value for name, value in metadata.items() if value}
        return ({"metadata": kept} if kept else {}) | template

    def _with_template(self, said: dict[str, Any], template: dict[str, Any]) -> None:
        said["spec"]["template"] = template
        for name in REVISION_ANNOTATIONS:
            said["metadata"].get("annotations", {}).pop(name, None)

    def without_effect(self) -> Iterator[Fault]:
        annotations: Path = ("metadata", "annotations")
        for path, message in knative_annotations_without_effect(self._own, ROLLOUT_ANNOTATIONS):
            yield (*annotations, *path), message
        for path, message in rollout_overruled(self._own):
            yield (*annotations, *path), message
        for name in ROLLOUT_ANNOTATIONS:
            if name in self._own:
                yield from rollout_without_effect(self.traffic, (*annotations, name))
        of_template = self.spec.template.annotations
        for path, message in annotations_without_effect(of_template):
            yield (*_TEMPLATE, *path), message
        for path, message in knative_annotations_without_effect(of_template, (PROGRESS_DEADLINE,)):
            yield (*_TEMPLATE, *annotations, *path), message
        metadata = self.spec.template.metadata
        if metadata is not None and metadata.generate_name:
            path = (*_TEMPLATE, "metadata", "generateName")
            yield path, "has no effect: revisions are numbered"
        for name in ("response_start_timeout_seconds", "idle_timeout_seconds"):
            if getattr(self._revision, name):
                alias = str(RevisionSpec.model_fields[name].alias)
                message = "has no effect: timeoutSeconds bounds the whole call"
                yield (*_TEMPLATE, "spec", alias), message
        if self.handler is None:
            yield from self._revision.without_effect((*_TEMPLATE, "spec"))
