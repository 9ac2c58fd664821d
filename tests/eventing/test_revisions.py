"""Revisions: when one is made, which one serves, and how the calls are split among them."""

from dataclasses import replace
from typing import Any

import pytest

from eventing.node.revisions import (
    KEPT,
    Revisions,
    Rollout,
    UnknownRevision,
    document_digest,
    is_ready,
    judged,
    pruned,
    settled,
    split,
    with_latest,
)
from eventing.resources import TrafficTarget, Workload, load_text

KEY = "default/hello"


def hello(text: str = "one", **spec: Any) -> Workload:
    """A Function whose template says `text`."""
    extra = "".join(f"\n  {name}: {value}" for name, value in spec.items())
    loaded = load_text(
        "apiVersion: functions/v1\nkind: Function\nmetadata: {name: hello}\nspec:\n"
        f"  handler: app:hello\n  env: [{{name: TEXT, value: {text}}}]{extra}\n",
        "hello.yaml",
    )
    assert not loaded.errors, loaded.errors
    (workload,) = loaded.resources
    assert isinstance(workload, Workload)
    return workload


def after(*workloads: Workload, ready: bool = True) -> Revisions:
    """The revisions after these, one after the other; all ready but the last where not `ready`."""
    revisions: Revisions | None = None
    for workload in workloads:
        if revisions is not None:
            revisions = is_ready(revisions, revisions.latest)
        revisions = with_latest(KEY, workload, revisions, 1.0)
    assert revisions is not None
    return is_ready(revisions, revisions.latest) if ready else revisions


def shares(targets: tuple[TrafficTarget, ...], revisions: Revisions) -> dict[str, float]:
    return {each.revision: each.weight for each in split(targets, revisions).shares}


def test_the_first_document_makes_the_first_revision() -> None:
    revisions = after(hello())
    assert revisions.names == ("hello-00001",)
    assert shares((), revisions) == {"hello-00001": 100}


def test_a_changed_template_makes_another_and_an_unchanged_one_none() -> None:
    assert after(hello(), hello(), hello("two")).names == ("hello-00001", "hello-00002")


def test_traffic_and_rollout_make_none() -> None:
    traffic = "[{latestRevision: true, percent: 100}]"
    other = hello(traffic=traffic, rollout="{steps: [50, 100]}")
    assert after(hello(), other).names == ("hello-00001",)


def test_a_template_that_was_there_before_is_that_revision_again() -> None:
    revisions = after(hello("one"), hello("two"), hello("one"))
    assert revisions.latest == "hello-00001"
    assert len(revisions.known) == 2
    assert shares((), revisions) == {"hello-00001": 100}


def test_until_the_new_one_is_ready_the_one_before_goes_on_and_both_run() -> None:
    revisions = after(hello("one"), hello("two"), ready=False)
    spread = split((), revisions)
    assert shares((), revisions) == {"hello-00001": 100}
    assert spread.running == {"hello-00001", "hello-00002"}
    assert shares((), is_ready(revisions, "hello-00002")) == {"hello-00002": 100}


def test_where_none_has_ever_been_ready_the_latest_takes_the_calls() -> None:
    revisions = with_latest(KEY, hello("one"), None, 1.0)
    revisions = with_latest(KEY, hello("two"), revisions, 2.0)
    assert shares((), revisions) == {"hello-00002": 100}


def test_calls_are_split_by_percent_and_names() -> None:
    revisions = after(hello("one"), hello("two"))
    targets = (TrafficTarget(20, latest=True), TrafficTarget(80, revision="hello-00001", tag="old"))
    assert shares(targets, revisions) == {"hello-00002": 20, "hello-00001": 80}
    assert split(targets, revisions).tags == {"old": "hello-00001"}


def test_a_tag_without_calls_runs() -> None:
    revisions = after(hello("one"), hello("two"))
    targets = (
        TrafficTarget(100, latest=True),
        TrafficTarget(0, revision="hello-00001", tag="stage"),
    )
    spread = split(targets, revisions)
    assert spread.running == {"hello-00001", "hello-00002"}
    assert [each.revision for each in spread.shares] == ["hello-00002"]


def test_the_previous_one_is_the_newest_ready_one_before_the_latest() -> None:
    targets = (TrafficTarget(10, latest=True), TrafficTarget(90, previous=True))
    revisions = after(hello("one"), hello("two"), hello("three"))
    assert shares(targets, revisions) == {"hello-00003": 10, "hello-00002": 90}
    assert shares(targets, after(hello("one"))) == {"hello-00001": 100}


def test_an_unknown_revision_is_told_with_those_there_are() -> None:
    targets = (TrafficTarget(50, latest=True), TrafficTarget(50, revision="hello-00009"))
    with pytest.raises(
        UnknownRevision, match="no revision hello-00009; there are: hello-00001"
    ) as raised:
        split(targets, after(hello()))
    assert raised.value.index == 1


ROLLING = {"rollout": "{steps: [10, 100]}"}


def test_where_a_rollout_is_asked_for_a_new_revision_begins_with_no_calls() -> None:
    revisions = after(hello("one", **ROLLING), hello("two", **ROLLING))
    rollout = revisions.rollout
    assert rollout is not None
    assert (rollout.old, rollout.new, rollout.percent) == ("hello-00001", "hello-00002", 0)
    spread = split((), revisions)
    assert shares((), revisions) == {"hello-00001": 100}
    assert "hello-00002" in spread.running


def test_a_rollout_splits_what_goes_to_the_latest() -> None:
    revisions = after(hello("one", **ROLLING), hello("two", **ROLLING))
    assert revisions.rollout is not None
    moved = replace(revisions, rollout=replace(revisions.rollout, percent=10.0))
    assert shares((), moved) == {"hello-00001": 90, "hello-00002": 10}
    half = (TrafficTarget(50, latest=True), TrafficTarget(50, revision="hello-00001"))
    assert shares(half, moved) == {"hello-00001": 95, "hello-00002": 5}
    whole = replace(revisions, rollout=replace(revisions.rollout, percent=100.0))
    assert split((), whole).running == {"hello-00001", "hello-00002"}, "it may have to go back"


def test_what_was_rolled_back_gets_no_calls_and_does_not_run_until_the_document_changes() -> None:
    revisions = after(hello("one", **ROLLING), hello("two", **ROLLING))
    assert revisions.rollout is not None
    back = replace(revisions, rollout=replace(revisions.rollout, state="rolled back", percent=0.0))
    assert split((), back).running == {"hello-00001"}
    same = with_latest(KEY, hello("two", **ROLLING), back, 9.0)
    assert same == back
    other = with_latest(KEY, hello("three", **ROLLING), back, 9.0)
    assert other.rollout is not None
    assert (other.rollout.old, other.rollout.new) == ("hello-00001", "hello-00003")


def test_a_rollout_that_is_edited_after_going_back_begins_anew_and_not_at_once() -> None:
    revisions = after(hello("one", **ROLLING), hello("two", **ROLLING))
    assert revisions.rollout is not None
    back = replace(revisions, rollout=replace(revisions.rollout, state="rolled back", percent=0.0))
    edited = with_latest(KEY, hello("two", rollout="{steps: [5, 100]}"), back, 9.0)
    assert edited.rollout is not None
    assert (edited.rollout.state, edited.rollout.percent) == ("rolling", 0)
    assert shares((), edited) == {"hello-00001": 100}


def test_what_was_rolled_back_is_not_what_goes_on_while_a_newer_one_starts() -> None:
    revisions = after(hello("one"), hello("two"))
    revisions = judged(revisions, "hello-00002", good=False, now=2.0)
    third = with_latest(KEY, hello("three"), revisions, 3.0)
    assert shares((), third) == {"hello-00001": 100}
    again = judged(third, "hello-00002", good=True, now=4.0)
    assert shares((), again) == {"hello-00002": 100}


def elsewhere(*names: str, revisions: Revisions) -> Revisions:
    """Ready on other nodes, these."""
    known = (replace(each, ready_elsewhere=each.name in names) for each in revisions.known)
    return replace(revisions, known=tuple(known))


def test_what_is_ready_elsewhere_alone_serves_where_nothing_is_ready_here() -> None:
    revisions = with_latest(KEY, hello("one"), None, 1.0)
    revisions = with_latest(KEY, hello("two"), revisions, 2.0)
    revisions = with_latest(KEY, hello("three"), revisions, 3.0)
    both = elsewhere("hello-00001", "hello-00002", revisions=revisions)
    assert shares((), both) == {"hello-00002": 100}
    everything = elsewhere("hello-00002", "hello-00003", revisions=revisions)
    assert shares((), everything) == {"hello-00003": 100}
    assert shares((), is_ready(everything, "hello-00001")) == {"hello-00001": 100}
    canary = (TrafficTarget(10, latest=True), TrafficTarget(90, previous=True))
    assert shares(canary, everything) == {"hello-00003": 10, "hello-00002": 90}


def test_a_newer_one_of_another_node_is_not_what_this_one_goes_back_to() -> None:
    revisions = after(hello("one"), hello("two"), ready=False)
    revisions = replace(revisions, latest="hello-00001")
    known = (replace(each, ready=False) for each in revisions.known)
    revisions = elsewhere("hello-00002", revisions=replace(revisions, known=tuple(known)))
    assert shares((), revisions) == {"hello-00001": 100}


def test_a_first_revision_needs_no_rollout() -> None:
    assert after(hello("one", **ROLLING)).rollout is None


def test_a_name_that_is_taken_is_refused_with_its_place() -> None:
    service = (
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: hello}\nspec:\n"
        "  template:\n    metadata: {name: hello-first}\n"
        "    spec: {containers: [{image: example.com/hello:TAG}]}\n"
    )
    before = {}
    for tag in ("1", "2"):
        loaded = load_text(service.replace("TAG", tag), "hello.yaml")
        assert not loaded.errors, loaded.errors
        (workload,) = loaded.resources
        assert isinstance(workload, Workload)
        after, problems = settled([(KEY, workload)], before, 1.0)
        if tag == "1":
            assert not problems
            before = after
    ((_, path, message),) = problems
    assert path == ("spec", "template", "metadata", "name")
    assert "hello-first is there already" in message


def test_old_revisions_that_nothing_is_sent_to_are_forgotten_beyond_a_number() -> None:
    revisions = after(*(hello(f"text-{number}") for number in range(KEPT + 10)))
    kept = pruned(revisions, frozenset({"hello-00002"}), 1.0)
    assert len(kept.known) == KEPT + 2
    assert kept.find("hello-00002") is not None
    assert kept.find("hello-00003") is None
    assert kept.latest == revisions.latest


def test_numbers_are_not_given_twice() -> None:
    revisions = after(*(hello(f"text-{number}") for number in range(5)))
    fewer = replace(revisions, known=revisions.known[3:])
    again = with_latest(KEY, hello("another"), fewer, 1.0)
    assert again.latest == "hello-00006"


def test_a_rollout_of_another_document_does_not_count() -> None:
    revisions = after(hello("one"), hello("two"))
    by_hand = Rollout(
        KEY, document_digest(hello("two")), "hello-00001", "hello-00002", 0.0, "rolled back"
    )
    back = replace(revisions, rollout=by_hand)
    assert shares((), with_latest(KEY, hello("two"), back, 2.0)) == {"hello-00001": 100}
    pinned = hello("two", traffic="[{latestRevision: true, percent: 100}]")
    assert shares((), with_latest(KEY, pinned, back, 2.0)) == {"hello-00002": 100}
