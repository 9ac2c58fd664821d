"""KServe's InferenceService, as far as its predictor is a container of one's own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictInt, model_validator

from eventing.resources.container import ContainerSpec
from eventing.resources.fields import Count, Dns1035Label, LabelValue, QualifiedName
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
    Scaling,
    annotation_faults,
    annotations_without_effect,
    conflicts,
    scaling,
)
from eventing.resources.service import DEFAULT_TIMEOUT
from eventing.resources.traffic_target import Percent, TrafficTarget, rollout_without_effect
from eventing.resources.workload import (
    PROGRESS_DEADLINE,
    REVISION_ANNOTATIONS,
    knative_annotations_without_effect,
    of_revision,
    own_annotation_faults,
)

TAG_ROUTING = "serving.kserve.io/enable-tag-routing"
_MINIMUM = 1
"""KServe's minReplicas where it is left out."""
_PREDICTOR: Path = ("spec", "predictor")
_OTHER_FORMS = (
    "model",
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
    "worker_spec",
)


def _resource_annotations(annotations: dict[str, str]) -> Iterator[Fault]:
    yield from annotation_faults(annotations)
    yield from rollout_faults(annotations)
    yield from own_annotation_faults(annotations, (*REVISION_ANNOTATIONS, ROLLOUT))


def _predictor_annotations(annotations: dict[str, str]) -> Iterator[Fault]:
    yield from annotation_faults(annotations)
    yield from own_annotation_faults(annotations, REVISION_ANNOTATIONS)


class InferenceServiceMetadata(Metadata):
    name: Dns1035Label = Field(description="Unique among those of its kind and namespace.")
    annotations: Annotated[dict[QualifiedName, str], refusing(_resource_annotations)] | None = None


class PredictorSpec(PodSpec):
    """KServe's PredictorSpec: a pod, how it is called, and how many there are."""

    containers: tuple[ContainerSpec, ...] = Field(default=(), description="One.")
    min_replicas: Count | None = Field(default=None, description="1 where left out.")
    max_replicas: Count | None = Field(default=None, description="0, as where left out: no limit.")
    scale_target: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] | None = None
    scale_metric: Literal["concurrency", "rps", "cpu", "memory"] | None = None
    container_concurrency: Annotated[StrictInt, Field(ge=0, le=1000)] | None = Field(
        default=None, description="Calls in flight in one container; no limit where left out or 0."
    )
    timeout: Annotated[StrictInt, Field(ge=0, le=600)] | None = Field(
        default=None, description="Seconds of one call; 300 where left out or 0."
    )
    canary_traffic_percent: Percent | None = Field(
        default=None, description="For the latest revision; the rest is the one's before it."
    )
    labels: dict[QualifiedName, LabelValue] | None = None
    annotations: Annotated[dict[QualifiedName, str], refusing(_predictor_annotations)] | None = None

    auto_scaling: Any = None
    batcher: Any = None
    deployment_strategy: Any = None
    logger: Any = None
    scale_metric_type: Any = None

    model: Any = None
    sklearn: Any = None
    xgboost: Any = None
    tensorflow: Any = None
    pytorch: Any = None
    triton: Any = None
    onnx: Any = None
    huggingface: Any = None
    pmml: Any = None
    lightgbm: Any = None
    paddle: Any = None
    worker_spec: Any = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        other = [name for name in _OTHER_FORMS if getattr(self, name) is not None]
        for name in other:
            message = (
                "is not supported by this version: it runs a predictor that is a container of "
                'one\'s own ("containers")'
            )
            yield (str(type(self).model_fields[name].alias),), message
        if not self.containers and not other:
            yield (), 'needs "containers", with the one that is the predictor'
        if self.max_replicas and self.max_replicas < self._minimum:
            message = f"{self.max_replicas} is below the minimum of {self._minimum}"
            yield ("maxReplicas",), message

    @property
    def _minimum(self) -> int:
        return _MINIMUM if self.min_replicas is None else self.min_replicas

    def missing(self) -> Iterator[Fault]:
        yield from super().missing()
        for index, variable in enumerate(self.container.env or ()):
            if variable.name == "STORAGE_URI":
                message = (
                    "asks for a model to be fetched, which this version does not do; put it into "
                    "the image, or fetch it at the container's start"
                )
                yield ("containers", self.serving, "env", index, "name"), message

    def without_effect(self, path: Path) -> Iterator[Fault]:
        yield from super().without_effect(path)
        if self.scale_metric in ("cpu", "memory"):
            yield (*path, "scaleMetric"), "has no effect: calls are counted, in flight or a second"
            if self.scale_target is not None:
                yield (*path, "scaleTarget"), f'has no effect beside "{self.scale_metric}"'
        for name in (
            "auto_scaling",
            "batcher",
            "deployment_strategy",
            "logger",
            "scale_metric_type",
        ):
            if getattr(self, name):
                alias = str(PredictorSpec.model_fields[name].alias)
                yield (*path, alias), "has no effect in this version"

    def scaling(self, annotations: dict[str, str]) -> Scaling:
        """How many there are to be; its own fields go before the annotations, as in KServe."""
        found = replace(scaling(None, annotations), min=self._minimum)
        if self.max_replicas:
            found = replace(found, max=self.max_replicas)
        if self.scale_metric == "cpu" or self.scale_metric == "memory":
            return found
        if self.scale_metric is not None:
            found = replace(found, metric=self.scale_metric)
        if self.scale_target is not None:
            found = replace(found, target=float(self.scale_target))
        return found


class InferenceServiceSpec(Model):
    predictor: PredictorSpec = Field(description="A change of it makes a new revision.")
    explainer: Any = None
    transformer: Any = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        for name in ("explainer", "transformer"):
            if getattr(self, name) is not None:
                message = (
                    "is not supported by this version; make a Service of it, and wire the two "
                    "with triggers"
                )
                yield (name,), message


class InferenceService(PodWorkload):
    """A model behind a container of one's own."""

    api_version: Literal["serving.kserve.io/v1beta1"] = "serving.kserve.io/v1beta1"
    kind: Literal["InferenceService"] = "InferenceService"
    metadata: InferenceServiceMetadata
    spec: InferenceServiceSpec

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        for path, message in conflicts(None, self._own):
            yield path, message
        for path, message in conflicts(None, self._predictor.annotations or {}):
            yield (*_PREDICTOR, *path[1:]), message
        if self.handler is None:
            for path, message in self._predictor.missing():
                yield (*_PREDICTOR, *path), message

    @property
    def _own(self) -> dict[str, str]:
        return self.metadata.annotations or {}

    @property
    def _annotations(self) -> dict[str, str]:
        """Those of the revision: the predictor's, and the resource's own where it has none."""
        return of_revision(self._own) | (self._predictor.annotations or {})

    @property
    def _predictor(self) -> PredictorSpec:
        return self.spec.predictor

    @property
    def _pod(self) -> PodSpec:
        return self._predictor

    @property
    def says_timeout(self) -> bool:
        return bool(self._predictor.timeout)

    @property
    def timeout(self) -> float:
        return float(self._predictor.timeout or DEFAULT_TIMEOUT)

    @property
    def concurrency(self) -> int | None:
        return self._predictor.container_concurrency

    @property
    def scaling(self) -> Scaling:
        return self._predictor.scaling(self._annotations)

    @property
    def _container_path(self) -> Path:
        return (*_PREDICTOR, "containers", self._predictor.serving)

    @property
    def traffic(self) -> tuple[TrafficTarget, ...]:
        percent = self._predictor.canary_traffic_percent
        tagged = self.metadata.annotation(TAG_ROUTING) == "true"
        if percent is None and not tagged:
            return ()
        latest = 100 if percent is None else percent
        targets = [TrafficTarget(latest, latest=True, tag="latest" if tagged else None)]
        if latest < 100:
            targets.append(TrafficTarget(100 - latest, previous=True, tag="prev"))
        return tuple(targets)

    @property
    def rollout(self) -> RolloutPlan | None:
        return rollout(self._own)

    @property
    def revision_name(self) -> str | None:
        return None

    @property
    def template(self) -> dict[str, Any]:
        predictor: dict[str, Any] = self.said()["spec"]["predictor"]
        predictor.pop("canaryTrafficPercent", None)
        predictor.pop("annotations", None)
        labels = predictor.pop("labels", None)
        found = {"labels": labels, "annotations": self._annotations}
        metadata = {name: value for name, value in found.items() if value}
        return ({"metadata": metadata} if metadata else {}) | {"spec": predictor}

    def _with_template(self, said: dict[str, Any], template: dict[str, Any]) -> None:
        predictor = dict(template["spec"]) | template.get("metadata", {})
        canary = self._predictor.canary_traffic_percent
        if canary is not None:
            predictor["canaryTrafficPercent"] = canary
        said["spec"]["predictor"] = predictor
        annotations = said["metadata"].get("annotations", {})
        for name in of_revision(annotations):
            del annotations[name]

    def without_effect(self) -> Iterator[Fault]:
        own: Path = ("metadata", "annotations")
        for path, message in annotations_without_effect(self._own):
            yield path, message
        for path, message in knative_annotations_without_effect(self._own, ROLLOUT_ANNOTATIONS):
            yield (*own, *path), message
        for path, message in rollout_overruled(self._own):
            yield (*own, *path), message
        for name in ROLLOUT_ANNOTATIONS:
            if name in self._own:
                yield from rollout_without_effect(self.traffic, (*own, name))
        of_predictor = self._predictor.annotations or {}
        for path, message in annotations_without_effect(of_predictor):
            yield (*_PREDICTOR, *path[1:]), message
        for path, message in knative_annotations_without_effect(of_predictor, (PROGRESS_DEADLINE,)):
            yield (*_PREDICTOR, "annotations", *path), message
        if self.handler is None:
            yield from self._predictor.without_effect(_PREDICTOR)
