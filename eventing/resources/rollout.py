"""How a new revision comes to its traffic: in steps, and back at once where it does worse."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, StrictInt, ValidationError, model_validator

from eventing.resources.complaints import complaints
from eventing.resources.document import read_documents
from eventing.resources.durations import parse_duration, parse_go_duration
from eventing.resources.fields import Count, Duration, Number
from eventing.resources.model import Fault, Model

ROLLOUT = "functions/rollout"
ROLLOUT_DURATION = "serving.knative.dev/rollout-duration"
_DURATIONS = (ROLLOUT_DURATION, "serving.knative.dev/rolloutDuration")
ROLLOUT_ANNOTATIONS = (ROLLOUT, *_DURATIONS)
_LINEAR = (1, *range(10, 101, 10))


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """A new revision gets `steps` (percent of what goes to the latest revision) one after another.

    interval: seconds each step lasts at least; min_events: calls the new revision has answered in a
    step at least, before the next one. Traffic goes back to the revision before as soon as the new
    one's share of failed calls is above the old one's by more than `max_error_rate_increase` (0.05
    = five calls in a hundred) with `min_errors` failed calls at least, or its mean latency is above
    `latency_factor` times the old one's.
    """

    steps: tuple[int, ...] = (1, 5, 10, 25, 50, 100)
    interval: float = 60.0
    min_events: int = 20
    max_error_rate_increase: float = 0.05
    latency_factor: float = 2.0
    min_errors: int = 3


_DEFAULT = RolloutPlan()


class RolloutSpec(Model):
    """Each field's default is that of `RolloutPlan`."""

    steps: tuple[Annotated[StrictInt, Field(ge=1, le=100)], ...] = Field(
        default=_DEFAULT.steps, description="Percent, rising to 100."
    )
    interval: Duration = Field(default="PT1M", description="Of each step at least.")
    min_events: Count = Field(
        default=_DEFAULT.min_events, description="Calls of the new revision a step at least."
    )
    max_error_rate_increase: Annotated[Number, Field(ge=0, le=1)] = Field(
        default=_DEFAULT.max_error_rate_increase,
        description="How far its share of failed calls may be above the old revision's.",
    )
    latency_factor: Annotated[Number, Field(ge=1)] = Field(
        default=_DEFAULT.latency_factor,
        description="How many times the old revision's mean latency its own may be.",
    )
    min_errors: Annotated[StrictInt, Field(ge=1, le=2**31 - 1)] = Field(
        default=_DEFAULT.min_errors, description="Failed calls at least, before it goes back."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        for index in range(1, len(self.steps)):
            if self.steps[index] <= self.steps[index - 1]:
                message = f"{self.steps[index]} is not above the step before it"
                yield ("steps", index), message
        if not self.steps or self.steps[-1] != 100:
            yield ("steps",), "have to end with 100"

    @property
    def plan(self) -> RolloutPlan:
        return RolloutPlan(
            steps=self.steps,
            interval=parse_duration(self.interval),
            min_events=self.min_events,
            max_error_rate_increase=float(self.max_error_rate_increase),
            latency_factor=float(self.latency_factor),
            min_errors=self.min_errors,
        )


def parse_rollout(text: str) -> RolloutPlan:
    """The plan of an annotation: the fields of a Function's `spec.rollout` as YAML or JSON, or
    `auto` for all the defaults. Raises ValueError that says what is wrong."""
    if text.strip() == "auto":
        return RolloutPlan()
    documents = list(read_documents(text, ""))
    problems = [problem.message for document in documents for problem in document.problems]
    root = documents[0].root if len(documents) == 1 else None
    if problems or root is None or not isinstance(root.value, dict):
        told = f": {problems[0]}" if problems else ""
        raise ValueError(
            f'has to be "auto", or a mapping such as "{{steps: [10, 50, 100], interval: PT30S}}"'
            f"{told}"
        )
    try:
        return RolloutSpec.model_validate(root.value, by_alias=True, by_name=False).plan
    except ValidationError as error:
        found = complaints(error, RolloutSpec, root)
        raise ValueError("; ".join(each.message for each in found)) from None


def parse_rollout_duration(text: str) -> RolloutPlan | None:
    """The plan of Knative's rollout-duration: even steps over that time, however few calls there
    are; None for none of it. Raises ValueError for what is no duration in whole seconds."""
    seconds = parse_go_duration(text)
    if seconds != int(seconds):
        raise ValueError(f'"{text}" is not in whole seconds')
    if seconds == 0:
        return None
    return RolloutPlan(steps=_LINEAR, interval=seconds / (len(_LINEAR) - 1), min_events=0)


def rollout(annotations: Mapping[str, str]) -> RolloutPlan | None:
    """What the annotations of a resource ask for; they have to be free of faults."""
    if ROLLOUT in annotations:
        return parse_rollout(annotations[ROLLOUT])
    for name in _DURATIONS:
        if name in annotations:
            return parse_rollout_duration(annotations[name])
    return None


def rollout_faults(annotations: Mapping[str, str]) -> Iterator[Fault]:
    """What is wrong with them, one by one."""
    for name in ROLLOUT_ANNOTATIONS:
        if name in annotations:
            try:
                (parse_rollout if name == ROLLOUT else parse_rollout_duration)(annotations[name])
            except ValueError as error:
                yield (name,), str(error)


def rollout_overruled(annotations: Mapping[str, str]) -> Iterator[Fault]:
    """Annotations that another one goes before; paths are from the annotations."""
    given = [name for name in ROLLOUT_ANNOTATIONS if name in annotations]
    for name in given[1:]:
        yield (name,), f'has no effect beside "{given[0]}"'
