"""eventing.testing.node: a wiring run by a real node in a process of its own, without a port."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from eventing.errors import UserError
from eventing.testing import Node, Unfinished, event, node

CODE = """
import os
from eventing import CloudEvent, Context, Reject, Retry, function

@function
def charge(event: CloudEvent, ctx: Context):
    print("charging", event.get_data())
    match event.get_extension("till"):
        case "down":
            raise Retry(after=600, reason="the till is down")
        case "slow":
            if ctx.attempt < 3:
                raise ConnectionError("no answer from the till")
        case "gone":
            raise Reject("there is no till")
    return ctx.event("order.charged", {"by": os.environ.get("TILL", "?")})

@function
async def ship(event: CloudEvent, ctx: Context):
    return ctx.event("order.shipped", b"\\xff\\x00")

@function
def regret(event: CloudEvent):
    pass
"""

WIRING = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: archive}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: charge}
spec:
  broker: default
  filters:
    - exact: {type: order.placed}
    - not: {exact: {customer: regretted}}
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: charge}}
  delivery: {retry: 2, backoffPolicy: linear, backoffDelay: PT30S}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: charge-or-regret}
spec:
  broker: default
  filter: {attributes: {type: order.placed, customer: regretted}}
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: charge}}
  delivery:
    deadLetterSink: {ref: {apiVersion: functions/v1, kind: Function, name: regret}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: ship}
spec:
  broker: default
  filter: {attributes: {type: order.charged}}
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: ship}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: keep}
spec:
  broker: default
  filter: {attributes: {type: order.shipped}}
  subscriber: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: archive}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: mail}
spec:
  broker: default
  filter: {attributes: {type: mail.wanted}}
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: postman}}
"""


def project(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(dedent(text).lstrip())
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = project(tmp_path_factory.mktemp("shop"), app_py=CODE, wiring_yaml=WIRING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILL", "till 5")
        patch.chdir(folder)
        with node("app.py", "wiring.yaml", speed=1000) as running:
            yield running


def test_a_chain_of_replies_is_waited_for_and_told(shop: Node) -> None:
    journey = shop.send(event("order.placed", {"id": 1})).assert_done()
    assert [reply.get_type() for reply in journey.replies] == [
        "order.charged",
        "order.shipped",
        "order.shipped",  # in the broker `archive`
    ]
    assert [(each.trigger, each.outcome) for each in journey.deliveries] == [
        ("default/charge", "done"),
        ("default/ship", "done"),
        ("default/keep", "done"),
    ]
    archived = shop.events("order.shipped", broker="archive")
    assert archived[-1].get_data() == b"\xff\x00"
    assert archived[-1].get_id() == journey.replies[-1].get_id()


def test_functions_have_the_environment_of_the_test(shop: Node) -> None:
    journey = shop.send(event("order.placed")).assert_done()
    assert journey.replies[0].get_data() == {"by": "till 5"}


def test_a_retry_that_succeeds_does_not_wait_as_long_as_the_wiring_says(shop: Node) -> None:
    delivery = shop.send(event("order.placed", till="slow")).assert_delivered("charge", attempts=3)
    assert [attempt.outcome for attempt in delivery.attempts] == ["retry", "retry", "done"]
    assert [attempt.wait for attempt in delivery.attempts] == [30, 60, None]
    assert delivery.attempts[0].reason == "ConnectionError: no answer from the till"


def test_the_number_of_attempts_is_held_to(shop: Node) -> None:
    journey = shop.send(event("order.placed", till="slow"))
    with pytest.raises(AssertionError, match="charge took it after 3 attempts, not 1"):
        journey.assert_delivered("charge", attempts=1)


def test_a_dead_letter_tells_its_reason_and_attempts(shop: Node) -> None:
    journey = shop.send(event("order.placed", {"id": 2}, till="down"))
    letter = journey.assert_dead("charge", reason="the till is down")
    assert (letter.code, letter.attempts, letter.event.get_data()) == (503, 3, {"id": 2})
    assert letter.text == "the till is down"
    assert [attempt.wait for attempt in journey.deliveries[0].attempts] == [600, 600, None]
    assert str(letter) in map(str, shop.dead_letters("charge"))
    assert [str(each) for each in journey.dead_letters] == [str(letter)]


def test_a_rejected_event_is_not_tried_again(shop: Node) -> None:
    journey = shop.send(event("order.placed", till="gone"))
    assert journey.assert_dead("charge").attempts == 1
    with pytest.raises(AssertionError, match="of another reason than 'snow': there is no till"):
        journey.assert_dead("charge", reason="snow")


def test_a_failed_delivery_is_told_attempt_by_attempt(shop: Node) -> None:
    journey = shop.send(event("order.placed", till="down", id="told"))
    with pytest.raises(AssertionError) as failure:
        journey.assert_done()
    assert str(failure.value).splitlines() == [
        "the event 'order.placed' told: not all of its deliveries were done",
        "  order.placed told by default/charge: dead",
        "    attempt 1 at function:default/charge: 503, the till is down → again after 600 s",
        "    attempt 2 at function:default/charge: 503, the till is down → again after 600 s",
        "    attempt 3 at function:default/charge: 503, the till is down → dead letter",
    ]


def test_a_dead_letter_sink_that_took_it_is_told_from_a_dead_letter(shop: Node) -> None:
    journey = shop.send(event("order.placed", customer="regretted", till="gone"))
    delivery = journey.assert_dead_lettered("charge-or-regret")
    assert [attempt.stage for attempt in delivery.attempts] == ["subscriber", "dead_letter"]
    assert delivery.attempts[-1].destination == "function:default/regret"
    assert journey.dead_letters == []
    journey.assert_not_delivered("charge")


def test_where_no_filter_matches_each_triggers_clause_and_place_are_told(shop: Node) -> None:
    journey = shop.send(event("order.replaced", id="odd"))
    with pytest.raises(AssertionError) as failure:
        journey.assert_done()
    first, *reasons = str(failure.value).splitlines()
    assert first == "the event 'order.replaced' odd: no trigger took it"
    (charge,) = (line for line in reasons if "default/charge (" in line)
    assert "default/charge (wiring.yaml:5:1) does not" in charge
    assert '"order.placed"' in charge
    assert '"order.replaced"' in charge
    assert "(wiring.yaml:11:" in charge


def test_one_trigger_that_left_an_event_to_others_says_why(shop: Node) -> None:
    journey = shop.send(event("order.placed"))
    with pytest.raises(AssertionError, match=r"not delivered by charge-or-regret(.|\n)*customer"):
        journey.assert_delivered("charge-or-regret")
    with pytest.raises(AssertionError, match="there is no trigger chrage"):
        journey.assert_delivered("chrage")
    with pytest.raises(AssertionError, match="was offered to charge"):
        journey.assert_not_delivered("charge")


def test_explain_needs_no_sending(shop: Node) -> None:
    verdicts = {verdict.trigger: verdict for verdict in shop.explain(event("order.charged"))}
    assert verdicts["default/ship"].matches
    assert str(verdicts["default/ship"]) == "default/ship (wiring.yaml:26:1) takes it"
    assert not verdicts["default/charge"].matches


def test_several_events_are_sent_in_order(shop: Node) -> None:
    batch = [event("batch", {"n": n}) for n in range(50)]
    journeys = shop.send(batch)
    found = shop.assert_events("batch", count=50)
    assert [each.get_id() for each in found] == [journey.event.get_id() for journey in journeys]
    with pytest.raises(AssertionError, match="49 events of type 'batch' expected, not 50"):
        shop.assert_events("batch", count=49)


def test_what_a_function_prints_carries_its_event(shop: Node) -> None:
    journey = shop.send(event("order.placed", {"id": "printed"})).assert_done()
    line = shop.logs("charge")[-1]
    assert (line.stream, line.text) == ("stdout", "charging {'id': 'printed'}")
    assert line.event_id == journey.event.get_id()
    with pytest.raises(UserError, match="there is no function default/chrage; there are:"):
        shop.logs("chrage")


def test_what_the_ingress_refuses_is_told(shop: Node) -> None:
    with pytest.raises(UserError, match="there is no broker 'nowhere'"):
        shop.send(event("t"), broker="nowhere")
    with pytest.raises(UserError, match="knativebrokerttl"):
        shop.send(event("t", knativebrokerttl=0))
    with pytest.raises(UserError, match="16777216"):
        shop.send(event("t", bytes((16 << 20) + 1)))


def test_attempts_and_deliveries_of_one_trigger(shop: Node) -> None:
    shop.send(event("order.placed", till="slow")).wait()
    assert {attempt.trigger for attempt in shop.attempts("ship")} == {"default/ship"}
    assert len(shop.deliveries("charge")[-1].attempts) == 3
    assert shop.attempts("no-such") == []


def test_events_that_a_trigger_holds_are_told_at_once(tmp_path: Path) -> None:
    folder = project(tmp_path, app_py=CODE, wiring_yaml=WIRING)
    with node(folder) as shop:
        journey = shop.send(event("mail.wanted"))
        with pytest.raises(Unfinished) as failure:
            journey.assert_done()
        assert "default/mail: holds 1, for it is not ready: " in str(failure.value)
        assert "postman" in str(failure.value)


def test_what_is_not_at_its_end_in_time_is_told_with_its_latest_attempt(tmp_path: Path) -> None:
    folder = project(tmp_path, app_py=CODE, wiring_yaml=WIRING)
    with node(folder, speed=1, timeout=20) as shop:
        journey = shop.send(event("order.placed", till="slow"))
        with pytest.raises(Unfinished) as failure:
            journey.wait(timeout=1)
    first, waiting, latest = str(failure.value).splitlines()
    assert first == "events are on their way after 1 s:"
    assert waiting.startswith("  default/charge: 1 not at their end, 0 of them at the subscriber")
    assert latest.endswith("ConnectionError: no answer from the till → again after 30 s")


def test_yaml_that_does_not_load_raises_with_every_place(tmp_path: Path) -> None:
    folder = project(tmp_path, app_py=CODE)
    (folder / "wiring.yaml").write_text(WIRING.replace("filters:", "filtres:"))
    with pytest.raises(UserError, match=r"wiring\.yaml:11:3: .*filtres.*filters"), node(folder):
        pass


def test_python_that_can_not_be_imported_raises_with_its_place(tmp_path: Path) -> None:
    code = "from eventing import function\nimport no_such_module_here\n"
    folder = project(tmp_path, app_py=code)
    with pytest.raises(UserError, match=r"app\.py:2: ModuleNotFoundError"), node(folder / "app.py"):
        pass


def test_a_handler_that_is_not_there_is_told(tmp_path: Path) -> None:
    wiring = """
    apiVersion: functions/v1
    kind: Function
    metadata: {name: charge}
    spec: {handler: "app:chrage"}
    """
    folder = project(tmp_path, app_py=CODE, wiring_yaml=wiring)
    with pytest.raises(UserError, match="has no 'chrage'; it has charge, ship, regret"):
        with node(folder):
            pass


def test_paths_and_numbers_that_make_no_sense_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file or folder, seen from"):
        with node(tmp_path / "nowhere.yaml"):
            pass
    with pytest.raises(UserError, match="takes the files and folders to run"), node():
        pass
    with pytest.raises(UserError, match=r"node\(speed=0\): takes a number above 0"):
        with node(tmp_path, speed=0):
            pass


def test_a_data_folder_that_is_given_is_kept(tmp_path: Path) -> None:
    folder = project(tmp_path, wiring_yaml="")
    with node(folder / "wiring.yaml", data=tmp_path / "data") as first:
        first.send(event("kept", id="1"))
    with node(folder / "wiring.yaml", data=tmp_path / "data") as second:
        assert [each.get_id() for each in second.events("kept")] == ["1"]
