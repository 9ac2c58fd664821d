"""Averages over windows: exact integrals, held against the integral worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.load import Load


def test_concurrency_is_averaged_over_time_not_over_changes():
    load = Load(60, 0.0)
    load.enter(0.0)
    load.enter(1.5)
    load.leave(2.0)
    assert load.concurrency(4.0, 60) == pytest.approx((2.0 + 0.5 + 2.0) / 4)


def test_a_call_too_short_for_any_sample_still_counts():
    load = Load(60, 0.0)
    load.enter(0.4)
    load.leave(0.401)
    assert load.concurrency(10.0, 60) == pytest.approx(0.0001)


def test_a_window_that_has_not_passed_yet_is_averaged_over_the_time_there_was():
    load = Load(60, 100.0)
    load.enter(100.0)
    assert load.concurrency(102.0, 60) == pytest.approx(1.0)
    assert load.concurrency(102.0, 6) == pytest.approx(1.0)


def test_what_lies_before_the_window_is_forgotten():
    load = Load(60, 0.0)
    for _ in range(10):
        load.enter(0.0)
    for _ in range(10):
        load.leave(5.0)
    assert load.concurrency(20.0, 60) == pytest.approx(50 / 20)
    assert load.concurrency(20.0, 6) == 0
    assert load.concurrency(66.5, 60) == 0


def test_a_call_longer_than_the_window_fills_it():
    load = Load(10, 0.0)
    load.enter(0.0)
    assert load.concurrency(500.0, 10) == pytest.approx(1.0)


def test_in_the_first_instant_the_level_stands_for_the_average():
    load = Load(60, 0.0)
    load.enter(0.0)
    load.enter(0.0)
    assert load.concurrency(0.0, 60) == 2


def test_the_rate_counts_calls_that_came_in():
    load = Load(60, 0.0)
    for second in range(10):
        for _ in range(3):
            load.enter(second + 0.5)
            load.leave(second + 0.6)
    assert load.rate(10.0, 60) == pytest.approx(3.0)


def test_the_first_instant_of_a_burst_is_no_infinite_rate():
    load = Load(60, 0.0)
    for _ in range(50):
        load.enter(0.001)
    assert load.rate(0.001, 6) == 50


def test_after_a_restart_averages_begin_anew_with_the_calls_in_hand():
    load = Load(60, 0.0)
    load.enter(100.0)
    load.restart(100.0)
    assert load.concurrency(102.0, 60) == pytest.approx(1.0)


changes = st.lists(st.tuples(st.floats(0.0, 20.0), st.booleans()), max_size=60)


@given(changes, st.integers(1, 15), st.floats(0.0, 5.0))
def test_the_average_is_the_integral_over_whole_buckets(pauses, window, last):
    load = Load(15, 0.0)
    now, level, pieces = 0.0, 0, []
    for pause, entering in pauses:
        pieces.append((now, now + pause, level))
        now += pause
        if entering or level == 0:
            load.enter(now)
            level += 1
        else:
            load.leave(now)
            level -= 1
    pieces.append((now, now + last, level))
    now += last
    average = load.concurrency(now, window)
    # Buckets begin at whole seconds here; the window holds `window` of them and the open one.
    start = max(0.0, float(int(now)) - window)
    area = sum(
        max(0.0, end - max(begin, start)) * height for begin, end, height in pieces if end > start
    )
    expected = area / (now - start) if now > start else level
    assert average == pytest.approx(expected, abs=1e-6)
