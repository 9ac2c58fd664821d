"""What all kinds of sources share: where their events go, and what is set on each of them."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from eventing.resources.destination import Destination, Target
from eventing.resources.model import Fault, Model, refusing
from eventing.resources.place import Path
from eventing.resources.resource import Reference, Resource

_CORE = frozenset(
    ("specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time")
)
_SINK: Path = ("spec", "sink")


def _extension_faults(extensions: dict[str, str]) -> Iterator[Fault]:
    for name in extensions:
        if name in _CORE:
            yield (name,), f'"{name}" is no extension; only extensions can be set here'
        elif name == "data" or not (name.isascii() and name.isalnum() and name == name.lower()):
            yield (name,), f'"{name}" is no name of an extension: only a-z and 0-9, and not "data"'


class CloudEventOverrides(Model):
    """Knative's duck.v1 CloudEventOverrides."""

    extensions: Annotated[dict[str, str], refusing(_extension_faults)] | None = Field(
        default=None, description="Set on every event, in place of what it has."
    )


class SourceSpec(Model):
    """Knative's duck.v1 SourceSpec."""

    sink: Destination = Field(description="Where the events go.")
    ce_overrides: CloudEventOverrides | None = None


class Source(Resource):
    """A resource that brings events in."""

    spec: SourceSpec

    @property
    def sink(self) -> Target:
        return self.spec.sink.target(self.namespace, _SINK)

    @property
    def dead_letter_sink(self) -> Target | None:
        """Where events go that the sink does not take, retries included; None = they become dead
        letters of the broker that is the sink, or are given up and logged where it is none."""
        return None

    @property
    def extensions(self) -> dict[str, str]:
        """To be set on every event."""
        overrides = self.spec.ce_overrides
        return dict(overrides.extensions or {}) if overrides else {}

    def references(self) -> Iterator[Reference]:
        for target in (self.sink, self.dead_letter_sink):
            if target is not None and target.reference is not None:
                yield target.reference

    def without_effect(self) -> Iterator[Fault]:
        yield from self.metadata.unhonoured_annotations(())
        yield from self.spec.sink.without_effect(_SINK)
