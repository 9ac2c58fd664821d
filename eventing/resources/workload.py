"""What runs when an event comes: the common face of Function, Service and InferenceService.

What makes a revision of one is its `template`; any template can be made a resource again, so that
old revisions need nothing but that to be kept.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, cast

from eventing.resources.container import AtRest, Container
from eventing.resources.durations import parse_go_duration
from eventing.resources.env import Environment, EnvironmentFrom
from eventing.resources.model import Fault
from eventing.resources.nearest import suggestion
from eventing.resources.resource import Reference, Resource, read_from
from eventing.resources.rollout import RolloutPlan
from eventing.resources.scaling import ANNOTATION_PREFIX, Scaling
from eventing.resources.traffic_target import TrafficTarget

WORKLOADS = ("Function", "Service", "InferenceService")
"""The kinds, in the order in which the first of a name counts."""

HANDLER = "functions/handler"
PATH = "functions/path"
SCALE_TO_ZERO = "functions/scale-to-zero"
REVISION_ANNOTATIONS = (HANDLER, PATH, SCALE_TO_ZERO)
"""Annotations of a Service's or an InferenceService's template (or, for all revisions to come, of
the resource itself) that a cluster does not look at."""

PROGRESS_DEADLINE = "serving.knative.dev/progress-deadline"
"""Knative's annotation of a template: how long an instance may take until it is ready."""
_LONGEST_DEADLINE = 86_400.0
_PREFIX = "functions/"
_KNATIVES = ("serving.knative.dev/", "networking.knative.dev/", "features.knative.dev/")
_SET_BY_KNATIVE = ("serving.knative.dev/creator", "serving.knative.dev/lastModifier")


class Workload(Resource):
    """A resource that is called with events, by its latest revision or by several."""

    @property
    @abstractmethod
    def handler(self) -> str | None:
        """ "module:name" of what runs as a process here."""

    @property
    @abstractmethod
    def uri(self) -> str | None:
        """Of a service that runs elsewhere."""

    @property
    @abstractmethod
    def container(self) -> Container | None:
        """What runs in a container here. One of handler, uri and container is not None."""

    @property
    @abstractmethod
    def timeout(self) -> float:
        """Seconds of one call."""

    @property
    @abstractmethod
    def says_timeout(self) -> bool:
        """Whether `timeout` is what its author wrote, and no default."""

    @property
    @abstractmethod
    def concurrency(self) -> int | None:
        """Calls in flight in one process or container at the most; None = not said; 0 = no limit of
        a container, the default of a handler."""

    @property
    @abstractmethod
    def memory(self) -> int | None:
        """Bytes of one process or container; None = no limit."""

    @property
    @abstractmethod
    def scaling(self) -> Scaling:
        """How many of them there are to be."""

    @property
    @abstractmethod
    def env(self) -> Environment:
        """Its variables: a value, or the entry of a ConfigMap or Secret that holds it."""

    @property
    @abstractmethod
    def env_from(self) -> EnvironmentFrom:
        """ConfigMaps and Secrets all of whose entries are variables."""

    @property
    @abstractmethod
    def traffic(self) -> tuple[TrafficTarget, ...]:
        """How calls are split, in the order written; () = all to the latest revision."""

    @property
    @abstractmethod
    def rollout(self) -> RolloutPlan | None:
        """How a new revision comes to its traffic; None = all at once when it is ready."""

    @property
    @abstractmethod
    def template(self) -> dict[str, Any]:
        """All that makes a revision, and nothing else, as JSON data: `metadata` (name, labels,
        annotations) and `spec`. Resources with equal templates are of one revision."""

    @property
    @abstractmethod
    def revision_name(self) -> str | None:
        """What the revision is to be called, where its author says."""

    @abstractmethod
    def _with_template(self, said: dict[str, Any], template: dict[str, Any]) -> None:
        """Put the template into `said`, a document of this kind."""

    def with_template(self, template: dict[str, Any]) -> Self:
        """This resource as it was, or would be, with another revision's template: same name,
        traffic and rollout. Raises nothing for a template that this version wrote."""
        said = self.said()
        self._with_template(said, template)
        other = type(self).model_validate(said, by_alias=True, by_name=False)
        return cast(Self, read_from(other, self._origin))

    def said(self) -> dict[str, Any]:
        """What its author set, as JSON data; the two ends of a document are left out."""
        return self.model_dump(
            mode="json",
            by_alias=True,
            exclude_unset=True,
            exclude_none=True,
            exclude={"api_version", "kind"},
        )

    def references(self) -> Iterator[Reference]:
        for value in self.env.values():
            if isinstance(value, Reference):
                yield value
        for _, whole in self.env_from:
            yield whole


def at_rest(annotations: Mapping[str, str]) -> AtRest:
    return "pause" if annotations.get(SCALE_TO_ZERO) == "pause" else "stop"


def is_handler(text: str) -> bool:
    """Whether it is "module:name"."""
    module, colon, name = text.partition(":")
    parts = [*module.split("."), *name.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def of_revision(annotations: Mapping[str, str]) -> dict[str, str]:
    """Those that say how a revision runs and scales."""
    return {
        name: text
        for name, text in annotations.items()
        if name in REVISION_ANNOTATIONS or name.startswith(ANNOTATION_PREFIX)
    }


def own_annotation_faults(annotations: Mapping[str, str], known: Iterable[str]) -> Iterator[Fault]:
    """What is wrong with those of this runtime, one by one; `known` are the names that may stand
    there."""
    names = list(known)
    for name, text in annotations.items():
        if name == PROGRESS_DEADLINE:
            yield from _deadline_faults(text)
        if not name.startswith(_PREFIX):
            continue
        if name not in names:
            yield (name,), f"unknown annotation; {suggestion(name, names)}"
        elif name == HANDLER and not is_handler(text):
            yield (name,), f'"{text}" is not "module:name", as in "app:thumbnail"'
        elif name == PATH and (not text.startswith("/") or " " in text or not text.isprintable()):
            yield (name,), f'"{text}" is no path; it begins with "/", and white space is %20'
        elif name == SCALE_TO_ZERO and text not in ("stop", "pause"):
            yield (name,), f'"{text}" is neither "stop" nor "pause"'


def _deadline_faults(text: str) -> Iterator[Fault]:
    try:
        seconds = parse_go_duration(text)
    except ValueError as error:
        yield (PROGRESS_DEADLINE,), str(error)
        return
    if not 1 <= seconds <= _LONGEST_DEADLINE or seconds != int(seconds):
        yield (PROGRESS_DEADLINE,), f'"{text}" is not whole seconds from 1s to 24h'


def knative_annotations_without_effect(
    annotations: Mapping[str, str], honoured: Iterable[str]
) -> Iterator[Fault]:
    """Those of Knative Serving that change nothing here; paths are from the annotations."""
    known = (*honoured, *_SET_BY_KNATIVE)
    for name in annotations:
        serving = name.startswith(_KNATIVES) or "queue.sidecar.serving.knative.dev/" in name
        if serving and name not in known:
            yield (name,), "has no effect in this version"
