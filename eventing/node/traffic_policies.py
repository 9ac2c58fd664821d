"""From TrafficPolicies, VirtualServices and DestinationRules to one Policy a function. Pure.

The names of revisions, tags and subsets are resolved against what there is; what can't be is told
with its place. A function one of whose documents is at fault has no policy at all: half of one,
say a split without its circuit breaker, is what nobody asked for.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from eventing.node import policy_values
from eventing.resources import (
    DestinationRule,
    Identity,
    Path,
    Resource,
    TrafficPolicy,
    VirtualService,
)
from eventing.resources.destination_rule import REVISION_LABEL, LabelledSubset
from eventing.resources.destination_settings import DestinationSettings
from eventing.resources.istio_fields import Percent, host_of, percentage
from eventing.resources.nearest import suggestion
from eventing.resources.place import dotted
from eventing.resources.traffic_policy import (
    MirrorPolicy,
    PolicyRoute,
    RevisionDestination,
    RevisionSubset,
    WeightedRevision,
)
from eventing.resources.virtual_service import (
    HostDestination,
    HostMirror,
    VirtualServiceRoute,
    WeightedHost,
)
from functions.traffic.policy import DestinationPolicy, HttpRoute, Mirror, Policy, Weighted

Key = str
"""`namespace/name` of a function."""


@dataclass(frozen=True, slots=True)
class RevisionNames:
    """The revisions of one function, oldest first, and what they are called.

    latest: what "the latest" stands for. labels: of each revision's template. shares: the
    function's own traffic split, for routes that weigh it against a single revision; the latest
    alone where it is empty. not_ready: revisions that labels choose only where no other has them.
    kind: of its document, "" = nobody knows.
    """

    revisions: tuple[str, ...]
    latest: str
    tags: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shares: tuple[Weighted, ...] = ()
    not_ready: frozenset[str] = frozenset()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class PolicyProblems:
    """Why a document is not in effect: each reason with the path of the field it is about."""

    found: tuple[tuple[Path, str], ...]

    @property
    def path(self) -> Path:
        """Of the first."""
        return self.found[0][0]

    def __str__(self) -> str:
        return "; ".join(f"{dotted(path)}: {message}" for path, message in self.found)


class Resolved(NamedTuple):
    policies: dict[Key, Policy]
    problems: dict[Identity, PolicyProblems]


TrafficResource = TrafficPolicy | VirtualService | DestinationRule


def policies(resources: Iterable[Resource], functions: Mapping[Key, RevisionNames]) -> Resolved:
    """The policy of every function that has one, and what keeps documents from being in effect.

    To be asked again whenever `functions` has changed. Where several documents of a kind are for
    one function, or a TrafficPolicy stands beside those of Istio, the first by name, the
    TrafficPolicy before the others, is in effect and the others are told.
    """
    of_function: dict[Key, list[TrafficResource]] = {}
    for resource in sorted(_of_traffic(resources), key=_precedence):
        of_function.setdefault(function_of(resource), []).append(resource)
    resolved = Resolved({}, {})
    for key, found in of_function.items():
        names = functions.get(key)
        if names is None:
            reason = f"there is no function {key}; {_hint(key, functions)}"
            for each in found:
                resolved.problems[each.identity] = PolicyProblems(((named_at(each), reason),))
            continue
        resolution = _Resolution(key, names, functions, _in_effect(found, resolved.problems))
        policy = resolution.policy()
        if resolution.problems:
            resolved.problems.update(resolution.told())
        else:
            resolved.policies[key] = policy
    return resolved


def function_of(resource: TrafficResource) -> Key:
    """The function whose calls a document is about."""
    if isinstance(resource, TrafficPolicy):
        return f"{resource.function.namespace}/{resource.function.name}"
    return resource.function


def documents_for(key: Key, resources: Iterable[Resource]) -> list[TrafficResource]:
    """Those about the calls of one function, in effect or not, the ones that come first before the
    others."""
    found = (each for each in _of_traffic(resources) if function_of(each) == key)
    return sorted(found, key=_precedence)


def named_at(resource: TrafficResource) -> Path:
    """Where it says so."""
    match resource:
        case TrafficPolicy():
            return resource.function.path
        case VirtualService():
            return ("spec", "hosts", 0)
        case DestinationRule():
            return ("spec", "host")


def _of_traffic(resources: Iterable[Resource]) -> Iterator[TrafficResource]:
    for resource in resources:
        if isinstance(resource, TrafficPolicy | VirtualService | DestinationRule):
            yield resource


def _precedence(resource: TrafficResource) -> tuple[bool, Identity]:
    return not isinstance(resource, TrafficPolicy), resource.identity


def _hint(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return suggestion(name, names) if names else "there are none"


def _in_effect(
    found: Iterable[TrafficResource], problems: dict[Identity, PolicyProblems]
) -> list[TrafficResource]:
    """Those that count; of what stands beside them it is told why it does not."""
    kept: dict[str, TrafficResource] = {}
    for each in found:
        first = kept.get("TrafficPolicy") or kept.get(each.kind)
        if first is None:
            kept[each.kind] = each
            continue
        reason = f"not in effect: {first.identity} is for {function_of(each)} already"
        if first.kind == each.kind:
            reason += f", and a function has one {each.kind}; put both into one document"
        else:
            reason += f", and says what a {each.kind} would; keep one of them"
        problems[each.identity] = PolicyProblems(((named_at(each), reason),))
    return list(kept.values())


class _Unresolved(Exception):
    """What names nothing; `below` is the field, from the destination or subset that has it."""

    def __init__(self, below: Path, message: str) -> None:
        super().__init__(message)
        self.below = below


class _Unknown(Exception):
    """What names a subset that is told of already."""


_OWN = ""
"""In place of a revision: the function's own split."""


@dataclass(slots=True)
class _Subset:
    path: Path
    said: RevisionSubset | LabelledSubset
    revision: str = ""
    missing: _Unresolved | None = None
    used: bool = False

    @property
    def has_to_exist(self) -> bool:
        """Not so where labels choose it, nothing is sent to it and nothing is asked of it: such
        subsets are written ahead of the revisions they are for."""
        if self.used or self.said.traffic_policy is not None:
            return True
        return isinstance(self.said, RevisionSubset) or REVISION_LABEL in (self.said.labels or {})


class _Resolution:
    """The policy of one function out of its documents: a TrafficPolicy, or a VirtualService and a
    DestinationRule or one of these."""

    def __init__(
        self,
        key: Key,
        names: RevisionNames,
        functions: Mapping[Key, RevisionNames],
        documents: Iterable[TrafficResource],
    ) -> None:
        self.key = key
        self.names = names
        self.functions = functions
        self.documents = tuple(documents)
        self.problems: dict[Identity, list[tuple[Path, str]]] = {}
        self.subsets: dict[str, _Subset] = {}

    def policy(self) -> Policy:
        """What the documents ask for; worth nothing where there are problems."""
        policy = Policy()
        for document in self.documents:
            if isinstance(document, TrafficPolicy | DestinationRule):
                policy = self._destinations(document)
        for document in self.documents:
            if isinstance(document, TrafficPolicy | VirtualService):
                routes: tuple[PolicyRoute | VirtualServiceRoute, ...] = document.spec.http or ()
                made = (self._route(document, *each) for each in enumerate(routes))
                policy = replace(policy, routes=tuple(made))
        for document in self.documents:
            if isinstance(document, TrafficPolicy | DestinationRule):
                self._tell_missing(document)
        return policy

    def told(self) -> dict[Identity, PolicyProblems]:
        """The problems, and that a document is not in effect because of another's."""
        told = {identity: PolicyProblems(tuple(found)) for identity, found in self.problems.items()}
        faulty = ", ".join(map(str, told))
        for each in self.documents:
            if each.identity not in told:
                reason = f"not in effect: {faulty} is for the same function and is at fault"
                told[each.identity] = PolicyProblems(((named_at(each), reason),))
        return told

    def _tell(self, resource: TrafficResource, path: Path, message: str) -> None:
        self.problems.setdefault(resource.identity, []).append((path, message))

    # What counts for the calls to a revision

    def _destinations(self, document: TrafficPolicy | DestinationRule) -> Policy:
        if isinstance(document, TrafficPolicy):
            self._check_kind(document)
        every = policy_values.destination_policy(document.spec.traffic_policy)
        revisions: dict[str, DestinationPolicy] = {}
        first: dict[str, str] = {}
        subsets: tuple[RevisionSubset | LabelledSubset, ...] = document.spec.subsets or ()
        for index, said in enumerate(subsets):
            subset = self.subsets[said.name] = _Subset(("spec", "subsets", index), said)
            try:
                subset.revision = self._of_subset(said)
            except _Unresolved as missing:
                subset.missing = missing
                continue
            settings: DestinationSettings | None = said.traffic_policy
            if settings is None:
                continue
            own = policy_values.destination_policy(settings, every)
            if revisions.setdefault(subset.revision, own) != own:
                message = (
                    f"{subset.revision} is what subset {first[subset.revision]} stands for too, "
                    'with another "trafficPolicy"; a revision has one, keep one of them'
                )
                self._tell(document, (*subset.path, "trafficPolicy"), message)
            first.setdefault(subset.revision, said.name)
        return Policy(destination=every, revisions=revisions)

    def _check_kind(self, policy: TrafficPolicy) -> None:
        ref, kind = policy.spec.ref, self.names.kind
        if ref is not None and kind and ref.kind != kind:
            self._tell(policy, ("spec", "ref", "kind"), f"{self.key} is a {kind}, no {ref.kind}")

    def _tell_missing(self, document: TrafficResource) -> None:
        for subset in self.subsets.values():
            if subset.missing is not None and subset.has_to_exist:
                self._tell(document, subset.path + subset.missing.below, str(subset.missing))

    # Names

    def _of_subset(self, said: RevisionSubset | LabelledSubset) -> str:
        if isinstance(said, RevisionSubset):
            return self._chosen(said.revision, said.tag)
        labels = said.labels or {}
        named = labels.get(REVISION_LABEL)
        if named is not None and named not in self.names.revisions:
            raise _Unresolved(("labels", REVISION_LABEL), self._no_revision(named))
        having = [each for each in self.names.revisions if self._has(each, labels)]
        ready = [each for each in having if each not in self.names.not_ready]
        if not having:
            wanted = ", ".join(f"{name}={value}" for name, value in labels.items())
            raise _Unresolved(("labels",), f"no revision of {self.key} has the labels {wanted}")
        return (ready or having)[-1]

    def _has(self, revision: str, labels: Mapping[str, str]) -> bool:
        """Whether what runs of a revision has these labels: its template's, and those that Knative
        gives to it."""
        function = self.key.partition("/")[2]
        own = {
            "app": revision,
            **self.names.labels.get(revision, {}),
            REVISION_LABEL: revision,
            "serving.knative.dev/configuration": function,
            "serving.knative.dev/service": function,
        }
        return labels.items() <= own.items()

    def _chosen(self, revision: str | None, tag: str | None) -> str:
        if revision is not None:
            if revision not in self.names.revisions:
                raise _Unresolved(("revision",), self._no_revision(revision))
            return revision
        if tag is not None:
            if tag not in self.names.tags:
                hint = _hint(tag, self.names.tags)
                raise _Unresolved(("tag",), f"{self.key} has no tag {tag}; {hint}")
            return self.names.tags[tag]
        return self.names.latest

    def _no_revision(self, name: str) -> str:
        hint = _hint(name, reversed(self.names.revisions))
        return f"{self.key} has no revision {name}; {hint}"

    def _destination(self, said: RevisionDestination | HostDestination, namespace: str) -> str:
        """The revision it stands for, or _OWN. Raises _Unresolved, and _Unknown."""
        if isinstance(said, HostDestination):
            revision = self._of_host(said, namespace)
            if revision is not None:
                return revision
        elif said.subset is None:
            return self._chosen(said.revision, said.tag)
        subset = self.subsets.get(said.subset or "")
        if subset is None:
            where = "the function's DestinationRule" if self.subsets else "a DestinationRule for it"
            hint = f"; {_hint(said.subset or '', self.subsets)}" if self.subsets else ""
            message = f'"{said.subset}" is no subset: {where} has to name it{hint}'
            raise _Unresolved(("subset",), message)
        subset.used = True
        if subset.missing is not None:
            raise _Unknown
        return subset.revision

    def _of_host(self, said: HostDestination, namespace: str) -> str | None:
        """The revision a host alone stands for, or _OWN; None where a subset says it."""
        host = host_of(said.host, namespace) or ""
        if host == self.key:
            return _OWN if said.subset is None else None
        if host in self.functions:
            raise _Unresolved(
                ("host",),
                f"{host} is another function, and a route leads to the revisions of {self.key}; "
                "name it as subscriber in the trigger",
            )
        # As in a cluster, where Knative makes a host of every revision and of every tag.
        where, _, name = host.partition("/")
        own_namespace, _, function = self.key.partition("/")
        by_name = {each: each for each in self.names.revisions}
        by_name |= {f"{tag}-{function}": each for tag, each in self.names.tags.items()}
        if where != own_namespace or name not in by_name:
            hint = _hint(name, [function, *by_name])
            message = f"there is no function {host}, and {self.key} has no revision {name}; {hint}"
            raise _Unresolved(("host",), message)
        if said.subset is not None:
            raise _Unresolved(
                ("subset",), f"{name} is one revision and has no subsets; leave it out"
            )
        return by_name[name]

    # Routes

    def _route(
        self,
        document: TrafficPolicy | VirtualService,
        index: int,
        said: PolicyRoute | VirtualServiceRoute,
    ) -> HttpRoute:
        path: Path = ("spec", "http", index)
        return HttpRoute(
            name=said.name or "",
            matches=tuple(map(policy_values.match, said.match or ())),
            split=self._split(document, path, said),
            timeout=policy_values.timeout(said.timeout),
            retries=policy_values.retries(said.retries),
            fault=policy_values.fault(said.fault),
            mirrors=tuple(self._mirrors(document, path, said)),
        )

    def _resolved(
        self,
        document: TrafficResource,
        path: Path,
        said: RevisionDestination | HostDestination,
    ) -> str | None:
        """As `_destination`; None, and told, where it stands for nothing."""
        try:
            return self._destination(said, document.namespace)
        except _Unresolved as missing:
            self._tell(document, path + missing.below, str(missing))
        except _Unknown:
            pass
        return None

    def _split(
        self, document: TrafficResource, path: Path, said: PolicyRoute | VirtualServiceRoute
    ) -> tuple[Weighted, ...]:
        weights: dict[str, float] = {}
        route: tuple[WeightedRevision | WeightedHost, ...] = said.route or ()
        for index, each in enumerate(route):
            revision = self._resolved(
                document, (*path, "route", index, "destination"), each.destination
            )
            weight = 1.0 if len(route) == 1 else float(each.weight or 0)
            if revision is not None and weight > 0:
                weights[revision] = weights.get(revision, 0.0) + weight
        own = weights.pop(_OWN, 0.0)
        if not weights:
            return ()
        if own:
            shares = self.names.shares or (Weighted(self.names.latest, 1.0),)
            total = sum(share.weight for share in shares)
            for share in shares:
                part = own * share.weight / total
                weights[share.revision] = weights.get(share.revision, 0.0) + part
        return tuple(Weighted(revision, weight) for revision, weight in weights.items())

    def _mirrors(
        self, document: TrafficResource, path: Path, said: PolicyRoute | VirtualServiceRoute
    ) -> Iterator[Mirror]:
        for below, destination, share in _copies(said):
            revision = self._resolved(document, (*path, *below), destination)
            if revision == _OWN:
                message = f"{self.key} gets the calls anyway; name a revision of it, or a subset"
                self._tell(document, (*path, *below), message)
            elif revision is not None and share > 0:
                yield Mirror(revision, share)


def _copies(
    said: PolicyRoute | VirtualServiceRoute,
) -> Iterator[tuple[Path, RevisionDestination | HostDestination, float]]:
    """What gets copies of a route's calls: its path, the destination, of how many percent."""
    if said.mirror is not None:
        percent: Percent | None = said.mirror_percentage
        older = said.mirror_percent if isinstance(said, VirtualServiceRoute) else None
        yield ("mirror",), said.mirror, percentage(percent, 100.0 if older is None else older)
    mirrors: tuple[MirrorPolicy | HostMirror, ...] = said.mirrors or ()
    for index, each in enumerate(mirrors):
        where: Path = ("mirrors", index, "destination")
        yield where, each.destination, percentage(each.percentage, 100.0)
