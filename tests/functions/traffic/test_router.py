"""What each policy does to a thousand calls and more; the draws come from a seed."""

import pytest

from eventing.errors import UserError
from functions.base import Response
from functions.traffic.mirror import MOST_COPIES
from functions.traffic.policy import (
    ConnectionPool,
    DestinationPolicy,
    Fault,
    HttpRoute,
    Match,
    Mirror,
    OutlierDetection,
    Policy,
    Retries,
    StringMatch,
    Weighted,
)

OLD_NEW = {"old": {}, "new": {}}


def route(**options):
    return Policy((HttpRoute(**options),))


def bounds(**options):
    return Policy(destination=DestinationPolicy(connection_pool=ConnectionPool(**options)))


def outliers(**options):
    return Policy(destination=DestinationPolicy(OutlierDetection(**options)))


# -- Weights


def test_calls_are_split_by_weight(scene):
    it = scene(OLD_NEW, {"old": 90, "new": 10})
    it.send_many(5000)
    it.finish()
    assert it.met["new"] == pytest.approx(500, rel=0.1)
    assert it.met["old"] + it.met["new"] == 5000


def test_a_weight_of_zero_gets_no_call_not_even_where_all_else_is_out(scene):
    it = scene(
        {"old": {"status": 500}, "new": {}},
        {"old": 100, "new": 0},
        outliers(consecutive_5xx=5, max_ejection_percent=100),
    )
    it.send_many(2000, pause=0.02)
    it.finish()
    assert it.met["new"] == 0
    assert it.statuses[503] > 1900


def test_an_ordered_call_goes_to_the_revision_of_its_key(scene):
    it = scene(OLD_NEW, {"old": 70, "new": 30})
    for number in range(2000):
        it.send(ordered=True, partitionkey=f"k{number % 100}")
    it.finish()
    where = {}
    for name, revision in it.revisions.items():
        for call in revision.calls:
            where.setdefault(call.event.attributes["partitionkey"], set()).add(name)
    assert len(where) == 100
    assert all(len(names) == 1 for names in where.values())
    assert sum(names == {"new"} for names in where.values()) == pytest.approx(30, abs=15)


def test_an_ordered_call_without_a_key_has_no_order_and_goes_at_random(scene):
    it = scene(OLD_NEW)
    it.send_many(2000, ordered=True)
    it.finish()
    assert it.met["new"] == pytest.approx(1000, rel=0.1)


def test_a_call_without_order_does_not_stick_to_its_key(scene):
    it = scene(OLD_NEW)
    it.send_many(2000, partitionkey="k")
    it.finish()
    assert it.met["new"] == pytest.approx(1000, rel=0.1)


# -- Match


def test_the_first_route_that_matches_counts_and_none_is_the_functions_split(scene):
    testers = Match({"tenant": StringMatch("exact", "test")})
    european = Match({"region": StringMatch("prefix", "eu-")})
    policy = Policy(
        (
            HttpRoute(matches=(testers,), split=(Weighted("new", 1),)),
            HttpRoute(matches=(european, testers), split=(Weighted("eu", 1),)),
        )
    )
    it = scene({"old": {}, "new": {}, "eu": {}}, {"old": 1}, policy)
    for number in range(1200):
        attributes = [{"tenant": "test", "region": "eu-1"}, {"region": "eu-2"}, {}][number % 3]
        it.send(**attributes)
    it.finish()
    assert it.met == {"new": 400, "eu": 400, "old": 400}


# -- Faults


def test_a_delay_falls_on_its_percentage_of_calls_and_lasts_its_time(scene):
    it = scene({"old": {}}, policy=route(fault=Fault(delay=5.0, delay_percentage=25)))
    it.send_many(4000)
    it.clock.advance(1)
    quick = sum(it.statuses.values())
    assert quick == pytest.approx(3000, rel=0.05)
    it.clock.advance(3.99)
    assert sum(it.statuses.values()) == quick
    it.finish()
    assert it.statuses == {200: 4000}
    assert it.router.stats().delayed == 4000 - quick


def test_an_abort_answers_its_percentage_of_calls_in_the_place_of_a_revision(scene):
    it = scene({"old": {}}, policy=route(fault=Fault(abort_status=503, abort_percentage=10)))
    it.send_many(4000)
    it.finish()
    assert it.statuses[503] == pytest.approx(400, rel=0.15)
    assert it.met["old"] == it.statuses[200]
    assert it.router.stats().aborted == it.statuses[503]
    assert it.stats("old").errors == 0


def test_delay_and_abort_have_each_their_own_die(scene):
    fault = Fault(1.0, 50, 500, 50)
    it = scene({"old": {}}, policy=route(fault=fault))
    it.send_many(4000)
    at_once = it.statuses[500]
    it.finish()
    assert at_once == pytest.approx(1000, rel=0.1)
    assert it.statuses[500] == pytest.approx(2000, rel=0.1)


def test_neither_timeout_nor_retries_see_a_fault(scene):
    policy = route(
        fault=Fault(5.0, 100, 503, 50), timeout=1.0, retries=Retries(3, retry_on=frozenset({"5xx"}))
    )
    it = scene({"old": {}}, policy=policy)
    it.send_many(1000)
    it.finish()
    assert it.statuses[503] == pytest.approx(500, rel=0.15)
    assert it.statuses[504] == 0
    assert it.stats("old").retried == 0


def test_a_delay_beyond_the_deliverys_timeout_ends_with_that(scene):
    it = scene({"old": {}}, policy=route(fault=Fault(5.0, 100)))
    id = it.send(timeout=2.0)
    it.clock.advance(2.0)
    assert it.answer(id).status == 0
    assert it.answer(id).reason == "timed out after 2 s, in the delay of the TrafficPolicy"
    it.finish()
    assert it.met["old"] == 0


def test_what_a_delay_has_taken_of_the_deliverys_timeout_is_gone(scene):
    it = scene({"old": {}}, policy=route(fault=Fault(5.0, 100)))
    it.send(timeout=8.0)
    it.finish()
    assert it.revisions["old"].calls[0].timeout == pytest.approx(3.0)


# -- Timeouts


def test_a_call_past_the_timeout_is_answered_504_and_its_late_answer_dropped(scene):
    slow = {"after": 3.0}
    it = scene({"old": {}, "new": slow}, policy=route(timeout=1.0))
    it.send_many(2000)
    it.clock.advance(1.0)
    assert it.statuses[504] == it.met["new"] == pytest.approx(1000, rel=0.1)
    assert it.stats("new").in_flight == it.met["new"]
    it.finish()
    assert it.statuses[200] == it.met["old"]
    stats = it.stats("new")
    assert (stats.timed_out, stats.late, stats.in_flight) == (it.met["new"], it.met["new"], 0)
    assert stats.errors == it.met["new"]


def test_a_timeout_names_the_policy_and_the_revision(scene):
    it = scene({"old": {"silent": True}}, policy=route(timeout=1.5))
    id = it.send()
    it.finish()
    assert it.answer(id) == Response(
        504, reason="TrafficPolicy: old timed out after 1.5 s (timeout)"
    )


@pytest.mark.parametrize(("own", "told"), [(None, 2.0), (10.0, 2.0), (0.5, 0.5)])
def test_the_revision_is_told_the_shorter_limit_so_that_it_comes_free(scene, own, told):
    it = scene({"old": {}}, policy=route(timeout=2.0))
    it.send(timeout=own)
    it.finish()
    [call] = it.revisions["old"].calls
    assert call.timeout == told


def test_without_a_timeout_the_call_is_passed_on_as_it_is(scene):
    it = scene({"old": {}}, policy=route(retries=Retries()))
    it.send(timeout=7.0)
    it.finish()
    assert it.revisions["old"].calls[0].timeout == 7.0


def test_a_revision_that_ends_the_call_at_the_limit_it_was_told_has_timed_out(scene):
    it = scene({"old": {"status": 0, "after": 1.0}}, policy=route(timeout=1.0))
    id = it.send()
    it.finish()
    assert it.answer(id).status == 504
    assert it.stats("old").timed_out == 1


def test_an_ordered_call_waits_until_the_revision_has_let_go_of_it(scene):
    """Two of a key must not run at once, and a retry would."""
    it = scene({"old": {"status": 0, "after": 3.0}}, policy=route(timeout=1.0))
    id = it.send(ordered=True, partitionkey="k")
    it.clock.advance(2.9)
    assert not it.answers[id]
    it.finish()
    assert it.answer(id).status == 504
    assert it.stats("old").timed_out == 1
    assert it.stats("old").late == 0


def test_what_an_ordered_call_is_answered_after_all_counts(scene):
    it = scene({"old": {"after": 3.0}}, policy=route(timeout=1.0))
    id = it.send(ordered=True, partitionkey="k")
    it.finish()
    assert it.answer(id).status == 200


# -- Retries


def test_retries_choose_the_revision_anew(scene):
    retries = Retries(1, retry_on=frozenset({"5xx"}))
    it = scene({"old": {}, "new": {"status": 500}}, policy=route(retries=retries))
    it.send_many(4000)
    it.finish()
    assert it.statuses[500] == pytest.approx(1000, rel=0.1)
    assert it.statuses[200] == 4000 - it.statuses[500]
    assert it.stats("new").retried == pytest.approx(2000, rel=0.1)


def test_an_answer_that_is_not_to_be_retried_is_passed_on(scene):
    it = scene(
        {"old": {"status": 404}}, policy=route(retries=Retries(5, retry_on=frozenset({"5xx"})))
    )
    it.send_many(1000)
    it.finish()
    assert it.statuses == {404: 1000}
    assert it.met["old"] == 1000


def test_after_the_last_try_its_own_answer_is_passed_on(scene):
    it = scene({"old": {"status": 503}}, policy=route(retries=Retries(2)))
    id = it.send()
    it.finish()
    assert it.met["old"] == 3
    assert it.answer(id) == Response(503, reason="scripted")


def test_tries_wait_their_backoff(scene):
    retries = Retries(3, backoff=1.0)
    it = scene({"old": {"status": 503, "after": None}}, policy=route(retries=retries))
    it.send_many(1000)
    assert it.met["old"] == 1000
    it.clock.advance(0.5)
    assert it.stats("old").retried == pytest.approx(1500, rel=0.35)
    it.finish(1.0 + 3.0 + 7.0)
    assert it.met["old"] == 4000


def test_a_try_past_its_own_limit_is_tried_again(scene):
    retries = Retries(4, per_try_timeout=1.0, retry_on=frozenset({"reset"}))
    it = scene({"old": {}, "new": {"after": 30.0}}, policy=route(retries=retries))
    it.send_many(1000)
    it.finish()
    assert it.statuses[504] == pytest.approx(1000 / 2**5, rel=0.5)
    assert it.statuses[200] == 1000 - it.statuses[504]
    assert it.stats("new").late == it.stats("new").timed_out == it.met["new"]


def test_the_timeout_covers_all_tries_and_their_backoff(scene):
    retries = Retries(100, per_try_timeout=0.5, retry_on=frozenset({"5xx"}), backoff=0.1)
    it = scene({"old": {"silent": True}}, policy=route(timeout=2.0, retries=retries))
    it.send_many(1000)
    it.clock.advance(2.0)
    assert it.statuses == {504: 1000}
    assert it.met["old"] <= 4000


def test_no_try_begins_after_the_deliverys_own_timeout(scene):
    retries = Retries(100, retry_on=frozenset({"5xx"}))
    it = scene({"old": {"status": 500, "after": 0.9}}, policy=route(retries=retries))
    id = it.send(timeout=2.0)
    it.finish()
    assert it.met["old"] == 3
    assert it.revisions["old"].calls[2].timeout < 0.2
    assert it.answer(id).status == 500


def test_an_ordered_retry_stays_with_the_revision_of_its_key(scene):
    retries = Retries(3, retry_on=frozenset({"5xx"}))
    it = scene({"old": {"status": 500}, "new": {"status": 500}}, policy=route(retries=retries))
    for number in range(300):
        it.send(ordered=True, partitionkey=str(number))
    it.finish()
    for revision in it.revisions.values():
        assert all(revision.ids.count(id) == 4 for id in revision.ids)


def test_max_retries_bounds_the_retries_that_are_out_at_once(scene):
    policy = Policy(
        (HttpRoute(retries=Retries(1, retry_on=frozenset({"5xx"}))),),
        DestinationPolicy(connection_pool=ConnectionPool(max_retries=10)),
    )
    it = scene({"old": {"status": 500}}, policy=policy)
    it.send_many(1000)
    it.finish()
    stats = it.stats("old")
    assert stats.retried == 10
    assert stats.retries_overflowed == 990
    it.send_many(10)
    it.finish()
    assert it.stats("old").retried == 20


# -- Connection limits


def test_no_more_calls_are_in_flight_than_max_requests(scene):
    it = scene({"old": {}}, policy=bounds(max_requests=7))
    it.send_many(1000)
    assert it.stats("old").waiting == 993
    it.finish()
    assert it.statuses == {200: 1000}
    assert it.revisions["old"].most_out == 7
    assert it.revisions["old"].ids == [str(number) for number in range(1000)]


def test_above_max_pending_calls_are_answered_503_at_once(scene):
    it = scene({"old": {}}, policy=bounds(max_requests=10, max_pending=90))
    it.send_many(1000)
    assert it.statuses == {503: 900}
    it.finish()
    assert it.statuses == {200: 100, 503: 900}
    assert it.stats("old").overflowed == 900
    assert it.answer("999").reason == (
        "TrafficPolicy: old is full: 10 calls in flight and 90 waiting (connectionPool)"
    )


def test_a_revision_that_answers_at_once_empties_its_queue_without_recursion(scene):
    it = scene({"old": {"silent": True}}, policy=bounds(max_requests=1))
    it.send_many(5000)
    it.revisions["old"].silent = False
    it.revisions["old"].after = None
    it.revisions["old"].dones[0](Response(200))
    assert it.statuses == {200: 5000}


def test_a_call_that_times_out_in_the_queue_never_reaches_the_revision(scene):
    policy = Policy(
        (HttpRoute(timeout=1.0),), DestinationPolicy(connection_pool=ConnectionPool(max_requests=1))
    )
    it = scene({"old": {"silent": True}}, policy=policy)
    it.send_many(1000)
    it.clock.advance(1.0)
    assert it.statuses == {504: 1000}
    assert it.met["old"] == 1
    assert it.stats("old").waiting == 0
    assert it.stats("old").calls == 1


# -- Outlier detection


def test_a_revision_that_fails_in_a_row_is_ejected_and_comes_back(scene):
    it = scene(
        {"old": {}, "new": {"status": 500}},
        policy=outliers(consecutive_5xx=5, interval=10, base_ejection=30),
    )
    it.send_many(1000, pause=0.02)  # 20 s
    assert it.met["new"] == 5
    assert 0 < it.stats("new").ejected_for <= 30
    it.revisions["new"].status = 200
    it.send_many(1000, pause=0.04)  # 40 s
    it.finish()
    assert it.stats("new").ejections == 1
    assert it.stats("new").ejected_for == 0
    assert it.met["new"] == pytest.approx(5 + 250, rel=0.2)
    assert it.statuses[500] == 5


def test_while_all_are_out_calls_are_answered_503_with_when_to_come_again(scene):
    it = scene(
        {"old": {"status": 502}}, policy=outliers(consecutive_5xx=3, interval=10, base_ejection=30)
    )
    it.send_many(3)
    it.clock.advance(1.0)
    it.clock.advance(18.0 - 1.0)
    id = it.send()
    assert it.answer(id).status == 503
    assert it.answer(id).retry_after == pytest.approx(1040.0 - 1018.0)
    assert it.answer(id).reason == (
        "TrafficPolicy: no revision is healthy: old ejected for 22 s more (outlierDetection)"
    )
    assert it.router.stats().unhealthy == 1
    it.clock.advance(22.0)
    it.send()
    it.finish()
    assert it.met["old"] == 4


def test_of_two_revisions_the_usual_10_percent_lets_one_be_ejected(scene):
    failing = {"status": 500}
    it = scene({"a": failing, "b": failing}, policy=outliers())
    it.send_many(1000, pause=0.01)
    assert sum(it.stats(name).ejections for name in "ab") == 1
    assert it.statuses[503] == 0


def test_with_max_ejection_0_nobody_is(scene):
    it = scene({"old": {"status": 500}}, policy=outliers(max_ejection_percent=0))
    it.send_many(1000, pause=0.01)
    assert it.met["old"] == 1000


def test_below_min_health_all_get_their_traffic_again(scene):
    failing = {"status": 500}
    it = scene(
        {"a": failing, "b": failing, "c": {}},
        policy=outliers(max_ejection_percent=100, min_health_percent=50),
    )
    it.send_many(3000, pause=0.005)
    assert it.stats("a").ejections and it.stats("b").ejections
    assert it.stats("a").calls > 500


def test_a_revision_may_have_a_policy_of_its_own(scene):
    policy = Policy(
        destination=DestinationPolicy(OutlierDetection(consecutive_5xx=5)),
        revisions={"new": DestinationPolicy()},
    )
    failing = {"status": 500}
    it = scene({"old": failing, "new": failing}, policy=policy)
    it.send_many(1000, pause=0.01)
    assert it.met["old"] == 5
    assert it.met["new"] == 995


def test_timeouts_count_as_failures(scene):
    policy = Policy(
        (HttpRoute(timeout=1.0),), DestinationPolicy(OutlierDetection(consecutive_gateway=5))
    )
    it = scene({"old": {}, "new": {"silent": True}}, policy=policy)
    it.send_many(1000, pause=0.1)
    assert it.stats("new").ejections >= 1
    assert it.met["new"] < 50


def test_an_ordered_key_moves_while_its_revision_is_out_and_then_returns(scene):
    it = scene({"old": {}, "new": {}}, policy=outliers(consecutive_5xx=1, base_ejection=30))
    keys = [str(number) for number in range(200)]

    def places():
        before = {name: len(revision.calls) for name, revision in it.revisions.items()}
        for key in keys:
            it.send(ordered=True, partitionkey=key)
        it.clock.advance(0.1)
        return {
            name: {call.event.attributes["partitionkey"] for call in revision.calls[before[name] :]}
            for name, revision in it.revisions.items()
        }

    first = places()
    it.revisions["new"].status = 500
    it.send(ordered=True, partitionkey=next(iter(first["new"])))
    it.clock.advance(0.1)
    assert places() == {"old": set(keys), "new": set()}
    it.revisions["new"].status = 200
    it.clock.advance(40)
    assert places() == first


# -- Mirrors


def test_a_share_of_the_calls_is_copied_and_the_copies_answers_are_measured_and_dropped(scene):
    it = scene(
        {"old": {}, "new": {"status": 500, "after": 0.5}},
        {"old": 1},
        route(mirrors=(Mirror("new", 20.0),)),
    )
    it.send_many(2000, pause=0.1)
    it.finish()
    assert it.statuses == {200: 2000}
    mirror = it.stats("new").mirror
    assert mirror.calls == it.met["new"] == pytest.approx(400, rel=0.15)
    assert mirror.errors == mirror.calls
    assert mirror.latency.mean == pytest.approx(0.5)
    assert it.stats("new").calls == 0
    assert it.router.figures("new").calls == 0


def test_a_mirror_that_hangs_slows_nobody_and_holds_no_more_than_its_bound(scene):
    it = scene({"old": {}, "new": {"silent": True}}, {"old": 1}, route(mirrors=(Mirror("new"),)))
    it.send_many(1000)
    it.clock.advance(0.01)
    assert it.statuses == {200: 1000}
    mirror = it.stats("new").mirror
    assert (mirror.in_flight, mirror.dropped) == (MOST_COPIES, 1000 - MOST_COPIES)


def test_a_mirror_that_breaks_fails_nobody(scene):
    it = scene({"old": {}, "new": {}}, {"old": 1}, route(mirrors=(Mirror("new"),)))

    def broken(call, done):
        raise RuntimeError("broken")

    it.revisions["new"].submit = broken
    it.send_many(1000)
    it.finish()
    assert it.statuses == {200: 1000}
    assert it.stats("new").mirror.errors == 1000


def test_a_call_is_mirrored_once_however_often_it_is_tried(scene):
    policy = route(retries=Retries(3), mirrors=(Mirror("new"),))
    it = scene({"old": {"status": 503}, "new": {}}, {"old": 1}, policy)
    it.send_many(1000, pause=0.01)
    it.finish()
    assert it.met == {"old": 4000, "new": 1000}


def test_copies_keep_to_the_connection_limit_of_their_revision(scene):
    policy = Policy(
        (HttpRoute(mirrors=(Mirror("new"),)),),
        revisions={"new": DestinationPolicy(connection_pool=ConnectionPool(max_requests=3))},
    )
    it = scene({"old": {}, "new": {"silent": True}}, {"old": 1}, policy)
    it.send_many(1000)
    assert it.stats("new").mirror.in_flight == 3


# -- Changes


def test_a_call_ends_where_it_began_and_the_next_goes_by_the_new_weights(scene):
    it = scene(OLD_NEW, {"old": 1, "new": 0})
    it.send_many(1000)
    it.router.update(it.revisions, (Weighted("new", 1),))
    it.send_many(1000)
    it.finish()
    assert it.statuses == {200: 2000}
    assert it.met == {"old": 1000, "new": 1000}


def test_counts_and_ejections_stay_with_their_revision(scene):
    policy = outliers(consecutive_5xx=5)
    it = scene({"old": {}, "new": {"status": 500}}, policy=policy)
    it.send_many(1000, pause=0.01)
    before = it.router.figures("new")
    assert before.calls == 5
    it.router.update(it.revisions, (Weighted("old", 1), Weighted("new", 3)), policy)
    it.send_many(100, pause=0.01)
    assert it.router.figures("new") == before
    assert it.stats("new").ejected_for > 0
    it.router.update(it.revisions, it.split)
    it.send_many(100, pause=0.01)
    assert it.router.figures("new").calls > 5


def test_what_waits_for_a_revision_that_goes_is_sent_to_another(scene):
    it = scene({"old": {"silent": True}, "new": {}}, {"old": 1}, bounds(max_requests=1))
    it.send_many(1000)
    old = it.revisions["old"]
    it.router.update({"new": it.revisions["new"]}, (Weighted("new", 1),))
    it.clock.advance(1)
    assert it.statuses == {200: 999}
    old.dones[0](Response(200))
    assert it.statuses == {200: 1000}
    assert set(it.router.stats().revisions) == {"new"}


def test_a_retry_goes_where_the_traffic_goes_by_then(scene):
    policy = route(retries=Retries(1, retry_on=frozenset({"5xx"}), backoff=1.0))
    it = scene({"old": {"status": 500}, "new": {}}, {"old": 1}, policy)
    it.send_many(1000)
    it.clock.advance(0.01)
    it.router.update(it.revisions, (Weighted("new", 1),), policy)
    it.finish()
    assert it.statuses == {200: 1000}
    assert it.met == {"old": 1000, "new": 1000}


def test_raised_limits_let_go_what_waits(scene):
    it = scene({"old": {"silent": True}}, policy=bounds(max_requests=1))
    it.send_many(1000)
    it.router.update(it.revisions, it.split, bounds(max_requests=600))
    assert it.met["old"] == 600
    it.router.update(it.revisions, it.split)
    assert it.met["old"] == 1000


def test_a_revision_of_the_same_name_may_come_in_another_pool(scene):
    it = scene({"old": {}})
    it.send_many(10)
    other = type(it.revisions["old"])(it.clock)
    it.router.update({"old": other}, it.split)
    it.send_many(10)
    it.finish()
    assert (it.met["old"], len(other.calls)) == (10, 10)
    assert it.stats("old").calls == 20


@pytest.mark.parametrize(
    ("split", "policy", "said"),
    [
        ((Weighted("older", 1),), None, "there is no revision 'older'; there are new, old"),
        ((), None, "no revision has a weight above 0"),
        ((Weighted("old", 0),), None, "no revision has a weight above 0"),
        ((Weighted("old", -1),), None, "the weight of old is -1"),
        ((Weighted("old", float("nan")),), None, "the weight of old is nan"),
        ((Weighted("old", 1),), route(mirrors=(Mirror("gone"),)), "no revision 'gone'"),
        ((Weighted("old", 1),), route(split=(Weighted("gone", 1),)), "no revision 'gone'"),
        (
            (Weighted("old", 1),),
            route(retries=Retries(retry_on=frozenset({"sometimes"}))),
            "'sometimes' is not supported",
        ),
    ],
)
def test_a_change_that_is_wrong_is_refused_and_changes_nothing(scene, split, policy, said):
    it = scene(OLD_NEW, {"new": 1})
    with pytest.raises(UserError, match=said):
        it.router.update(it.revisions, split, policy)
    it.send_many(100)
    it.finish()
    assert it.met == {"old": 0, "new": 100}


def test_closed_it_answers_what_is_at_no_revision_and_takes_no_more(scene):
    policy = Policy(
        (HttpRoute(fault=Fault(60.0, 50), retries=Retries(5, backoff=60.0)),),
        DestinationPolicy(connection_pool=ConnectionPool(max_requests=1)),
    )
    it = scene({"old": {"status": 503}}, policy=policy)
    it.send_many(200)
    it.clock.advance(0.015)
    it.router.close()
    it.send()
    it.finish(0.02)
    assert it.statuses == {503: 201}
    assert it.answer("200").reason == "the function is shutting down"
    assert it.met["old"] == 2
    assert it.clock.alarms == 0


def test_closed_without_a_policy_it_takes_no_more_either(scene):
    it = scene(OLD_NEW)
    it.router.close()
    it.send()
    it.send(ordered=True, partitionkey="k")
    assert it.statuses == {503: 2}


# -- What can be seen


def test_a_time_runs_from_the_handlers_start_where_that_is_told(scene):
    it = scene({"old": {"silent": True}})
    it.send()
    it.clock.advance(10.0)
    it.revisions["old"].dones[0](Response(200, started=round((it.clock.now - 0.25) * 1e9)))
    assert it.stats("old").latency.mean == pytest.approx(0.25)


def test_without_that_it_runs_from_when_the_call_was_handed_over(scene):
    it = scene({"old": {"after": 0.5}})
    it.send_many(1000)
    it.finish()
    latency = it.stats("old").latency
    assert latency.mean == pytest.approx(0.5)
    assert 0.25 < latency.p50 < 0.55
    assert latency.p50 <= latency.p99 < 0.55


def test_a_listener_that_raises_takes_nothing_with_it(scene, caplog):
    it = scene({"old": {}}, policy=bounds(max_requests=1))

    def broken(response):
        raise RuntimeError("broken")

    it.send()
    it.answers["0"] = []
    it.router.submit(it.revisions["old"].calls[0], broken)
    it.send_many(1000)
    it.clock.advance(100)
    assert "a response could not be taken" in caplog.text
    assert it.statuses[200] == 1000
