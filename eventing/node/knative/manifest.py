"""What an export is made of: documents for a cluster, and notes on what none of them says."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from eventing.resources import Identity, Path, Place, Resource, loaded_place
from eventing.resources.broker import CLASS

Document = dict[str, Any]

_ORDER = (
    *("Namespace", "ConfigMap", "Secret", "Broker", "KafkaSink", "RedisStreamSink"),
    *("Service", "InferenceService", "DestinationRule", "VirtualService"),
    *("EventTransform", "Trigger", "KafkaSource", "RedisStreamSource", "PingSource"),
)
KINDS: dict[str, int] = {kind: rank for rank, kind in enumerate(_ORDER)}
"""The kinds of manifests, in the order they are applied: what others name comes first."""

NEEDS = {
    "Broker": "Knative Eventing",
    "Trigger": "Knative Eventing",
    "EventTransform": "Knative Eventing 1.17 or later",
    "PingSource": "Knative Eventing",
    "KafkaSource": "Knative's KafkaSource",
    "KafkaSink": "Knative's KafkaSink",
    "RedisStreamSource": "Knative's RedisStreamSource (alpha)",
    "RedisStreamSink": "Knative's RedisStreamSink (alpha)",
    "Service": "Knative Serving",
    "InferenceService": "KServe",
    "VirtualService": "Istio",
    "DestinationRule": "Istio",
}
"""What a cluster has to have for a kind."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A document, where what it says comes from, and what else its reader should know.

    A `hidden` one is shown in comments: applied, it would put a blank over what is there.
    """

    document: Document
    source: Place
    comments: tuple[str, ...] = ()
    hidden: bool = False

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def identity(self) -> Identity:
        metadata = self.document["metadata"]
        return Identity(self.kind, metadata.get("namespace", "default"), metadata["name"])


@dataclass(frozen=True, slots=True)
class Note:
    """`what` of `subject` (`Kind/namespace/name`) a cluster is not told, and what to `do`."""

    place: Place
    subject: str
    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    @property
    def text(self) -> str:
        return f"{self.subject}: {self.what}; {self.do}"


@dataclass(slots=True)
class Notes:
    """Gathers notes, each once, in the order they come up."""

    _found: dict[Note, None] = field(default_factory=dict)

    def add(self, resource: Resource, path: Path, what: str, do: str) -> None:
        place = loaded_place(resource, path)
        self.note(Note(place, str(resource.identity), what, do))

    def note(self, note: Note) -> None:
        self._found.setdefault(note)

    @property
    def all(self) -> tuple[Note, ...]:
        return tuple(self._found)


@dataclass(frozen=True, slots=True)
class Export:
    """Manifests in the order they are applied, notes in that of their places."""

    manifests: tuple[Manifest, ...]
    notes: tuple[Note, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """What a cluster has to have for it."""
        found = {NEEDS[each.kind]: None for each in self.manifests if each.kind in NEEDS}
        for each in self.manifests:
            if each.kind == "Broker":
                found[f"the broker class {each.document['metadata']['annotations'][CLASS]}"] = None
        return tuple(found)


def in_order(manifests: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """By kind, and else as they come."""
    return tuple(sorted(manifests, key=lambda manifest: KINDS[manifest.kind]))
