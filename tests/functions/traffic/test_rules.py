"""What decides, one by one: matches, faults, retries, outliers, deadlines and figures."""

import re
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.errors import UserError
from functions.traffic import fault as faults
from functions.traffic.deadlines import Deadlines
from functions.traffic.figures import Figures, Tally
from functions.traffic.match import compile_matches
from functions.traffic.outlier import LONGEST_EJECTION, Outlier, counts_as_out, most_ejected
from functions.traffic.policy import Fault, Match, OutlierDetection, Retries, StringMatch
from functions.traffic.retry import backoff, compile_conditions

EVENT = {"type": "order.placed", "source": "/shop/1", "region": "eu"}


# -- Matches


def matches(*given, event=EVENT):
    predicate = compile_matches(given)
    return predicate is None or predicate(event)


@pytest.mark.parametrize(
    ("string", "agrees"),
    [
        (StringMatch("exact", "order.placed"), True),
        (StringMatch("exact", "order"), False),
        (StringMatch("prefix", "order."), True),
        (StringMatch("prefix", "placed"), False),
        (StringMatch("regex", r"order\..*"), True),
        (StringMatch("regex", "order"), False),
        (StringMatch("regex", "", re.compile(r"[a-z.]+")), True),
    ],
)
def test_an_attribute_is_compared_as_its_kind_says(string, agrees):
    assert matches(Match({"type": string})) is agrees
    assert matches(Match(without={"type": string})) is not agrees


def test_every_attribute_has_to_match():
    right, wrong = StringMatch("exact", "eu"), StringMatch("exact", "us")
    kind = StringMatch("prefix", "order")
    assert matches(Match({"region": right, "type": kind}))
    assert not matches(Match({"region": wrong, "type": kind}))


def test_an_absent_attribute_matches_nothing():
    for kind in ("exact", "prefix", "regex"):
        assert not matches(Match({"tenant": StringMatch(kind, "")}))
        assert matches(Match(without={"tenant": StringMatch(kind, "")}))


def test_one_of_several_matches_is_enough():
    eu, us = (Match({"region": StringMatch("exact", name)}) for name in ("eu", "us"))
    assert matches(us, eu)
    assert not matches(us, us)


def test_no_match_and_an_empty_one_are_for_every_call():
    assert compile_matches(()) is None
    assert compile_matches((Match({"region": StringMatch("exact", "us")}), Match())) is None


# -- Faults


def test_a_fault_falls_below_its_percentage():
    fault = Fault(2.0, 10, 503, 20)
    assert faults.delay(fault, 0.0999) == 2.0
    assert faults.delay(fault, 0.1) == 0
    assert faults.abort(fault, 0.1999).status == 503
    assert faults.abort(fault, 0.2) is None


def test_an_abort_says_that_it_was_on_purpose():
    assert faults.abort(Fault(abort_status=418, abort_percentage=100), 0.0).reason == (
        "TrafficPolicy: fault: answered 418 on purpose"
    )


# -- Retries


@pytest.mark.parametrize(
    ("condition", "statuses"),
    [
        ("5xx", {0, 500, 502, 503, 504, 599}),
        ("gateway-error", {0, 502, 503, 504}),
        ("connect-failure", {0}),
        ("refused-stream", {0}),
        ("reset", {0}),
        ("retriable-4xx", {409}),
        ("429", {429}),
    ],
)
def test_a_condition_holds_for_its_answers(condition, statuses):
    retriable = compile_conditions(frozenset({condition}))
    tried = {0, 200, 204, 302, 400, 404, 409, 429, 500, 502, 503, 504, 599}
    assert {status for status in tried if retriable(status, False)} == statuses


@pytest.mark.parametrize(
    ("condition", "again"),
    [
        ("5xx", True),
        ("gateway-error", True),
        ("reset", True),
        ("504", True),
        ("connect-failure", False),
        ("refused-stream", False),
        ("retriable-4xx", False),
        ("503", False),
    ],
)
def test_a_try_that_timed_out_is_no_failure_to_connect(condition, again):
    assert compile_conditions(frozenset({condition}))(504, True) is again


def test_an_unknown_condition_is_refused_with_those_there_are():
    with pytest.raises(UserError, match=r"'5yy' is not supported.*gateway-error"):
        compile_conditions(frozenset({"5xx", "5yy"}))


def test_backoff_doubles_up_to_ten_times_its_base_and_is_a_random_part_of_that():
    retries = Retries(backoff=0.1)
    assert [backoff(retries, number, 1.0) for number in (1, 2, 3, 4, 5, 2000)] == pytest.approx(
        [0.1, 0.3, 0.7, 1.0, 1.0, 1.0]
    )
    assert backoff(retries, 2, 0.5) == pytest.approx(0.15)
    assert backoff(retries, 2, 0.0) == 0


# -- Outliers

THREE = OutlierDetection(consecutive_5xx=3, interval=10, base_ejection=30)


def test_a_row_of_failures_earns_an_ejection():
    outlier = Outlier()
    assert [outlier.failed(status, THREE) for status in (500, 0, 503)] == [False, False, True]
    assert outlier.why == "3 answers of 5xx, or none, in a row"


def test_a_success_or_a_4xx_ends_the_row():
    outlier = Outlier()
    for status in (500, 500, 404, 500, 500):
        assert not outlier.failed(status, THREE)
    outlier.succeeded()
    assert not outlier.failed(500, THREE)


def test_a_500_ends_the_row_of_gateway_errors_alone():
    detection = OutlierDetection(consecutive_5xx=0, consecutive_gateway=2)
    outlier = Outlier()
    assert [outlier.failed(status, detection) for status in (502, 500, 504, 0)] == [
        False,
        False,
        False,
        True,
    ]


def test_both_counts_off_never_eject():
    off = OutlierDetection(consecutive_5xx=0, consecutive_gateway=0)
    outlier = Outlier()
    assert not any(outlier.failed(503, off) for _ in range(1000))


def test_it_comes_back_at_the_first_look_after_its_time():
    outlier = Outlier()
    outlier.eject(1001.0, THREE)
    assert outlier.out
    assert outlier.back_at == 1040.0


def test_the_time_out_grows_with_ejections_close_upon_each_other():
    outlier = Outlier()
    times = []
    now = 1000.0
    for _ in range(15):
        outlier.eject(now, THREE)
        times.append(outlier.back_at - now)
        now = outlier.back_at
        outlier.readmit(now)
    assert times[:3] == [30, 60, 90]
    assert times[-1] == LONGEST_EJECTION
    assert outlier.ejections == 15


def test_every_interval_in_peace_takes_one_off():
    outlier = Outlier()
    for now in (1000.0, 1030.0, 1090.0):
        outlier.eject(now, THREE)
        outlier.readmit(outlier.back_at)
    outlier.eject(1180.0 + 25.0, THREE)
    assert outlier.back_at == 1205.0 + 2 * 30.0 + 5.0  # third, less two intervals, then one more


@pytest.mark.parametrize(
    ("percent", "revisions", "most"), [(10, 2, 1), (10, 20, 2), (100, 3, 3), (0, 5, 0), (50, 3, 1)]
)
def test_at_least_one_may_be_ejected_unless_none_may(percent, revisions, most):
    assert most_ejected(OutlierDetection(max_ejection_percent=percent), revisions) == most


def test_below_the_least_health_none_counts_as_out():
    detection = OutlierDetection(min_health_percent=50)
    assert counts_as_out(detection, 2, 4)
    assert not counts_as_out(detection, 1, 4)
    assert counts_as_out(OutlierDetection(), 0, 4)


# -- Deadlines


class Bell:
    """A clock with one alarm to look at."""

    def __init__(self):
        self.now = 0.0
        self.rung = []

    def time(self):
        return self.now

    def call_at(self, when, callback):
        self.rung.append((when, callback))
        return self

    def cancel(self): ...

    def ring(self):
        when, callback = self.rung.pop()
        self.now = when
        callback()


def test_one_alarm_serves_all_that_fall_due_after_the_same_time():
    bell, expired = Bell(), []
    deadlines = Deadlines(bell, 10.0, lambda item, now: expired.append((item, now)))
    assert deadlines.add("a", 0.0) == 10.0
    deadlines.add("b", 1.0)
    deadlines.add("c", 1.0)
    deadlines.discard("b")
    assert len(bell.rung) == 1
    bell.ring()
    assert expired == [("a", 10.0)]
    bell.ring()
    assert expired == [("a", 10.0), ("c", 11.0)]
    assert not bell.rung
    assert not len(deadlines)


def test_what_expires_may_discard_another_and_add_one():
    bell, expired = Bell(), []

    def expire(item, now):
        expired.append(item)
        if item == "a":
            deadlines.discard("b")
            deadlines.add("d", now)

    deadlines = Deadlines(bell, 10.0, expire)
    for item in "ab":
        deadlines.add(item, 0.0)
    deadlines.add("c", 5.0)
    bell.ring()
    bell.ring()
    assert expired == ["a", "c"]
    assert bell.now == 15.0
    bell.ring()
    assert expired == ["a", "c", "d"]


# -- Figures

seconds = st.lists(st.floats(0, 1e5), min_size=1)


@given(seconds, seconds)
def test_the_difference_of_two_snapshots_covers_the_time_between(before, after):
    tally = Tally()
    for each in before:
        tally.count(500, each)
    earlier = tally.figures()
    for each in after:
        tally.count(404, each)
    between = tally.figures() - earlier
    assert (between.calls, between.errors, between.refused) == (len(after), 0, len(after))
    assert between.failed == len(after)


@given(seconds)
def test_quantiles_are_within_a_factor_of_two(times):
    tally = Tally()
    for each in times:
        tally.count(200, each)
    latency = tally.latency()
    ranked = sorted(times)
    middle = ranked[(len(ranked) - 1) // 2]
    assert middle / 2 - 1e-6 <= latency.p50 <= 2 * middle + 1e-6
    assert latency.mean == pytest.approx(sum(times) / len(times))
    assert latency.p50 <= latency.p99


def test_no_answer_and_5xx_are_errors_and_all_else_but_2xx_is_refused():
    tally = Tally()
    for status in (200, 204, 302, 404, 500, 504, 0):
        tally.count(status, 0.001)
    figures = tally.figures()
    assert (figures.calls, figures.errors, figures.refused) == (7, 3, 2)


def test_mean_and_variance():
    tally = Tally()
    for each in (1.0, 2.0, 3.0):
        tally.count(200, each)
    assert tally.figures().mean == pytest.approx(2)
    assert tally.figures().variance == pytest.approx(1)
    assert Figures().mean == Figures().variance == 0


def test_a_revision_that_is_in_comes_back_never():
    assert Outlier().back_at == inf
    assert not Outlier().out
