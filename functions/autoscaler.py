"""How many instances a revision should have: the algorithm of Knative's pod autoscaler (KPA).

A pure function of settings, state, time and load: `step`. It reads no clock and starts nothing;
functions/load.py measures what it is fed with, functions/pool.py acts on what it says.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, floor
from typing import Literal

from eventing.errors import UserError

Metric = Literal["concurrency", "rps"]

CONCURRENCY_TARGET = 100.0
"""Calls in hand one instance is to have where it has no hard limit of its own."""
RPS_TARGET = 200.0
"""Calls a second one instance is to take, scaled by `rps`."""
TARGET_MIN = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleConfig:
    """How one revision scales. In brackets: the `autoscaling.knative.dev/` annotation.

    Raises UserError for values that contradict each other or that the algorithm can't work with.

    min, max [min-scale, max-scale]: bounds of the count of instances; max 0 = no bound.
    initial [initial-scale]: instances a new revision starts with, until it has had them once.
    activation [activation-scale]: the least count above zero.
    metric [metric]: `concurrency` (calls in hand, waiting ones included) or `rps` (calls a second).
    target [target]: of the metric, for one instance; None = the hard limit of an instance, or
        100 calls in hand where it has none, or 200 calls a second.
    target_utilization_percentage [target-utilization-percentage]: how much of that to aim for.
    window [window]: seconds over which the stable average runs.
    scale_down_delay [scale-down-delay]: seconds a lower count must have been wanted.
    retention [scale-to-zero-pod-retention-period]: seconds the last instance stays after zero was
        decided, at least.
    panic_window_percentage [panic-window-percentage]: of the stable window.
    panic_threshold_percentage [panic-threshold-percentage]: of what the ready instances can take.
    grace: seconds between the decision for zero and the end of the last instance.
    max_up_rate, max_down_rate: by what factor one evaluation may raise or lower the count.
    interval: seconds between evaluations.
    concurrency: the hard limit of calls in one instance, 0 = none. Not a setting of its own: the
        pool fills in its revision's.
    """

    min: int = 0
    max: int = 0
    initial: int = 1
    activation: int = 1
    metric: Metric = "concurrency"
    target: float | None = None
    target_utilization_percentage: float = 70.0
    window: float = 60.0
    scale_down_delay: float = 0.0
    retention: float = 0.0
    panic_window_percentage: float = 10.0
    panic_threshold_percentage: float = 200.0
    grace: float = 30.0
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    interval: float = 2.0
    concurrency: int = 0

    def __post_init__(self) -> None:
        natural = ("min", "max", "initial", "concurrency", "scale_down_delay", "retention", "grace")
        for name in natural:
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("window", "interval"):
            self._require(name, getattr(self, name) > 0, "more than 0 seconds")
        for name in ("target_utilization_percentage", "panic_window_percentage"):
            self._require(name, 1 <= getattr(self, name) <= 100, "from 1 to 100")
        for name in ("max_up_rate", "max_down_rate"):
            self._require(name, getattr(self, name) > 1, "more than 1")
        self._require("activation", self.activation >= 1, "at least 1")
        self._require("metric", self.metric in ("concurrency", "rps"), "'concurrency' or 'rps'")
        if self.target is not None:
            self._require("target", self.target >= TARGET_MIN, f"at least {TARGET_MIN}")
        threshold = self.panic_threshold_percentage
        self._require("panic_threshold_percentage", 110 <= threshold <= 1000, "from 110 to 1000")
        if self.max and self.max < self.min:
            raise UserError(
                f"scale: max {self.max} is below min {self.min}; raise max, lower min, "
                "or set max to 0 for no bound"
            )

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise UserError(f"scale: {name} is {getattr(self, name)!r}, but must be {allowed}")

    @property
    def aim(self) -> float:
        """What one instance is to have of the metric: the target times its utilisation."""
        if self.metric == "rps":
            total = RPS_TARGET if self.target is None else self.target
        elif self.target is None:
            total = self.concurrency or CONCURRENCY_TARGET
        else:
            total = min(self.target, self.concurrency) if self.concurrency else self.target
        return max(TARGET_MIN, total * self.target_utilization_percentage / 100)

    @property
    def panic_window(self) -> float:
        """Seconds over which the panic average runs."""
        return self.window * self.panic_window_percentage / 100


class Rule(StrEnum):
    """What settled the count, in the order the rules are applied."""

    STABLE = "stable"
    PANIC = "panic"
    DELAY = "scale-down delay"
    ZERO = "scale to zero"
    BOUNDS = "bounds"


@dataclass(frozen=True, slots=True)
class Decision:
    """`wanted` instances; `rule` is the one that had the last word, for people to read."""

    wanted: int
    rule: Rule
    panicking: bool = False


@dataclass(frozen=True, slots=True)
class ScaleState:
    """What one evaluation leaves for the next; a new revision's is `ScaleState()`.

    All times are those of the `now` that `step` is given. `panic_at` is when the threshold was last
    met (None = no panic), `panic_max` the highest count of this panic. `recent` holds the counts of
    the scale-down delay's window that may still be its highest, oldest and highest first.
    `active_since` is when the revision last came to have work or an instance, `zero_since` when
    zero was decided. `initialized` turns true once the initial scale has been reached.
    """

    panic_at: float | None = None
    panic_max: int = 0
    recent: tuple[tuple[float, int], ...] = ()
    active_since: float | None = None
    zero_since: float | None = None
    initialized: bool = False


def step(
    config: ScaleConfig,
    state: ScaleState,
    now: float,
    ready: int,
    stable_average: float,
    panic_average: float,
) -> tuple[Decision, ScaleState]:
    """One evaluation: how many instances are wanted at `now` (seconds of any steady clock).

    `ready` counts the instances that take calls; the averages are of the metric, over the stable
    and the panic window, for the revision as a whole.
    """
    base = max(1, ready)
    # Six digits, so that 2.1 calls at 0.7 an instance are three instances and not four.
    stable_demand = ceil(round(stable_average / config.aim, 6))
    panic_demand = ceil(round(panic_average / config.aim, 6))
    stable = _within_rates(config, base, stable_demand)
    panic = _within_rates(config, base, panic_demand)

    state = _with_panic(config, state, now, panic_demand / base)
    wanted, rule = stable, Rule.STABLE
    if state.panic_at is not None:
        # The stable figure may be the larger one where the surge is over already.
        state = replace(state, panic_max=max(state.panic_max, stable, panic))
        wanted, rule = state.panic_max, Rule.PANIC

    if config.scale_down_delay > 0:
        state = _with_recent(config, state, now, wanted)
        if state.recent[0][1] > wanted:
            wanted, rule = state.recent[0][1], Rule.DELAY

    held, state = _held_from_zero(config, state, now, ready, wanted)
    if held != wanted:
        wanted, rule = held, Rule.ZERO

    bounded, state = _bounded(config, state, ready, wanted)
    if bounded != wanted:
        wanted, rule = bounded, Rule.BOUNDS
    return Decision(wanted, rule, state.panic_at is not None), state


def _within_rates(config: ScaleConfig, base: int, demand: int) -> int:
    lowest = floor(base / config.max_down_rate)
    highest = ceil(base * config.max_up_rate)
    count = min(max(demand, lowest), highest)
    return max(count, config.activation) if demand else count


def _with_panic(config: ScaleConfig, state: ScaleState, now: float, ratio: float) -> ScaleState:
    if ratio >= config.panic_threshold_percentage / 100:
        return replace(state, panic_at=now)
    if state.panic_at is not None and now - state.panic_at > config.window:
        return replace(state, panic_at=None, panic_max=0)
    return state


def _with_recent(config: ScaleConfig, state: ScaleState, now: float, wanted: int) -> ScaleState:
    kept = [
        (at, count)
        for at, count in state.recent
        if count > wanted and now - at < config.scale_down_delay
    ]
    return replace(state, recent=(*kept, (now, wanted)))


def _held_from_zero(
    config: ScaleConfig, state: ScaleState, now: float, ready: int, wanted: int
) -> tuple[int, ScaleState]:
    """The last instance goes only where the revision has been active for a stable window, and then
    stays for the grace period or the retention, whichever is longer."""
    if wanted > 0:
        if state.active_since is None or state.zero_since is not None:
            state = replace(state, active_since=now, zero_since=None)
        return wanted, state
    if ready == 0:
        return 0, replace(state, active_since=None, zero_since=None)
    active_since = now if state.active_since is None else state.active_since
    zero_since = state.zero_since
    if zero_since is None and now - active_since >= config.window:
        zero_since = now
    state = replace(state, active_since=active_since, zero_since=zero_since)
    stay = max(config.grace, config.retention)
    over = zero_since is not None and now - zero_since >= stay
    return (0 if over else 1), state


def _bounded(
    config: ScaleConfig, state: ScaleState, ready: int, wanted: int
) -> tuple[int, ScaleState]:
    lowest = config.min
    if not state.initialized:
        initial = min(config.initial, config.max) if config.max else config.initial
        if ready >= initial:
            state = replace(state, initialized=True)
        else:
            lowest = max(lowest, initial)
    wanted = max(wanted, lowest)
    return (min(wanted, config.max) if config.max else wanted), state
