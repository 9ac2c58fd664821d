"""KServe's InferenceService: a predictor that is a container of one's own, and its canary."""

import json

import pytest

from eventing.resources import (
    Container,
    InferenceService,
    RolloutPlan,
    Scaling,
    TrafficTarget,
    load_text,
)

SERVICE = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: digits
ANNOTATIONS
spec:
  predictor:
PREDICTOR
    containers:
      - name: kserve-container
        image: registry.example/digits:1
"""


def document(predictor: str = "", annotations: str = "", rest: str = "") -> str:
    text = SERVICE.replace("ANNOTATIONS\n", annotations and f"  annotations: {annotations}\n")
    lines = "".join(f"    {line}\n" for line in predictor.splitlines())
    return text.replace("PREDICTOR\n", lines) + rest


def service(predictor: str = "", annotations: str = "", rest: str = "") -> InferenceService:
    loaded = load_text(document(predictor, annotations, rest), "i.yaml")
    assert loaded.errors == []
    (resource,) = loaded.resources
    assert isinstance(resource, InferenceService)
    return resource


def complaints(text: str) -> list[str]:
    return [error.message for error in load_text(text).errors]


def test_a_container_is_all_it_needs() -> None:
    plain = service()
    assert plain.container == Container(image="registry.example/digits:1", grace=300.0)
    assert (plain.timeout, plain.concurrency, plain.traffic) == (300.0, None, ())
    assert plain.scaling == Scaling(min=1), "KServe keeps one where nothing is said"


def test_how_it_scales_is_its_predictors() -> None:
    found = service("minReplicas: 0\nmaxReplicas: 3\nscaleTarget: 5\nscaleMetric: rps")
    assert found.scaling == Scaling(min=0, max=3, target=5.0, metric="rps")
    annotated = service("minReplicas: 0", '{autoscaling.knative.dev/target: "7"}')
    assert annotated.scaling == Scaling(min=0, target=7.0)
    assert service("containerConcurrency: 4\ntimeout: 60").concurrency == 4
    assert service("containerConcurrency: 4\ntimeout: 60").timeout == 60.0


def test_processors_and_memory_are_not_scaled_by() -> None:
    loaded = load_text(document("scaleMetric: cpu\nscaleTarget: 80"))
    assert [warning.message for warning in loaded.warnings] == [
        "scaleMetric has no effect: calls are counted, in flight or a second",
        'scaleTarget has no effect beside "cpu"',
    ]
    assert service("scaleMetric: cpu\nscaleTarget: 80").scaling == Scaling(min=1)


def test_a_canary_shares_with_the_revision_before_it() -> None:
    assert service("canaryTrafficPercent: 10").traffic == (
        TrafficTarget(10, latest=True),
        TrafficTarget(90, previous=True, tag="prev"),
    )
    assert service("canaryTrafficPercent: 100").traffic == (TrafficTarget(100, latest=True),)
    tagged = service("canaryTrafficPercent: 0", "{serving.kserve.io/enable-tag-routing: 'true'}")
    assert tagged.traffic == (
        TrafficTarget(0, latest=True, tag="latest"),
        TrafficTarget(100, previous=True, tag="prev"),
    )


@pytest.mark.parametrize(
    ("predictor", "complaint"),
    [
        ("canaryTrafficPercent: 101", "spec.predictor.canaryTrafficPercent: has to be at most 100"),
        ("minReplicas: -1", "spec.predictor.minReplicas: has to be at least 0"),
        ("minReplicas: 3\nmaxReplicas: 2", "spec.predictor.maxReplicas: 2 is below the minimum of"),
        ("scaleMetric: qps", 'spec.predictor.scaleMetric: has to be "concurrency", "rps", "cpu"'),
        ("model: {modelFormat: {name: sklearn}}", "spec.predictor.model: is not supported by this"),
        ("sklearn: {storageUri: s3://a}", "spec.predictor.sklearn: is not supported by this"),
        ("minReplica: 1", 'unknown field "minReplica" in spec.predictor; did you mean'),
    ],
)
def test_a_mistaken_predictor_is_told(predictor: str, complaint: str) -> None:
    (message,) = complaints(document(predictor))
    assert message.startswith(complaint)


def test_a_predictor_needs_its_container() -> None:
    text = document().partition("    containers:")[0] + "    minReplicas: 1\n"
    assert complaints(text) == [
        'spec.predictor: needs "containers", with the one that is the predictor'
    ]
    model = text + "    model: {modelFormat: {name: onnx}}\n"
    (message,) = complaints(model)
    assert message.startswith("spec.predictor.model: is not supported by this version")


def test_what_the_predictor_would_miss_is_refused() -> None:
    env = "        env: [{name: STORAGE_URI, value: 's3://models/digits'}]\n"
    (message,) = complaints(document(rest=env))
    assert message.startswith("spec.predictor.containers[0].env[0].name: asks for a model to be")
    transformer = "  transformer: {containers: [{image: registry.example/before}]}\n"
    (message,) = complaints(document(rest=transformer))
    assert message.startswith("spec.transformer: is not supported by this version")


def test_with_a_handler_it_runs_as_a_process() -> None:
    found = service(annotations="{functions/handler: 'app:classify'}")
    assert (found.handler, found.container) == ("app:classify", None)


def test_its_rollout_may_be_said() -> None:
    assert service(annotations="{functions/rollout: auto}").rollout == RolloutPlan()
    knative = service(annotations="{serving.knative.dev/rollout-duration: 60s}").rollout
    assert knative is not None
    assert knative.min_events == 0


def test_its_template_is_all_that_makes_a_revision() -> None:
    plain = service()
    assert service("canaryTrafficPercent: 10").template == plain.template
    assert service(annotations="{example.org/team: blue}").template == plain.template
    assert service("minReplicas: 0").template != plain.template
    target = '{autoscaling.knative.dev/target: "5"}'
    on_predictor = service(f"annotations: {target}")
    assert service(annotations=target).template == on_predictor.template != plain.template
    assert service("labels: {model: digits}").template["metadata"] == {
        "labels": {"model": "digits"}
    }


def test_an_old_revision_is_made_of_its_template() -> None:
    old = service("minReplicas: 0\nlabels: {a: b}", '{autoscaling.knative.dev/target: "5"}')
    new = service("canaryTrafficPercent: 20", "{functions/handler: 'app:new'}")
    again = new.with_template(json.loads(json.dumps(old.template)))
    assert again.template == old.template
    for name in ("handler", "container", "scaling", "timeout"):
        assert getattr(again, name) == getattr(old, name)
    assert again.traffic == new.traffic
    assert new.with_template(new.template).template == new.template
