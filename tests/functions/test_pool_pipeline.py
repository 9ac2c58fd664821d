"""How deep the queue in a worker's socket gets."""

from hypothesis import given
from hypothesis import strategies as st

from functions.pipeline import DEEPEST, Pipeline


def observed(*seconds: float) -> int:
    pipeline = Pipeline()
    for each in seconds:
        pipeline.observe(each)
    return pipeline.depth


def test_nothing_is_sent_ahead_while_nothing_is_known():
    assert observed() == 1


def test_two_milliseconds_of_work_are_sent_ahead():
    assert observed(*[0.0005] * 3) == 4


def test_short_handlers_get_the_deepest_queue_and_no_more():
    assert observed(*[0.000005] * 3) == DEEPEST


def test_slow_handlers_get_exactly_one_call():
    assert observed(*[0.5] * 3) == 1


def test_a_handler_that_turns_slow_is_at_one_after_one_call():
    assert observed(*[0.00001] * 1000, 0.05) == 1


def test_a_single_hiccup_is_made_up_for_within_a_few_calls():
    assert observed(*[0.00001] * 1000, 0.05, *[0.00001] * 8) == DEEPEST


def test_results_read_late_now_and_then_do_not_hide_a_short_handler():
    late = [0.0002 + delay for delay in (0.0, 0.0024, 0.0012, 0.0003, 0.0018, 0.0006)]
    assert observed(*late * 20) > 1


@given(st.lists(st.floats(0, 1e6)))
def test_the_depth_is_always_within_its_bounds(times):
    assert 1 <= observed(*times) <= DEEPEST
