"""What the nodes of an engine measure of a rollout's step, and what it comes to together."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

from functions.rollout import Decision, RolloutPlan, RolloutState, step
from functions.traffic.figures import Figures

NONE = Figures()


@dataclass(frozen=True, slots=True)
class Report:
    """The calls of one node, or of several: of the old revision since the rollout began (`first`),
    of the `old` and the `new` one since its step did."""

    first: Figures = NONE
    old: Figures = NONE
    new: Figures = NONE

    def __add__(self, other: "Report") -> "Report":
        return Report(
            _sum(self.first, other.first), _sum(self.old, other.old), _sum(self.new, other.new)
        )


NOTHING = Report()


@dataclass(frozen=True, slots=True)
class Moment:
    """Which step of which rollout: `begun` tells rollouts of one document apart."""

    begun: float
    step: int


@dataclass(slots=True)
class Measuring:
    """Of one rollout on this node, from now on. `since` is when its step began here, by any steady
    clock."""

    moment: Moment
    since: float
    old: Figures
    new: Figures
    first: Figures = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.old

    def begin(self, moment: Moment, now: float, old: Figures, new: Figures) -> None:
        """A step begins."""
        self.moment, self.since, self.old, self.new = moment, now, old, new

    def report(self, now: float, old: Figures, new: Figures) -> Report:
        """What has come of the step so far. Figures that run backwards are those of others of the
        same name: the step begins anew."""
        if old.calls < self.old.calls or new.calls < self.new.calls:
            self.first = old
            self.begin(self.moment, now, old, new)
        return Report(old - self.first, old - self.old, new - self.new)


def decide(plan: RolloutPlan, index: int, since: float, now: float, seen: Report) -> Decision:
    """What these calls of a step come to."""
    state = RolloutState(index, since, seen.first - seen.old, NONE, NONE)
    return step(plan, state, now, seen.first, seen.new)[0]


def report_document(moment: Moment, report: Report) -> dict[str, Any]:
    """JSON values."""
    figures = [list(astuple(each)) for each in (report.first, report.old, report.new)]
    return {"begun": moment.begun, "step": moment.step, "figures": figures}


def read_report(document: Any, moment: Moment) -> Report:
    """What another node has told of this moment; nothing where it has not come to it, or told
    something else."""
    if not isinstance(document, Mapping):
        return NOTHING
    if (document.get("begun"), document.get("step")) != (moment.begun, moment.step):
        return NOTHING
    try:
        first, old, new = (_figures(each) for each in document["figures"])
    except (KeyError, TypeError, ValueError):
        return NOTHING
    return Report(first, old, new)


def _figures(values: Any) -> Figures:
    calls, errors, refused, seconds, squares = values
    return Figures(int(calls), int(errors), int(refused), float(seconds), float(squares))


def _sum(one: Figures, other: Figures) -> Figures:
    return Figures(
        one.calls + other.calls,
        one.errors + other.errors,
        one.refused + other.refused,
        one.seconds + other.seconds,
        one.squares + other.squares,
    )
