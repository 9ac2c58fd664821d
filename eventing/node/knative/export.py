"""The whole export: every kind in its turn."""

from collections.abc import Iterable, Iterator

from eventing.node.knative.brokers import KeptSettings, brokers
from eventing.node.knative.manifest import Export, Manifest, Note, Notes, in_order
from eventing.node.knative.options import Options
from eventing.node.knative.scope import Scope
from eventing.node.knative.services import services
from eventing.node.knative.settings import config_maps, namespaces, secrets
from eventing.node.knative.sources import sinks, sources
from eventing.node.knative.traffic import traffic
from eventing.node.knative.triggers import transforms, triggers
from eventing.node.wiring import Discovered
from eventing.resources import Identity, Resource


def export(
    resources: Iterable[Resource], code: Iterable[Discovered] = (), options: Options = Options()
) -> Export:
    """Manifests of these resources, and of the functions found in `code`. Both have to be free of
    errors. Raises UserError where `options` name a function that there is not, or leave the image
    of one open."""
    scope = Scope(resources, code, options)
    notes = Notes()
    manifests = tuple(_without_clashes(_all(scope, notes), notes))
    made = namespaces(scope, manifests)
    return Export(
        in_order((*made, *manifests)), tuple(sorted(notes.all, key=lambda note: note.place))
    )


def _without_clashes(manifests: Iterable[Manifest], notes: Notes) -> Iterator[Manifest]:
    """A Function and a Service of one name, say, would be the same thing on a cluster."""
    first: dict[Identity, Manifest] = {}
    for manifest in manifests:
        other = first.setdefault(manifest.identity, manifest)
        if other is manifest:
            yield manifest
            continue
        notes.note(
            Note(
                manifest.source,
                str(manifest.identity),
                f"is left out: there is another of this name, from {other.source}",
                "give one of the two another name",
            )
        )


def _all(scope: Scope, notes: Notes) -> Iterator[Manifest]:
    kept: KeptSettings = {}
    yield from services(scope, notes)
    yield from brokers(scope, kept, notes)
    yield from config_maps(scope, kept)
    yield from secrets(scope, notes)
    yield from sinks(scope)
    yield from triggers(scope, notes)
    yield from transforms(scope, notes)
    yield from sources(scope, notes)
    yield from traffic(scope, notes)
