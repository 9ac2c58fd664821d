"""What explain says of the call an event would be: its route, revisions, faults and copies."""

from textwrap import dedent

from eventing.event import Event
from eventing.node.explain_traffic import call_in_words
from eventing.node.wiring import Wiring, resolve
from eventing.resources import load_text

FUNCTION = """\
apiVersion: functions/v1
kind: Function
metadata: {name: work}
spec: {uri: "http://host/"}
---
"""

POLICY = """\
apiVersion: functions/v1
kind: TrafficPolicy
metadata: {name: p}
spec:
  function: work
  http:
    - name: paid
      match: [{attributes: {type: {exact: paid}}}]
      fault:
        abort: {httpStatus: 503, percentage: {value: 12.5}}
      mirrors: [{destination: {latest: true}, percentage: {value: 5}}]
---
"""


def trigger(subscriber: str = "{ref: {kind: Function, name: work}}", more: str = "") -> str:
    return dedent(
        f"""\
        apiVersion: eventing.knative.dev/v1
        kind: Trigger
        metadata: {{name: t}}
        spec:
          broker: default
          subscriber: {subscriber}
          {more}
        ---
        """
    )


def wired(*documents: str) -> Wiring:
    loaded = load_text("".join(documents), "w.yaml")
    assert loaded.errors == []
    return resolve(loaded.resources)


def told(wiring: Wiring, type: str = "paid") -> str:
    event = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": type})
    return call_in_words(event, "default/t", wiring, lambda function: None)


def test_the_first_route_that_matches_with_its_faults_and_copies() -> None:
    assert told(wired(FUNCTION, POLICY, trigger())) == (
        'route 0 "paid" of TrafficPolicy/default/p; 12.5 % are answered 503 on purpose; '
        "copies of 5 % to work"
    )


def test_a_call_that_no_route_matches() -> None:
    assert told(wired(FUNCTION, POLICY, trigger()), "made") == "no route of TrafficPolicy/default/p"


def test_the_event_is_matched_as_the_trigger_hands_it_over() -> None:
    transform = 'transform: {jsonata: {expression: \'$merge([$, {"type": "paid"}])\'}}'
    wiring = wired(FUNCTION, POLICY, trigger(more=transform))
    assert told(wiring, "made").startswith('route 0 "paid"')


def test_a_policy_that_is_not_in_effect_says_nothing() -> None:
    broken = POLICY.replace("latest: true", "revision: none")
    wiring = wired(FUNCTION, broken, trigger())
    assert wiring.remotes == {}
    assert told(wiring) == ""


def test_without_a_policy_or_a_function_there_is_nothing_to_say() -> None:
    assert told(wired(FUNCTION, trigger())) == ""
    assert told(wired(FUNCTION, POLICY, trigger("{uri: 'http://host/'}"))) == ""
    assert told(wired(trigger("{ref: {kind: Function, name: gone}}"))) == ""
