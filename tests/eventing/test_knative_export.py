"""From what runs here to manifests of a Knative cluster: what is said there, and what is told."""

import json
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from certificates import Authority
from cluster_models import MODELS
from cluster_schemas import SECONDS, faults

from eventing.errors import UserError
from eventing.node.knative.export import export
from eventing.node.knative.manifest import KINDS, Export
from eventing.node.knative.options import Options, check_namespace, check_registry, parse_images
from eventing.node.knative.sources import cluster_schedule
from eventing.node.knative.text import HEAD, files, one_text
from eventing.node.wiring import Code, Destination, Discovered, Wiring, resolve
from eventing.resources import Resource, load_text
from eventing.resources.schedule import parse_schedule

pytestmark = pytest.mark.timeout(SECONDS)

REGISTRY = Options(registry="registry.example/shop")
CODE = Code(Path("/project"), 1)


def found(name: str = "price", **options: Any) -> Discovered:
    sync = options.pop("sync", True)
    return Discovered(name, "default", f"app:{name}", CODE, sync, "/project/app.py", 3, **options)


def loaded(text: str) -> list[Resource]:
    result = load_text(dedent(text), "wiring.yaml")
    assert [str(error) for error in result.errors] == []
    return result.resources


def made(text: str, *code: Discovered, options: Options = REGISTRY) -> Export:
    return export(loaded(text), code, options)


def documents(exported: Export, kind: str) -> list[dict[str, Any]]:
    return [each.document for each in exported.manifests if each.kind == kind]


def only(exported: Export, kind: str) -> dict[str, Any]:
    (document,) = documents(exported, kind)
    return document


def told(exported: Export, *words: str) -> list[str]:
    """The notes in which all these words stand."""
    texts = [str(note) for note in exported.notes]
    return [text for text in texts if all(word in text for word in words)]


def trigger(name: str = "t", subscriber: str = "{uri: 'http://there/'}", **rest: str) -> str:
    lines = [
        "apiVersion: eventing.knative.dev/v1",
        "kind: Trigger",
        rest.pop("metadata", f"metadata: {{name: {name}}}"),
        "spec:",
        *([] if "brokerRef" in rest else [f"  broker: {rest.pop('broker', 'default')}"]),
        f"  subscriber: {subscriber}",
        *(f"  {field}: {value}" for field, value in rest.items()),
    ]
    return "\n".join(lines) + "\n---\n"


def function(name: str, spec: str, annotations: str = "{}") -> str:
    return (
        "apiVersion: functions/v1\nkind: Function\n"
        f"metadata: {{name: {name}, annotations: {annotations}}}\nspec: {{{spec}}}\n---\n"
    )


def to_function(name: str) -> str:
    return f"{{ref: {{apiVersion: functions/v1, kind: Function, name: {name}}}}}"


EVERYTHING = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prices, namespace: shop}
data: {currency: EUR}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
type: Opaque
stringData: {password: hunter2}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: orders-settings, namespace: shop}
data:
  bootstrap.servers: kafka:9092
  default.topic.partitions: "6"
  default.topic.config.retention.ms: "86400000"
  max.backlog: 100k
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: orders
  namespace: shop
  annotations: {eventing.knative.dev/broker.class: Kafka}
spec:
  config: {kind: ConfigMap, name: orders-settings}
  delivery:
    retry: 3
    backoffPolicy: linear
    backoffDelay: PT0.5S
    timeout: PT10S
    deadLetterSink: {ref: {kind: KafkaSink, name: failed}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: price
  namespace: shop
  labels: {team: sales}
  annotations: {kafka.eventing.knative.dev/delivery.order: ordered}
spec:
  brokerRef: {kind: Broker, name: orders}
  filters:
    - exact: {type: order.placed}
    - any: [{prefix: {subject: eu/}}, {not: {cesql: "EXISTS test"}}, {suffix: {source: /web}}]
  transform:
    jsonata:
      expression: |
        $merge([$, {"data": {"amount": data.amount * 2}}])
  subscriber: {ref: {kind: Function, name: price}}
  delivery: {retry: 5, retryAfterMax: PT1M, format: json}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: far, namespace: shop}
spec:
  broker: orders
  filter: {attributes: {type: order.priced, region: ""}}
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: far}, uri: deep}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: other}
spec:
  broker: default
  subscriber: {ref: {kind: Service, name: hello}, uri: /in}
---
apiVersion: eventing.knative.dev/v1alpha1
kind: EventTransform
metadata: {name: shorter, namespace: shop}
spec:
  jsonata: {expression: '{"specversion": "1.0", "id": id, "type": "short", "source": source}'}
  sink: {ref: {kind: Broker, name: orders}}
  reply: {discard: true}
---
apiVersion: functions/v1
kind: Function
metadata:
  name: price
  namespace: shop
  labels: {team: sales}
  annotations: {autoscaling.knative.dev/target: "10", example.dev/owner: me}
spec:
  image: registry.example/price:3
  imagePullPolicy: Always
  command: [/price]
  args: [--fast]
  port: 9000
  http2: true
  path: /events
  timeout: PT1M
  concurrency: 4
  scale: {min: 1, max: 5, window: PT1M, targetUtilizationPercentage: 80.5}
  scaleToZero: pause
  resources: {memory: 256Mi, cpu: 500m}
  env:
    - {name: MODE, value: live}
    - {name: CURRENCY, valueFrom: {configMapKeyRef: {name: prices, key: currency}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password, optional: true}}}
  envFrom: [{prefix: P_, configMapRef: {name: prices}}]
  readinessProbe: {httpGet: {path: /healthz, port: 9000}, periodSeconds: 5}
  securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true}
  rollout: {steps: [10, 100], interval: PT30S}
  traffic:
    - {latestRevision: true, percent: 90}
    - {revisionName: price-00001, percent: 10, tag: before}
---
apiVersion: functions/v1
kind: Function
metadata: {name: far, namespace: shop}
spec: {uri: "https://far.example/api/", timeout: PT5S}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/max-scale: "3"}}
    spec:
      containers: [{image: registry.example/hello:1, ports: [{containerPort: 8080}]}]
---
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: model}
spec:
  predictor:
    minReplicas: 0
    containers: [{name: kserve-container, image: registry.example/model:1}]
---
apiVersion: functions/v1
kind: TrafficPolicy
metadata: {name: price, namespace: shop}
spec:
  function: price
  http:
    - name: europe
      match: [{attributes: {region: {exact: "eu west"}}, withoutAttributes: {test: {}}}]
      route:
        - {destination: {revision: price-00001}, weight: 1}
        - {destination: {tag: before}, weight: 3}
        - {destination: {subset: steady}, weight: 0}
      timeout: PT2.5S
      retries: {attempts: 2, perTryTimeout: 500ms, retryOn: "5xx,reset"}
      fault:
        delay: {percentage: {value: 0.5}, fixedDelay: 100ms}
        abort: {percentage: {value: 1}, httpStatus: 503}
      mirrors: [{destination: {subset: steady}, percentage: {value: 10}}]
  trafficPolicy:
    connectionPool: {http: {http2MaxRequests: 100, http1MaxPendingRequests: 0, maxRetries: 3}}
    outlierDetection: {consecutive5xxErrors: 3, interval: PT5S, baseEjectionTime: 1m}
  subsets:
    - name: steady
      revision: price-00001
      trafficPolicy: {connectionPool: {tcp: {maxConnections: 5}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: hello}
spec:
  hosts: [hello]
  http: [{route: [{destination: {host: hello}}], timeout: 3s}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hello}
spec: {host: hello, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}}
---
apiVersion: sources.knative.dev/v1
kind: KafkaSource
metadata: {name: clicks, namespace: shop}
spec:
  bootstrapServers: [kafka:9092]
  topics: [clicks]
  consumers: 2
  initialOffset: earliest
  ordering: unordered
  net: {sasl: {enable: true, user: {secretKeyRef: {name: db, key: password}}}}
  delivery: {retry: 2, format: json}
  ceOverrides: {extensions: {origin: web}}
  sink: {ref: {kind: Broker, name: orders}}
---
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: tick, namespace: shop}
spec:
  schedule: "@every 10s"
  contentType: application/json
  data: '{"tick": true}'
  sink: {ref: {kind: Function, name: price}}
---
apiVersion: eventing.knative.dev/v1alpha1
kind: KafkaSink
metadata: {name: failed, namespace: shop}
spec: {topic: failed, bootstrapServers: [kafka:9092], contentMode: structured}
---
apiVersion: sources.knative.dev/v1alpha1
kind: RedisStreamSource
metadata: {name: stream, namespace: shop}
spec:
  address: redis://redis:6379
  stream: in
  delivery: {retry: 1}
  sink: {ref: {kind: Broker, name: orders}}
---
apiVersion: sinks.knative.dev/v1alpha1
kind: RedisStreamSink
metadata: {name: out, namespace: shop}
spec: {address: "redis://redis:6379", stream: out}
"""
"""Every kind, with as many of its fields as there is something to be said about."""

CODE_OF_EVERYTHING = (
    found("receipt", timeout=12.0, scale=(1, 3), memory=128 << 20, env={"LOG": "debug"}),
    found("audit", sync=False, concurrency=20),
)


@pytest.fixture(scope="module")
def everything() -> Export:
    return made(EVERYTHING, *CODE_OF_EVERYTHING)


# What a cluster takes


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.service("npm")] if kind in MODELS else [])
        for kind in KINDS
        if kind != "Secret"  # A form in comments, unless its values are asked for.
    ],
)
def test_every_document_fits_the_schema_that_is_published_for_its_kind(
    kind: str, everything: Export
) -> None:
    found = documents(everything, kind)
    assert found
    assert [fault for document in found for fault in faults(document)] == []


@pytest.mark.service("npm")
@pytest.mark.parametrize("broker_class", ["MTChannelBasedBroker", "Kafka"])
def test_brokers_of_either_class_fit_their_schema(broker_class: Any) -> None:
    exported = made(
        trigger() + EVERYTHING,
        *CODE_OF_EVERYTHING,
        options=replace(REGISTRY, broker_class=broker_class),
    )
    brokers = documents(exported, "Broker")
    assert len(brokers) == 2
    assert [fault for document in brokers for fault in faults(document)] == []


@pytest.mark.service("npm")
def test_the_schemas_find_a_field_that_a_cluster_would_drop(everything: Export) -> None:
    service = documents(everything, "Service")[0]
    pod = service["spec"]["template"]["spec"]
    misspelt = {**service, "spec": {"template": {"spec": {**pod, "timeoutSecond": 3}}}}
    assert any("timeoutSecond" in fault for fault in faults(misspelt))
    (one, *_) = documents(everything, "Trigger")
    assert any("filtres" in fault for fault in faults(one | {"spec": {"filtres": []}}))


# The way back


def test_what_is_exported_loads_here_again(everything: Export) -> None:
    result = load_text(one_text(everything), "exported.yaml")
    assert [str(error) for error in result.errors] == []
    again = export(result.resources, (), REGISTRY)
    hidden = [each.identity for each in everything.manifests if each.hidden]
    expected = [e.document for e in everything.manifests if e.identity not in hidden]
    assert [each.document for each in again.manifests] == expected


def meaning(wiring: Wiring) -> dict[str, Any]:
    """What a wiring does, whichever documents asked for it."""

    def to(destination: Destination | None) -> Destination | None:
        """A path that is the function's own need not be said."""
        if destination is None or destination.kind != "function":
            return destination
        revisions = wiring.functions[destination.name].revisions.values()
        own = {each.container.path for each in revisions if each.container}
        return replace(destination, path="") if {destination.path} == own else destination

    return {
        "brokers": {key: plan.limits for key, plan in wiring.brokers.items()},
        "triggers": {
            key: (plan.broker, plan.filter, plan.policy, to(plan.destination), plan.sink)
            for key, plan in wiring.triggers.items()
        },
        "functions": {
            key: (
                [(each.revision, each.container, each.scale) for each in plan.revisions.values()],
                plan.shares,
                plan.tags,
                plan.policy,
            )
            for key, plan in wiring.functions.items()
        },
        "transforms": {
            key: (plan.expression.text, plan.sink, plan.discard)
            for key, plan in wiring.transforms.items()
        },
        "sources": {
            identity: (plan.settings, to(plan.destination), plan.sink, plan.extensions)
            for identity, plan in wiring.sources.items()
        },
    }


def test_what_is_exported_means_the_same_here() -> None:
    text = (
        trigger("a", to_function("price"), delivery="{retry: 2, timeout: PT5S}")
        + trigger("b", to_function("audit"), filter="{attributes: {type: x}}")
        + trigger("c", to_function("hello"), filters="[{cesql: 'EXISTS test'}]")
        + trigger("d", "{ref: {kind: Broker, name: default}}")
        + function("price", "handler: 'app:price', timeout: PT9S, resources: {memory: 64Mi}")
        + function(
            "hello",
            "image: 'registry.example/hello:1', port: 9000, path: /in, timeout: PT5S, "
            "concurrency: 3, scale: {max: 2, window: PT30S}, scaleToZero: pause, "
            "resources: {memory: 64Mi, cpu: 250m}, env: [{name: MODE, value: live}], "
            "readinessProbe: {exec: {command: [/ready]}, periodSeconds: 3}, "
            "securityContext: {runAsUser: 7, runAsGroup: 8}",
        )
        + "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: tick}\n"
        + "spec: {schedule: '0 8 * * 1-5', timezone: Europe/Berlin, data: hello, sink: "
        + to_function("hello")
        + "}\n"
    )
    code = (
        found("price", sync=False, concurrency=7, scale=(1, 4), env={"LOG": "debug"}),
        found("audit", memory=32 << 20, timeout=4.0),
    )
    there = load_text(one_text(made(text, *code)), "exported.yaml")
    assert [str(problem) for problem in (*there.errors, *there.warnings)] == []
    before, after = (resolve(resources, code) for resources in (loaded(text), there.resources))
    assert all(condition.ready for condition in after.conditions.values())
    assert meaning(after) == meaning(before)


def test_an_export_of_an_export_is_the_same_to_the_letter(everything: Export) -> None:
    first = one_text(made(trigger("t", "{ref: {kind: Broker, name: default}}")), lambda _: "there")
    resources = load_text(first, "exported.yaml").resources
    again = one_text(export(resources, (), REGISTRY), lambda _: "there")
    assert again.partition("---")[2].count("kind:") == first.partition("---")[2].count("kind:")
    assert documents(export(resources, (), REGISTRY), "Trigger") == documents(
        made(trigger("t", "{ref: {kind: Broker, name: default}}")), "Trigger"
    )


def test_the_same_files_give_the_same_text() -> None:
    texts = {one_text(made(EVERYTHING, *CODE_OF_EVERYTHING)) for _ in range(3)}
    assert len(texts) == 1


# Functions


def test_a_handler_becomes_a_service_of_its_image_that_still_runs_here_as_a_process() -> None:
    service = only(made(function("price", "handler: 'app:price'"), found()), "Service")
    assert service["metadata"]["annotations"] == {"functions/handler": "app:price"}
    (container,) = service["spec"]["template"]["spec"]["containers"]
    assert container == {"image": "registry.example/shop/price"}


def test_a_function_without_yaml_becomes_one_too() -> None:
    service = only(made("", found(timeout=4.2, scale=(0, 2), memory=1 << 30)), "Service")
    template = service["spec"]["template"]
    assert template["metadata"]["annotations"] == {"autoscaling.knative.dev/max-scale": "2"}
    assert template["spec"]["timeoutSeconds"] == 5
    (container,) = template["spec"]["containers"]
    assert container["resources"] == {"limits": {"memory": "1Gi"}}


@pytest.mark.parametrize(
    ("options", "concurrency"),
    [({"sync": True, "concurrency": 9}, 1), ({"sync": False, "concurrency": 9}, 9)],
)
def test_a_sync_handler_serves_one_call_at_a_time_there_too(
    options: dict[str, Any], concurrency: int
) -> None:
    spec = only(made("", found(**options)), "Service")["spec"]["template"]["spec"]
    assert spec["containerConcurrency"] == concurrency


def test_yaml_goes_before_the_decorator() -> None:
    text = function("price", "handler: 'app:price', timeout: PT9S, scale: {max: 7}")
    service = only(made(text, found(timeout=4.0, scale=(1, 2))), "Service")["spec"]["template"]
    assert service["spec"]["timeoutSeconds"] == 9
    assert service["metadata"]["annotations"] == {
        "autoscaling.knative.dev/min-scale": "1",
        "autoscaling.knative.dev/max-scale": "7",
    }


def test_an_image_is_that_of_the_option_before_that_of_the_registry() -> None:
    options = replace(REGISTRY, images={"price": "other.example/price:2"})
    service = only(made("", found(), options=options), "Service")
    (container,) = service["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "other.example/price:2"


def test_without_an_image_it_says_how_to_name_one() -> None:
    with pytest.raises(UserError, match=r"price, audit have.*'eventing build'.*--image price="):
        made("", found(), found("audit"), options=Options())


def test_an_image_of_an_unknown_function_names_the_one_that_was_meant() -> None:
    with pytest.raises(UserError, match='did you mean "price"'):
        made("", found(), options=Options({"prise": "x"}, "registry.example"))


@pytest.mark.service("npm")
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("image: x, timeout: PT20M", ("1200 s becomes 600 s", "max-revision-timeout-seconds")),
        ("image: x, timeout: PT0.5S", ("0.5 s becomes 1 s",)),
        ("image: x, concurrency: 5000", ("becomes 1000", "container-concurrency-max-limit")),
        ("image: x, scale: {initial: 0}", ("initial scale of 0", "allow-zero-initial-scale")),
        ("image: x, port: 9090", ("port of Knative's own",)),
        ("image: x, securityContext: {procMount: Default}", ("procMount is left out",)),
        ("handler: 'app:price', env: [{name: PORT, value: '1'}]", ("PORT is left out",)),
        ("image: x, rollout: {}", ("by time alone",)),
        ("uri: 'http://far/', timeout: PT1S", ("timeout of a function that runs elsewhere",)),
    ],
)
def test_what_a_service_can_not_say_is_told_with_its_place(
    spec: str, words: tuple[str, ...]
) -> None:
    exported = made(function("price", spec), found())
    (note,) = told(exported, "Function/default/price", *words)
    assert note.startswith("wiring.yaml:4:")
    assert [fault for each in exported.manifests for fault in faults(each.document)] == []


def test_a_path_goes_to_where_the_function_is_named() -> None:
    text = function("price", "image: x, path: /in") + trigger("t", to_function("price"))
    subscriber = only(made(text), "Trigger")["spec"]["subscriber"]
    assert subscriber["uri"] == "/in"
    assert subscriber["ref"]["kind"] == "Service"


def test_a_remote_function_is_named_by_its_uri() -> None:
    text = function("far", "uri: 'https://far.example/api'") + trigger("t", to_function("far"))
    exported = made(text)
    assert only(exported, "Trigger")["spec"]["subscriber"] == {"uri": "https://far.example/api"}
    assert documents(exported, "Service") == []


def test_a_function_and_a_service_of_one_name_are_told() -> None:
    service = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: price}\n"
    service += "spec: {template: {spec: {containers: [{image: x}]}}}\n---\n"
    exported = made(service + function("price", "image: y"))
    assert len(documents(exported, "Service")) == 1
    assert told(exported, "Service/default/price", "is left out", "wiring.yaml:1:1")


# Triggers


def test_a_transform_becomes_an_event_transform_before_the_subscriber() -> None:
    text = trigger("t", to_function("price"), transform="{jsonata: {expression: '$'}}")
    exported = made(text, found())
    transform = only(exported, "EventTransform")
    assert transform["spec"]["jsonata"] == {"expression": "$"}
    assert transform["spec"]["sink"]["ref"]["name"] == "price"
    spec = only(exported, "Trigger")["spec"]
    assert "transform" not in spec
    assert spec["subscriber"]["ref"] == {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "EventTransform",
        "name": transform["metadata"]["name"],
    }


def test_its_name_is_one_that_is_free() -> None:
    taken = "apiVersion: eventing.knative.dev/v1alpha1\nkind: EventTransform\n"
    taken += "metadata: {name: t-transform}\nspec: {jsonata: {expression: '$'}}\n---\n"
    exported = made(taken + trigger("t", transform="{jsonata: {expression: '$'}}"))
    names = {each["metadata"]["name"] for each in documents(exported, "EventTransform")}
    assert names == {"t-transform", "t-transform-2"}


@pytest.mark.service("npm")
@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ({"delivery": "{retry: 1, retryAfterMax: PT1M}"}, ("delivery-retryafter",)),
        (
            {"brokerRef": "{kind: Broker, name: default, namespace: far}"},
            ("cross-namespace-event-links",),
        ),
        (
            {
                "transform": "{jsonata: {expression: '$'}}",
                "subscriber": f"{{uri: 'https://there/', CACerts: {json.dumps(Authority().ca)}}}",
            },
            ("CACerts is left out", "trust-bundle"),
        ),
        (
            {
                "metadata": "metadata: {name: t, annotations: "
                "{kafka.eventing.knative.dev/delivery.order: ordered}}"
            },
            ("order is kept by brokers of the class Kafka alone",),
        ),
        (
            {"metadata": "metadata: {name: t, annotations: {eventing.dev/start: earliest}}"},
            ("begins with the next event",),
        ),
        ({"subscriber": to_function("nobody")}, ("nobody is not among what is exported",)),
        ({"broker": "lost"}, ("Broker/default/lost is not among",)),
    ],
)
def test_what_a_trigger_can_not_say_is_told(rest: dict[str, str], words: tuple[str, ...]) -> None:
    exported = made(trigger("t", **rest))
    (note,) = told(exported, "Trigger/default/t", *words)
    assert note.startswith("wiring.yaml:")
    assert [fault for each in exported.manifests for fault in faults(each.document)] == []


@pytest.mark.parametrize(
    ("written", "there", "is_told"),
    [
        ("PT0.5S", "PT0.5S", False),
        ("PT1.25M", "PT1M15S", False),
        ("PT0.25S", "PT0.3S", True),
        ("PT0.05S", "PT0.1S", True),
    ],
)
def test_durations_are_such_as_a_cluster_reads_them(
    written: str, there: str, is_told: bool
) -> None:
    exported = made(trigger(delivery=f"{{retry: 1, backoffDelay: {written}}}"))
    assert only(exported, "Trigger")["spec"]["delivery"]["backoffDelay"] == there
    assert bool(told(exported, "tenths of seconds", f"becomes {there}")) == is_told


def test_a_broker_of_the_same_namespace_is_named_as_all_clusters_take_it() -> None:
    spec = only(made(trigger(brokerRef="{kind: Broker, name: default}")), "Trigger")["spec"]
    assert spec["broker"] == "default"
    assert "brokerRef" not in spec


def test_events_that_no_sink_takes_are_told_once_for_each_broker() -> None:
    exported = made(trigger("a") + trigger("b"))
    (note,) = told(exported, "dropped on a cluster")
    assert "by triggers a, b" in note
    sink = "{deadLetterSink: {uri: 'http://there/'}}"
    assert told(made(trigger(delivery=sink)), "dropped on a cluster") == []


# Brokers


BROKER = (
    "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b%s}\nspec: {%s}\n---\n"
)
SETTINGS = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {%s}\n---\n"


def broker(broker_class: str = "", spec: str = "") -> str:
    annotations = f", annotations: {{eventing.knative.dev/broker.class: {broker_class}}}"
    return BROKER % (annotations if broker_class else "", spec)


def test_the_default_broker_is_written_out_where_something_names_it() -> None:
    document = only(made(trigger()), "Broker")
    assert document["metadata"]["name"] == "default"
    assert document["spec"] == {"delivery": {"retry": 0}}
    assert documents(made("", found()), "Broker") == []


@pytest.mark.parametrize(
    ("written", "option", "there"),
    [
        ("", "MTChannelBasedBroker", "MTChannelBasedBroker"),
        ("Embedded", "MTChannelBasedBroker", "MTChannelBasedBroker"),
        ("Redis", "Kafka", "Kafka"),
        ("Kafka", "MTChannelBasedBroker", "Kafka"),
        ("RabbitMQBroker", "Kafka", "RabbitMQBroker"),
    ],
)
def test_a_broker_has_the_class_that_it_names_or_that_is_asked_for(
    written: str, option: Any, there: str
) -> None:
    exported = made(broker(written), options=Options(broker_class=option))
    annotations = only(exported, "Broker")["metadata"]["annotations"]
    assert annotations["eventing.knative.dev/broker.class"] == there
    assert bool(told(exported, f'no class "{written}"')) == (written in ("Embedded", "Redis"))


def test_limits_are_told_and_their_config_map_goes() -> None:
    text = broker(spec="config: {kind: ConfigMap, name: settings}") + SETTINGS % "max.backlog: 1k"
    exported = made(text)
    assert "config" not in only(exported, "Broker")["spec"]
    assert documents(exported, "ConfigMap") == []
    assert told(exported, "ConfigMap/default/settings", "max.backlog is no setting")


def test_a_channel_that_is_named_stays() -> None:
    text = broker(spec="config: {kind: ConfigMap, name: settings}")
    exported = made(text + SETTINGS % "channel-template-spec: x, retention.age: P1D")
    assert only(exported, "ConfigMap")["data"] == {"channel-template-spec": "x"}
    assert only(exported, "Broker")["spec"]["config"]["name"] == "settings"
    assert told(exported, "in memory") == []


def test_kafkas_settings_are_made_whole() -> None:
    text = broker("Kafka", "config: {kind: ConfigMap, name: settings}")
    exported = made(text + SETTINGS % "bootstrap.servers: 'kafka:9092'")
    assert only(exported, "ConfigMap")["data"] == {
        "bootstrap.servers": "kafka:9092",
        "default.topic.partitions": "10",
        "default.topic.replication.factor": "1",
    }


def test_where_nothing_says_where_kafka_is_the_clusters_own_settings_are_named() -> None:
    exported = made(trigger(), options=Options(broker_class="Kafka"))
    assert only(exported, "Broker")["spec"]["config"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "kafka-broker-config",
        "namespace": "knative-eventing",
    }
    assert told(exported, "says where Kafka is")


def test_a_config_map_that_others_name_too_stays_whole() -> None:
    text = broker(spec="config: {kind: ConfigMap, name: settings}") + SETTINGS % "max.backlog: 1k"
    reads = "env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: max.backlog}}}]"
    exported = made(text + function("price", f"image: x, {reads}"))
    assert only(exported, "ConfigMap")["data"] == {"max.backlog": "1k"}


# Sources


@pytest.mark.parametrize(
    ("schedule", "there"),
    [
        ("*/5 * * * *", "*/5 * * * *"),
        ("CRON_TZ=Europe/Berlin 0 8 * * *", "CRON_TZ=Europe/Berlin 0 8 * * *"),
        ("@daily", "@daily"),
        ("@every 10s", "*/10 * * * * *"),
        ("@every 1m", "* * * * *"),
        ("@every 15m", "*/15 * * * *"),
        ("@every 1h", "0 * * * *"),
        ("@every 6h", "0 */6 * * *"),
        ("@every 24h", "0 0 * * *"),
        ("@every 7s", None),
        ("@every 90s", None),
        ("CRON_TZ=Europe/Berlin @every 1h", None),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 5-6,0"),
        ("0 0 * * MON,7", "0 0 * * MON,0"),
        ("0 0 L * *", None),
        ("0 0 LW JUL *", None),
        ("0 0 * JUL WED", "0 0 * JUL WED"),
        ("0 0 * * 1#2", None),
        ("0 0 * * 5L", None),
    ],
)
def test_a_schedule_has_the_same_moments_there_or_is_told(schedule: str, there: str | None) -> None:
    assert cluster_schedule(schedule, "") == there
    if there is not None:
        moment = 1_700_000_000.0
        for _ in range(50):
            assert parse_schedule(there).after(moment) == parse_schedule(schedule).after(moment)
            moment = parse_schedule(schedule).after(moment)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("schedule: '@every 7s'", ("no schedule of the moments",)),
        ("contentType: application/json, data: '[1]'", ("JSON data that is an object",)),
    ],
)
def test_a_timer_that_a_cluster_refuses_is_left_out_and_told(
    spec: str, words: tuple[str, ...]
) -> None:
    text = "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: tick}\n"
    exported = made(text + f"spec: {{{spec}, sink: {{uri: 'http://there/'}}}}\n", found())
    assert documents(exported, "PingSource") == []
    assert told(exported, "PingSource/default/tick", "the source is left out", *words)


# Namespaces and secrets


def test_what_stands_in_default_goes_to_the_namespace_that_is_asked_for() -> None:
    text = trigger("t", "{ref: {kind: Function, name: price, namespace: default}}")
    exported = made(text, found(), options=replace(REGISTRY, namespace="live"))
    for manifest in exported.manifests:
        where = manifest.document["metadata"]
        assert where.get("namespace", where["name"]) == "live"
    subscriber = only(exported, "Trigger")["spec"]["subscriber"]
    assert subscriber["ref"]["namespace"] == "live"
    assert only(exported, "Namespace")["metadata"] == {"name": "live"}


@pytest.mark.service("npm")
def test_the_values_of_secrets_are_written_out_where_that_is_asked_for_alone(
    everything: Export,
) -> None:
    text = one_text(everything)
    assert "hunter2" not in text + "".join(files(everything).values())
    assert "#     password: PUT-THE-VALUE-HERE" in text
    assert not [each for each in load_text(text).resources if each.kind == "Secret"]
    assert told(everything, "Secret/shop/db", "--with-secrets")
    opened = made(EVERYTHING, *CODE_OF_EVERYTHING, options=replace(REGISTRY, with_secrets=True))
    assert only(opened, "Secret")["stringData"] == {"password": "hunter2"}
    assert faults(only(opened, "Secret")) == []


# Traffic


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("function: far, trafficPolicy: {}", ("runs elsewhere",)),
        ("function: price, http: [{route: [{destination: {tag: t}}]}]", ('the tag "t"',)),
        (
            "function: price, subsets: [{name: s, latest: true}]",
            ("no label for the latest revision",),
        ),
        (
            "function: split, http: [{route: [{destination: {latest: true}}]}]",
            ("spec.traffic splits",),
        ),
    ],
)
def test_a_policy_that_istio_can_not_say_is_left_out_and_told(
    policy: str, words: tuple[str, ...]
) -> None:
    text = function("far", "uri: 'http://far/'") + function("price", "image: x")
    text += function("split", "image: x, traffic: [{percent: 100, revisionName: split-00001}]")
    text += "apiVersion: functions/v1\nkind: TrafficPolicy\nmetadata: {name: p}\n"
    exported = made(f"{text}spec: {{{policy}}}\n")
    assert told(exported, "TrafficPolicy/default/p", "the policy is left out", *words)
    assert documents(exported, "VirtualService") == documents(exported, "DestinationRule") == []


def test_a_call_that_no_route_matches_goes_its_usual_way_there_too() -> None:
    text = function("price", "image: x") + "apiVersion: functions/v1\nkind: TrafficPolicy\n"
    text += "metadata: {name: p}\nspec: {function: price, http: [{match: [{attributes: "
    text += "{type: {exact: a}}}], timeout: 3s}]}\n"
    routes = only(made(text), "VirtualService")["spec"]["http"]
    assert routes == [
        {
            "match": [{"headers": {"ce-type": {"exact": "a"}}}],
            "route": [{"destination": {"host": "price"}}],
            "timeout": "3s",
            "retries": {"attempts": 0},
        },
        {"route": [{"destination": {"host": "price"}}], "retries": {"attempts": 0}},
    ]


# The text


def test_files_are_applied_in_the_order_of_their_names(everything: Export) -> None:
    texts = files(everything)
    assert list(texts) == sorted(texts)
    assert next(iter(texts)) == "00-namespace.yaml"
    assert all(text.startswith(HEAD) for text in texts.values())
    kinds = [each.kind for text in texts.values() for each in load_text(text).resources]
    assert kinds == [each.kind for each in everything.manifests if not each.hidden]


def test_every_note_stands_at_the_head_in_comments(everything: Export) -> None:
    head = one_text(everything).partition("---")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    words = " ".join(line.removeprefix("#").strip(" -") for line in head.splitlines())
    for note in everything.notes:
        assert note.what.split(";")[0] in words


def test_no_text_of_a_document_gets_out_of_a_comment() -> None:
    text = "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: tick}\n"
    text += 'spec: {schedule: "@every 7s\\n", sink: {uri: "http://there/"}}\n'
    head = one_text(made(text, found())).partition("---")[0]
    assert all(line.startswith("#") for line in head.splitlines())


# Options


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["price"], "is not FUNCTION=IMAGE"),
        (["price="], "is not FUNCTION=IMAGE"),
        (["price=Bad Image"], "no name of an image"),
        (["price=x:1", "price=x:2"], "two images for price"),
    ],
)
def test_an_image_that_is_none_is_told(given: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_images(given)


@pytest.mark.parametrize("registry", ["", "/", "https://registry.example", "registry/x:1"])
def test_a_registry_that_is_none_is_told(registry: str) -> None:
    with pytest.raises(UserError, match="no place for images"):
        check_registry(registry)


@pytest.mark.parametrize("registry", ["registry.example", "localhost:5000/", "r.example/shop"])
def test_a_registry_may_have_a_port_and_folders(registry: str) -> None:
    assert check_registry(registry) == registry.rstrip("/")


def test_a_namespace_that_is_none_is_told() -> None:
    with pytest.raises(UserError, match="no valid name"):
        check_namespace("Live")
