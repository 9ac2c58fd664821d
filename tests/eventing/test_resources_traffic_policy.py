"""The TrafficPolicy: what it takes, what it means, every mistake with its place."""

import textwrap

import pytest

from eventing.resources import TrafficPolicy, load_text, to_yaml
from eventing.resources.call_policy import parse_retry_on
from eventing.resources.istio_fields import host_of, parse_traffic_duration

HEAD = """\
apiVersion: functions/v1
kind: TrafficPolicy
metadata: {name: p, namespace: shop}
spec:
"""
FULL = """\
function: thumbnail
http:
- name: canary
  match:
  - name: large
    attributes:
      type: {exact: order.paid}
      subject: {prefix: large/}
      region: {regex: 'eu-(north|west)-\\d+'}
      partitionkey: {}
    withoutAttributes:
      test: {}
  route:
  - destination: {subset: new}
    weight: 90
  - destination: {tag: old}
    weight: 10
  timeout: 5s
  retries: {attempts: 3, perTryTimeout: PT1S, retryOn: "5xx, reset,409", backoff: 100ms}
  fault:
    delay: {percentage: {value: 0.5}, fixedDelay: 1m30s}
    abort: {percentage: {value: 12.5}, httpStatus: 503}
  mirrors:
  - destination: {revision: thumbnail-00001}
    percentage: {value: 20}
- route:
  - destination: {latest: true}
  mirror: {tag: old}
  mirrorPercentage: {value: 0}
trafficPolicy:
  connectionPool:
    tcp: {maxConnections: 20}
    http: {http1MaxPendingRequests: 10, http2MaxRequests: 50, maxRetries: 3}
  outlierDetection:
    consecutive5xxErrors: 3
    consecutiveGatewayErrors: 2
    interval: 1s
    baseEjectionTime: PT30S
    maxEjectionPercent: 50
    minHealthPercent: 10
subsets:
- name: new
  revision: thumbnail-00002
  trafficPolicy:
    outlierDetection: {}
- {name: stable, tag: old}
- {name: next, latest: true}
"""


def document(spec: str) -> str:
    return HEAD + textwrap.indent(spec, "  ")


def policy(spec: str) -> TrafficPolicy:
    loaded = load_text(document(spec), "f.yaml")
    assert [str(problem) for problem in loaded.errors + loaded.warnings] == []
    (resource,) = loaded.resources
    assert isinstance(resource, TrafficPolicy)
    (again,) = load_text(to_yaml([resource])).resources
    assert again == resource
    return resource


def route(fields: str) -> str:
    return "function: f\nhttp:\n- " + fields.rstrip().replace("\n", "\n  ") + "\n"


def test_one_that_says_all_loads_and_keeps_its_words() -> None:
    made = policy(FULL)
    assert made.spec.http is not None and made.spec.subsets is not None
    assert [each.name for each in made.spec.subsets] == ["new", "stable", "next"]
    pool = made.spec.traffic_policy and made.spec.traffic_policy.connection_pool
    assert pool is not None and pool.max_requests == 20


def test_it_names_its_function_by_name_or_by_reference() -> None:
    named = policy("function: thumbnail\n").function
    assert (named.namespace, named.name) == ("shop", "thumbnail")
    assert named.path == ("spec", "function")
    made = policy("ref: {kind: Service, name: t, namespace: ops}\n")
    assert made.function.identity == ("Service", "ops", "t")
    assert made.function.api_version == "serving.knative.dev/v1"
    assert list(made.references()) == [made.function]


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("http: []\n", 'spec: names no function; add "function"'),
        ("function: f\nref: {kind: Function, name: f}\n", 'spec.ref: stands beside "function"'),
        (
            "ref: {kind: Broker, name: f}\n",
            'spec.ref.kind: "Broker" has no revisions; it takes one of Function, Service, Inf',
        ),
        ("function: F\n", 'spec.function: "F" is no valid name'),
        ("function: f\nhost: f\n", 'unknown field "host" in spec; known are: function, ref, http'),
        (
            "function: f\nhttp:\n- match: [{headers: {a: {exact: b}}}]\n",
            'unknown field "headers" in spec.http[0].match[0]; known are: name, attributes',
        ),
        (route("match: [{}]\n"), 'spec.http[0].match[0]: names no attribute; leave "match" out'),
        (
            route("match: [{attributes: {Type: {exact: a}}}]\n"),
            'spec.http[0].match[0].attributes: "Type" is no attribute name',
        ),
        (
            route("match: [{attributes: {type: {exact: a, prefix: b}}}]\n"),
            'spec.http[0].match[0].attributes.type.prefix: stands beside "exact"',
        ),
        (
            route("match: [{attributes: {type: {exact: ''}}}]\n"),
            "spec.http[0].match[0].attributes.type.exact: is empty",
        ),
        (
            route("match: [{attributes: {type: {regex: '(a)\\1'}}}]\n"),
            "spec.http[0].match[0].attributes.type.regex: is no regular expression of RE2: "
            "back-references are not supported, as in RE2 (at character 4)",
        ),
        (
            route("match: [{attributes: {type: {suffix: a}}}]\n"),
            'unknown field "suffix" in spec.http[0].match[0].attributes.type; known are: exact, '
            "prefix, regex",
        ),
        (
            route("route: [{destination: {latest: true}}, {destination: {tag: a}, weight: 1}]\n"),
            'spec.http[0].route[0]: needs a "weight" beside other destinations',
        ),
        (
            route(
                "route: [{destination: {tag: a}, weight: 0}, {destination: {tag: b}, weight: 0}]\n"
            ),
            "spec.http[0].route: gives no destination any weight; the sum has to be above 0",
        ),
        (
            route("route: [{destination: {tag: a}, weight: -1}]\n"),
            "spec.http[0].route[0].weight: has to be at least 0",
        ),
        (route("route: [{weight: 1}]\n"), '"destination" is missing in spec.http[0].route[0]'),
        (
            route("route: [{destination: {}}]\n"),
            "spec.http[0].route[0].destination: names no revision; it takes one of revision, tag",
        ),
        (
            route("route: [{destination: {revision: a, tag: b}}]\n"),
            'spec.http[0].route[0].destination.tag: stands beside "revision"; keep one of them',
        ),
        (
            route("route: [{destination: {latest: false}}]\n"),
            "spec.http[0].route[0].destination.latest: is false; leave it out, and name",
        ),
        (
            route("route: [{destination: {subset: v2}}]\nsubsets: []\n"),
            'unknown field "subsets" in spec.http[0]; did you mean spec.subsets?',
        ),
        (
            route("route: [{destination: {subset: v3}}]\n") + "subsets: [{name: v2, tag: b}]\n",
            'spec.http[0].route[0].destination.subset: "v3" is not among the subsets; known '
            "are: v2",
        ),
        (
            route("mirror: {subset: v3}\n"),
            'spec.http[0].mirror.subset: "v3" is not among the subsets; there are no "subsets"',
        ),
        (
            "function: f\nsubsets: [{name: a, tag: b}, {name: a, tag: c}]\n",
            'spec.subsets[1].name: "a" is there twice; give it another name',
        ),
        (
            "function: f\nsubsets: [{name: a}]\n",
            "spec.subsets[0]: names no revision; it takes one of revision, tag, latest",
        ),
        (route("timeout: 5\n"), 'spec.http[0].timeout: 5 has no unit; write "5s" for seconds'),
        (
            route("timeout: '5'\n"),
            'spec.http[0].timeout: "5" is no duration such as "5s", "100ms" or "1m30s"; did you '
            'mean "5s"?',
        ),
        (route("timeout: -1s\n"), 'spec.http[0].timeout: "-1s" is negative; a duration is not'),
        (route("timeout: 1us\n"), 'spec.http[0].timeout: "1us" is shorter than a millisecond'),
        (route("timeout: 900000h\n"), "spec.http[0].timeout: a duration is between 0 and a hund"),
        (
            route("timeout: PT5\n"),
            'spec.http[0].timeout: "PT5" is no ISO 8601 duration such as "PT30S"',
        ),
        (
            route("retries: {attempts: 2, perTryTimeout: 0s}\n"),
            'spec.http[0].retries.perTryTimeout: "0s" is shorter than a millisecond',
        ),
        (route("retries: {retryOn: 5xx}\n"), 'spec.http[0].retries: needs "attempts"'),
        (
            route("retries: {attempts: 0, retryOn: 5xx}\n"),
            'spec.http[0].retries.retryOn: stands beside "attempts: 0"',
        ),
        (
            route("retries: {attempts: 101}\n"),
            "spec.http[0].retries.attempts: has to be at most 100",
        ),
        (
            route("retries: {attempts: 1, retryOn: 'reset,envoy-ratelimited'}\n"),
            'spec.http[0].retries.retryOn: "envoy-ratelimited" is not supported; supported are '
            "5xx, gateway-error, connect-failure, refused-stream, reset, retriable-4xx, and stat",
        ),
        (
            route("retries: {attempts: 1, retryOn: '200'}\n"),
            'spec.http[0].retries.retryOn: "200" is no status of a failed call: 300 to 599',
        ),
        (
            route("retries: {attempts: 1, retryOn: unavailable}\n"),
            'spec.http[0].retries.retryOn: "unavailable" never happens to an event; name one of',
        ),
        (route("fault: {}\n"), 'spec.http[0].fault: needs a "delay" or an "abort"'),
        (
            route("fault: {delay: {percentage: {value: 1}}}\n"),
            'spec.http[0].fault.delay: needs "fixedDelay"',
        ),
        (
            route("fault: {abort: {percentage: {value: 1}}}\n"),
            'spec.http[0].fault.abort: needs "httpStatus"',
        ),
        (
            route("fault: {abort: {percentage: {value: 101}, httpStatus: 503}}\n"),
            "spec.http[0].fault.abort.percentage.value: has to be at most 100",
        ),
        (
            route("fault: {abort: {percentage: 10, httpStatus: 503}}\n"),
            "spec.http[0].fault.abort.percentage: has to be a mapping: {value: 10}",
        ),
        (
            route("fault: {abort: {percentage: {value: 1}, httpStatus: 600}}\n"),
            "spec.http[0].fault.abort.httpStatus: has to be at most 599",
        ),
        (
            route("fault: {abort: {percentage: {value: 1}, grpcStatus: OK}}\n"),
            'unknown field "grpcStatus" in spec.http[0].fault.abort',
        ),
        (
            route("mirror: {tag: a}\nmirrors: [{destination: {tag: b}}]\n"),
            'spec.http[0].mirrors: stands beside "mirror"; put that into the list',
        ),
        (
            route("mirrorPercentage: {value: 1}\n"),
            'spec.http[0].mirrorPercentage: stands without "mirror"',
        ),
        (
            "function: f\ntrafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}\n",
            "spec.trafficPolicy.outlierDetection.maxEjectionPercent: has to be at most 100",
        ),
        (
            "function: f\ntrafficPolicy: {outlierDetection: {consecutiveErrors: 1}}\n",
            'unknown field "consecutiveErrors" in spec.trafficPolicy.outlierDetection; did you me',
        ),
        (
            "function: f\ntrafficPolicy: {connectionPool: {http: {http2MaxRequest: 1}}}\n",
            'unknown field "http2MaxRequest" in spec.trafficPolicy.connectionPool.http; did you m',
        ),
        (
            "function: f\ntrafficPolicy: {loadBalancer: {simple: RANDOM}}\n",
            'unknown field "loadBalancer" in spec.trafficPolicy; known are: connectionPool, outl',
        ),
    ],
)
def test_a_mistaken_policy_is_told(spec: str, complaint: str) -> None:
    loaded = load_text(document(spec), "f.yaml")
    assert loaded.resources == []
    messages = [error.message for error in loaded.errors]
    assert any(message.startswith(complaint) for message in messages), messages


@pytest.mark.parametrize(
    ("spec", "warning"),
    [
        (
            route("retries: {attempts: 1, retryOn: 'reset,unavailable,cancelled'}\n"),
            "retryOn has parts without effect, since no answer to an event meets them: "
            "unavailable, cancelled",
        ),
        (
            route("fault: {abort: {httpStatus: 500}}\n"),
            'abort has no effect without "percentage": no call is aborted',
        ),
        (
            route("timeout: 1s\n") + "- match: [{attributes: {type: {}}}]\n  timeout: 2s\n",
            "match has no effect: http[0] before it matches every call",
        ),
        (
            "function: f\ntrafficPolicy: {connectionPool: {http: {http1MaxPendingRequests: 1}}}\n",
            'http1MaxPendingRequests has no effect without "http2MaxRequests"',
        ),
    ],
)
def test_what_changes_nothing_is_told(spec: str, warning: str) -> None:
    loaded = load_text(document(spec), "f.yaml")
    assert loaded.errors == []
    (told,) = loaded.warnings
    assert told.message.startswith(warning) and told.line > 4


def test_the_place_of_a_mistake_is_its_field() -> None:
    text = document(route("fault:\n  abort: {percentage: {value: 1}, httpStatus: 99}\n"))
    (error,) = load_text(text, "f.yaml").errors
    assert text.splitlines()[error.line - 1][error.column - 1 :] == "99}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5.0), ("100ms", 0.1), ("1h1m", 3660.0), ("PT1.5S", 1.5), ("0s", 0.0), ("1.5s", 1.5)],
)
def test_durations_are_gos_or_iso(text: str, seconds: float) -> None:
    assert parse_traffic_duration(text) == seconds


def test_conditions_of_retries() -> None:
    assert parse_retry_on("5xx, 503 ,reset") == {"5xx", "503", "reset"}
    assert parse_retry_on("connect-failure,refused-stream,unavailable,cancelled") == {
        *("connect-failure", "refused-stream"),
    }
    assert parse_retry_on("") == frozenset()


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("thumbnail", "ops/thumbnail"),
        ("thumbnail.shop", "shop/thumbnail"),
        ("thumbnail.shop.svc", "shop/thumbnail"),
        ("thumbnail.shop.svc.cluster.local", "shop/thumbnail"),
        ("thumbnail.example.com", None),
        ("*.shop.svc.cluster.local", None),
        ("*", None),
        ("Thumbnail", None),
        ("", None),
    ],
)
def test_hosts_of_functions(host: str, key: str | None) -> None:
    assert host_of(host, "ops") == key
