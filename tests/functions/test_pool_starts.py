"""Starts that fail: when the next may be tried, and when waiting for it is hopeless."""

import pytest

from functions.starts import LONGEST_PAUSE, Starts


def test_each_failure_in_a_row_doubles_the_pause_up_to_the_longest():
    starts = Starts()
    pauses = []
    for _ in range(9):
        starts.failed(100.0)
        pauses.append(starts.not_before - 100.0)
    assert pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert pauses[-1] == LONGEST_PAUSE


def test_three_failures_in_a_row_are_hopeless():
    starts = Starts()
    hopeless = []
    for _ in range(4):
        starts.failed(0.0)
        hopeless.append(starts.hopeless)
    assert hopeless == [False, False, True, True]


def test_one_start_that_took_all_its_time_is_hopeless():
    starts = Starts()
    starts.failed(0.0, in_full=True)
    assert starts.hopeless


def test_a_success_ends_the_row_but_not_the_count():
    starts = Starts()
    for _ in range(3):
        starts.failed(50.0)
    starts.succeeded()
    assert not starts.hopeless
    assert starts.not_before == 0.0
    assert starts.total == 3


def test_a_million_failures_do_not_overflow():
    starts = Starts()
    for _ in range(5000):
        starts.failed(0.0)
    assert starts.not_before == LONGEST_PAUSE
