"""Istio's VirtualService, as far as it speaks of events: which revision of a function gets which
calls, and what is done with them on the way.

What can be honoured is. What changes nothing here is told; what would change which calls a rule is
for, or what becomes of them, is refused with its place and what to write instead.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self
from urllib.parse import unquote

from pydantic import Field, model_validator

from eventing.resources.call_policy import IstioFaultInjection, IstioRetry
from eventing.resources.fields import Count, LabelName
from eventing.resources.istio_fields import (
    Host,
    Percent,
    StringMatch,
    TrafficDurationOrNone,
    Unread,
    given,
    host_of,
    unreached,
    weight_faults,
)
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path
from eventing.resources.resource import Resource

_MESH = "mesh"


class HostDestination(Model):
    """Istio's Destination: the function itself, or a subset of its revisions."""

    host: Host = Field(description="The function, or one of its revisions by its own name.")
    subset: LabelName | None = Field(
        default=None, description="A subset of the function's DestinationRule."
    )
    port: Unread = None

    def without_effect(self, path: Path) -> Iterator[Fault]:
        yield from given(self, {"port": "has no effect: a function has one port"}, path)


_HEADERS = (
    "is not supported: an event has attributes, no headers; change them by the trigger's "
    '"transform"'
)


class WeightedHost(Model):
    """Istio's HTTPRouteDestination."""

    destination: HostDestination
    weight: Count | None = None
    headers: Unread = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(given(self, {"headers": _HEADERS}))


class HostMirror(Model):
    """Istio's HTTPMirrorPolicy."""

    destination: HostDestination
    percentage: Percent | None = None


def attribute_of(header: str) -> str | None:
    """The attribute an HTTP header of an event carries; None where it carries none."""
    name = header.lower()
    if name == "content-type":
        return "datacontenttype"
    attribute = name.removeprefix("ce-")
    is_name = attribute.isascii() and attribute.isalnum() and attribute[:1].isalpha()
    return attribute if name.startswith("ce-") and is_name else None


def _as_attributes(headers: Mapping[str, StringMatch] | None) -> dict[str, StringMatch]:
    """Values of `ce-` headers are percent-encoded (CloudEvents HTTP binding, 3.1.3.2), attributes
    are not."""
    found = {}
    for header, match in (headers or {}).items():
        attribute = attribute_of(header)
        if attribute is None:
            continue
        if attribute != "datacontenttype":
            decoded = {
                name: unquote(text)
                for name in ("exact", "prefix")
                if (text := getattr(match, name)) is not None
            }
            match = match.model_copy(update=decoded)
        found[attribute] = match
    return found


_NO_REQUEST = (
    'is not supported: an event has no {}; match its attributes by "headers", as in ce-type'
)
_NOT_MATCHED = {
    "uri": _NO_REQUEST.format("URI"),
    "scheme": _NO_REQUEST.format("scheme"),
    "method": _NO_REQUEST.format("method of its own"),
    "authority": _NO_REQUEST.format("authority"),
    "port": _NO_REQUEST.format("port"),
    "query_params": _NO_REQUEST.format("query"),
    "source_labels": "is not supported: all calls come from the node's triggers, which have no "
    'labels; match the events\' attributes by "headers"',
    "source_namespace": "is not supported: it is not known here which namespace a call comes from; "
    'match the events\' attributes by "headers"',
}


class HttpMatchRequest(Model):
    """Istio's HTTPMatchRequest."""

    name: str | None = Field(default=None, description="For people.")
    uri: StringMatch | None = Field(default=None, description='Nothing but {prefix: "/"}.')
    scheme: StringMatch | None = None
    method: StringMatch | None = Field(default=None, description="Nothing but {exact: POST}.")
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] | None = Field(
        default=None, description="ce-NAME for the attribute NAME, or content-type."
    )
    port: Unread = None
    source_labels: Unread = None
    gateways: tuple[str, ...] | None = None
    query_params: Unread = None
    ignore_uri_case: Unread = None
    without_headers: dict[str, StringMatch] | None = None
    source_namespace: Unread = None
    stat_prefix: Unread = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        always = {name for name in ("uri", "method") if self._is_any(name)}
        reasons = {name: why for name, why in _NOT_MATCHED.items() if name not in always}
        yield from given(self, reasons)
        if self.gateways and _MESH not in self.gateways:
            yield (
                ("gateways",),
                'is for calls from gateways alone, and there are none here; add "mesh"',
            )
        for field, headers in (("headers", self.headers), ("withoutHeaders", self.without_headers)):
            seen: dict[str, str] = {}
            for header in headers or ():
                attribute = attribute_of(header)
                if attribute is None:
                    reason = (
                        f'"{header}" is no header of an event; write "ce-" and an attribute\'s '
                        'name, as in "ce-type", or "content-type"'
                    )
                    yield (field, header), reason
                elif attribute in seen:
                    reason = f'is the same header as "{seen[attribute]}"; keep one of them'
                    yield (field, header), reason
                else:
                    seen[attribute] = header
        if not self.model_fields_set - {"name", "stat_prefix", "ignore_uri_case"}:
            yield (), 'names no header; leave "match" out where every call is meant'

    def _is_any(self, name: str) -> bool:
        """Whether what it asks of the request holds for every event: they are all POSTed."""
        if name == "uri":
            return self.uri == StringMatch(prefix="/")
        return self.method == StringMatch(exact="POST")

    @property
    def attributes(self) -> dict[str, StringMatch]:
        return _as_attributes(self.headers)

    @property
    def without_attributes(self) -> dict[str, StringMatch]:
        return _as_attributes(self.without_headers)

    def without_effect(self, path: Path) -> Iterator[Fault]:
        reasons = {
            "uri": "has no effect: it holds for every event",
            "method": "has no effect: every event is POSTed",
            "ignore_uri_case": "has no effect: an event has no URI",
            "stat_prefix": "has no effect: figures are kept by function and revision",
        }
        yield from given(self, reasons, path)


_REFUSED = {
    "redirect": "is not supported: an event can't be redirected; route it to a revision, or name "
    "another subscriber in the trigger",
    "direct_response": 'is not supported; write a "fault" whose "abort" has the "httpStatus" and a '
    '"percentage" of 100',
    "delegate": "is not supported; put the delegate's routes here in its place",
    "rewrite": "is not supported: an event has no URI; where a function gets its events is set at "
    "the function",
    "headers": _HEADERS,
}


class VirtualServiceRoute(Model):
    """Istio's HTTPRoute."""

    name: str | None = Field(default=None, description="For people.")
    match: tuple[HttpMatchRequest, ...] | None = None
    route: tuple[WeightedHost, ...] | None = None
    redirect: Unread = None
    direct_response: Unread = None
    delegate: Unread = None
    rewrite: Unread = None
    timeout: TrafficDurationOrNone | None = None
    retries: IstioRetry | None = None
    fault: IstioFaultInjection | None = None
    mirror: HostDestination | None = None
    mirrors: tuple[HostMirror, ...] | None = None
    mirror_percent: Annotated[Count, Field(le=100)] | None = None
    mirror_percentage: Percent | None = None
    cors_policy: Unread = None
    headers: Unread = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        refused = tuple(given(self, _REFUSED))
        yield from refused
        if not self.route and not refused:
            yield (), 'needs a "route": where its calls go'
        for path, message in weight_faults([each.weight for each in self.route or ()]):
            yield ("route", *path), message
        if self.mirror is not None and self.mirrors is not None:
            yield ("mirrors",), 'stands beside "mirror"; put that into the list'
        for name in ("mirrorPercent", "mirrorPercentage"):
            field = "mirror_percent" if name == "mirrorPercent" else "mirror_percentage"
            if getattr(self, field) is not None and self.mirror is None:
                yield (name,), 'stands without "mirror"'
        if self.mirror_percent is not None and self.mirror_percentage is not None:
            yield ("mirrorPercent",), 'stands beside "mirrorPercentage"; keep one of them'

    @property
    def destinations(self) -> Iterator[tuple[Path, HostDestination]]:
        """All that it names, with their places."""
        for index, weighted in enumerate(self.route or ()):
            yield ("route", index, "destination"), weighted.destination
        if self.mirror is not None:
            yield ("mirror",), self.mirror
        for index, mirror in enumerate(self.mirrors or ()):
            yield ("mirrors", index, "destination"), mirror.destination

    def without_effect(self, path: Path) -> Iterator[Fault]:
        for index, match in enumerate(self.match or ()):
            yield from match.without_effect((*path, "match", index))
        for below, destination in self.destinations:
            yield from destination.without_effect((*path, *below))
        if self.retries is not None:
            yield from self.retries.without_effect((*path, "retries"))
        if self.fault is not None:
            yield from self.fault.without_effect((*path, "fault"))
        reason = "has no effect: events come from no browser"
        yield from given(self, {"cors_policy": reason}, path)


class VirtualServiceSpec(Model):
    hosts: tuple[Host, ...] = Field(
        description="The function: name, name.namespace, name.namespace.svc.cluster.local."
    )
    gateways: tuple[str, ...] | None = None
    http: tuple[VirtualServiceRoute, ...] | None = None
    tls: Unread = None
    tcp: Unread = None
    export_to: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if not self.hosts:
            yield ("hosts",), "is empty; name the function whose calls are meant"
        seen: set[str] = set()
        for index, host in enumerate(self.hosts):
            if host in seen:
                yield ("hosts", index), f'"{host}" is there twice; keep one of them'
            seen.add(host)
        if not self.http:
            others = [name for name in ("tls", "tcp") if getattr(self, name) is not None]
            beside = f', and events never go by "{others[0]}"' if others else ""
            yield (), f'needs an "http" with at least one route{beside}'
        if self.gateways and _MESH not in self.gateways:
            yield (
                ("gateways",),
                'is for calls from gateways alone, and there are none here; add "mesh", or leave '
                "it out",
            )
        yield from export_faults(self.export_to)


def export_faults(export_to: tuple[str, ...] | None) -> Iterator[Fault]:
    if export_to == ("~",):
        yield ("exportTo",), "is for no namespace at all; leave the document away, or the field"


def without_export(export_to: tuple[str, ...] | None) -> Iterator[Fault]:
    if export_to and "*" not in export_to:
        reason = "has no effect: it counts for the calls from every namespace"
        yield ("spec", "exportTo"), reason


class VirtualService(Resource):
    """Istio's VirtualService for one function."""

    api_version: Literal[
        "networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"
    ] = "networking.istio.io/v1"
    kind: Literal["VirtualService"] = "VirtualService"
    spec: VirtualServiceSpec

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        for index, host in enumerate(self.spec.hosts):
            if host_of(host, self.namespace) != self.function:
                reason = (
                    f'"{host}" is another function than "{self.spec.hosts[0]}", and a route leads '
                    "to the revisions of one; give it a VirtualService of its own"
                )
                yield ("spec", "hosts", index), reason

    @property
    def function(self) -> str:
        """`namespace/name` of the function it is for, named at `spec.hosts[0]`."""
        return host_of(self.spec.hosts[0], self.namespace) or ""

    def without_effect(self) -> Iterator[Fault]:
        yield from self.metadata.unhonoured_annotations(())
        for index, route in enumerate(self.spec.http or ()):
            yield from route.without_effect(("spec", "http", index))
        yield from unreached(self.spec.http or (), ("spec", "http"))
        reason = "has no effect: events go by HTTP"
        yield from given(self.spec, {"tls": reason, "tcp": reason}, ("spec",))
        if self.spec.gateways and set(self.spec.gateways) != {_MESH}:
            yield ("spec", "gateways"), 'has no effect but by "mesh": there are no gateways here'
        yield from without_export(self.spec.export_to)
