"""What several nodes measure of a rollout's step comes to one decision."""

from typing import Any

import pytest

from eventing.node.rollout_reports import (
    NOTHING,
    Measuring,
    Moment,
    Report,
    decide,
    read_report,
    report_document,
)
from functions.rollout import Advance, Complete, Hold, RollBack, RolloutPlan
from functions.traffic.figures import Figures

PLAN = RolloutPlan(steps=(10, 100), interval=10, min_events=20)
MOMENT = Moment(5.0, 1)


def calls(count: int, errors: int = 0) -> Figures:
    return Figures(count, errors, 0, count * 0.001, count * 0.000001)


def test_calls_are_those_since_the_step_began_and_the_old_ones_since_the_rollout_did() -> None:
    measuring = Measuring(Moment(5.0, 0), 100.0, calls(50), calls(0))
    measuring.begin(MOMENT, 110.0, calls(70), calls(10))
    report = measuring.report(111.0, calls(75), calls(12))
    assert (report.first.calls, report.old.calls, report.new.calls) == (25, 5, 2)
    assert measuring.since == 110.0


def test_figures_that_run_backwards_begin_the_step_anew() -> None:
    measuring = Measuring(MOMENT, 100.0, calls(50), calls(30))
    report = measuring.report(120.0, calls(3), calls(2))
    assert report == NOTHING
    assert measuring.since == 120.0
    later = measuring.report(121.0, calls(4), calls(4))
    assert (later.first.calls, later.old.calls, later.new.calls) == (1, 1, 2)


def test_what_one_node_has_seen_too_little_of_several_have_seen_enough_of() -> None:
    one = Report(calls(100), calls(100), calls(12))
    assert isinstance(decide(PLAN, 0, 0.0, 11.0, one), Hold)
    assert decide(PLAN, 0, 0.0, 11.0, one + one) == Advance(100)
    assert isinstance(decide(PLAN, 1, 0.0, 11.0, one + one), Complete)


def test_what_fails_on_one_node_is_not_hidden_by_what_works_on_the_others() -> None:
    failing = Report(calls(100), calls(100), calls(5, errors=5))
    working = Report(calls(100), calls(100), calls(200))
    assert isinstance(decide(PLAN, 0, 0.0, 1.0, failing), RollBack)
    assert isinstance(decide(PLAN, 0, 0.0, 1.0, failing + working), Hold)


def test_a_report_is_read_as_it_was_told() -> None:
    report = Report(calls(100, 3), calls(20, 1), calls(7, 2))
    assert read_report(report_document(MOMENT, report), MOMENT) == report


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"begun": 5.0, "step": 0, "figures": [[1, 0, 0, 0, 0]] * 3},
        {"begun": 6.0, "step": 1, "figures": [[1, 0, 0, 0, 0]] * 3},
        {"begun": 5.0, "step": 1},
        {"begun": 5.0, "step": 1, "figures": [[1, 0, 0, 0, 0]]},
        {"begun": 5.0, "step": 1, "figures": [[1]] * 3},
        {"begun": 5.0, "step": 1, "figures": [["x", 0, 0, 0, 0]] * 3},
    ],
)
def test_of_another_step_and_what_is_no_report_nothing_is_read(told: Any) -> None:
    assert read_report(told, MOMENT) == NOTHING
