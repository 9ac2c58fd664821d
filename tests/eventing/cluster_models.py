"""What clusters take, from the packages of npm that tests/eventing/kubernetes_models pins: models
that are made from the Go types of Kubernetes and Knative, and from Istio's CRDs.

What they find: fields that no type has, wrong types, values outside an enumeration, what is missing
though it is required. What they can't find: Knative's own rules about the pods of a Service, since
they take every field that any pod has, and whatever webhooks refuse. A field that may hold anything
is not among those they know; no kind here has one.
"""

import atexit
import json
import re
import select
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from npm_packages import npm_packages

PINNED = Path(__file__).parent / "kubernetes_models"
_ANSWER_SECONDS = 60
_KNATIVE, _ISTIO = "@kubernetes-models/knative", "@kubernetes-models/istio"
_PACKAGES = {
    **dict.fromkeys(("Broker", "Trigger", "EventTransform", "PingSource", "Service"), _KNATIVE),
    **dict.fromkeys(("VirtualService", "DestinationRule"), _ISTIO),
    **dict.fromkeys(("Namespace", "ConfigMap", "Secret"), "kubernetes-models"),
}
MODELS = frozenset(_PACKAGES)
"""The kinds that have a model."""
_FILLED_IN = re.compile(
    r"/spec/template/spec/(?:c|initC)ontainers/\d+"
    r"(?:: must have required property name"
    r"|/\w+Probe/(?:httpGet|tcpSocket): must have required property port)"
)
"""What Serving itself fills in where a Service is without it, though Kubernetes requires it."""


def model_faults(document: dict[str, Any]) -> list[str]:
    """What its model has against a document of one of MODELS, each with a JSON pointer to its
    place. Raises ServerUnavailable where the packages can't be had."""
    kind = document["kind"]
    model = _model(document["apiVersion"], kind)
    answer = _node().answer({"model": model, "document": document})
    found = [f"{each['path']}: {each['message']}" for each in answer["faults"]]
    return [each for each in found if kind != "Service" or _FILLED_IN.fullmatch(each) is None]


def model_fields(api_version: str, kind: str) -> dict[str, Any]:
    """All fields of one of MODELS, as a schema without types. Raises ServerUnavailable where the
    packages can't be had."""
    fields: dict[str, Any] = _node().answer({"model": _model(api_version, kind)})["fields"]
    return fields


def _model(api_version: str, kind: str) -> str:
    return f"{_PACKAGES[kind]}/{api_version}/{kind}.js"


class _Node:
    """The process that runs the models, for one question at a time."""

    def __init__(self) -> None:
        command = ["node", str(PINNED / "answer.mjs"), str(npm_packages(PINNED))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None and answers is not None
        asked.write(f"{json.dumps(question)}\n")
        asked.flush()
        if not select.select([answers], [], [], _ANSWER_SECONDS)[0]:
            raise TimeoutError(f"node gave no answer about {question} in {_ANSWER_SECONDS} s")
        line = answers.readline()
        if not line:
            raise RuntimeError(f"node ended with {self._process.wait()}; it said why on stderr")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"node has no answer about {question}: {answer['error']}")
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@cache
def _node() -> _Node:
    node = _Node()
    atexit.register(node.close)
    return node
