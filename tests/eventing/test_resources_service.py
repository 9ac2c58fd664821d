"""Knative's Service: what its documents say here, and what makes a revision of it."""

import json
from typing import Any

import pytest

from eventing.resources import RolloutPlan, Scaling, Service, load_text, loaded_place

SERVICE = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: hello
  namespace: shop
ANNOTATIONS
spec:
  template:
TEMPLATE
    spec:
REVISION
      containers:
        - image: registry.example/hello:1
"""


def document(annotations: str = "", template: str = "", revision: str = "", rest: str = "") -> str:
    """With annotations of the resource, metadata of its template, fields beside `containers`, and
    what follows the template."""
    text = SERVICE.replace("ANNOTATIONS\n", annotations and f"  annotations: {annotations}\n")
    text = text.replace("TEMPLATE\n", template and f"    metadata: {template}\n")
    return text.replace("REVISION\n", revision and f"      {revision}\n") + rest


def service(*parts: str, **named: str) -> Service:
    loaded = load_text(document(*parts, **named), "s.yaml")
    assert loaded.errors == []
    (resource,) = loaded.resources
    assert isinstance(resource, Service)
    return resource


def complaints(*parts: str, **named: str) -> list[str]:
    loaded = load_text(document(*parts, **named), "s.yaml")
    assert loaded.resources == []
    return [error.message for error in loaded.errors]


def warnings(*parts: str, **named: str) -> list[str]:
    loaded = load_text(document(*parts, **named))
    assert loaded.errors == []
    return [warning.message for warning in loaded.warnings]


def test_an_image_is_all_it_needs() -> None:
    plain = service()
    assert (plain.timeout, plain.concurrency, plain.memory) == (300.0, None, None)
    assert (plain.handler, plain.uri, plain.revision_name) == (None, None, None)
    assert (plain.env, plain.env_from, plain.traffic, plain.rollout) == ({}, (), (), None)
    assert plain.scaling.given() == {}
    assert plain.container is not None


def test_a_document_that_a_cluster_gives_back_is_loaded() -> None:
    text = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  annotations:
    serving.knative.dev/creator: admin
    serving.knative.dev/lastModifier: admin
  creationTimestamp: "2026-01-01T00:00:00Z"
  generation: 2
  name: hello
  namespace: shop
  resourceVersion: "123"
  uid: 2f4c
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/class: kpa.autoscaling.knative.dev
      creationTimestamp: null
    spec:
      containerConcurrency: 0
      containers:
        - image: registry.example/hello:1
          name: user-container
          readinessProbe: {successThreshold: 1, tcpSocket: {port: 0}}
          resources: {}
      enableServiceLinks: false
      timeoutSeconds: 300
  traffic:
    - latestRevision: true
      percent: 100
status:
  url: http://hello.shop.example
"""
    loaded = load_text(text)
    assert (loaded.errors, loaded.warnings) == ([], [])
    (resource,) = loaded.resources
    assert isinstance(resource, Service)
    assert resource.timeout == 300.0


def test_how_it_is_called_is_read() -> None:
    found = service(revision="containerConcurrency: 10\n      timeoutSeconds: 60")
    assert (found.concurrency, found.timeout) == (10, 60.0)
    assert found.container is not None
    assert found.container.grace == 60.0
    assert service(revision="timeoutSeconds: 0").timeout == 300.0


@pytest.mark.parametrize(
    ("revision", "complaint"),
    [
        ("containerConcurrency: -1", "containerConcurrency: has to be at least 0"),
        ("containerConcurrency: 1001", "containerConcurrency: has to be at most 1000"),
        ("timeoutSeconds: 601", "timeoutSeconds: has to be at most 600"),
        ("timeoutSeconds: PT1M", "timeoutSeconds: has to be a whole number, not the text"),
    ],
)
def test_bounds_of_a_call_are_knatives(revision: str, complaint: str) -> None:
    (message,) = complaints(revision=revision)
    assert message.removeprefix("spec.template.spec.").startswith(complaint)


def test_an_unknown_field_is_told_with_the_nearest_name() -> None:
    assert complaints(revision="containerConcurency: 1") == [
        'unknown field "containerConcurency" in spec.template.spec; did you mean '
        '"containerConcurrency"?'
    ]
    assert complaints(rest="  template2: {}\n") == [
        'unknown field "template2" in spec; did you mean "template"?'
    ]


def test_without_containers_it_is_refused() -> None:
    text = document().replace(
        "      containers:\n        - image: registry.example/hello:1\n", "      containers: []\n"
    )
    (error,) = load_text(text).errors
    assert error.message == (
        "spec.template.spec.containers: is empty; one container is what a service runs"
    )


def test_it_scales_by_the_annotations_of_its_template() -> None:
    annotations = """{annotations: {autoscaling.knative.dev/min-scale: "1",
      autoscaling.knative.dev/max-scale: "4", autoscaling.knative.dev/target: "10"}}"""
    assert service(template=annotations).scaling == Scaling(min=1, max=4, target=10.0)


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        ('min-scale: "-1"', '["autoscaling.knative.dev/min-scale"]: "-1" is no whole number'),
        ('min-scales: "1"', 'did you mean "autoscaling.knative.dev/min-scale"?'),
        ('min-scale: "3", autoscaling.knative.dev/max-scale: "2"', "2 is below the minimum of 3"),
    ],
)
def test_mistaken_scales_are_told(annotation: str, complaint: str) -> None:
    template = f"{{annotations: {{autoscaling.knative.dev/{annotation}}}}}"
    (message,) = complaints(template=template)
    assert message.startswith("spec.template.metadata.annotations[")
    assert complaint in message


def test_a_scale_of_the_service_itself_is_refused_as_in_a_cluster() -> None:
    (message,) = complaints('{autoscaling.knative.dev/min-scale: "1"}')
    assert message.endswith("counts among spec.template.metadata.annotations alone; move it there")


def test_another_autoscaler_leaves_its_figures_without_effect() -> None:
    template = """{annotations: {autoscaling.knative.dev/class: hpa.autoscaling.knative.dev,
      autoscaling.knative.dev/metric: cpu, autoscaling.knative.dev/target: "80"}}"""
    assert service(template=template).scaling == Scaling()
    assert [warning.partition(" ")[0] for warning in warnings(template=template)] == [
        "autoscaling.knative.dev/class",
        "autoscaling.knative.dev/metric",
        "autoscaling.knative.dev/target",
    ]


def test_a_revision_may_be_named() -> None:
    assert service(template="{name: hello-blue}").revision_name == "hello-blue"
    (error,) = load_text(document(template="{name: blue}"), "s.yaml").errors
    assert str(error) == (
        's.yaml:8:22: spec.template.metadata.name: "blue" has to begin with "hello-", the name of '
        "the service"
    )
    (message,) = complaints(template="{name: hello-1.2}")
    assert message.startswith('spec.template.metadata.name: "hello-1.2" is no valid name')


@pytest.mark.parametrize("on_template", [False, True])
def test_with_a_handler_it_runs_as_a_process(on_template: bool) -> None:
    said = "functions/handler: app:thumbnail, functions/scale-to-zero: pause"
    if on_template:
        found = service(template=f"{{annotations: {{{said}}}}}")
    else:
        found = service(f"{{{said}}}")
    assert found.handler == "app:thumbnail"
    assert found.container is None


def test_what_only_a_cluster_runs_is_let_through_beside_a_handler() -> None:
    rest = """\
          volumeMounts: [{name: v, mountPath: /etc/v, readOnly: true}]
          livenessProbe: {httpGet: {path: /}}
        - image: registry.example/side:1
      volumes: [{name: v, secret: {secretName: s}}]
"""
    annotation = "{functions/handler: 'app:thumbnail'}"
    assert service(annotation, rest=rest).handler == "app:thumbnail"
    assert warnings(annotation, rest=rest) == []
    assert len(complaints(rest=rest)) == 2


def test_where_events_are_posted_and_how_it_rests_may_be_said() -> None:
    found = service("{functions/path: /events, functions/scale-to-zero: pause}").container
    assert found is not None
    assert (found.path, found.at_rest) == ("/events", "pause")
    plain = service().container
    assert plain is not None
    assert (plain.path, plain.at_rest) == ("/", "stop")


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        ("functions/handler: app", '"app" is not "module:name", as in "app:thumbnail"'),
        ("functions/hander: 'a:b'", 'unknown annotation; did you mean "functions/handler"?'),
        ("functions/path: events", '"events" is no path; it begins with "/"'),
        ("functions/scale-to-zero: freeze", '"freeze" is neither "stop" nor "pause"'),
        ("functions/rollout: soon", 'has to be "auto", or a mapping such as'),
        ("functions/rollout: '{step: [1]}'", 'unknown field "step"; did you mean "steps"?'),
        ("serving.knative.dev/rollout-duration: PT1M", '"PT1M" is no duration like "60s"'),
        ("serving.knative.dev/rollout-duration: 1500ms", '"1500ms" is not in whole seconds'),
    ],
)
def test_mistaken_annotations_are_told(annotation: str, complaint: str) -> None:
    (message,) = complaints(f"{{{annotation}}}")
    name = annotation.partition(":")[0]
    assert message.startswith(f'metadata.annotations["{name}"]: {complaint}')


def test_what_is_said_twice_is_refused() -> None:
    said = "{functions/path: /a}"
    (message,) = complaints(said, f"{{annotations: {said}}}")
    assert message.endswith('["functions/path"]: stands on the service too; keep one of them')


def test_a_rollout_may_be_asked_for() -> None:
    assert service("{functions/rollout: auto}").rollout == RolloutPlan()
    fields = "'{steps: [10, 100], interval: PT5S, minEvents: 5}'"
    asked = service(f"{{functions/rollout: {fields}}}").rollout
    assert asked == RolloutPlan(steps=(10, 100), interval=5.0, min_events=5)
    as_json = """'{"steps": [10, 100], "interval": "PT5S", "minEvents": 5}'"""
    assert service(f"{{functions/rollout: {as_json}}}").rollout == asked


def test_knatives_rollout_goes_by_time_alone() -> None:
    plan = service("{serving.knative.dev/rollout-duration: 380s}").rollout
    assert plan is not None
    assert (plan.steps[0], plan.steps[-1], plan.min_events) == (1, 100, 0)
    assert plan.interval * (len(plan.steps) - 1) == pytest.approx(380.0)
    assert service("{serving.knative.dev/rolloutDuration: 1m}").rollout is not None
    assert service("{serving.knative.dev/rollout-duration: 0s}").rollout is None


def test_our_own_rollout_goes_before_knatives() -> None:
    both = "{serving.knative.dev/rollout-duration: 380s, functions/rollout: auto}"
    assert service(both).rollout == RolloutPlan()
    assert warnings(both) == [
        'serving.knative.dev/rollout-duration has no effect beside "functions/rollout"'
    ]


def test_a_rollout_without_a_share_for_the_latest_has_no_effect() -> None:
    pinned = "  traffic: [{revisionName: hello-00001, percent: 100}]\n"
    assert warnings("{functions/rollout: auto}", rest=pinned) == [
        "functions/rollout has no effect: the latest revision has no share of the traffic"
    ]


def test_what_has_no_effect_is_told() -> None:
    template = (
        "{generateName: hello-, annotations: {features.knative.dev/http-full-duplex: Enabled}}"
    )
    revision = "responseStartTimeoutSeconds: 10\n      idleTimeoutSeconds: 5"
    assert warnings("{networking.knative.dev/x: y}", template, revision) == [
        "networking.knative.dev/x has no effect in this version",
        "generateName has no effect: revisions are numbered",
        "features.knative.dev/http-full-duplex has no effect in this version",
        "responseStartTimeoutSeconds has no effect: timeoutSeconds bounds the whole call",
        "idleTimeoutSeconds has no effect: timeoutSeconds bounds the whole call",
    ]


def test_its_template_is_all_that_makes_a_revision() -> None:
    plain = service()
    image = "registry.example/hello:1"
    assert plain.template == {"spec": {"containers": [{"image": image}]}}
    rest = "  traffic: [{percent: 100}]\n"
    same = service("{functions/rollout: auto}", rest=rest)
    assert same.template == plain.template
    labelled = service(template="{labels: {app: hello}, name: hello-blue, creationTimestamp: null}")
    assert labelled.template["metadata"] == {"labels": {"app": "hello"}, "name": "hello-blue"}
    assert service(revision="timeoutSeconds: 5").template != plain.template
    assert service("{functions/handler: 'app:a'}").template != plain.template


def test_where_an_annotation_of_the_revision_stands_does_not_matter() -> None:
    said = "{functions/handler: 'app:a'}"
    assert service(said).template == service(template=f"{{annotations: {said}}}").template


def stored(template: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(template))
    return read


@pytest.mark.parametrize(
    "parts",
    [
        ("", "", "", ""),
        ("", "{name: hello-a, labels: {a: b}}", "timeoutSeconds: 5", ""),
        ("{functions/handler: 'app:a', functions/path: /x}", "", "", ""),
        ("", "{annotations: {autoscaling.knative.dev/max-scale: '2'}}", "", ""),
    ],
)
def test_an_old_revision_is_made_of_its_template(parts: tuple[str, ...]) -> None:
    old = service(*parts)
    new = service(
        "{functions/rollout: auto, functions/handler: 'app:new'}",
        revision="containerConcurrency: 3",
        rest="  traffic: [{revisionName: hello-00001, percent: 40}, {percent: 60}]\n",
    )
    again = new.with_template(stored(old.template))
    assert again.template == old.template
    for name in ("handler", "container", "timeout", "concurrency", "scaling", "revision_name"):
        assert getattr(again, name) == getattr(old, name)
    assert (again.traffic, again.rollout) == (new.traffic, new.rollout)
    assert again.identity == new.identity
    assert loaded_place(again, ("spec",)).file == "s.yaml"
    assert new.with_template(stored(new.template)).template == new.template


def test_a_service_of_kubernetes_itself_is_another_kind() -> None:
    (error,) = load_text("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n").errors
    assert error.message.startswith('apiVersion "v1" of Service is not supported')


DEADLINE = "{annotations: {serving.knative.dev/progress-deadline: DEADLINE}}"


def test_a_progress_deadline_is_how_long_a_container_may_take_to_be_ready() -> None:
    slow = service(template=DEADLINE.replace("DEADLINE", "10m"))
    assert slow.container is not None
    assert slow.container.ready_timeout == 600.0
    assert warnings(template=DEADLINE.replace("DEADLINE", "10m")) == []
    for text in ("soon", "0s", "1.5s"):
        (told,) = complaints(template=DEADLINE.replace("DEADLINE", text))
        assert text in told
