"""Documents as Knative has them load unchanged: of the shapes its guides show, and those that a
folder holds which a variable names.
"""

import os
import re
from pathlib import Path

import pytest

from eventing.resources import Scaling, Service, TrafficTarget, Trigger, load_text
from eventing.resources.document import Document, read_documents

DOCUMENTS = "KNATIVE_DOCUMENTS"
"""A variable that names a folder: each Service in a YAML file there or below it is loaded. A
checkout of Knative Serving has some two dozen, among its samples and test images."""

REFUSED = (
    "volumes[0].persistentVolumeClaim: volumes of this kind are not mounted",
    "volumes[0].projected: volumes of this kind are not mounted",
    "volumes[0].configMap: volumes of this kind are not mounted",
    "initContainers: are not run by this version",
    "containers[1]: is a sidecar, which this version does not run",
)
"""Why a document may be refused: its container would miss something here."""

GREETING = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: greeting
spec:
  template:
    spec:
      containers:
        - image: registry.example/samples/greeting:latest
          ports:
            - containerPort: 8080
          env:
            - name: WHOM
              value: "World"
"""
SPLIT = """\
  traffic:
    - latestRevision: true
      percent: 50
    - revisionName: greeting-00001
      percent: 50
"""


def loaded(text: str) -> Service:
    result = load_text(text)
    assert result.errors == []
    (resource,) = result.resources
    assert isinstance(resource, Service)
    return resource


def test_the_first_service_of_its_guide() -> None:
    service = loaded(GREETING)
    assert service.container is not None
    assert service.container.pull == "Always"
    assert service.env == {"WHOM": "World"}


def test_its_split_between_two_revisions() -> None:
    assert loaded(GREETING + SPLIT).traffic == (
        TrafficTarget(50, latest=True),
        TrafficTarget(50, revision="greeting-00001"),
    )


def test_its_revisions_with_tags_and_names() -> None:
    text = GREETING.replace(
        "    spec:\n", "    metadata:\n      name: greeting-second\n    spec:\n", 1
    )
    service = loaded(
        text
        + """\
  traffic:
    - {tag: current, revisionName: greeting-first, percent: 100}
    - {tag: candidate, revisionName: greeting-second, percent: 0}
    - {tag: latest, latestRevision: true, percent: 0}
"""
    )
    assert service.revision_name == "greeting-second"
    assert [target.tag for target in service.traffic] == ["current", "candidate", "latest"]


def test_its_autoscaling() -> None:
    annotations = """\
    metadata:
      annotations:
        autoscaling.knative.dev/class: "kpa.autoscaling.knative.dev"
        autoscaling.knative.dev/metric: "concurrency"
        autoscaling.knative.dev/target: "10"
        autoscaling.knative.dev/min-scale: "1"
        autoscaling.knative.dev/max-scale: "3"
        autoscaling.knative.dev/scale-down-delay: "15m"
    spec:
      containerConcurrency: 50
"""
    service = loaded(GREETING.replace("    spec:\n", annotations, 1))
    assert service.concurrency == 50
    assert service.scaling == Scaling(
        min=1, max=3, metric="concurrency", target=10.0, scale_down_delay=900.0
    )


def test_its_configuration_and_secrets_as_variables() -> None:
    env = """\
            - name: PASSWORD
              valueFrom:
                secretKeyRef: {name: database, key: password}
            - name: MODE
              valueFrom:
                configMapKeyRef: {name: settings, key: mode}
          envFrom:
            - secretRef: {name: database}
            - configMapRef: {name: settings}
"""
    service = loaded(GREETING + env)
    assert [str(reference) for reference in service.references()] == [
        "Secret/default/database",
        "ConfigMap/default/settings",
        "Secret/default/database",
        "ConfigMap/default/settings",
    ]


@pytest.mark.parametrize(
    ("ref", "api_version"),
    [
        ("apiVersion: serving.knative.dev/v1\n      kind: Service", "serving.knative.dev/v1"),
        ("kind: Service", "serving.knative.dev/v1"),
        ("kind: InferenceService", "serving.kserve.io/v1beta1"),
    ],
)
def test_a_trigger_sends_to_it(ref: str, api_version: str) -> None:
    text = f"""\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: greet}}
spec:
  broker: default
  subscriber:
    ref:
      {ref}
      name: greeting
"""
    result = load_text(text)
    assert result.errors == []
    (trigger,) = result.resources
    assert isinstance(trigger, Trigger)
    (broker, reference) = trigger.references()
    assert broker.kind == "Broker"
    assert (reference.api_version, reference.name) == (api_version, "greeting")


def published(folder: Path) -> list[tuple[Path, Document]]:
    """Every Service in the folder."""
    found = []
    for path in sorted((*folder.rglob("*.yaml"), *folder.rglob("*.yml"))):
        text = path.read_text("utf-8") if path.is_file() else ""
        if re.search(r"^apiVersion: serving\.knative\.dev/v1$", text, re.MULTILINE) is None:
            continue
        for document in read_documents(text, str(path)):
            value = document.root.value if document.root is not None else None
            kind = (value.get("apiVersion"), value.get("kind")) if isinstance(value, dict) else ()
            if kind == ("serving.knative.dev/v1", "Service"):
                found.append((path, document))
    return found


def test_what_knative_publishes_loads_unchanged() -> None:
    given = os.environ.get(DOCUMENTS)
    if not given:
        pytest.skip(f"set {DOCUMENTS} to a folder with documents of Knative")
    documents = published(Path(given))
    assert documents, f"there is no Service below {given}, which {DOCUMENTS} names"
    for path, document in documents:
        # What ko does before anything is applied: it puts in the image it has built.
        result = load_text(document.text.replace("ko://", "registry.example/"), str(path))
        if result.errors:
            (error,) = result.errors
            message = error.message.removeprefix("spec.template.spec.")
            assert message.startswith(REFUSED), str(error)
            continue
        (service,) = result.resources
        assert isinstance(service, Service)
        assert service.container is not None
        assert service.with_template(service.template).template == service.template
