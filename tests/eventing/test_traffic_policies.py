"""From traffic policies to what calls are handled by: names resolved, or told with their place."""

import asyncio
import textwrap
from collections.abc import Callable
from random import Random

import pytest

from eventing.event import Event
from eventing.node.traffic_policies import Resolved, RevisionNames, policies
from eventing.resources import Identity, Resource, load_text, loaded_place
from eventing.resources.linear_regex import Pattern
from functions.base import Call, Response
from functions.traffic.match import compile_matches
from functions.traffic.policy import (
    ConnectionPool,
    DestinationPolicy,
    Fault,
    HttpRoute,
    Match,
    Mirror,
    OutlierDetection,
    Policy,
    Retries,
    StringMatch,
    Weighted,
)
from functions.traffic.router import TrafficRouter

ONE, TWO, THREE = "thumbnail-00001", "thumbnail-00002", "thumbnail-00003"
NAMES = RevisionNames(
    revisions=(ONE, TWO, THREE),
    latest=TWO,
    tags={"old": ONE, "next": THREE},
    labels={
        ONE: {"version": "v1", "team": "images"},
        TWO: {"version": "v2", "team": "images"},
        THREE: {"version": "v2", "team": "images"},
    },
    shares=(Weighted(ONE, 25.0), Weighted(TWO, 75.0)),
    not_ready=frozenset({THREE}),
    kind="Service",
)
FUNCTIONS = {"shop/thumbnail": NAMES, "shop/resize": RevisionNames(("resize-00001",), "resize")}


def policy_document(spec: str, name: str = "p", function: str = "thumbnail") -> str:
    return _document("functions/v1", "TrafficPolicy", name, f"function: {function}\n{spec}")


def virtual_service(spec: str, name: str = "v", host: str = "thumbnail") -> str:
    api_version = "networking.istio.io/v1"
    return _document(api_version, "VirtualService", name, f"hosts: [{host}]\n{spec}")


def destination_rule(spec: str, name: str = "d") -> str:
    api_version = "networking.istio.io/v1"
    return _document(api_version, "DestinationRule", name, f"host: thumbnail\n{spec}")


def _document(api_version: str, kind: str, name: str, spec: str) -> str:
    head = f"---\napiVersion: {api_version}\nkind: {kind}\n"
    metadata = f"metadata: {{name: {name}, namespace: shop}}\n"
    return f"{head}{metadata}spec:\n{textwrap.indent(spec, '  ')}"


def resources(*documents: str) -> list[Resource]:
    loaded = load_text("".join(documents), "f.yaml")
    assert [str(problem) for problem in loaded.errors] == []
    return loaded.resources


def resolved(*documents: str) -> Resolved:
    return policies(resources(*documents), FUNCTIONS)


def policy(*documents: str) -> Policy:
    """That of the function thumbnail."""
    found, problems = resolved(*documents)
    assert {str(identity): str(problem) for identity, problem in problems.items()} == {}
    assert found.keys() == {"shop/thumbnail"}
    return found["shop/thumbnail"]


def problems(*documents: str) -> dict[str, str]:
    return {each.kind: str(problem) for each, problem in resolved(*documents).problems.items()}


def routes(*documents: str) -> tuple[HttpRoute, ...]:
    return policy(*documents).routes


# What the fields come to


def test_a_policy_that_says_all() -> None:
    made = policy(
        policy_document("""\
http:
- name: large
  match:
  - attributes: {type: {exact: paid}, subject: {prefix: large/}, region: {regex: 'eu-.*'}}
    withoutAttributes: {test: {}}
  route:
  - {destination: {revision: thumbnail-00001}, weight: 3}
  - {destination: {tag: next}, weight: 1}
  timeout: 5s
  retries: {attempts: 3, perTryTimeout: 1500ms, retryOn: "5xx,409", backoff: PT0.1S}
  fault:
    delay: {percentage: {value: 0.5}, fixedDelay: 2s}
    abort: {percentage: {value: 12.5}, httpStatus: 503}
  mirrors:
  - {destination: {subset: stable}, percentage: {value: 20}}
  - {destination: {latest: true}}
- timeout: 0s
trafficPolicy:
  connectionPool: {http: {http2MaxRequests: 50, http1MaxPendingRequests: 10, maxRetries: 3}}
  outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 2, interval: 1s}
subsets:
- name: stable
  tag: old
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 5}}
""")
    )
    assert made.routes == (
        HttpRoute(
            name="large",
            matches=(
                Match(
                    {
                        "type": StringMatch("exact", "paid"),
                        "subject": StringMatch("prefix", "large/"),
                        "region": StringMatch("regex", "eu-.*", Pattern("eu-.*")),
                    },
                    {"test": StringMatch("prefix", "")},
                ),
            ),
            split=(Weighted(ONE, 3.0), Weighted(THREE, 1.0)),
            timeout=5.0,
            retries=Retries(3, 1.5, frozenset({"5xx", "409"}), 0.1),
            fault=Fault(2.0, 0.5, 503, 12.5),
            mirrors=(Mirror(ONE, 20.0), Mirror(TWO, 100.0)),
        ),
        HttpRoute(),
    )
    detection = OutlierDetection(0, 2, 1.0, 30.0, 10.0, 0.0)
    assert made.destination == DestinationPolicy(detection, ConnectionPool(50, 10, 3))
    # Of a subset's policy each part counts in place of the one above, as a whole.
    assert made.revisions == {ONE: DestinationPolicy(detection, ConnectionPool(5, 0, 0))}


def test_what_is_left_out_is_as_in_istio() -> None:
    (route,) = routes(policy_document("http:\n- retries: {attempts: 2}\n"))
    assert route == HttpRoute(retries=Retries())
    made = policy(policy_document("trafficPolicy: {outlierDetection: {}, connectionPool: {}}\n"))
    assert made.destination == DestinationPolicy(OutlierDetection(), ConnectionPool())
    assert policy(policy_document("http: []\n")) == Policy()


def test_nothing_is_done_where_nothing_is_asked() -> None:
    (route,) = routes(
        policy_document(
            "http:\n- retries: {attempts: 0}\n  fault: {abort: {httpStatus: 503}}\n"
            "  mirror: {tag: old}\n  mirrorPercentage: {value: 0}\n"
        )
    )
    assert route == HttpRoute()


def test_the_matches_of_a_policy_match_events() -> None:
    (route,) = routes(
        policy_document("""\
http:
- match:
  - attributes: {type: {regex: 'order\\.(paid|sent)'}, partitionkey: {}}
  - {attributes: {source: {exact: /a}}, withoutAttributes: {subject: {prefix: x}}}
""")
    )
    matches = compile_matches(route.matches)
    assert matches is not None
    assert matches({"type": "order.paid", "partitionkey": "1"})
    assert not matches({"type": "order.paid"})
    assert not matches({"type": "order.paid.", "partitionkey": "1"})
    assert matches({"source": "/a"})
    assert not matches({"source": "/a", "subject": "xy"})


@pytest.mark.parametrize("host", ["thumbnail", "thumbnail.shop", "thumbnail.shop.svc"])
def test_a_virtual_service_with_its_destination_rule(host: str) -> None:
    made = policy(
        virtual_service(
            f"""\
http:
- match:
  - headers: {{ce-type: {{exact: a%20b}}}}
  - uri: {{prefix: /}}
    method: {{exact: POST}}
  route:
  - {{destination: {{host: {host}, subset: v1}}, weight: 10}}
  - {{destination: {{host: thumbnail, subset: v2}}, weight: 90}}
  retries: {{attempts: 1, retryOn: "reset,unavailable"}}
  fault: {{delay: {{percent: 5, fixedDelay: 1s}}}}
  mirror: {{host: thumbnail, subset: v1}}
  mirrorPercent: 7
""",
            host=host,
        ),
        destination_rule("""\
trafficPolicy:
  outlierDetection: {consecutiveErrors: 4}
subsets:
- name: v1
  labels: {serving.knative.dev/revision: thumbnail-00001}
- name: v2
  labels: {version: v2, team: images, serving.knative.dev/service: thumbnail}
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}}
- name: v9
  labels: {version: v9}
"""),
    )
    (route,) = made.routes
    assert route.matches == (Match({"type": StringMatch("exact", "a b")}), Match())
    # The newest revision with the labels; one that has never been ready only where there is none.
    assert route.split == (Weighted(ONE, 10.0), Weighted(TWO, 90.0))
    assert route.retries == Retries(1, None, frozenset({"reset"}))
    assert route.fault == Fault(1.0, 5.0)
    assert route.mirrors == (Mirror(ONE, 7.0),)
    assert made.destination == DestinationPolicy(OutlierDetection(consecutive_gateway=4))
    assert made.revisions == {TWO: DestinationPolicy(OutlierDetection(consecutive_5xx=1))}


def test_labels_choose_a_revision_not_ready_yet_where_no_other_has_them() -> None:
    names = RevisionNames((ONE,), ONE, {}, {ONE: {"a": "b"}}, not_ready=frozenset({ONE}))
    found, problems = policies(
        resources(
            destination_rule(
                "subsets:\n- {name: x, labels: {a: b}, trafficPolicy: {connectionPool: {}}}\n"
            )
        ),
        {"shop/thumbnail": names},
    )
    assert not problems and list(found["shop/thumbnail"].revisions) == [ONE]


def split_of(*destinations: str) -> tuple[Weighted, ...]:
    listed = "".join(f"  - {{{each}}}\n" for each in destinations)
    (route,) = routes(
        virtual_service(f"http:\n- route:\n{listed}"),
        destination_rule("subsets:\n- {name: v1, labels: {version: v1}}\n"),
    )
    return route.split


def test_where_hosts_lead() -> None:
    own = "destination: {host: thumbnail}"
    one = "destination: {host: thumbnail, subset: v1}"
    # The host itself is the function's own split, whatever that is at the time.
    assert split_of(own) == ()
    assert split_of(f"{own}, weight: 0") == ()
    assert split_of(f"{own}, weight: 5", f"{one}, weight: 0") == ()
    assert split_of(one) == (Weighted(ONE, 1.0),)
    # Weighed against a revision, each part of it gets its share.
    assert split_of(f"{own}, weight: 80", f"{one}, weight: 20") == (
        Weighted(ONE, 20.0 + 80 * 0.25),
        Weighted(TWO, 80 * 0.75),
    )
    # In a cluster, revisions and tags have hosts of their own.
    assert split_of(f"destination: {{host: {THREE}}}") == (Weighted(THREE, 1.0),)
    assert split_of("destination: {host: old-thumbnail.shop}") == (Weighted(ONE, 1.0),)


def test_destinations_that_are_one_revision_count_together() -> None:
    (route,) = routes(
        policy_document(f"""\
http:
- route:
  - {{destination: {{revision: {ONE}}}, weight: 1}}
  - {{destination: {{tag: old}}, weight: 2}}
  - {{destination: {{latest: true}}, weight: 0}}
""")
    )
    assert route.split == (Weighted(ONE, 3.0),)


def test_every_function_has_its_own() -> None:
    found, problems = resolved(
        policy_document("http: [{timeout: 1s}]\n", "a", "thumbnail"),
        policy_document("http: [{timeout: 2s}]\n", "b", "resize"),
    )
    assert not problems
    assert {key: each.routes[0].timeout for key, each in found.items()} == {
        "shop/thumbnail": 1.0,
        "shop/resize": 2.0,
    }


def test_without_policies_there_are_none() -> None:
    assert policies([], FUNCTIONS) == ({}, {})


# What names nothing


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            policy_document("", function="thumbnial"),
            'spec.function: there is no function shop/thumbnial; did you mean "shop/thumbnail"?',
        ),
        (
            _document(
                "functions/v1", "TrafficPolicy", "p", "ref: {kind: Function, name: thumbnail}"
            ),
            "spec.ref.kind: shop/thumbnail is a Service, no Function",
        ),
        (
            policy_document("http: [{route: [{destination: {revision: thumbnail-00009}}]}]\n"),
            "spec.http[0].route[0].destination.revision: shop/thumbnail has no revision "
            'thumbnail-00009; did you mean "thumbnail-0000',
        ),
        (
            policy_document("http: [{route: [{destination: {tag: canary}}]}]\n"),
            "spec.http[0].route[0].destination.tag: shop/thumbnail has no tag canary; known are: "
            "old, next",
        ),
        (
            policy_document("http: [{mirror: {tag: canary}}]\n"),
            "spec.http[0].mirror.tag: shop/thumbnail has no tag canary; known are: old, next",
        ),
        (
            policy_document(
                "http: [{mirrors: [{destination: {revision: a}}, {destination: {tag: b}}]}]\n"
            ),
            "spec.http[0].mirrors[0].destination.revision: shop/thumbnail has no revision a; "
            f"known are: {THREE}, {TWO}, {ONE}; spec.http[0].mirrors[1].destination.tag: shop",
        ),
        (
            policy_document("subsets: [{name: a, revision: gone}]\n"),
            "spec.subsets[0].revision: shop/thumbnail has no revision gone; known are",
        ),
        (
            policy_document(
                "subsets: [{name: a, tag: gone}]\n"
                "http: [{route: [{destination: {subset: a}}], mirror: {subset: a}}]\n"
            ),
            "spec.subsets[0].tag: shop/thumbnail has no tag gone; known are: old, next",
        ),
        (
            policy_document(
                "subsets:\n"
                "- {name: a, tag: old, trafficPolicy: {outlierDetection: {}}}\n"
                f"- {{name: b, revision: {ONE}, trafficPolicy: {{connectionPool: {{}}}}}}\n"
            ),
            f"spec.subsets[1].trafficPolicy: {ONE} is what subset a stands for too, with another",
        ),
        (
            virtual_service("http: [{route: [{destination: {host: thumbnail, subset: v1}}]}]\n"),
            'spec.http[0].route[0].destination.subset: "v1" is no subset: a DestinationRule for it '
            "has to name it",
        ),
        (
            virtual_service("http: [{route: [{destination: {host: resize}}]}]\n"),
            "spec.http[0].route[0].destination.host: shop/resize is another function, and a route "
            "leads to the revisions of shop/thumbnail; name it as subscriber in the trigger",
        ),
        (
            virtual_service("http: [{route: [{destination: {host: thumbnail-00009.shop}}]}]\n"),
            "spec.http[0].route[0].destination.host: there is no function shop/thumbnail-00009, "
            "and shop/thumbnail has no revision thumbnail-00009; did you mean",
        ),
        (
            virtual_service(f"http: [{{route: [{{destination: {{host: {ONE}.ops}}}}]}}]\n"),
            f"spec.http[0].route[0].destination.host: there is no function ops/{ONE}",
        ),
        (
            virtual_service(f"http: [{{route: [{{destination: {{host: {ONE}, subset: a}}}}]}}]\n"),
            f"spec.http[0].route[0].destination.subset: {ONE} is one revision and has no subsets",
        ),
        (
            virtual_service(
                "http:\n- route: [{destination: {host: thumbnail}}]\n  mirror: {host: thumbnail}\n"
            ),
            "spec.http[0].mirror: shop/thumbnail gets the calls anyway; name a revision of it",
        ),
        (
            virtual_service(
                "http: [{route: [{destination: {host: reviews}}]}]\n", host="reviews.prod"
            ),
            "spec.hosts[0]: there is no function prod/reviews; known are: shop/thumbnail, shop/res",
        ),
        (
            destination_rule("subsets: [{name: a, labels: {serving.knative.dev/revision: gone}}]"),
            'spec.subsets[0].labels["serving.knative.dev/revision"]: shop/thumbnail has no '
            "revision gone",
        ),
        (
            destination_rule(
                "subsets: [{name: a, labels: {version: v3}, trafficPolicy: {tunnel: null}}]"
            ),
            "spec.subsets[0].labels: no revision of shop/thumbnail has the labels version=v3",
        ),
    ],
)
def test_what_names_nothing_is_told_with_its_place(document: str, problem: str) -> None:
    (resource,) = resources(document)
    found, told = policies([resource], FUNCTIONS)
    assert found == {}
    assert told.keys() == {resource.identity}
    assert str(told[resource.identity]).startswith(problem)
    place = loaded_place(resource, told[resource.identity].path)
    assert place.line > resource.source.line + 2


def test_a_subset_that_labels_choose_may_wait_for_its_revision_until_a_route_uses_it() -> None:
    rule = destination_rule("subsets: [{name: v3, labels: {version: v3}}]\n")
    assert policy(rule) == Policy()
    told = problems(
        virtual_service("http: [{route: [{destination: {host: thumbnail, subset: v3}}]}]\n"), rule
    )
    assert told == {
        "DestinationRule": "spec.subsets[0].labels: no revision of shop/thumbnail has the labels "
        "version=v3",
        "VirtualService": "spec.hosts[0]: not in effect: DestinationRule/shop/d is for the same "
        "function and is at fault",
    }


def test_a_subset_its_rule_does_not_have_is_told_with_those_it_has() -> None:
    told = problems(
        virtual_service("http: [{route: [{destination: {host: thumbnail, subset: v2}}]}]\n"),
        destination_rule("subsets: [{name: v1, labels: {version: v1}}]\n"),
    )
    assert told["VirtualService"] == (
        'spec.http[0].route[0].destination.subset: "v2" is no subset: the function\'s '
        "DestinationRule has to name it; known are: v1"
    )


# Several for one function


def test_a_function_has_one_document_of_a_kind() -> None:
    found, told = resolved(
        policy_document("http: [{timeout: 2s}]\n", "b"),
        policy_document("http: [{timeout: 1s}]\n", "a"),
    )
    assert found["shop/thumbnail"].routes[0].timeout == 1.0
    assert {str(key): str(value) for key, value in told.items()} == {
        "TrafficPolicy/shop/b": "spec.function: not in effect: TrafficPolicy/shop/a is for "
        "shop/thumbnail already, and a function has one TrafficPolicy; put both into one document"
    }


def test_a_traffic_policy_stands_for_those_of_istio() -> None:
    found, told = resolved(
        destination_rule("trafficPolicy: {outlierDetection: {}}\n"),
        policy_document("http: [{timeout: 1s}]\n"),
        virtual_service("http: [{route: [{destination: {host: thumbnail}}]}]\n"),
    )
    assert found["shop/thumbnail"] == Policy((HttpRoute(timeout=1.0),))
    assert {str(key): str(value) for key, value in told.items()} == {
        f"{kind}/shop/{name}": f"{place}: not in effect: TrafficPolicy/shop/p is for "
        f"shop/thumbnail already, and says what a {kind} would; keep one of them"
        for kind, name, place in (
            ("VirtualService", "v", "spec.hosts[0]"),
            ("DestinationRule", "d", "spec.host"),
        )
    }


def test_the_order_of_the_documents_makes_no_difference() -> None:
    documents = [
        virtual_service("http: [{route: [{destination: {host: thumbnail}}]}]\n", name)
        for name in ("a", "b", "c")
    ]
    loaded = resources(*documents)
    assert policies(loaded, FUNCTIONS) == policies(reversed(loaded), FUNCTIONS)
    told = policies(loaded, FUNCTIONS).problems
    assert set(told) == {Identity("VirtualService", "shop", name) for name in ("b", "c")}


# What calls make of it


class Answering:
    """A revision that answers 200 at once."""

    def __init__(self) -> None:
        self.calls = 0

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        self.calls += 1
        done(Response(200))


async def routed(of: Policy, calls: list[Call]) -> tuple[dict[str, int], dict[int, int]]:
    """How many calls each revision got, copies included, and how many answers were of a status."""
    services = {name: Answering() for name in NAMES.revisions}
    router = TrafficRouter(services, NAMES.shares, of, random=Random(7).random)
    statuses: dict[int, int] = {}

    def done(response: Response) -> None:
        statuses[response.status] = statuses.get(response.status, 0) + 1

    for call in calls:
        router.submit(call, done)
    router.close()
    return {name: service.calls for name, service in services.items()}, statuses


def calls_of(kind: str, count: int) -> list[Call]:
    attributes = {"specversion": "1.0", "id": "1", "source": "/a", "type": kind}
    return [Call(Event(attributes, None), 1, "shop/t")] * count


@pytest.mark.parametrize(
    "documents",
    [
        [
            policy_document(f"""\
http:
- match: [{{attributes: {{type: {{regex: 'image\\.(new|changed)'}}}}}}]
  route:
  - {{destination: {{tag: old}}, weight: 80}}
  - {{destination: {{latest: true}}, weight: 20}}
  fault: {{abort: {{percentage: {{value: 12.5}}, httpStatus: 418}}}}
  mirrors: [{{destination: {{revision: {THREE}}}, percentage: {{value: 10}}}}]
""")
        ],
        [
            virtual_service(f"""\
http:
- match: [{{headers: {{ce-type: {{regex: 'image\\.(new|changed)'}}}}}}]
  route:
  - {{destination: {{host: thumbnail, subset: v1}}, weight: 80}}
  - {{destination: {{host: thumbnail, subset: v2}}, weight: 20}}
  fault: {{abort: {{percentage: {{value: 12.5}}, httpStatus: 418}}}}
  mirror: {{host: {THREE}}}
  mirrorPercentage: {{value: 10}}
"""),
            destination_rule("""\
subsets:
- {name: v1, labels: {version: v1}}
- {name: v2, labels: {version: v2}}
"""),
        ],
    ],
    ids=["TrafficPolicy", "Istio"],
)
def test_calls_go_as_the_documents_say(documents: list[str]) -> None:
    made = policy(*documents)
    count = 4_000
    got, statuses = asyncio.run(routed(made, calls_of("image.new", count)))
    assert sum(statuses.values()) == count
    assert statuses[418] == pytest.approx(count * 0.125, rel=0.15)
    passed = statuses[200]
    assert got[ONE] + got[TWO] == passed
    assert got[ONE] == pytest.approx(passed * 0.8, rel=0.05)
    assert got[THREE] == pytest.approx(passed * 0.1, rel=0.2)
    # What no route matches goes by the function's own split, undisturbed.
    got, statuses = asyncio.run(routed(made, calls_of("image.gone", count)))
    assert statuses == {200: count}
    assert got[TWO] == pytest.approx(count * 0.75, rel=0.05) and got[THREE] == 0
