"""Traffic policies in Istio's words: a VirtualService and a DestinationRule for each function."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from eventing.node.knative.go_duration import go_duration
from eventing.node.knative.manifest import Document, Manifest, Notes
from eventing.node.knative.scope import Scope
from eventing.resources import (
    DestinationRule,
    Function,
    Identity,
    InferenceService,
    Path,
    TrafficPolicy,
    TrafficTarget,
    VirtualService,
    Workload,
)
from eventing.resources.api_versions import API_VERSIONS
from eventing.resources.destination_rule import REVISION_LABEL
from eventing.resources.istio_fields import parse_traffic_duration
from eventing.resources.traffic_policy import PolicyRoute, RevisionChoice, RevisionDestination

_DURATIONS = ("timeout", "perTryTimeout", "backoff", "fixedDelay", "interval", "baseEjectionTime")
_UNBOUNDED = ("maxConnections", "http1MaxPendingRequests", "http2MaxRequests", "maxRetries")
"""0 is no bound here; a cluster is told so by leaving it out."""
_NO_RETRIES = {"attempts": 0}
"""Said, since Istio tries twice more by itself."""


def traffic(scope: Scope, notes: Notes) -> Iterator[Manifest]:
    for policy in scope.each(TrafficPolicy):
        try:
            yield from _policy(policy, scope)
        except _CannotSay as reason:
            notes.add(policy, reason.path, f"the policy is left out: {reason.what}", reason.do)
        else:
            notes.add(
                policy,
                (),
                "Istio acts on it where the caller's pod has its proxy, and Knative's own routes "
                "to the function stand beside it",
                "give the pods of knative-eventing the proxy, and try it on the cluster",
            )
    for kind in (VirtualService, DestinationRule):
        for resource in scope.each(kind):
            yield Manifest(scope.document(resource), resource.source)


class _CannotSay(Exception):
    def __init__(self, path: Path, what: str, do: str) -> None:
        super().__init__(what)
        self.path = path
        self.what = what
        self.do = do


def _policy(policy: TrafficPolicy, scope: Scope) -> Iterator[Manifest]:
    function = policy.function
    workload = _workload(policy, scope)
    where: Path = function.path
    if isinstance(workload, Function) and workload.uri is not None:
        raise _CannotSay(
            where,
            f"{function.name} runs elsewhere, and has no revisions on a cluster",
            "let that service bound and route its own calls",
        )
    if isinstance(workload, InferenceService):
        raise _CannotSay(
            where,
            f"the host of {function.name} is KServe's to choose",
            "write a VirtualService for it once it runs there",
        )
    host = function.name
    if function.namespace != policy.namespace:
        there = scope.namespace(function.namespace) or function.namespace
        host = f"{host}.{there}.svc.cluster.local"
    subsets = _Subsets(policy, host, workload.traffic if workload is not None else ())
    written = scope.document(policy)
    spec = written["spec"]
    routes = [
        _route(route, spec["http"][index], ("spec", "http", index), subsets)
        for index, route in enumerate(policy.spec.http or ())
    ]
    if routes and "match" in routes[-1]:
        # Istio answers 404 to what no route matches.
        routes.append({"route": [{"destination": subsets.whole}], "retries": _NO_RETRIES})
    rule: Document = {"host": host}
    if "trafficPolicy" in spec:
        rule["trafficPolicy"] = _in_istios_words(spec["trafficPolicy"])
    found = list(subsets.written(spec.get("subsets", [])))
    if found:
        rule["subsets"] = found
    told = ("From the TrafficPolicy.",)
    if len(rule) > 1:
        yield Manifest(_document("DestinationRule", written, rule), policy.source, told)
    if routes:
        virtual = {"hosts": [host], "http": routes}
        yield Manifest(_document("VirtualService", written, virtual), policy.source, told)


def _workload(policy: TrafficPolicy, scope: Scope) -> Workload | None:
    """The function it is for; of any kind where it does not say."""
    reference = policy.function
    kinds = [reference.kind] if policy.spec.ref is not None else _KINDS
    for kind in kinds:
        found = scope.resources.get(Identity(kind, reference.namespace, reference.name))
        if isinstance(found, Workload):
            return found
    return None


_KINDS = ["Function", "Service", "InferenceService"]


def _document(kind: str, policy: Document, spec: Document) -> Document:
    return {
        "apiVersion": API_VERSIONS[kind],
        "kind": kind,
        "metadata": policy["metadata"],
        "spec": spec,
    }


class _Subsets:
    """Names of revisions in Istio's sense: those of the policy, and one for each revision that a
    route names otherwise."""

    def __init__(self, policy: TrafficPolicy, host: str, split: tuple[TrafficTarget, ...]) -> None:
        self._own = {subset.name: subset for subset in policy.spec.subsets or ()}
        self._host = host
        self._split = split
        self._named: dict[str, str] = {}

    @property
    def whole(self) -> Document:
        """The function with its own split."""
        return {"host": self._host}

    def destination(self, chosen: RevisionDestination, path: Path) -> Document:
        if chosen.subset is not None:
            return {"host": self._host, "subset": chosen.subset}
        revision = self._revision(chosen, path)
        if revision is None:
            return self.whole
        name = revision
        while name in self._own:
            name = f"{name}-itself"
        self._named[name] = revision
        return {"host": self._host, "subset": name}

    def written(self, own: list[Document]) -> Iterator[Document]:
        for index, subset in enumerate(self._own.values()):
            path: Path = ("spec", "subsets", index)
            revision = self._revision(subset, path)
            if revision is None:
                raise _CannotSay(
                    (*path, "latest"),
                    "a cluster has no label for the latest revision",
                    "name the revision",
                )
            document = _subset(subset.name, revision)
            if "trafficPolicy" in own[index]:
                document["trafficPolicy"] = _in_istios_words(own[index]["trafficPolicy"])
            yield document
        for name, revision in self._named.items():
            yield _subset(name, revision)

    def _revision(self, chosen: RevisionChoice, path: Path) -> str | None:
        """None = the latest one, which gets all that is sent to the function."""
        if chosen.revision is not None:
            return chosen.revision
        if chosen.tag is not None:
            tagged = [target for target in self._split if target.tag == chosen.tag]
            if tagged and tagged[0].revision is not None:
                return tagged[0].revision
            raise _CannotSay(
                (*path, "tag"),
                f'the tag "{chosen.tag}" is of no revision that spec.traffic names',
                "name the revision",
            )
        if self._split:
            raise _CannotSay(
                (*path, "latest"),
                "the function's own spec.traffic splits what is sent to it, so the latest revision "
                "has no name on a cluster",
                "name the revision",
            )
        return None


def _subset(name: str, revision: str) -> Document:
    return {"name": name, "labels": {REVISION_LABEL: revision}}


def _route(route: PolicyRoute, written: Document, path: Path, subsets: _Subsets) -> Document:
    document: Document = {}
    if "name" in written:
        document["name"] = written["name"]
    if "match" in written:
        document["match"] = [_match(match) for match in written["match"]]
    document["route"] = [
        {"destination": subsets.destination(each.destination, (*path, "route", index))}
        | ({} if each.weight is None else {"weight": each.weight})
        for index, each in enumerate(route.route or ())
    ] or [{"destination": subsets.whole}]
    rest = {name: part for name, part in written.items() if name in ("timeout", "fault")}
    document |= _in_istios_words(rest)
    document["retries"] = _in_istios_words(written.get("retries", _NO_RETRIES))
    if route.mirror is not None:
        document["mirror"] = subsets.destination(route.mirror, (*path, "mirror"))
        if "mirrorPercentage" in written:
            document["mirrorPercentage"] = written["mirrorPercentage"]
    if route.mirrors is not None:
        document["mirrors"] = [
            written["mirrors"][index]
            | {"destination": subsets.destination(each.destination, (*path, "mirrors", index))}
            for index, each in enumerate(route.mirrors)
        ]
    return document


def _match(written: Document) -> Document:
    document: Document = {"name": written["name"]} if "name" in written else {}
    for ours, theirs in (("attributes", "headers"), ("withoutAttributes", "withoutHeaders")):
        if ours in written:
            document[theirs] = dict(map(_header, written[ours].items()))
    return document


def _header(match: tuple[str, Document]) -> tuple[str, Document]:
    """Attributes are headers of the request (CloudEvents HTTP binding 3.1.3)."""
    attribute, written = match
    if attribute == "datacontenttype":
        return "content-type", written
    encoded = {
        how: text if how == "regex" else quote(text, safe=_NOT_ENCODED)
        for how, text in written.items()
    }
    return f"ce-{attribute}", encoded


_NOT_ENCODED = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def _in_istios_words(written: Any) -> Any:
    """The same settings, with durations as Istio takes them, and nothing of what is unbounded."""
    if isinstance(written, list):
        return [_in_istios_words(each) for each in written]
    if not isinstance(written, dict):
        return written
    document = {}
    for name, value in written.items():
        if name in _DURATIONS:
            seconds = parse_traffic_duration(value)
            if seconds:
                document[name] = go_duration(seconds)
        elif name not in _UNBOUNDED or value:
            document[name] = _in_istios_words(value)
    return document
