"""All that is exported at once: who is named what, where, and how one refers to another there."""

from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath
from typing import TypeVar
from urllib.parse import urljoin

from eventing.node.knative.manifest import Document, Notes
from eventing.node.knative.options import DEFAULT_NAMESPACE, Options
from eventing.node.wiring import Discovered
from eventing.resources import Function, Identity, Path, Reference, Resource, Workload, to_document
from eventing.resources.api_versions import API_VERSIONS
from eventing.resources.destination import Destination, KReference

SERVICE = API_VERSIONS["Service"]
_RECEIVERS = ("Function", "Broker", "EventTransform", "KafkaSink", "RedisStreamSink")
Kind = TypeVar("Kind", bound=Resource)


class Scope:
    """The resources of an export, the functions that code holds, and what the user decided."""

    def __init__(
        self, resources: Iterable[Resource], code: Iterable[Discovered], options: Options
    ) -> None:
        self.resources = {resource.identity: resource for resource in resources}
        self.code = tuple(code)
        self.options = options
        self._code = {(found.namespace, found.name) for found in self.code}

    def each(self, kind: type[Kind]) -> Iterator[Kind]:
        """Those of this kind, in the order they stand."""
        return (each for each in self.resources.values() if isinstance(each, kind))

    def workloads(self) -> Iterator[Workload]:
        return (each for each in self.resources.values() if isinstance(each, Workload))

    def namespace(self, namespace: str) -> str | None:
        """What it is called there; None = it is left open."""
        return self.options.namespace if namespace == DEFAULT_NAMESPACE else namespace

    def document(self, resource: Resource) -> Document:
        """The resource as it was written, in its namespace there."""
        document = to_document(resource)
        if resource.namespace:
            document["metadata"] = self.metadata(document["metadata"], resource.namespace)
        return document

    def metadata(self, written: Document, namespace: str) -> Document:
        """`metadata` of a resource in `namespace` here."""
        there = self.namespace(namespace)
        named = {"name": written["name"]}
        if there is None:
            # As its author left it.
            there = written.get("namespace")
        if there is not None:
            named["namespace"] = there
        return named | {key: written[key] for key in written if key not in ("name", "namespace")}

    def found(self, function: Workload) -> Discovered | None:
        """Its code: of the innermost project that its file lies in, where several have a handler of
        this name."""
        same = [
            found
            for found in self.code
            if found.handler == function.handler and found.namespace == function.namespace
        ]
        file = FilePath(function.source.file).absolute()
        own = [found for found in same if file.is_relative_to(found.code.project)]
        own.sort(key=lambda found: len(found.code.project.parts))
        return own[-1] if own else next(iter(same), None)

    def undeclared(self) -> Iterator[Discovered]:
        """Functions in code that no document names."""
        workloads = list(self.workloads())
        named = {(each.namespace, each.name) for each in workloads}
        taken = {id(self.found(each)) for each in workloads if each.handler is not None}
        for found in self.code:
            if (found.namespace, found.name) not in named and id(found) not in taken:
                yield found

    def destination(
        self, owner: Resource, spec: Destination, path: Path, notes: Notes, *, with_ca: bool = True
    ) -> Document:
        """A destination that stands at `path` of `owner`, as it is said there."""
        written: Document = {}
        uri = spec.uri
        if spec.ref is not None:
            reference = spec.ref.resolved(owner.namespace, (*path, "ref"))
            target = self.resources.get(reference.identity)
            if isinstance(target, Function) and target.uri is not None:
                uri = urljoin(target.uri, uri) if uri is not None else target.uri
            else:
                self.tell_if_missing(owner, reference, notes)
                written["ref"] = self._ref(owner, spec.ref, reference, notes)
                if uri is None and isinstance(target, Workload) and target.container is not None:
                    uri = target.container.path if target.container.path != "/" else None
        if uri is not None:
            written["uri"] = uri
        if spec.ca_certs is not None:
            if with_ca:
                written["CACerts"] = spec.ca_certs
            else:
                notes.add(
                    owner,
                    (*path, "CACerts"),
                    "CACerts is left out: an EventTransform takes none on a cluster",
                    "hand the certificates to Knative in a ConfigMap with the label "
                    "networking.knative.dev/trust-bundle",
                )
        if spec.audience is not None:
            written["audience"] = spec.audience
        return written

    def tell_if_missing(self, owner: Resource, reference: Reference, notes: Notes) -> None:
        """Of what `owner` refers to: events that go there would wait for it on the cluster."""
        if reference.kind not in _RECEIVERS or reference.identity in self.resources:
            return
        name = (reference.namespace, reference.name)
        if reference.kind == "Broker" and name == (DEFAULT_NAMESPACE, "default"):
            return
        if reference.kind == "Function" and name in self._code:
            return
        notes.add(
            owner,
            reference.path,
            f"{reference} is not among what is exported",
            "export it too, or see that the cluster has it",
        )

    def _ref(self, owner: Resource, ref: KReference, target: Reference, notes: Notes) -> Document:
        kind, api_version = target.kind, target.api_version
        if kind == "Function":
            kind, api_version = "Service", SERVICE
        elif ref.api_version is None:
            api_version = API_VERSIONS.get(kind, api_version)
        written: Document = {"apiVersion": api_version, "kind": kind, "name": target.name}
        if "/" not in api_version and kind not in API_VERSIONS and ref.group is not None:
            written = {"group": ref.group, "kind": kind, "name": target.name}
            notes.add(
                owner,
                (*target.path, "group"),
                '"group" in a reference is taken by a cluster with the feature kreference-group '
                "alone",
                'write the "apiVersion" in its place',
            )
        if ref.namespace is not None:
            # Where it is the owner's own, too: it was written.
            written["namespace"] = self.namespace(ref.namespace) or ref.namespace
        return written

    def reference(self, spec: KReference, owner: Resource, path: Path) -> Document:
        """A reference to a ConfigMap, as it is said there."""
        target = spec.resolved(owner.namespace, path)
        written: Document = {"apiVersion": target.api_version or "v1", "kind": target.kind}
        written["name"] = target.name
        if spec.namespace is not None:
            written["namespace"] = self.namespace(spec.namespace) or spec.namespace
        return written

    def is_named(self, identity: Identity) -> bool:
        """Whether any resource refers to it."""
        return any(
            reference.identity == identity
            for resource in self.resources.values()
            for reference in resource.references()
        )
