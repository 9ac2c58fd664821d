"""The Function: what runs, within which bounds, with which environment and scale."""

import json

import pytest

from eventing.resources import (
    Container,
    Function,
    Probe,
    Reference,
    RolloutPlan,
    Scaling,
    TrafficTarget,
    load_text,
)

FUNCTION = """\
apiVersion: functions/v1
kind: Function
metadata:
  name: f
  namespace: shop
ANNOTATIONS
spec:
"""


def document(rest: str, annotations: str = "") -> str:
    return FUNCTION.replace("ANNOTATIONS", annotations and f"  annotations: {annotations}") + rest


def function(rest: str = "", annotations: str = "") -> Function:
    loaded = load_text(document("  handler: app:main\n" + rest, annotations), "f.yaml")
    assert loaded.errors == []
    (resource,) = loaded.resources
    assert isinstance(resource, Function)
    return resource


def complaints(rest: str, annotations: str = "") -> list[str]:
    return [error.message for error in load_text(document(rest, annotations)).errors]


def test_a_handler_is_all_it_needs() -> None:
    plain = function()
    assert (plain.timeout, plain.spec.concurrency, plain.memory) == (30.0, None, None)
    assert plain.scaling.given() == {}
    assert plain.env == {}


def test_values_are_read_in_seconds_and_bytes() -> None:
    set_ = function("  timeout: PT1M\n  concurrency: 0\n  resources: {memory: 256Mi}\n")
    assert (set_.timeout, set_.spec.concurrency, set_.memory) == (60.0, 0, 256 << 20)


def test_memory_may_be_a_plain_number() -> None:
    assert function("  resources: {memory: 268435456}\n").memory == 256 << 20


@pytest.mark.parametrize(
    ("rest", "complaint"),
    [
        ("  timeout: PT1S\n", 'spec: needs a "handler" ("module:name"), an "image" or a "uri"'),
        ("  handler: app\n", 'spec.handler: "app" is not "module:name", as in "app:thumbnail"'),
        ("  handler: a-b:c\n", 'spec.handler: "a-b:c" is not "module:name"'),
        ("  image: r/I:1\n", 'spec.image: "r/I:1" is no name of an image such as'),
        ("  handler: a:b\n  image: r/i:1\n", 'spec.image: stands beside "handler"; keep one'),
        ("  handler: a:b\n  uri: 'http://a'\n", 'spec.uri: stands beside "handler"; keep one'),
        ("  uri: a\n", 'spec.uri: "a" is no absolute URI'),
        ("  handler: a:b\n  timeout: PT0S\n", 'spec.timeout: "PT0S" has to be more than zero'),
        ("  handler: a:b\n  concurrency: -1\n", "spec.concurrency: has to be at least 0"),
        (
            "  handler: a:b\n  resources: {memory: 128m}\n",
            'spec.resources.memory: "128m" is a fraction of one; did you mean "128Mi"?',
        ),
        (
            "  handler: a:b\n  memory: 1Gi\n",
            'unknown field "memory" in spec; did you mean spec.resources.memory?',
        ),
    ],
)
def test_a_mistaken_function_is_told(rest: str, complaint: str) -> None:
    (message,) = complaints(rest)
    assert message.startswith(complaint)


def test_the_environment_is_values_and_references() -> None:
    env = function("""\
  env:
    - {name: A, value: "1"}
    - {name: EMPTY}
    - {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}
    - {name: C, valueFrom: {configMapKeyRef: {name: c, key: k, optional: true}}}
""").env
    path = ("spec", "env", 2, "valueFrom", "secretKeyRef")
    assert env["A"] == "1"
    assert env["EMPTY"] == ""
    assert env["B"] == Reference("v1", "Secret", "shop", "s", path, key="k")
    assert isinstance(env["C"], Reference)
    assert (str(env["C"]), env["C"].optional) == ("ConfigMap/shop/c", True)


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ("{name: A, value: 1}", "spec.env[0].value: has to be text, not the number 1"),
        ("{name: 1A}", 'spec.env[0].name: "1A" is no name of a variable'),
        ("{name: A}, {name: A}", 'spec.env[1].name: "A" is set twice; keep one of them'),
        ("{name: A, valueFrom: {}}", 'spec.env[0].valueFrom: needs a "secretKeyRef" or'),
        (
            "{name: A, value: b, valueFrom: {secretKeyRef: {name: a, key: b}}}",
            'spec.env[0].valueFrom: stands beside "value"',
        ),
        (
            "{name: A, valueFrom: {fieldRef: {fieldPath: x}}}",
            'unknown field "fieldRef" in spec.env[0].valueFrom',
        ),
    ],
)
def test_a_mistaken_environment_is_told(env: str, complaint: str) -> None:
    assert complaints(f"  handler: a:b\n  env: [{env}]\n")[0].startswith(complaint)


def test_scale_is_a_field() -> None:
    scaling = function("  scale: {min: 1, max: 4, window: PT2M, target: 10, metric: rps}\n").scaling
    assert scaling == Scaling(min=1, max=4, window=120.0, target=10, metric="rps")


def test_scale_may_be_knatives_annotations() -> None:
    annotations = """{autoscaling.knative.dev/min-scale: "1",
      autoscaling.knative.dev/maxScale: "4", autoscaling.knative.dev/window: 2m,
      autoscaling.knative.dev/scale-to-zero-pod-retention-period: 1m5s,
      autoscaling.knative.dev/target-utilization-percentage: "80.5"}"""
    assert function(annotations=annotations).scaling == Scaling(
        min=1, max=4, window=120.0, retention=65.0, target_utilization_percentage=80.5
    )


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        ("min-scale: '-1'", '"-1" is no whole number from 0 up'),
        ("activation-scale: '0'", '"0" is no whole number from 1 up'),
        ("target: '0'", '"0" has to be at least 0.01'),
        ("target: nan", '"nan" has to be at least 0.01'),
        ("panic-threshold-percentage: '100'", '"100" has to be at least 110 and at most 1000'),
        ("window: 2h", '"2h" is not between 6s and 1h'),
        ("window: PT1M", '"PT1M" is no duration like "60s"'),
        ("metric: cpu", '"cpu" is neither "concurrency" nor "rps"'),
        ("min-scales: '1'", 'did you mean "autoscaling.knative.dev/min-scale"?'),
    ],
)
def test_a_mistaken_annotation_is_told(annotation: str, complaint: str) -> None:
    (message,) = complaints("  handler: a:b\n", f"{{autoscaling.knative.dev/{annotation}}}")
    assert message.startswith('metadata.annotations["autoscaling.knative.dev/')
    assert complaint in message


def test_a_bound_set_twice_is_told() -> None:
    annotations = "{autoscaling.knative.dev/min-scale: '1'}"
    assert complaints("  handler: a:b\n  scale: {min: 1}\n", annotations) == [
        'metadata.annotations["autoscaling.knative.dev/min-scale"]: is set as "spec.scale.min" '
        "too; keep one of them"
    ]


@pytest.mark.parametrize(
    ("scale", "complaint"),
    [
        ("{min: 3, max: 2}", "spec.scale.max: 2 is below the minimum of 3"),
        ("{activation: 3, max: 2}", "spec.scale.activation: 3 is above the maximum of 2"),
        ("{initial: 3, max: 2}", "spec.scale.initial: 3 is above the maximum of 2"),
        ("{window: PT5S}", 'spec.scale.window: "PT5S" is not between PT6S and PT1H'),
        ("{target: 0}", "spec.scale.target: has to be at least 0.01"),
        ("{max: 1.5}", "spec.scale.max: has to be a whole number, not the number 1.5"),
        ("{target: .inf}", "spec.scale.target: "),
    ],
)
def test_bounds_that_can_not_hold_are_told(scale: str, complaint: str) -> None:
    (message,) = complaints(f"  handler: a:b\n  scale: {scale}\n")
    assert message.startswith(complaint)


def test_settings_of_a_function_that_runs_elsewhere_have_no_effect() -> None:
    rest = "  uri: http://a/\n  scale: {max: 1}\n  env: []\n"
    assert [warning.message for warning in load_text(document(rest)).warnings] == [
        "scale has no effect on a function that runs elsewhere (uri)",
        "env has no effect on a function that runs elsewhere (uri)",
    ]


def container(rest: str = "", image: str = "registry.example/thumbnail:1") -> Container:
    loaded = load_text(document(f"  image: {image}\n" + rest), "f.yaml")
    assert loaded.errors == []
    (resource,) = loaded.resources
    assert isinstance(resource, Function)
    assert resource.handler is None
    assert resource.container is not None
    return resource.container


def test_an_image_runs_as_a_container() -> None:
    assert container() == Container(image="registry.example/thumbnail:1", grace=30.0)
    assert container(image="thumbnail").pull == "Always"
    assert function().container is None


def test_all_of_a_container_may_be_said() -> None:
    assert container("""\
  imagePullPolicy: Never
  command: [/bin/thumbnail]
  args: [--fast]
  workingDir: /srv
  port: 9000
  http2: true
  path: /events
  resources: {memory: 256Mi, cpu: 500m}
  timeout: PT10S
  readinessProbe: {httpGet: {path: /ready}}
  scaleToZero: pause
  securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true}
""") == Container(
        image="registry.example/thumbnail:1",
        pull="Never",
        command=("/bin/thumbnail",),
        args=("--fast",),
        port=9000,
        http2=True,
        path="/events",
        memory=256 << 20,
        cpu=0.5,
        working_dir="/srv",
        user="1000",
        read_only=True,
        probe=Probe("http", "/ready"),
        at_rest="pause",
        grace=10.0,
    )


@pytest.mark.parametrize(
    ("rest", "complaint"),
    [
        ("  port: 0\n", "spec.port: has to be at least 1"),
        ("  path: events\n", 'spec.path: "events" is no path: it begins with "/"'),
        ("  pullPolicy: Always\n", 'unknown field "pullPolicy" in spec; did you mean "imagePullP'),
        ("  scaleToZero: freeze\n", 'spec.scaleToZero: has to be "stop" or "pause"'),
        ("  resources: {cpu: much}\n", 'spec.resources.cpu: "much" is no quantity'),
        ("  env: [{name: PORT}]\n", 'spec.env[0].name: "PORT" is set by the runtime'),
        (
            "  readinessProbe: {httpGet: {port: web}}\n",
            'spec.readinessProbe.httpGet.port: "web" is not the name of the container\'s port',
        ),
    ],
)
def test_a_mistaken_container_is_told(rest: str, complaint: str) -> None:
    (message,) = complaints("  image: r/i:1\n" + rest)
    assert message.startswith(complaint)


def test_settings_of_containers_have_no_effect_on_a_process() -> None:
    rest = "  handler: a:b\n  port: 80\n  scaleToZero: stop\n  resources: {cpu: 1, memory: 1Gi}\n"
    assert sorted(warning.message for warning in load_text(document(rest)).warnings) == [
        "cpu has no effect on a function that runs as a process (handler)",
        "port has no effect on a function that runs as a process (handler)",
        "scaleToZero has no effect on a function that runs as a process (handler)",
    ]


def test_whole_config_maps_and_secrets_may_be_its_environment() -> None:
    found = function("  envFrom: [{prefix: A_, configMapRef: {name: c}}, {secretRef: {name: s}}]\n")
    assert found.env_from == (
        ("A_", Reference("v1", "ConfigMap", "shop", "c", ("spec", "envFrom", 0, "configMapRef"))),
        ("", Reference("v1", "Secret", "shop", "s", ("spec", "envFrom", 1, "secretRef"))),
    )
    assert len(list(found.references())) == 2


def test_its_traffic_and_its_rollout_are_fields() -> None:
    found = function("""\
  traffic: [{revisionName: f-00001, percent: 90, tag: old}, {latestRevision: true, percent: 10}]
  rollout: {steps: [50, 100], interval: PT30S, minErrors: 2, latencyFactor: 3}
""")
    assert found.traffic == (
        TrafficTarget(90, revision="f-00001", tag="old"),
        TrafficTarget(10, latest=True),
    )
    assert found.rollout == RolloutPlan(
        steps=(50, 100), interval=30.0, min_errors=2, latency_factor=3.0
    )
    assert function("  rollout: {}\n").rollout == RolloutPlan()
    assert function().rollout is None


def test_its_template_is_all_that_makes_a_revision() -> None:
    plain = function()
    assert plain.template == {"spec": {"handler": "app:main"}}
    assert function("  rollout: {}\n  traffic: [{percent: 100}]\n").template == plain.template
    assert function(annotations="{example.org/team: blue}").template == plain.template
    scaled = function(annotations="{autoscaling.knative.dev/max-scale: '4'}")
    assert scaled.template != plain.template
    assert function("  timeout: PT1S\n").template != plain.template


@pytest.mark.parametrize(
    ("rest", "annotations"),
    [
        ("", ""),
        ("  timeout: PT5S\n  env: [{name: A, value: b}]\n  rollout: {minEvents: 1}\n", ""),
        ("", "{autoscaling.knative.dev/max-scale: '4', example.org/team: red}"),
    ],
)
def test_an_old_revision_is_made_of_its_template(rest: str, annotations: str) -> None:
    old = function(rest, annotations)
    new = function(
        "  concurrency: 7\n  traffic: [{percent: 100}]\n",
        "{autoscaling.knative.dev/min-scale: '1', example.org/team: blue}",
    )
    again = new.with_template(json.loads(json.dumps(old.template)))
    assert again.template == old.template
    for name in ("handler", "timeout", "concurrency", "scaling", "env"):
        assert getattr(again, name) == getattr(old, name)
    assert (again.traffic, again.rollout) == (new.traffic, None)
    assert again.metadata.annotation("example.org/team") == "blue"
    assert new.with_template(new.template) == new
