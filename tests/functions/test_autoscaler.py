"""The autoscaler's rules, one test each, then what holds whatever it is fed with."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.errors import UserError
from functions.autoscaler import Decision, Rule, ScaleConfig, ScaleState, step

RUNNING = ScaleState(active_since=0.0, initialized=True)
ONE_EACH = ScaleConfig(target=1, target_utilization_percentage=100)
"""One call in hand an instance: the figures are then the counts."""


def wanted(
    config: ScaleConfig,
    ready: int,
    stable: float,
    panic: float | None = None,
    state: ScaleState = RUNNING,
    now: float = 1000.0,
) -> int:
    panic = stable if panic is None else panic
    return step(config, state, now, ready, stable, panic)[0].wanted


# -- What one instance is to have


def test_the_target_is_70_percent_of_the_hard_limit():
    assert ScaleConfig(concurrency=10).aim == pytest.approx(7)
    assert ScaleConfig(concurrency=1).aim == pytest.approx(0.7)


def test_the_target_is_70_percent_of_100_where_there_is_no_hard_limit():
    assert ScaleConfig().aim == pytest.approx(70)


def test_a_target_of_its_own_replaces_the_hard_limit_but_never_exceeds_it():
    assert ScaleConfig(target=4, concurrency=10).aim == pytest.approx(2.8)
    assert ScaleConfig(target=40, concurrency=10).aim == pytest.approx(7)
    assert ScaleConfig(target=40).aim == pytest.approx(28)


def test_the_target_utilization_can_be_set():
    assert ScaleConfig(concurrency=10, target_utilization_percentage=90).aim == pytest.approx(9)


def test_by_rps_the_target_is_70_percent_of_200_calls_a_second_whatever_the_hard_limit():
    assert ScaleConfig(metric="rps", concurrency=1).aim == pytest.approx(140)
    assert ScaleConfig(metric="rps", concurrency=1, target=10).aim == pytest.approx(7)


def test_the_panic_window_is_10_percent_of_the_stable_window():
    assert ScaleConfig().panic_window == pytest.approx(6)
    assert ScaleConfig(window=100, panic_window_percentage=25).panic_window == pytest.approx(25)


# -- Stable


def test_the_count_is_the_stable_average_by_the_target_rounded_up():
    assert wanted(ONE_EACH, ready=3, stable=3.0) == 3
    assert wanted(ONE_EACH, ready=3, stable=3.01) == 4


def test_a_quotient_that_is_whole_but_for_float_error_is_not_rounded_up():
    assert wanted(ScaleConfig(concurrency=1), ready=3, stable=2.1) == 3


def test_an_evaluation_multiplies_the_count_by_the_scale_up_rate_at_most():
    config = ScaleConfig(target=1, target_utilization_percentage=100, max_up_rate=3)
    assert wanted(config, ready=2, stable=50) == 6


def test_a_scale_up_rate_below_two_still_lets_one_instance_become_two():
    config = ScaleConfig(target=1, target_utilization_percentage=100, max_up_rate=1.1)
    assert wanted(config, ready=1, stable=50) == 2


def test_an_evaluation_divides_the_count_by_the_scale_down_rate_at_most():
    assert wanted(ONE_EACH, ready=9, stable=1) == 4


def test_rates_count_from_one_instance_where_there_is_none():
    config = ScaleConfig(target=1, target_utilization_percentage=100, max_up_rate=10)
    assert wanted(config, ready=0, stable=50) == 10


def test_any_work_at_all_raises_the_count_to_the_activation_scale():
    config = ScaleConfig(activation=3)
    assert wanted(config, ready=1, stable=0.01) == 3


def test_the_activation_scale_does_not_keep_instances_without_work():
    config = ScaleConfig(activation=3, window=60, grace=0)
    assert wanted(config, ready=1, stable=0) == 0


# -- Panic


def test_panic_starts_when_the_panic_figure_reaches_the_threshold():
    decision, state = step(ONE_EACH, RUNNING, 1000.0, 2, 2, 4)
    assert decision == Decision(4, Rule.PANIC, panicking=True)
    assert state.panic_at == 1000.0


def test_below_the_threshold_the_panic_figure_does_not_count():
    decision, state = step(ONE_EACH, RUNNING, 1000.0, 2, 2, 3)
    assert decision == Decision(2, Rule.STABLE)
    assert state.panic_at is None


def test_the_threshold_can_be_set():
    config = ScaleConfig(
        target=1, target_utilization_percentage=100, panic_threshold_percentage=400
    )
    assert wanted(config, ready=2, stable=2, panic=7) == 2
    assert wanted(config, ready=2, stable=2, panic=8) == 8


def test_the_threshold_is_compared_with_the_figure_before_the_rates_bound_it():
    config = ScaleConfig(target=1, target_utilization_percentage=100, max_up_rate=1.5)
    decision, _ = step(config, RUNNING, 1000.0, 2, 2, 4)
    assert decision == Decision(3, Rule.PANIC, panicking=True)


def test_in_panic_the_larger_of_both_figures_counts():
    state = ScaleState(panic_at=999.0, active_since=0.0, initialized=True)
    assert wanted(ONE_EACH, ready=10, stable=12, panic=9, state=state) == 12


def test_in_panic_the_count_never_falls():
    _, state = step(ONE_EACH, RUNNING, 1000.0, 2, 2, 8)
    decision, _ = step(ONE_EACH, state, 1002.0, 8, 3, 3)
    assert decision == Decision(8, Rule.PANIC, panicking=True)


def test_panic_is_prolonged_whenever_the_threshold_is_met_again():
    _, state = step(ONE_EACH, RUNNING, 1000.0, 2, 2, 4)
    _, state = step(ONE_EACH, state, 1040.0, 2, 2, 4)
    decision, _ = step(ONE_EACH, state, 1090.0, 4, 2, 2)
    assert decision.panicking


def test_panic_ends_after_a_stable_window_without_reaching_the_threshold():
    _, state = step(ONE_EACH, RUNNING, 1000.0, 2, 2, 4)
    decision, state = step(ONE_EACH, state, 1060.0, 4, 3, 3)
    assert decision.panicking
    decision, state = step(ONE_EACH, state, 1060.1, 4, 3, 3)
    assert decision == Decision(3, Rule.STABLE)
    assert state.panic_max == 0


# -- Scale-down delay


def test_the_scale_down_delay_keeps_the_highest_count_of_its_window():
    config = ScaleConfig(target=1, target_utilization_percentage=100, scale_down_delay=30)
    _, state = step(config, RUNNING, 1000.0, 8, 8, 8)
    _, state = step(config, state, 1002.0, 8, 6, 6)
    decision, state = step(config, state, 1029.0, 8, 5, 5)
    assert decision == Decision(8, Rule.DELAY)
    decision, state = step(config, state, 1030.0, 8, 5, 5)
    assert decision == Decision(6, Rule.DELAY)
    decision, state = step(config, state, 1032.0, 6, 5, 5)
    assert decision == Decision(5, Rule.STABLE)


def test_the_scale_down_delay_does_not_hold_up_growth():
    config = ScaleConfig(target=1, target_utilization_percentage=100, scale_down_delay=30)
    _, state = step(config, RUNNING, 1000.0, 5, 5, 5)
    assert wanted(config, ready=5, stable=7, state=state, now=1002.0) == 7


def test_without_a_delay_the_count_falls_at_once():
    _, state = step(ONE_EACH, RUNNING, 1000.0, 8, 8, 8)
    assert wanted(ONE_EACH, ready=8, stable=5, state=state, now=1002.0) == 5


# -- Zero


def idle(config: ScaleConfig, state: ScaleState, now: float) -> tuple[Decision, ScaleState]:
    return step(config, state, now, 1, 0, 0)


def test_the_last_instance_stays_for_the_grace_period_after_zero_is_decided():
    config = ScaleConfig()
    decision, state = idle(config, RUNNING, 1000.0)
    assert decision == Decision(1, Rule.ZERO)
    decision, state = idle(config, state, 1029.9)
    assert decision == Decision(1, Rule.ZERO)
    decision, state = idle(config, state, 1030.0)
    assert decision.wanted == 0


def test_the_last_instance_stays_for_the_retention_where_that_is_longer():
    config = ScaleConfig(retention=100)
    _, state = idle(config, RUNNING, 1000.0)
    assert idle(config, state, 1099.9)[0].wanted == 1
    assert idle(config, state, 1100.0)[0].wanted == 0


def test_zero_is_decided_only_after_a_stable_window_of_being_active():
    config = ScaleConfig(grace=0)
    _, state = idle(config, ScaleState(initialized=True), 1000.0)
    assert idle(config, state, 1059.9)[0].wanted == 1
    assert idle(config, state, 1060.0)[0].wanted == 0


def test_work_during_the_grace_period_calls_the_decision_for_zero_off():
    config = ScaleConfig()
    _, state = idle(config, RUNNING, 1000.0)
    _, state = step(config, state, 1010.0, 1, 0.1, 0.1)
    assert idle(config, state, 1040.0)[0].wanted == 1
    _, state = idle(config, state, 1070.0)
    assert idle(config, state, 1099.9)[0].wanted == 1
    assert idle(config, state, 1100.0)[0].wanted == 0


def test_while_zero_is_held_back_all_but_the_last_instance_go():
    config = ScaleConfig(max_down_rate=10)
    assert wanted(config, ready=5, stable=0) == 1


def test_at_zero_without_work_it_stays_zero():
    assert wanted(ScaleConfig(), ready=0, stable=0) == 0


# -- Initial scale and bounds


def test_a_new_revision_starts_with_the_initial_scale():
    config = ScaleConfig(initial=3)
    assert step(config, ScaleState(), 0.0, 0, 0, 0)[0] == Decision(3, Rule.BOUNDS)


def test_the_initial_scale_counts_until_it_has_been_reached_once():
    config = ScaleConfig(initial=3, window=10, grace=0)
    decision, state = step(config, ScaleState(), 0.0, 2, 0, 0)
    assert decision.wanted == 3
    decision, state = step(config, state, 2.0, 3, 0, 0)
    assert decision.wanted == 1
    assert step(config, state, 4.0, 0, 0, 0)[0].wanted == 0


def test_an_initial_scale_of_zero_starts_nothing():
    assert step(ScaleConfig(initial=0), ScaleState(), 0.0, 0, 0, 0)[0].wanted == 0


def test_min_is_kept_without_work():
    assert wanted(ScaleConfig(min=2, grace=0), ready=2, stable=0) == 2


def test_max_bounds_the_count_even_in_panic():
    config = ScaleConfig(target=1, target_utilization_percentage=100, max=5)
    decision, _ = step(config, RUNNING, 1000.0, 1, 50, 50)
    assert decision == Decision(5, Rule.BOUNDS, panicking=True)


def test_max_bounds_the_initial_scale_which_then_counts_as_reached():
    config = ScaleConfig(initial=5, max=2, window=10, grace=0)
    assert step(config, ScaleState(), 0.0, 2, 0, 0)[1].initialized


def test_max_zero_is_no_bound():
    assert wanted(ONE_EACH, ready=1, stable=900) == 900


# -- Settings that can't be


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min": 3, "max": 2}, "max 2 is below min 3; raise max"),
        ({"min": -1}, "min is -1, but must be at least 0"),
        ({"activation": 0}, "activation is 0, but must be at least 1"),
        ({"metric": "cpu"}, "metric is 'cpu', but must be 'concurrency' or 'rps'"),
        ({"target": 0.001}, "target is 0.001, but must be at least 0.01"),
        ({"target_utilization_percentage": 0.5}, "must be from 1 to 100"),
        ({"window": 0}, "window is 0, but must be more than 0 seconds"),
        ({"panic_threshold_percentage": 100}, "must be from 110 to 1000"),
        ({"max_down_rate": 1}, "max_down_rate is 1, but must be more than 1"),
    ],
)
def test_settings_that_contradict_are_refused_with_the_remedy(settings, message):
    with pytest.raises(UserError, match=message):
        ScaleConfig(**settings)


# -- Whatever comes


@st.composite
def configs(draw):
    least = draw(st.integers(0, 5))
    return ScaleConfig(
        min=least,
        max=draw(st.just(0) | st.integers(max(least, 1), 20)),
        initial=draw(st.integers(0, 5)),
        activation=draw(st.integers(1, 4)),
        target=draw(st.floats(0.01, 100)),
        window=draw(st.floats(6, 120)),
        scale_down_delay=draw(st.sampled_from([0.0, 5.0, 60.0])),
        grace=draw(st.sampled_from([0.0, 30.0])),
        max_up_rate=draw(st.floats(1.1, 1000)),
        max_down_rate=draw(st.floats(1.1, 10)),
    )


loads = st.lists(
    st.tuples(st.floats(0, 10_000), st.floats(0, 10_000), st.floats(0.01, 40)), max_size=30
)


def run(config, load):
    """Evaluations with each decision carried out at once: (ready before, decision, state)."""
    state, ready, now = ScaleState(), 0, 0.0
    for stable, panic, pause in load:
        now += pause
        decision, state = step(config, state, now, ready, stable, panic)
        yield now, ready, decision, state
        ready = decision.wanted


@given(configs(), loads)
def test_the_count_is_always_within_min_and_max(config, load):
    for _, _, decision, _ in run(config, load):
        assert decision.wanted >= config.min
        assert not config.max or decision.wanted <= config.max


@given(configs(), loads)
def test_in_panic_the_count_is_never_below_the_highest_of_this_panic(config, load):
    for (_, _, before, old), (_, _, after, new) in pairwise(run(config, load)):
        if before.panicking and after.panicking:
            assert new.panic_max >= old.panic_max
        if after.panicking:
            assert after.wanted >= (min(new.panic_max, config.max) if config.max else new.panic_max)


@given(configs(), loads)
def test_no_evaluation_shrinks_faster_than_the_rate(config, load):
    for _, ready, decision, _ in run(config, load):
        fewest = int(max(1, ready) / config.max_down_rate)
        assert decision.wanted >= (min(fewest, config.max) if config.max else fewest)


@given(configs(), loads)
def test_with_work_it_is_never_at_zero(config, load):
    for (_, _, decision, _), (stable, _, _) in zip(run(config, load), load, strict=True):
        if round(stable / config.aim, 6) > 0:
            assert decision.wanted > 0


@given(configs(), loads)
def test_without_work_every_revision_comes_down_to_min(config, load):
    steps = list(run(config, load))
    now, ready, state = 0.0, 0, ScaleState()
    if steps:
        now, _, decision, state = steps[-1]
        ready = decision.wanted
    for _ in range(400):
        now += 61  # longer than any delay here, so that each evaluation may lower the count
        decision, state = step(config, state, now, ready, 0, 0)
        ready = decision.wanted
    assert ready == config.min


@given(configs(), loads)
def test_the_delay_window_stays_small(config, load):
    for _, _, _, state in run(config, load):
        counts = [count for _, count in state.recent]
        assert counts == sorted(counts, reverse=True)
        assert len(set(counts)) == len(counts)
