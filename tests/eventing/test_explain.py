"""What explain says of each trigger: match or not, by which clause, and where that stands."""

from eventing.event import Event
from eventing.node.explain import Explanation, explain
from eventing.node.wiring import Condition
from eventing.resources import load_text

EVENT = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "a", "region": "us"})


def explained(text: str, **options: object) -> list[Explanation]:
    loaded = load_text(text, "w.yaml")
    assert not loaded.errors
    resources = {resource.identity: resource for resource in loaded.resources}
    return explain(EVENT, resources, **options)  # type: ignore[arg-type]


def trigger(filters: str, name: str = "t", broker: str = "default") -> str:
    return f"""\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: {name}
spec:
  broker: {broker}
  {filters}
  subscriber:
    uri: http://example.com/
---
"""


def test_a_matching_trigger_has_no_reasons() -> None:
    [found] = explained(trigger("filters: [{exact: {type: a}}]"))
    assert (found.trigger, found.broker, found.matches, found.reasons) == (
        "default/t",
        "default/default",
        True,
        (),
    )


def test_a_failed_clause_is_told_with_the_value_found_and_its_place() -> None:
    [found] = explained(trigger("filters: [{exact: {type: b}}]"))
    [reason] = found.reasons
    assert reason.text == 'filters[0].exact.type: wanted type = "b", but type is "a"'
    assert str(reason.place) == "w.yaml:7:28"


def test_of_an_expression_the_part_that_was_false_is_pointed_at() -> None:
    [found] = explained(trigger("filters: [{cesql: \"type = 'a' AND region = 'eu'\"}]"))
    [reason] = found.reasons
    assert "wanted region = 'eu'" in reason.text
    assert 'region is "us"' in reason.text
    assert str(reason.place) == "w.yaml:7:37"


def test_every_failed_clause_is_told() -> None:
    [found] = explained(trigger("filter: {attributes: {type: b, region: eu, subject: x}}"))
    assert [reason.text.split(":")[0] for reason in found.reasons] == [
        "filter.attributes.type",
        "filter.attributes.region",
        "filter.attributes.subject",
    ]
    assert "the event has no subject" in found.reasons[2].text


def test_a_trigger_of_another_broker_says_so_at_its_broker() -> None:
    [found] = explained(trigger("filters: [{exact: {type: a}}]", broker="other"))
    assert not found.matches
    assert "default/other" in found.reasons[0].text
    assert str(found.reasons[0].place) == "w.yaml:6:11"


def test_without_a_broker_every_filter_is_asked() -> None:
    text = trigger("filter: {}", "one") + trigger("filter: {}", "two", broker="other")
    assert [each.matches for each in explained(text, broker=None)] == [True, True]


def test_the_condition_is_told_beside_the_match() -> None:
    loaded = load_text(trigger("filter: {}"), "w.yaml")
    [resource] = loaded.resources
    conditions = {resource.identity: Condition(False, "SubscriberNotResolved", "nobody there")}
    [found] = explain(EVENT, {resource.identity: resource}, conditions=conditions)
    document = found.document()
    assert (document["matches"], document["ready"]) == (True, False)
    assert document["message"] == "nobody there"
