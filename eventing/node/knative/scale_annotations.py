"""How a function scales, as the annotations of a Knative revision say it."""

from eventing.node.knative.go_duration import go_duration
from eventing.node.knative.manifest import Document
from eventing.node.wiring import Discovered
from eventing.resources import Scaling, parse_duration
from eventing.resources.scaling import ANNOTATION_PREFIX, ScaleSpec

INITIAL = f"{ANNOTATION_PREFIX}initial-scale"
NOT_AT_ZERO = (
    "an initial scale of 0 is left out: a cluster refuses it as it is installed",
    "set allow-zero-initial-scale in its ConfigMap config-autoscaler, and the annotation there",
)
_COUNTS = ("min", "max", "initial", "activation")
_TIMES = ("window", "scale_down_delay", "scale_to_zero_pod_retention_period")


def scale_annotations(written: Document, said: Scaling, found: Discovered | None) -> dict[str, str]:
    """Those for a function's `spec.scale`, which it wrote as `written`; what it leaves open is as
    the decorator says."""
    annotations = {}
    if found is not None and found.scale is not None:
        bounds = zip(("min", "max"), found.scale, (said.min, said.max), strict=True)
        for name, count, given in bounds:
            if given is None and count:
                annotations[_annotation(name)] = str(count)
    for name, field in ScaleSpec.model_fields.items():
        value = written.get(field.alias or name)
        if value is None:
            continue
        if name in _TIMES:
            value = go_duration(parse_duration(value))
        annotations[_annotation(name)] = str(value).removesuffix(".0")
    return annotations


def _annotation(name: str) -> str:
    suffix = "-scale" if name in _COUNTS else ""
    return f"{ANNOTATION_PREFIX}{name.replace('_', '-')}{suffix}"
