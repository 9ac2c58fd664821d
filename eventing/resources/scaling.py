"""How a function scales: `spec.scale`, Knative's annotations, and what comes of the two."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from eventing.resources.durations import parse_duration, parse_go_duration
from eventing.resources.fields import Count, Duration, Number
from eventing.resources.model import Fault, Model
from eventing.resources.nearest import suggestion
from eventing.resources.place import Path

Metric = Literal["concurrency", "rps"]

ANNOTATION_PREFIX = "autoscaling.knative.dev/"
_LONGEST_WINDOW = 3600.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """Bounds and knobs of Knative's KPA; all times in seconds, percentages as such (70.0).

    maximum 0 = no limit. target: what one worker should have in flight (or take a second, where
    the metric is rps); None = from the function's concurrency. retention: how long the last worker
    stays after the decision to scale to zero.
    """

    minimum: int = 0
    maximum: int = 0
    initial: int = 1
    activation: int = 1
    metric: Metric = "concurrency"
    target: float | None = None
    target_utilization_percentage: float = 70.0
    window: float = 60.0
    panic_window_percentage: float = 10.0
    panic_threshold_percentage: float = 200.0
    scale_down_delay: float = 0.0
    retention: float = 0.0


def _window(shortest: float) -> AfterValidator:
    def check(text: str) -> str:
        if not shortest <= parse_duration(text) <= _LONGEST_WINDOW:
            raise ValueError(f'"{text}" is not between PT{shortest:g}S and PT1H')
        return text

    return AfterValidator(check)


class ScaleSpec(Model):
    """Each field is the annotation `autoscaling.knative.dev/` of the same name."""

    min: Count | None = Field(default=None, description="Workers kept when idle; 0 where left out.")
    max: Count | None = Field(default=None, description="0, as where left out, is no limit.")
    initial: Count | None = Field(default=None, description="Workers at the start; 1.")
    activation: Annotated[Count, Field(ge=1)] | None = Field(
        default=None, description="Workers started at least when scaling from zero; 1."
    )
    metric: Metric | None = None
    target: Annotated[Number, Field(ge=0.01)] | None = None
    target_utilization_percentage: Annotated[Number, Field(ge=1, le=100)] | None = None
    window: Annotated[Duration, _window(6)] | None = None
    panic_window_percentage: Annotated[Number, Field(ge=1, le=100)] | None = None
    panic_threshold_percentage: Annotated[Number, Field(ge=110, le=1000)] | None = None
    scale_down_delay: Annotated[Duration, _window(0)] | None = None
    scale_to_zero_pod_retention_period: Annotated[Duration, _window(0)] | None = None


def _count(low: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and low <= int(text[:20]) < 2**31):
            raise ValueError(f'"{text[:40]}" is no whole number from {low} up')
        return int(text)

    return read


def _number(low: float, high: float = float("inf")) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f'"{text[:40]}" is no number') from None
        if not low <= number <= high or number == float("inf"):
            upper = f" and at most {high:g}" if high < float("inf") else ""
            raise ValueError(f'"{text[:40]}" has to be at least {low:g}{upper}')
        return number

    return read


def _seconds(low: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        seconds = parse_go_duration(text)
        if not low <= seconds <= _LONGEST_WINDOW:
            raise ValueError(f'"{text}" is not between {low:g}s and 1h')
        return seconds

    return read


def _metric(text: str) -> str:
    if text not in ("concurrency", "rps"):
        raise ValueError(f'"{text}" is neither "concurrency" nor "rps"')
    return text


@dataclass(frozen=True, slots=True)
class _Knob:
    """One setting: its name in `Scaling`, in `spec.scale`, and how its annotation reads."""

    name: str
    field: str
    alias: str
    read: Callable[[str], Any]


_KNOBS = {
    "min-scale": _Knob("minimum", "min", "min", _count(0)),
    "max-scale": _Knob("maximum", "max", "max", _count(0)),
    "initial-scale": _Knob("initial", "initial", "initial", _count(0)),
    "activation-scale": _Knob("activation", "activation", "activation", _count(1)),
    "metric": _Knob("metric", "metric", "metric", _metric),
    "target": _Knob("target", "target", "target", _number(0.01)),
    "target-utilization-percentage": _Knob(
        "target_utilization_percentage",
        "target_utilization_percentage",
        "targetUtilizationPercentage",
        _number(1, 100),
    ),
    "window": _Knob("window", "window", "window", _seconds(6)),
    "panic-window-percentage": _Knob(
        "panic_window_percentage",
        "panic_window_percentage",
        "panicWindowPercentage",
        _number(1, 100),
    ),
    "panic-threshold-percentage": _Knob(
        "panic_threshold_percentage",
        "panic_threshold_percentage",
        "panicThresholdPercentage",
        _number(110, 1000),
    ),
    "scale-down-delay": _Knob(
        "scale_down_delay", "scale_down_delay", "scaleDownDelay", _seconds(0)
    ),
    "scale-to-zero-pod-retention-period": _Knob(
        "retention",
        "scale_to_zero_pod_retention_period",
        "scaleToZeroPodRetentionPeriod",
        _seconds(0),
    ),
}
_CAMEL_CASE = {
    "".join((first, *map(str.capitalize, rest))): name
    for name in _KNOBS
    for first, *rest in [name.split("-")]
    if rest
}
WITHOUT_EFFECT = ("class", "target-burst-capacity", "metric-aggregation-algorithm")
"""Annotations of Knative that change nothing here: there is one autoscaler and no activator."""

_KPA = "kpa.autoscaling.knative.dev"


def _knob(annotation: str) -> _Knob | None:
    name = annotation.removeprefix(ANNOTATION_PREFIX)
    return _KNOBS.get(_CAMEL_CASE.get(name, name))


def annotation_faults(annotations: dict[str, str]) -> Iterator[Fault]:
    """What is wrong with the autoscaling annotations, one by one."""
    for annotation, text in annotations.items():
        if not annotation.startswith(ANNOTATION_PREFIX):
            continue
        knob = _knob(annotation)
        if knob is not None:
            try:
                knob.read(text)
            except ValueError as error:
                yield (annotation,), str(error)
        elif annotation.removeprefix(ANNOTATION_PREFIX) not in WITHOUT_EFFECT:
            known = [f"{ANNOTATION_PREFIX}{name}" for name in _KNOBS]
            yield (annotation,), f"unknown annotation; {suggestion(annotation, known)}"


def annotations_without_effect(annotations: dict[str, str]) -> Iterator[Fault]:
    for annotation, text in annotations.items():
        name = annotation.removeprefix(ANNOTATION_PREFIX)
        if name != annotation and name in WITHOUT_EFFECT and text != _KPA:
            yield ("metadata", "annotations", annotation), "has no effect in this version"


def scaling(spec: ScaleSpec | None, annotations: dict[str, str]) -> Scaling:
    """The two together; both must be free of faults, and no knob be set in both."""
    values: dict[str, Any] = {}
    for annotation, text in annotations.items():
        knob = _knob(annotation) if annotation.startswith(ANNOTATION_PREFIX) else None
        if knob is not None:
            values[knob.name] = knob.read(text)
    for knob in _KNOBS.values():
        value = getattr(spec, knob.field, None)
        if value is not None:
            is_duration = isinstance(value, str) and knob.field != "metric"
            values[knob.name] = parse_duration(value) if is_duration else value
    return Scaling(**values)


def conflicts(spec: ScaleSpec | None, annotations: dict[str, str]) -> Iterator[Fault]:
    """Knobs set twice, and bounds that can't hold together; paths are those of a Function."""
    places: dict[str, Path] = {}
    for annotation in annotations:
        knob = _knob(annotation) if annotation.startswith(ANNOTATION_PREFIX) else None
        if knob is None:
            continue
        path = ("metadata", "annotations", annotation)
        if getattr(spec, knob.field, None) is not None:
            yield path, f'is set as "spec.scale.{knob.alias}" too; keep one of them'
        elif knob.name in places:
            yield path, f'is set as "{places[knob.name][-1]}" too; keep one of them'
        places.setdefault(knob.name, path)
    result = scaling(spec, annotations)

    def place(name: str) -> Path:
        field = next(knob for knob in _KNOBS.values() if knob.name == name)
        return places.get(name, ("spec", "scale", field.alias))

    if result.maximum and result.maximum < result.minimum:
        yield place("maximum"), f"{result.maximum} is below the minimum of {result.minimum}"
    if result.maximum and result.maximum < result.activation:
        yield (
            place("activation"),
            f"{result.activation} is above the maximum of {result.maximum}",
        )
    if result.maximum and result.maximum < result.initial:
        yield place("initial"), f"{result.initial} is above the maximum of {result.maximum}"
