"""How a function scales: `spec.scale`, Knative's annotations, and what comes of the two."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.alias_generators import to_camel

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
    """What a function says of its scaling; None = it does not say. All times in seconds.

    min, max, initial, activation: workers; max 0 = no limit. target: what one worker should have
    in flight, or take a second where the metric is rps. window, scale_down_delay: of averaging, of
    waiting before fewer workers are kept. retention: how long the last one stays after that.
    """

    min: int | None = None
    max: int | None = None
    initial: int | None = None
    activation: int | None = None
    metric: Metric | None = None
    target: float | None = None
    target_utilization_percentage: float | None = None
    window: float | None = None
    panic_window_percentage: float | None = None
    panic_threshold_percentage: float | None = None
    scale_down_delay: float | None = None
    retention: float | None = None

    def given(self) -> dict[str, Any]:
        """Those that were said, by name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None}


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
        is_number = text.isascii() and text.isdecimal() and len(text) <= 10
        if not is_number or not low <= int(text) < 2**31:
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
    """One setting: how its annotation reads, its field in `spec.scale`, its name in `Scaling`."""

    read: Callable[[str], Any]
    field: str
    name: str


_READERS: dict[str, Callable[[str], Any]] = {
    "min-scale": _count(0),
    "max-scale": _count(0),
    "initial-scale": _count(0),
    "activation-scale": _count(1),
    "metric": _metric,
    "target": _number(0.01),
    "target-utilization-percentage": _number(1, 100),
    "window": _seconds(6),
    "panic-window-percentage": _number(1, 100),
    "panic-threshold-percentage": _number(110, 1000),
    "scale-down-delay": _seconds(0),
    "scale-to-zero-pod-retention-period": _seconds(0),
}


def _knobs() -> Iterator[tuple[str, _Knob]]:
    """Every annotation in both of its spellings: `min-scale` and Knative's older `minScale`."""
    for annotation, read in _READERS.items():
        field = annotation.removesuffix("-scale").replace("-", "_")
        name = "retention" if field.endswith("retention_period") else field
        knob = _Knob(read, field, name)
        yield ANNOTATION_PREFIX + annotation, knob
        yield ANNOTATION_PREFIX + to_camel(annotation.replace("-", "_")), knob


_KNOBS = dict(_knobs())
_WITHOUT_EFFECT = tuple(
    ANNOTATION_PREFIX + name
    for name in (
        *("class", "target-burst-capacity", "targetBurstCapacity"),
        *("metric-aggregation-algorithm", "metricAggregationAlgorithm"),
    )
)
"""Annotations of Knative that change nothing here: there is one autoscaler and no activator."""

_KPA = "kpa.autoscaling.knative.dev"
_CLASS = ANNOTATION_PREFIX + "class"
_OF_OTHER_CLASSES = tuple(ANNOTATION_PREFIX + name for name in ("metric", "target"))
"""What means something else to another autoscaler: percent of a processor, say."""


def _unread(annotations: dict[str, str]) -> tuple[str, ...]:
    """Annotations that are left alone, since they are meant for another class of autoscaler."""
    return () if annotations.get(_CLASS, _KPA) == _KPA else _OF_OTHER_CLASSES


def annotation_faults(annotations: dict[str, str]) -> Iterator[Fault]:
    """What is wrong with the autoscaling annotations, one by one."""
    unread = _unread(annotations)
    for annotation, text in annotations.items():
        if annotation in unread:
            continue
        if annotation in _KNOBS:
            try:
                _KNOBS[annotation].read(text)
            except ValueError as error:
                yield (annotation,), str(error)
        elif annotation.startswith(ANNOTATION_PREFIX) and annotation not in _WITHOUT_EFFECT:
            known = [ANNOTATION_PREFIX + name for name in _READERS]
            yield (annotation,), f"unknown annotation; {suggestion(annotation, known)}"


def annotations_without_effect(annotations: dict[str, str]) -> Iterator[Fault]:
    unread = _unread(annotations)
    for annotation, text in annotations.items():
        if annotation in _WITHOUT_EFFECT and text != _KPA:
            yield ("metadata", "annotations", annotation), "has no effect in this version"
        elif annotation in unread:
            message = f'has no effect beside a "{_CLASS}" of another autoscaler'
            yield ("metadata", "annotations", annotation), message


def scaling(spec: ScaleSpec | None, annotations: dict[str, str]) -> Scaling:
    """The two together; both must be free of faults, and no knob be set in both."""
    unread = _unread(annotations)
    values = {
        _KNOBS[annotation].name: _KNOBS[annotation].read(text)
        for annotation, text in annotations.items()
        if annotation in _KNOBS and annotation not in unread
    }
    for knob in _KNOBS.values():
        value = getattr(spec, knob.field, None)
        if value is not None:
            is_duration = isinstance(value, str) and knob.field != "metric"
            values[knob.name] = parse_duration(value) if is_duration else value
    return Scaling(**values)


def conflicts(spec: ScaleSpec | None, annotations: dict[str, str]) -> Iterator[Fault]:
    """Knobs set twice, and bounds that can't hold together; paths are those of a Function."""
    places: dict[str, Path] = {}
    unread = _unread(annotations)
    for annotation in annotations:
        if annotation not in _KNOBS or annotation in unread:
            continue
        knob = _KNOBS[annotation]
        path: Path = ("metadata", "annotations", annotation)
        if getattr(spec, knob.field, None) is not None:
            yield path, f'is set as "spec.scale.{to_camel(knob.field)}" too; keep one of them'
        elif knob.name in places:
            yield path, f'is set as "{places[knob.name][-1]}" too; keep one of them'
        places.setdefault(knob.name, path)
    found = scaling(spec, annotations)
    if not found.max:
        return
    if found.min is not None and found.max < found.min:
        path = places.get("max", ("spec", "scale", "max"))
        yield path, f"{found.max} is below the minimum of {found.min}"
    for name in ("initial", "activation"):
        count = getattr(found, name)
        if count is not None and found.max < count:
            path = places.get(name, ("spec", "scale", name))
            yield path, f"{count} is above the maximum of {found.max}"
