"""What runs: a Service for each function, and what is Knative's or KServe's already."""

from collections.abc import Iterator

from eventing.errors import UserError
from eventing.node.knative.function_service import BY_TIME, declared, undeclared
from eventing.node.knative.manifest import Document, Manifest, Notes
from eventing.node.knative.options import check_functions
from eventing.node.knative.scale_annotations import INITIAL
from eventing.node.knative.scope import Scope
from eventing.resources import Function, InferenceService, Path, Service
from eventing.resources.rollout import ROLLOUT
from eventing.resources.scaling import ANNOTATION_PREFIX


def services(scope: Scope, notes: Notes) -> Iterator[Manifest]:
    """Of every function that runs here. Raises UserError where the image of one is left open."""
    _check_images(scope)
    for workload in scope.workloads():
        match workload:
            case Function() if workload.uri is not None:
                _tell_of_remote(workload, notes)
            case Function():
                yield declared(workload, scope, notes)
            case Service() | InferenceService():
                yield _as_it_is(workload, scope, notes)
    for found in scope.undeclared():
        yield undeclared(found, scope, notes)


def _check_images(scope: Scope) -> None:
    known = [
        (workload.namespace, workload.name)
        for workload in scope.workloads()
        if workload.uri is None
    ]
    code = [(found.namespace, found.name) for found in scope.undeclared()]
    check_functions(scope.options.images, [*known, *code])
    of_code = [
        (each.namespace, each.name) for each in scope.each(Function) if each.handler is not None
    ]
    missing = [
        name
        for namespace, name in (*of_code, *code)
        if scope.options.built_image(namespace, name) is None
    ]
    if missing:
        raise UserError(
            f"a cluster runs functions from images, and it is not said which {', '.join(missing)} "
            f"{'have' if len(missing) > 1 else 'has'}: make them with 'eventing build' and name "
            f"them with --image {missing[0]}=registry.example/{missing[0]}:1, or the place of all "
            "of them with --registry registry.example/shop"
        )


def _tell_of_remote(function: Function, notes: Notes) -> None:
    """Those that send to it name its URI there; nothing is left to be said of it."""
    told = {
        "timeout": 'set "timeout" in the delivery of the triggers that call it',
        "tls": 'set "CACerts" where it is named as a subscriber; a cluster shows no client '
        "certificate",
        "auth": "put a service of your own in between that adds it",
    }
    for name, do in told.items():
        if getattr(function.spec, name, None) is not None:
            what = (
                f"{name} of a function that runs elsewhere is left out: its URI is all that counts"
            )
            notes.add(function, ("spec", name), what, do)


def _as_it_is(workload: Service | InferenceService, scope: Scope, notes: Notes) -> Manifest:
    document = scope.document(workload)
    of_template: Document = document["spec"].get("template", {})
    pod: Document = of_template.get("spec") or document["spec"].get("predictor", {})
    image = scope.options.image(workload.namespace, workload.name)
    if image is not None:
        _serving(pod)["image"] = image
    where: Path = ("metadata", "annotations")
    if workload.metadata.annotation(ROLLOUT) is not None:
        notes.add(workload, (*where, ROLLOUT), *BY_TIME)
    if isinstance(workload, Service):
        annotations = workload.spec.template.annotations
        for name in (INITIAL, f"{ANNOTATION_PREFIX}initialScale"):
            if annotations.get(name) == "0":
                notes.add(
                    workload,
                    ("spec", "template", *where, name),
                    "a cluster refuses an initial scale of 0 as it is installed",
                    "set allow-zero-initial-scale in its ConfigMap config-autoscaler",
                )
    return Manifest(document, workload.source)


def _serving(pod: Document) -> Document:
    """The container that is called: the one with a port."""
    containers: list[Document] = pod["containers"]
    with_port = [container for container in containers if container.get("ports")]
    return with_port[0] if len(with_port) == 1 else containers[0]
