"""When an event's way has ended, read from the node's records alone."""

from typing import Any

from eventing.node.cli.journey import Journey


def event(id: str, source: str = "/s") -> dict[str, str]:
    return {"id": id, "source": source, "type": "t"}


def accepted(id: str, *triggers: str) -> dict[str, Any]:
    return {"record": "accepted", "event": event(id), "triggers": list(triggers)}


def attempt(
    id: str, trigger: str, outcome: str, *replies: str, stage: str = "subscriber", number: int = 1
) -> dict[str, Any]:
    return {
        "record": "attempt",
        "event": event(id),
        "trigger": trigger,
        "outcome": outcome,
        "stage": stage,
        "attempt": number,
        "replies": [event(reply) for reply in replies],
    }


def journey(*records: dict[str, Any]) -> Journey:
    way = Journey(("/s", "1"))
    for record in records:
        way.take(record)
    return way


def test_an_event_nobody_told_of_is_pending() -> None:
    assert journey().outcome == "pending"


def test_an_event_no_trigger_wants_has_ended_without_success() -> None:
    way = journey(accepted("1"))
    assert (way.outcome, way.succeeded) == ("unwanted", False)


def test_every_trigger_has_to_end() -> None:
    records = [accepted("1", "a", "b"), attempt("1", "a", "done")]
    assert journey(*records).outcome == "pending"
    assert journey(*records, attempt("1", "b", "done")).outcome == "done"


def test_a_retry_is_not_the_end() -> None:
    records = [accepted("1", "a"), attempt("1", "a", "retry")]
    assert journey(*records).pending() == [("a", records[1])]
    assert journey(*records, attempt("1", "a", "done", number=2)).outcome == "done"


def test_a_reply_is_followed_from_before_it_is_accepted() -> None:
    records = [accepted("1", "a"), attempt("1", "a", "done", "2")]
    assert journey(*records).outcome == "pending"
    records.append(accepted("2", "b"))
    assert journey(*records).outcome == "pending"
    way = journey(*records, attempt("2", "b", "done"))
    assert way.outcome == "done"
    assert way.depth(records[-1]) == 1


def test_a_reply_no_trigger_wants_is_no_failure() -> None:
    assert journey(accepted("1", "a"), attempt("1", "a", "done", "2"), accepted("2")).succeeded


def test_a_reply_that_keeps_its_causes_source_and_id_is_told_apart() -> None:
    records = [accepted("1", "a"), attempt("1", "a", "done", "1")]
    assert journey(*records).outcome == "pending"
    records.append(accepted("1", "b"))
    assert journey(*records).outcome == "pending"
    assert journey(*records, attempt("1", "b", "done")).outcome == "done"


def test_a_dead_letter_is_a_failure_even_of_a_reply() -> None:
    way = journey(
        accepted("1", "a"),
        attempt("1", "a", "done", "2"),
        accepted("2", "b"),
        attempt("2", "b", "dead"),
    )
    assert way.outcome == "failed"
    assert [each["trigger"] for each in way.failed] == ["b"]


def test_a_dead_letter_sink_is_waited_for_and_is_a_failure() -> None:
    records = [accepted("1", "a"), attempt("1", "a", "dead_letter")]
    assert journey(*records).outcome == "pending"
    for end in ("done", "dead"):
        way = journey(*records, attempt("1", "a", end, stage="dead_letter"))
        assert (way.outcome, len(way.failed)) == ("failed", 1)


def test_other_events_of_the_same_triggers_count_for_nothing() -> None:
    way = journey(accepted("1", "a"), accepted("9", "a"), attempt("9", "a", "dead"))
    assert way.outcome == "pending"
    assert len(way.hops) == 1


def test_a_redriven_event_ends_with_its_one_trigger() -> None:
    way = Journey(("/s", "1"))
    way.redriven("a")
    assert way.outcome == "pending"
    way.take(attempt("1", "a", "done"))
    assert way.succeeded
