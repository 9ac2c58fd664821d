"""VirtualService and DestinationRule: what is honoured, what is told, and what is refused."""

import textwrap
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from cluster_schemas import SECONDS, fields

from eventing.resources import KINDS, DestinationRule, Resource, VirtualService, load_text, to_yaml
from eventing.resources.model import Model

VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: shop}
spec:
"""
DESTINATION_RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d, namespace: shop}
spec:
"""
ROUTED = """\
hosts: [thumbnail.shop.svc.cluster.local, thumbnail]
gateways: [mesh]
http:
- name: large
  match:
  - name: paid
    headers:
      ce-type: {exact: order.paid}
      Ce-Subject: {prefix: large%2F}
      ce-region: {regex: eu-.*}
      content-type: {exact: image/png%20}
      ce-partitionkey: {}
    withoutHeaders:
      ce-test: {exact: "yes"}
  route:
  - destination: {host: thumbnail, subset: v2}
    weight: 25
  - destination: {host: thumbnail.shop.svc.cluster.local, subset: v1}
    weight: 75
  timeout: 10s
  retries: {attempts: 3, perTryTimeout: 2s, retryOn: "gateway-error,connect-failure"}
  fault:
    delay: {percentage: {value: 0.1}, fixedDelay: 5s}
    abort: {percentage: {value: 0.1}, httpStatus: 400}
  mirror: {host: thumbnail, subset: v2}
  mirrorPercentage: {value: 100.0}
- route:
  - destination: {host: thumbnail}
"""
RULED = """\
host: thumbnail
trafficPolicy:
  connectionPool:
    tcp: {maxConnections: 100}
    http: {http2MaxRequests: 1000, http1MaxPendingRequests: 10, maxRetries: 2}
  outlierDetection:
    consecutive5xxErrors: 7
    interval: 5m
    baseEjectionTime: 15m
subsets:
- name: v1
  labels: {serving.knative.dev/revision: thumbnail-00001}
- name: v2
  labels: {version: v2}
  trafficPolicy:
    outlierDetection: {consecutiveGatewayErrors: 1}
exportTo: ["*"]
"""


def virtual_service(spec: str) -> str:
    return VIRTUAL_SERVICE + textwrap.indent(spec, "  ")


def destination_rule(spec: str) -> str:
    return DESTINATION_RULE + textwrap.indent(spec, "  ")


def loaded(text: str) -> Resource:
    result = load_text(text, "f.yaml")
    assert [str(problem) for problem in result.errors + result.warnings] == []
    (resource,) = result.resources
    (again,) = load_text(to_yaml([resource])).resources
    assert again == resource
    return resource


def route(fields: str) -> str:
    """A VirtualService of one route."""
    indented = fields.rstrip().replace("\n", "\n  ")
    return virtual_service(f"hosts: [f]\nhttp:\n- {indented}\n")


TO_F = "route: [{destination: {host: f}}]\n"


def test_a_virtual_service() -> None:
    made = loaded(virtual_service(ROUTED))
    assert isinstance(made, VirtualService)
    assert made.function == "shop/thumbnail"
    assert made.spec.http is not None and made.spec.http[0].match is not None
    match = made.spec.http[0].match[0]
    texts = {
        name: each.exact or each.prefix or each.regex for name, each in match.attributes.items()
    }
    # Values of ce- headers are percent-encoded, attributes and content types are not.
    assert texts == {
        "type": "order.paid",
        "subject": "large/",
        "region": "eu-.*",
        "datacontenttype": "image/png%20",
        "partitionkey": None,
    }
    assert list(match.without_attributes) == ["test"]


def test_a_destination_rule() -> None:
    made = loaded(destination_rule(RULED))
    assert isinstance(made, DestinationRule)
    assert made.function == "shop/thumbnail"


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_all_their_versions_load(version: str) -> None:
    for text in (virtual_service(ROUTED), destination_rule(RULED)):
        made = loaded(text.replace("networking.istio.io/v1", f"networking.istio.io/{version}"))
        assert made.api_version == f"networking.istio.io/{version}"


NO_REQUEST = 'match its attributes by "headers", as in ce-type'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (virtual_service("hosts: []\n"), "spec.hosts: is empty; name the function"),
        (virtual_service(f"http: [{{{TO_F.strip()}}}]\n"), '"hosts" is missing in spec'),
        (
            virtual_service("hosts: [shop.example.com]\n"),
            'spec.hosts[0]: "shop.example.com" is no host of a function; write "thumbnail"',
        ),
        (virtual_service("hosts: ['*']\n"), 'spec.hosts[0]: "*" is no host of a function'),
        (virtual_service("hosts: [f, f]\n"), 'spec.hosts[1]: "f" is there twice'),
        (
            virtual_service(f"hosts: [f, g]\nhttp: [{{{TO_F.strip()}}}]\n"),
            'spec.hosts[1]: "g" is another function than "f", and a route leads to the',
        ),
        (virtual_service("hosts: [f]\n"), 'spec: needs an "http" with at least one route'),
        (
            virtual_service("hosts: [f]\ntcp: [{route: []}]\n"),
            'spec: needs an "http" with at least one route, and events never go by "tcp"',
        ),
        (
            virtual_service("hosts: [f]\ngateways: [shop-gateway]\n"),
            "spec.gateways: is for calls from gateways alone, and there are none here; add",
        ),
        (
            virtual_service("hosts: [f]\nexportTo: ['~']\n"),
            "spec.exportTo: is for no namespace at all",
        ),
        (virtual_service("host: f\n"), 'unknown field "host" in spec; did you mean "hosts"?'),
        (route("name: a\n"), 'spec.http[0]: needs a "route": where its calls go'),
        (route("route: []\n"), 'spec.http[0]: needs a "route": where its calls go'),
        (route("redirect: {uri: /}\n"), "spec.http[0].redirect: is not supported: an event can't"),
        (
            route("directResponse: {status: 503}\n"),
            'spec.http[0].directResponse: is not supported; write a "fault" whose "abort"',
        ),
        (route("delegate: {name: a}\n"), "spec.http[0].delegate: is not supported; put the dele"),
        (route(TO_F + "rewrite: {uri: /a}\n"), "spec.http[0].rewrite: is not supported: an event"),
        (
            route(TO_F + "headers: {request: {set: {a: b}}}\n"),
            "spec.http[0].headers: is not supported: an event has attributes, no headers; change",
        ),
        (
            route("route: [{destination: {host: f}, headers: {request: {remove: [a]}}}]\n"),
            "spec.http[0].route[0].headers: is not supported: an event has attributes, no head",
        ),
        (
            route("route: [{destination: {host: f}}, {destination: {host: f, subset: a}}]\n"),
            'spec.http[0].route[0]: needs a "weight" beside other destinations',
        ),
        (
            route("route: [{destination: {subset: a}}]\n"),
            '"host" is missing in spec.http[0].route[0].destination',
        ),
        (
            route("match: [{uri: {prefix: /a}}]\n" + TO_F),
            f"spec.http[0].match[0].uri: is not supported: an event has no URI; {NO_REQUEST}",
        ),
        (
            route("match: [{method: {exact: GET}}]\n" + TO_F),
            "spec.http[0].match[0].method: is not supported: an event has no method of its own",
        ),
        (
            route("match: [{scheme: {exact: https}, authority: {exact: f}, port: 80}]\n" + TO_F),
            f"spec.http[0].match[0].port: is not supported: an event has no port; {NO_REQUEST}",
        ),
        (
            route("match: [{queryParams: {a: {exact: b}}}]\n" + TO_F),
            "spec.http[0].match[0].queryParams: is not supported: an event has no query",
        ),
        (
            route("match: [{sourceLabels: {app: a}}]\n" + TO_F),
            "spec.http[0].match[0].sourceLabels: is not supported: all calls come from the node's",
        ),
        (
            route("match: [{sourceNamespace: a}]\n" + TO_F),
            "spec.http[0].match[0].sourceNamespace: is not supported",
        ),
        (
            route("match: [{gateways: [a]}]\n" + TO_F),
            "spec.http[0].match[0].gateways: is for calls from gateways alone",
        ),
        (route("match: [{name: a}]\n" + TO_F), "spec.http[0].match[0]: names no header; leave"),
        (
            route("match: [{headers: {end-user: {exact: a}}}]\n" + TO_F),
            'spec.http[0].match[0].headers["end-user"]: "end-user" is no header of an event; write',
        ),
        (
            route("match: [{withoutHeaders: {ce-a_b: {exact: a}}}]\n" + TO_F),
            'spec.http[0].match[0].withoutHeaders["ce-a_b"]: "ce-a_b" is no header of an event',
        ),
        (
            route("match: [{headers: {ce-type: {}, CE-Type: {exact: b}}}]\n" + TO_F),
            'spec.http[0].match[0].headers["CE-Type"]: is the same header as "ce-type"',
        ),
        (
            route(TO_F + "retries: {attempts: 1, retryOn: retriable-headers}\n"),
            'spec.http[0].retries.retryOn: "retriable-headers" is not supported; supported are',
        ),
        (
            route(TO_F + "fault: {abort: {grpcStatus: UNAVAILABLE}}\n"),
            "spec.http[0].fault.abort.grpcStatus: is no answer to an event; write",
        ),
        (
            route(TO_F + "fault: {delay: {exponentialDelay: 1s, percent: 1}}\n"),
            "spec.http[0].fault.delay.exponentialDelay: is not supported, by Istio neither",
        ),
        (
            route(TO_F + "fault: {delay: {fixedDelay: 1s, percent: 1, percentage: {value: 1}}}\n"),
            'spec.http[0].fault.delay.percent: stands beside "percentage"; keep one of them',
        ),
        (
            route(TO_F + "mirrorPercent: 10\n"),
            'spec.http[0].mirrorPercent: stands without "mirror"',
        ),
        (
            route(TO_F + "mirror: {host: f}\nmirrorPercent: 1\nmirrorPercentage: {value: 1}\n"),
            'spec.http[0].mirrorPercent: stands beside "mirrorPercentage"',
        ),
        (
            route(TO_F + "mirror: {host: f}\nmirrors: []\n"),
            'spec.http[0].mirrors: stands beside "mirror"',
        ),
        (
            destination_rule("host: f\nworkloadSelector: {matchLabels: {a: b}}\n"),
            "spec.workloadSelector: is not supported: all calls come from the node",
        ),
        (
            destination_rule("host: f\ntrafficPolicy: {tls: {mode: SIMPLE}}\n"),
            "spec.trafficPolicy.tls.mode: is not supported: TLS is set where the address is",
        ),
        (
            destination_rule("host: f\ntrafficPolicy: {portLevelSettings: []}\n"),
            "spec.trafficPolicy.portLevelSettings: is not supported: a function has one port",
        ),
        (
            destination_rule("host: f\ntrafficPolicy: {tunnel: {targetHost: a, targetPort: 1}}\n"),
            "spec.trafficPolicy.tunnel: is not supported: calls go to functions directly",
        ),
        (
            destination_rule("host: f\nsubsets: [{name: v1}]\n"),
            'spec.subsets[0]: needs "labels" that choose a revision',
        ),
        (
            destination_rule("host: f\nsubsets: [{name: a, labels: {a: b}}, {name: a}]\n"),
            'spec.subsets[1]: needs "labels"',
        ),
        (
            destination_rule(
                "host: f\n"
                "trafficPolicy: {outlierDetection: {outlierDetectionHttpErrorCodes: [429]}}\n"
            ),
            "spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes: is not supported",
        ),
        (
            destination_rule(
                "host: f\ntrafficPolicy:\n"
                "  outlierDetection: {consecutiveErrors: 1, consecutiveGatewayErrors: 1}\n"
            ),
            "spec.trafficPolicy.outlierDetection.consecutiveErrors: is the older name of",
        ),
        (
            destination_rule(
                "host: f\ntrafficPolicy: {outlierDetection: {failurePercentageThreshold: 50}}\n"
            ),
            "spec.trafficPolicy.outlierDetection.failurePercentageThreshold: is not supported",
        ),
        (
            destination_rule("host: f\ntrafficPolicy: {loadBalancer: {simpel: RANDOM}}\n"),
            'unknown field "simpel" in spec.trafficPolicy.loadBalancer; did you mean "simple"?',
        ),
        (
            virtual_service(ROUTED).replace("istio.io/v1", "istio.io/v2"),
            'apiVersion "networking.istio.io/v2" of VirtualService is not supported',
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n",
            "kind Gateway is not supported by this version",
        ),
    ],
)
def test_what_can_not_be_honoured_is_refused(text: str, complaint: str) -> None:
    result = load_text(text, "f.yaml")
    assert result.resources == []
    messages = [error.message for error in result.errors]
    assert any(message.startswith(complaint) for message in messages), messages
    assert all(error.line > 0 for error in result.errors)


POLICY = "host: f\ntrafficPolicy:\n  "


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            virtual_service("gateways: [mesh, g]\nhosts: [f]\nhttp:\n- " + TO_F),
            'gateways has no effect but by "mesh"',
        ),
        (
            virtual_service("exportTo: ['.']\nhosts: [f]\nhttp:\n- " + TO_F),
            "exportTo has no effect: it counts for the calls from every namespace",
        ),
        (virtual_service("tls: []\nhosts: [f]\nhttp:\n- " + TO_F), "tls has no effect: events go"),
        (route("match: [{uri: {prefix: /}}]\n" + TO_F), "uri has no effect: it holds for every"),
        (route("match: [{method: {exact: POST}}]\n" + TO_F), "method has no effect: every event"),
        (
            route("match: [{headers: {ce-type: {}}, statPrefix: a}]\n" + TO_F),
            "statPrefix has no effect: figures are kept by function and revision",
        ),
        (route(TO_F + "corsPolicy: {allowOrigins: []}\n"), "corsPolicy has no effect: events come"),
        (
            route("route: [{destination: {host: f, port: {number: 80}}}]\n"),
            "port has no effect: a function has one port",
        ),
        (
            route(TO_F + "retries: {attempts: 1, retryRemoteLocalities: true}\n"),
            "retryRemoteLocalities has no effect: a revision is one destination",
        ),
        (route(TO_F).rstrip() + "\n  - " + TO_F, "route has no effect: http[0] before it"),
        (
            destination_rule(POLICY + "loadBalancer: {simple: ROUND_ROBIN}\n"),
            "loadBalancer has no effect: calls go to an instance with a free place",
        ),
        (
            destination_rule(POLICY + "tls: {mode: ISTIO_MUTUAL}\n"),
            "tls has no effect: there is no mesh between the node and its functions",
        ),
        (
            destination_rule(POLICY + "retryBudget: {percent: 20}\n"),
            'retryBudget has no effect; "connectionPool.http.maxRetries" bounds retries here',
        ),
        (
            destination_rule(POLICY + "connectionPool: {tcp: {connectTimeout: 30ms}}\n"),
            "connectTimeout has no effect: connections to functions are the node's own affair",
        ),
        (
            destination_rule(POLICY + "connectionPool: {http: {maxRequestsPerConnection: 1}}\n"),
            "maxRequestsPerConnection has no effect: connections to functions",
        ),
        (
            destination_rule(POLICY + "outlierDetection: {consecutiveLocalOriginFailures: 1}\n"),
            "consecutiveLocalOriginFailures has no effect: a call without an answer counts as one",
        ),
    ],
)
def test_what_changes_nothing_is_told(text: str, warning: str) -> None:
    result = load_text(text, "f.yaml")
    assert result.errors == []
    (told,) = result.warnings
    assert told.message.startswith(warning) and told.line > 4


# Istio's own word for what the fields are

LATER = {
    f"{policy}.{field}"
    for policy in ("spec.trafficPolicy", "spec.subsets.trafficPolicy")
    for field in (
        "connectionPool.http.http2KeepAlive",
        "loadBalancer.backendUtilization",
        "loadBalancer.zoneAwareLbSetting",
        "outlierDetection.failurePercentageThreshold",
        "outlierDetection.outlierDetectionHttpErrorCodes",
        "retryBudget.budgetInterval",
        "tls.caCertCredentialName",
    )
}
"""Fields that came after Istio 1.29, which the models of npm are of."""
SPELT_TWICE = {"spec.http.mirror_percent"}
"""Istio's second spelling of mirrorPercent, which the complaint about it leads to."""


def models(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def differences(schema: dict[str, Any], model: type[Model], path: str) -> Iterator[tuple[str, str]]:
    """Fields that one of them has and the other has not: ("Istio" or "ours", its path)."""
    while True:
        inner = schema.get("items") or schema.get("additionalProperties")
        if not isinstance(inner, dict):
            break
        schema = inner
    known = {field.alias or name: field for name, field in model.model_fields.items()}
    theirs = schema.get("properties", {})
    yield from (("Istio", f"{path}.{name}") for name in theirs.keys() - known.keys())
    yield from (("ours", f"{path}.{name}") for name in known.keys() - theirs.keys())
    for name in theirs.keys() & known.keys():
        for part in models(known[name].annotation):
            yield from differences(theirs[name], part, f"{path}.{name}")


@pytest.mark.service("npm")
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("kind", ["VirtualService", "DestinationRule"])
def test_every_field_of_istio_is_known_and_no_other(kind: str) -> None:
    """By the CRDs of CLUSTER_CRDS, or by the models of npm, which were found to have the fields of
    Istio 1.29's CRDs and no others."""
    (spec,) = models(KINDS[kind].model_fields["spec"].annotation)
    schema = fields("networking.istio.io/v1", kind)["properties"]["spec"]
    found = set(differences(schema, spec, "spec"))
    assert {path for which, path in found if which == "Istio"} <= SPELT_TWICE
    assert {path for which, path in found if which == "ours"} <= LATER
