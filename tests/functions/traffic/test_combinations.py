"""Whatever policies are combined and however revisions behave: one answer a call, nothing left."""

import gc
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

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

NAMES = ("a", "b", "c")
seconds = st.sampled_from([0.0, 0.001, 0.3, 1.0, 5.0])
waits = st.sampled_from([0.001, 0.3, 1.0, 5.0])
percent = st.sampled_from([0.0, 30.0, 100.0])
statuses = st.sampled_from([200, 200, 204, 0, 404, 409, 500, 502, 503])

behaviours = st.fixed_dictionaries(
    {
        "status": statuses,
        "after": st.one_of(st.none(), seconds),
        "times": st.sampled_from([1, 1, 2]),
    }
)
splits = st.dictionaries(
    st.sampled_from(NAMES), st.sampled_from([0.0, 1.0, 9.0]), min_size=1
).filter(lambda split: any(split.values()))


def weighted(split):
    return tuple(Weighted(name, weight) for name, weight in split.items())


retries = st.builds(
    Retries,
    attempts=st.integers(0, 3),
    per_try_timeout=st.one_of(st.none(), waits),
    retry_on=st.frozensets(st.sampled_from(["5xx", "reset", "retriable-4xx", "404"])),
    backoff=st.sampled_from([0.0, 0.025, 1.0]),
)
faults = st.builds(Fault, seconds, percent, st.sampled_from([0, 200, 503]), percent)
matches = st.sampled_from(
    [
        (),
        (Match({"n": StringMatch("exact", "1")}),),
        (Match(without={"n": StringMatch("prefix", "")}),),
    ]
)
routes = st.builds(
    HttpRoute,
    matches=matches,
    split=st.one_of(st.just(()), splits.map(weighted)),
    timeout=st.one_of(st.none(), waits),
    retries=st.one_of(st.none(), retries),
    fault=st.one_of(st.none(), faults),
    mirrors=st.lists(st.builds(Mirror, st.sampled_from(NAMES), percent), max_size=1).map(tuple),
)
destinations = st.builds(
    DestinationPolicy,
    st.one_of(
        st.none(),
        st.builds(
            OutlierDetection,
            consecutive_5xx=st.integers(0, 3),
            consecutive_gateway=st.integers(0, 2),
            interval=st.sampled_from([0.1, 10.0]),
            base_ejection=st.sampled_from([0.5, 30.0]),
            max_ejection_percent=percent,
            min_health_percent=percent,
        ),
    ),
    st.one_of(
        st.none(),
        st.builds(ConnectionPool, st.integers(0, 2), st.integers(0, 3), st.integers(0, 2)),
    ),
)
policies = st.one_of(
    st.none(),
    st.builds(
        Policy,
        st.lists(routes, max_size=2).map(tuple),
        destinations,
        st.dictionaries(st.sampled_from(NAMES), destinations, max_size=1),
    ),
)
sends = st.tuples(
    st.just("send"),
    st.booleans(),
    st.one_of(st.none(), st.sampled_from(["1", "2"])),
    st.one_of(st.none(), waits),
)
advances = st.tuples(st.just("advance"), seconds)
updates = st.tuples(
    st.just("update"), st.sets(st.sampled_from(NAMES), min_size=1), st.randoms(), policies
)
steps = st.lists(st.one_of(sends, sends, sends, advances, updates), max_size=40)


def fitting(policy, names):
    """The policy, with nothing of it that names a revision there is none of."""
    if policy is None:
        return None
    kept = []
    for route in policy.routes:
        split = tuple(each for each in route.split if each.revision in names)
        mirrors = tuple(each for each in route.mirrors if each.revision in names)
        if not any(each.weight for each in split):
            split = ()
        kept.append(
            HttpRoute(
                route.name,
                route.matches,
                split,
                route.timeout,
                route.retries,
                route.fault,
                mirrors,
            )
        )
    return Policy(tuple(kept), policy.destination, policy.revisions)


def play(it, script):
    sent = []
    for step in script:
        match step:
            case ("send", ordered, number, timeout):
                attributes = {} if number is None else {"n": number, "partitionkey": number}
                sent.append(it.send(ordered=ordered, timeout=timeout, **attributes))
            case ("advance", pause):
                it.clock.advance(pause)
            case ("update", names, random, policy):
                split = tuple(Weighted(name, random.choice([1.0, 2.0])) for name in sorted(names))
                services = {name: it.revisions[name] for name in names}
                it.router.update(services, split, fitting(policy, names))
    return sent


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, behaviours)), splits, policies, steps)
def test_every_call_is_answered_once(scene, revisions, split, policy, script):
    it = scene(revisions, split, policy)
    sent = play(it, script)
    it.clock.advance(10_000)
    assert {id: len(it.answers[id]) for id in sent} == dict.fromkeys(sent, 1)
    for stats in it.router.stats().revisions.values():
        assert (stats.in_flight, stats.waiting, stats.mirror.in_flight) == (0, 0, 0)
        assert stats.late <= stats.timed_out
    assert not it.router.paused
    assert it.clock.alarms == 0


@settings(max_examples=100, deadline=None)
@given(splits, routes, destinations, st.integers(1, 30), st.booleans())
def test_revisions_that_never_answer_hold_no_call_that_has_a_timeout(
    scene, split, route, destination, calls, with_retries
):
    limited = HttpRoute(
        split=(),
        timeout=5.0,
        retries=route.retries if with_retries else None,
        fault=route.fault,
        mirrors=route.mirrors,
    )
    revisions = {name: {"silent": True} for name in NAMES}
    it = scene(revisions, split, Policy((limited,), destination))
    it.send_many(calls, pause=0.1)
    it.clock.advance(10_000)
    assert all(len(answers) == 1 for answers in it.answers.values())
    assert it.clock.alarms == 0


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, behaviours)), splits, policies, steps)
def test_closing_answers_all_that_no_revision_has(scene, revisions, split, policy, script):
    it = scene(revisions, split, policy)
    play(it, script)
    it.router.close()
    unanswered = Counter(len(answers) for answers in it.answers.values())[0]
    out = sum(revision.out for revision in it.revisions.values())
    assert unanswered <= out
    it.clock.advance(10_000)
    assert all(len(answers) == 1 for answers in it.answers.values())


def test_memory_does_not_grow_with_the_calls_that_went(scene):
    policy = Policy(
        (
            HttpRoute(
                timeout=30.0,
                retries=Retries(2, per_try_timeout=5.0, retry_on=frozenset({"5xx"})),
                fault=Fault(0.1, 10, 503, 10),
                mirrors=(Mirror("b", 50),),
            ),
        ),
        DestinationPolicy(OutlierDetection(), ConnectionPool(10, 10, 3)),
    )
    it = scene({"a": {}, "b": {"status": 500}}, None, policy)

    def objects_after(calls):
        for _ in range(calls):
            it.send(partitionkey=str(len(it.answers)), ordered=True)
            it.clock.advance(0.001)
        it.clock.advance(100)
        it.answers.clear()
        for revision in it.revisions.values():
            revision.calls.clear()
        gc.collect()
        return len(gc.get_objects())

    objects_after(6000)
    first = objects_after(2000)
    assert objects_after(6000) < first + 500
