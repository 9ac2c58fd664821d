"""A Service for a function: its revision, how it scales, which calls it gets."""

import json
import math
from collections.abc import Mapping

from eventing.node.knative.function_container import container_of_code, declared_container
from eventing.node.knative.manifest import Document, Manifest, Note, Notes
from eventing.node.knative.scale_annotations import INITIAL, NOT_AT_ZERO, scale_annotations
from eventing.node.knative.scope import SERVICE, Scope
from eventing.node.wiring import Discovered
from eventing.resources import Function, Path, Place, Scaling
from eventing.resources.function import DEFAULT_TIMEOUT
from eventing.resources.rollout import ROLLOUT
from eventing.resources.scaling import ANNOTATION_PREFIX
from eventing.resources.workload import HANDLER, PATH, SCALE_TO_ZERO

_LONGEST_TIMEOUT = 600
"""Seconds: what a cluster allows as it is installed."""
_MOST_AT_ONCE = 1000
_ROLLOUT_DURATION = "serving.knative.dev/rollout-duration"

BY_TIME = (
    "a cluster moves calls to a new revision by time alone, and does not go back by itself",
    "watch the new revision's errors there, and go back by spec.traffic",
)


def declared(function: Function, scope: Scope, notes: Notes) -> Manifest:
    found = scope.found(function) if function.handler is not None else None
    said = function.said()
    spec = said["spec"]
    container = declared_container(function, spec, found, scope, notes)
    timeout = function.timeout
    if not function.says_timeout and found is not None and found.timeout is not None:
        timeout = found.timeout
    concurrency = function.concurrency
    if function.handler is not None:
        concurrency = _concurrency(found, concurrency)
    if concurrency is not None and concurrency > _MOST_AT_ONCE:
        notes.add(
            function,
            ("spec", "concurrency"),
            f"a concurrency of {concurrency} becomes {_MOST_AT_ONCE}: a cluster allows no more as "
            "it is installed",
            "raise container-concurrency-max-limit in its ConfigMap config-defaults, or leave it "
            "out",
        )
    annotations = dict(function.metadata.annotations or {})
    of_template = scale_annotations(spec.get("scale", {}), function.scaling, found)
    for name in [name for name in annotations if name.startswith(ANNOTATION_PREFIX)]:
        of_template[name] = annotations.pop(name)
    if of_template.get(INITIAL) == "0":
        del of_template[INITIAL]
        notes.add(function, ("spec", "scale", "initial"), *NOT_AT_ZERO)
    annotations |= _own_annotations(function, spec, notes)
    place = ("spec", "timeout")
    revision = _revision(
        container, _whole_seconds(timeout, function, place, notes), concurrency, of_template
    )
    document: Document = {
        "apiVersion": SERVICE,
        "kind": "Service",
        "metadata": _metadata(scope.metadata(said["metadata"], function.namespace), annotations),
        "spec": {"template": revision},
    }
    if function.traffic:
        document["spec"]["traffic"] = _traffic(function, notes)
    if not function.name[0].isalpha():
        notes.add(
            function,
            ("metadata", "name"),
            "a cluster takes no name of a Service that begins with a digit",
            "give the function a name that begins with a letter",
        )
    comments: tuple[str, ...] = ()
    if function.handler is not None:
        comments = (_built(function.handler, container["image"]),)
    return Manifest(document, function.source, comments)


def undeclared(found: Discovered, scope: Scope, notes: Notes) -> Manifest:
    image = scope.options.built_image(found.namespace, found.name) or ""
    place = Place(found.file, found.line, 1)
    timeout = DEFAULT_TIMEOUT if found.timeout is None else found.timeout
    revision = _revision(
        container_of_code(found, image),
        math.ceil(min(timeout, _LONGEST_TIMEOUT)),
        _concurrency(found, None),
        scale_annotations({}, Scaling(), found),
    )
    if timeout > _LONGEST_TIMEOUT:
        subject = f"Function/{found.namespace}/{found.name}"
        notes.note(Note(place, subject, *_too_long(timeout)))
    document = {
        "apiVersion": SERVICE,
        "kind": "Service",
        "metadata": _metadata(
            scope.metadata({"name": found.name}, found.namespace), {HANDLER: found.handler}
        ),
        "spec": {"template": revision},
    }
    return Manifest(document, place, (_built(found.handler, image),))


def _built(handler: str, image: str) -> str:
    return f"Its image: eventing build --handler {handler} --tag {image} --push"


def _metadata(metadata: Document, annotations: Mapping[str, str]) -> Document:
    kept = {name: value for name, value in metadata.items() if name != "annotations"}
    return kept | ({"annotations": dict(annotations)} if annotations else {})


def _concurrency(found: Discovered | None, said: int | None) -> int | None:
    """A sync handler serves one call at a time, whatever is said."""
    if found is not None and found.sync:
        return 1
    if said is None and found is not None:
        said = found.concurrency
    return said or None


def _revision(
    container: Document, timeout: int, concurrency: int | None, annotations: Mapping[str, str]
) -> Document:
    spec: Document = {}
    if concurrency:
        spec["containerConcurrency"] = min(concurrency, _MOST_AT_ONCE)
    spec |= {"timeoutSeconds": timeout, "containers": [container]}
    return ({"metadata": {"annotations": dict(annotations)}} if annotations else {}) | {
        "spec": spec
    }


def _whole_seconds(timeout: float, function: Function, path: Path, notes: Notes) -> int:
    if timeout > _LONGEST_TIMEOUT:
        notes.add(function, path, *_too_long(timeout))
        return _LONGEST_TIMEOUT
    seconds = math.ceil(timeout)
    if seconds != timeout:
        notes.add(
            function,
            path,
            f"a cluster counts timeouts in whole seconds: {timeout:g} s becomes {seconds} s",
            "bound the call in the handler itself, where that is too long",
        )
    return seconds


def _too_long(timeout: float) -> tuple[str, str]:
    return (
        f"a timeout of {timeout:g} s becomes {_LONGEST_TIMEOUT} s: a cluster allows no more as it "
        "is installed",
        "raise max-revision-timeout-seconds in its ConfigMap config-defaults, and then the timeout",
    )


def _own_annotations(function: Function, spec: Document, notes: Notes) -> dict[str, str]:
    """For this runtime, and where a cluster has something like it, for that too."""
    annotations = {}
    if function.handler is not None:
        annotations[HANDLER] = function.handler
    if function.spec.path not in (None, "/"):
        annotations[PATH] = str(function.spec.path)
    if function.spec.scale_to_zero is not None:
        annotations[SCALE_TO_ZERO] = function.spec.scale_to_zero
    plan = function.rollout
    if plan is not None:
        annotations[ROLLOUT] = json.dumps(spec["rollout"]) if spec["rollout"] else "auto"
        seconds = math.ceil(plan.interval * (len(plan.steps) - 1))
        annotations[_ROLLOUT_DURATION] = f"{seconds}s"
        notes.add(function, ("spec", "rollout"), *BY_TIME)
    return annotations


def _traffic(function: Function, notes: Notes) -> list[Document]:
    written = []
    for index, target in enumerate(function.traffic):
        share: Document = {"percent": target.percent}
        if target.revision is not None:
            share["revisionName"] = target.revision
            notes.add(
                function,
                ("spec", "traffic", index, "revisionName"),
                f"a cluster counts revisions afresh: {target.revision} is one there once it has "
                "been made there",
                "leave the traffic out until the cluster has the revisions",
            )
        else:
            share["latestRevision"] = True
        if target.tag is not None:
            share["tag"] = target.tag
        written.append(share)
    return written
