"""When a new revision gets more of the traffic, and when it loses it again.

A pure function of plan, state, time and figures: `step`. It reads no clock and moves nothing; the
figures are those of functions/traffic/figures.py, and who calls it sets the weights it decides on.
"""

from dataclasses import dataclass, replace
from math import exp, log, sqrt

from eventing.errors import UserError
from functions.traffic.figures import Figures

PROOF = 1e-3
"""How unlikely the failed calls have to be for a revision that keeps to its bound, before it is
judged without waiting for the end of a step: so seldom is a sound one wronged at a look."""
LATENCY_PROOF = 3.0
"""Standard errors by which its mean time has to be above the bound, for the same reason."""
LEAST_SLOWDOWN = 0.005
"""Seconds; times that differ by less than this are taken for the same."""


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """How a new revision takes over from an old one.

    steps: percent of the calls, rising to 100; the first is what the rollout begins with.
    interval: seconds each step lasts at least.
    min_events: calls the new revision has answered in a step, before the next.
    max_error_rate_increase: how far its share of failed calls may be above the old one's, 0 to 1.
    latency_factor: how many times the old one's mean time its own may be.
    min_errors: with fewer failed calls in a step it never goes back for them.

    Raises UserError for values that contradict each other.
    """

    steps: tuple[float, ...] = (1, 5, 10, 25, 50, 100)
    interval: float = 60.0
    min_events: int = 20
    max_error_rate_increase: float = 0.05
    latency_factor: float = 2.0
    min_errors: int = 3

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or not rising or self.steps[0] <= 0 or self.steps[-1] != 100:
            raise UserError(
                f"rollout: steps are {list(self.steps)!r}, but must rise from above 0 to 100, "
                "as in [1, 5, 10, 25, 50, 100]"
            )
        self._require("interval", self.interval >= 0, "at least 0 seconds")
        self._require("min_events", self.min_events >= 0, "at least 0")
        increase = self.max_error_rate_increase
        self._require("max_error_rate_increase", 0 <= increase <= 1, "from 0 to 1")
        self._require("latency_factor", self.latency_factor >= 1, "at least 1")
        self._require("min_errors", self.min_errors >= 1, "at least 1")

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise UserError(f"rollout: {name} is {getattr(self, name)!r}, but must be {allowed}")


@dataclass(frozen=True, slots=True)
class RolloutState:
    """What one look leaves for the next. `begin` makes the first.

    index: of the step it is at. since: when that began. old, new: the figures at that time; first:
    the old revision's when the rollout began, for when it gets too few calls to compare with.
    over: decided for good; nothing follows.
    """

    index: int
    since: float
    old: Figures
    new: Figures
    first: Figures
    over: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Leave the traffic as it is; `reason` says what is waited for."""

    reason: str


@dataclass(frozen=True, slots=True)
class Advance:
    """The new revision is to get `percent` of the calls."""

    percent: float


@dataclass(frozen=True, slots=True)
class Complete:
    """The new revision has stood its last step, at 100 %."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """All calls are to go to the old revision at once; `reason` says why, for people."""

    reason: str


Decision = Hold | Advance | Complete | RollBack


def begin(now: float, old: Figures, new: Figures, index: int = 0) -> RolloutState:
    """At step `index` of the plan, whose percentage is in effect: another one than the first where
    a rollout goes on after a restart of the node."""
    return RolloutState(index, now, old, new, old)


def step(
    plan: RolloutPlan, state: RolloutState, now: float, old: Figures, new: Figures
) -> tuple[Decision, RolloutState]:
    """One look at `now` (seconds of any steady clock). The more often, the earlier it goes back.

    Going back doesn't wait for the end of a step. It takes `min_errors` failed calls in the step,
    and so many of all that a revision within its bound (the old one's share of failed calls plus
    `max_error_rate_increase`) would show them in less than one look of a thousand, by Chernoff's
    bound on the binomial tail: 1 of 3 is no proof, 3 of 3 is (at a bound of 5 %). Failed is
    whatever isn't 2xx. Or its mean time is above its bound by three standard errors.

    So a revision that fails every call goes back at its `min_errors`-th failed answer, or at the
    first that is proof where that takes more of them, and the next look. Until then no more events
    have met it than those, plus what came to it between two looks and what was out: never more of
    a step's events than the step's own percent, give or take the die.

    The next step comes after `interval` and `min_events` answers of the new revision in this one,
    and only with it within its bounds as they stand then, proof or not. Without calls it holds.
    Figures that run backwards are those of another process: the step begins anew.
    """
    if state.over:
        return Hold("it is over"), state
    seen_old, seen = old - state.old, new - state.new
    if seen.calls < 0 or seen_old.calls < 0:
        return Hold("counts began anew"), begin(now, old, new, state.index)
    compared = seen_old
    if seen_old.calls < max(1, plan.min_events):
        compared = old - state.first

    # Calls the old one has not answered yet count for it, or one bad of two would excuse anything.
    base = compared.failed / max(compared.calls, plan.min_events, 1)
    bound = base + plan.max_error_rate_increase
    rate = seen.failed / seen.calls if seen.calls else 0.0
    failing = rate > bound and seen.failed >= plan.min_errors
    slow = _slow(plan, compared, seen)
    ended = now - state.since >= plan.interval and seen.calls >= plan.min_events

    if failing and (ended or _chance(seen.failed, seen.calls, bound) < PROOF):
        reason = (
            f"{seen.failed} of {seen.calls} calls failed at {plan.steps[state.index]:g} %, "
            f"of the old revision's {compared.failed} of {compared.calls}"
        )
        return RollBack(reason), replace(state, over=True)
    if slow and _proves_slow(plan, compared, seen):
        reason = (
            f"its calls take {_shown(seen.mean)} on average at {plan.steps[state.index]:g} %, the "
            f"old revision's {_shown(compared.mean)}"
        )
        return RollBack(reason), replace(state, over=True)
    if now - state.since < plan.interval:
        return Hold(f"{plan.interval - (now - state.since):.0f} s of the step are left"), state
    if seen.calls < plan.min_events:
        return Hold(f"{seen.calls} of {plan.min_events} calls of the step have been seen"), state
    if rate > bound:
        return Hold(f"{seen.failed} of {seen.calls} calls failed, too few to judge by"), state
    if slow:
        return Hold(f"its calls take {_shown(seen.mean)} on average, too few to judge by"), state
    if state.index + 1 == len(plan.steps):
        return Complete(), replace(state, over=True)
    state = RolloutState(state.index + 1, now, old, new, state.first)
    return Advance(plan.steps[state.index]), state


def _chance(failed: int, calls: int, rate: float) -> float:
    """At most how likely so many of so many calls fail, or more, where each does at that rate."""
    if rate <= 0:
        return 0.0
    share = failed / calls
    if share <= rate:
        return 1.0
    divergence = share * log(share / rate)
    if share < 1:
        divergence += (1 - share) * log((1 - share) / (1 - rate))
    return exp(-calls * divergence)


def _slow(plan: RolloutPlan, old: Figures, new: Figures) -> bool:
    """Whether its mean time is above its bound; not told from fewer than `min_events` of the old
    revision's calls."""
    if old.calls < max(2, plan.min_events):
        return False
    return new.mean > plan.latency_factor * old.mean and new.mean - old.mean > LEAST_SLOWDOWN


def _proves_slow(plan: RolloutPlan, old: Figures, new: Figures) -> bool:
    if new.calls < max(2, plan.min_events):
        return False
    factor = plan.latency_factor
    error = sqrt(new.variance / new.calls + factor * factor * old.variance / old.calls)
    return new.mean - factor * old.mean > LATENCY_PROOF * error


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
