"""When a rollout goes on, waits, and goes back: its rules one by one, then what always holds."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.errors import UserError
from functions.rollout import Advance, Complete, Hold, RollBack, RolloutPlan, begin, step
from functions.traffic.figures import Figures

PLAN = RolloutPlan()
NONE = Figures()


def figures(calls, failed=0, *, mean=0.01, deviation=0.001, refused=0):
    squares = calls * mean * mean + max(0, calls - 1) * deviation * deviation
    return Figures(calls, failed - refused, refused, calls * mean, squares)


def look(old, new, *, after=60.0, plan=PLAN, state=None):
    return step(plan, state or begin(1000.0, NONE, NONE), 1000.0 + after, old, new)[0]


# -- Going on


def test_it_begins_at_the_first_step_and_goes_on_after_its_interval_and_events():
    assert look(figures(2000), figures(20)) == Advance(5)


def test_before_the_interval_is_over_it_waits():
    assert look(figures(9000), figures(90), after=59.0) == Hold("1 s of the step are left")


def test_before_enough_events_have_been_seen_it_waits_however_long():
    decision = look(figures(1900), figures(19), after=1e6)
    assert decision == Hold("19 of 20 calls of the step have been seen")


def test_without_traffic_it_holds():
    assert isinstance(look(NONE, NONE, after=1e6), Hold)


def test_with_no_least_count_of_events_it_goes_on_without_any():
    plan = RolloutPlan(min_events=0)
    assert look(NONE, NONE, plan=plan) == Advance(5)


def test_every_step_counts_for_itself():
    state = begin(0.0, NONE, NONE)
    old, new, taken = NONE, NONE, []
    for number in range(1, 7):
        old, new = figures(1000 * number), figures(20 * number)
        decision, state = step(PLAN, state, 60.0 * number, old, new)
        taken.append(decision)
    assert taken == [*map(Advance, (5, 10, 25, 50, 100)), Complete()]
    assert isinstance(step(PLAN, state, 1e6, old, figures(1000, 900))[0], Hold)


def test_it_can_begin_at_a_later_step():
    state = begin(1000.0, figures(500), figures(50), index=3)
    assert look(figures(1500), figures(250), state=state) == Advance(50)


def test_failures_within_the_bound_are_no_reason_to_wait():
    assert look(figures(1000, 20), figures(100, 6)) == Advance(5)


# -- Going back


@pytest.mark.parametrize(
    ("failed", "calls", "back"),
    [(1, 1, False), (1, 3, False), (2, 2, False), (3, 3, True), (5, 5, True), (3, 30, False)],
)
def test_a_few_failures_are_proof_only_where_nearly_all_fail(failed, calls, back):
    decision = look(figures(1000), figures(calls, failed), after=0.5)
    assert isinstance(decision, RollBack) is back


def test_the_reason_tells_the_counts():
    decision = look(figures(400, 2), figures(4, 4), after=0.5)
    assert decision == RollBack("4 of 4 calls failed at 1 %, of the old revision's 2 of 400")


def test_a_refusal_is_a_failure_too():
    """A 400 is dead-lettered without another try: worse for the event than a 503."""
    assert isinstance(look(figures(400), figures(4, 4, refused=4), after=0.5), RollBack)


def test_it_takes_as_many_failures_as_the_plan_says():
    plan = RolloutPlan(min_errors=10)
    assert isinstance(look(figures(999), figures(9, 9), after=0.5, plan=plan), Hold)
    assert isinstance(look(figures(999), figures(10, 10), after=0.5, plan=plan), RollBack)


def test_at_the_end_of_a_step_the_bound_itself_counts():
    assert isinstance(look(figures(1000), figures(40, 4), after=59.0), Hold)
    assert isinstance(look(figures(1000), figures(40, 4), after=60.0), RollBack)


def test_above_its_bound_with_too_few_failures_to_judge_by_it_stays():
    decision = look(figures(1000), figures(20, 2))
    assert decision == Hold("2 of 20 calls failed, too few to judge by")


def test_what_fails_with_the_old_revision_too_is_not_the_new_ones_fault():
    assert isinstance(look(figures(1000, 1000), figures(20, 20)), Advance)


def test_an_old_revision_with_hardly_any_calls_excuses_little():
    assert isinstance(look(figures(1, 1), figures(20, 20), after=0.5), RollBack)


def test_at_100_percent_it_is_still_compared_with_the_old_revision_as_it_was():
    state = begin(0.0, NONE, NONE, index=4)
    old = figures(1000, 300)
    decision, state = step(PLAN, state, 60.0, old, figures(1000, 300))
    assert decision == Advance(100)
    assert isinstance(step(PLAN, state, 61.0, old, figures(1100, 330))[0], Hold)
    assert isinstance(step(PLAN, state, 61.0, old, figures(1100, 400))[0], RollBack)


def test_a_bound_of_zero_takes_the_least_count_of_failures_alone():
    plan = RolloutPlan(max_error_rate_increase=0)
    assert isinstance(look(figures(1000), figures(1000, 2), plan=plan, after=1), Hold)
    assert isinstance(look(figures(1000), figures(1000, 3), plan=plan, after=1), RollBack)


def test_it_goes_back_for_times_beyond_the_factor_before_the_step_ends():
    decision = look(figures(1000, mean=0.1), figures(20, mean=0.3, deviation=0.05), after=1)
    assert decision == RollBack(
        "its calls take 300 ms on average at 1 %, the old revision's 100 ms"
    )


def test_times_within_the_factor_are_fine():
    assert look(figures(1000, mean=0.1), figures(20, mean=0.19)) == Advance(5)


def test_times_that_scatter_too_much_to_judge_by_hold_it():
    old, new = figures(1000, mean=0.1), figures(20, mean=0.25, deviation=0.5)
    assert look(old, new) == Hold("its calls take 250 ms on average, too few to judge by")
    assert isinstance(look(old, figures(2000, mean=0.25, deviation=0.5)), RollBack)


def test_milliseconds_are_no_slowdown():
    assert look(figures(1000, mean=0.0002), figures(20, mean=0.004)) == Advance(5)


def test_times_are_not_compared_with_hardly_any_of_the_old_revisions():
    assert look(figures(3, mean=0.01), figures(20, mean=1.0)) == Advance(5)


def test_counts_that_begin_anew_begin_the_step_anew():
    state = begin(0.0, figures(5000), figures(500), index=2)
    decision, state = step(PLAN, state, 59.0, figures(10), figures(1))
    assert isinstance(decision, Hold)
    assert (state.index, state.since, state.new) == (2, 59.0, figures(1))


def test_decided_it_stays_so():
    state = begin(0.0, NONE, NONE)
    decision, state = step(PLAN, state, 1.0, figures(100), figures(5, 5))
    assert isinstance(decision, RollBack)
    assert isinstance(step(PLAN, state, 1e6, figures(1000), figures(1000))[0], Hold)


# -- Plans


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": ()}, "steps are"),
        ({"steps": (5, 5, 100)}, "must rise"),
        ({"steps": (0, 100)}, "above 0"),
        ({"steps": (1, 50)}, "to 100"),
        ({"interval": -1}, "interval is -1"),
        ({"min_events": -1}, "min_events is -1"),
        ({"max_error_rate_increase": 5}, "from 0 to 1"),
        ({"latency_factor": 0.5}, "at least 1"),
        ({"min_errors": 0}, "at least 1"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        RolloutPlan(**options)


# -- What always holds


def simulate(plan, seed, *, rate, old_rate=0.0, load=100, until=None):
    """A rollout at `load` calls a second, looked at every 0.5 s: its decisions, and the calls the
    new revision got in each step."""
    random = Random(seed).random
    old = new = (0, 0)
    state, percent = begin(0.0, NONE, NONE), plan.steps[0]
    met = {percent: [0, 0]}
    now, decisions = 0.0, []
    while not state.over and now < (until or 1e5):
        now += 0.5
        for _ in range(round(load * 0.5)):
            met[percent][1] += 1
            if random() * 100 < percent:
                met[percent][0] += 1
                new = (new[0] + 1, new[1] + (random() < rate))
            else:
                old = (old[0] + 1, old[1] + (random() < old_rate))
        decision, state = step(plan, state, now, figures(*old), figures(*new))
        if not isinstance(decision, Hold):
            decisions.append(decision)
        if isinstance(decision, Advance):
            percent = decision.percent
            met[percent] = [0, 0]
    return decisions, met


def test_a_sound_revision_comes_to_all_traffic_step_by_step():
    decisions, met = simulate(PLAN, 1, rate=0.0)
    assert [each.percent for each in decisions[:-1]] == [5, 10, 25, 50, 100]
    assert decisions[-1] == Complete()
    for percent, (new, events) in met.items():
        assert new == pytest.approx(events * percent / 100, rel=0.35)


@pytest.mark.parametrize("seed", range(20))
def test_a_revision_that_fails_every_call_is_back_after_its_first_failures(seed):
    decisions, met = simulate(PLAN, seed, rate=1.0)
    [decision] = decisions
    assert isinstance(decision, RollBack)
    # min_errors, and what came between two looks of half a second: never more than its percent.
    assert met[1][0] <= PLAN.min_errors + 4


@pytest.mark.parametrize("seed", range(20))
def test_a_revision_that_fails_every_third_call_gets_no_further_than_the_first_step(seed):
    decisions, met = simulate(PLAN, seed, rate=0.33)
    [decision] = decisions
    assert isinstance(decision, RollBack)
    assert met[1][0] < 60


def test_a_revision_no_worse_than_the_old_one_is_not_wronged():
    ends = [simulate(PLAN, seed, rate=0.02, old_rate=0.02)[0][-1] for seed in range(60)]
    assert sum(isinstance(each, Complete) for each in ends) >= 58


counts = st.integers(0, 10_000).flatmap(
    lambda calls: st.tuples(st.just(calls), st.integers(0, calls))
)


@given(st.lists(st.tuples(counts, counts, st.floats(0, 200)), max_size=30))
def test_it_never_skips_a_step_and_never_goes_on_above_its_bound(looks):
    state, now = begin(0.0, NONE, NONE), 0.0
    old, new = [0, 0], [0, 0]
    percents = [PLAN.steps[0]]
    for more_old, more_new, pause in looks:
        now += pause
        old = [a + b for a, b in zip(old, more_old, strict=True)]
        new = [a + b for a, b in zip(new, more_new, strict=True)]
        before = state
        decision, state = step(PLAN, state, now, figures(*old), figures(*new))
        seen = figures(*new) - before.new
        if isinstance(decision, Advance | Complete):
            assert seen.calls >= PLAN.min_events
            assert now - before.since >= PLAN.interval
        if isinstance(decision, Advance):
            percents.append(decision.percent)
        if isinstance(decision, RollBack):
            assert seen.failed >= PLAN.min_errors
        if isinstance(decision, RollBack | Complete):
            assert state.over
    steps = list(pairwise(PLAN.steps))
    assert all(pair in steps for pair in pairwise(percents))
