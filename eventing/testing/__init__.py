"""Tests for handlers and for whole wirings, with pytest or without it, and without a socket.

One handler, called in the test's own process just as a worker would call it::

    from eventing.testing import event, run
    from orders import charge                      # an @function

    def test_an_order_is_charged():
        result = run(charge, event("order.placed", {"id": 7, "total": 12.5}))
        assert result.reply.get_type() == "order.charged"

    def test_an_order_without_a_total_is_rejected():
        assert run(charge, {"id": 7}).rejected      # data alone: the event around it is made

A wiring, run by a real node in a process of its own, its brokers in a temporary folder::

    import pytest
    from eventing.testing import event, node

    @pytest.fixture(scope="module")
    def shop():
        with node("orders.py", "wiring.yaml") as running:
            yield running

    def test_an_order_is_charged_and_shipped(shop):
        journey = shop.send(event("order.placed", {"id": 7, "total": 12.5}))
        journey.assert_done()                       # waits until every reply is at its end, too
        journey.assert_delivered("charge")          # by the trigger of this name
        journey.assert_delivered("ship", attempts=1)
        assert [reply.get_type() for reply in journey.replies] == ["order.charged"]

    def test_the_till_is_asked_three_times(shop):
        journey = shop.send(event("order.placed", {"id": 8, "total": 1}, tilldown="always"))
        letter = journey.assert_dead("charge", reason="the till is down")
        assert letter.attempts == 3

Waits before retries are a hundredth of what the wiring says (`node(…, speed=1)` for real time).
Where an assertion fails it says what happened instead: every attempt with its reason, and where
nothing happened, which clause of which trigger's filter, at which line, did not match.

Mistakes in the files raise eventing.errors.UserError with the command line's message. Nothing of
the node is imported into the test, so a project may have packages called `functions`, `brokers` or
`triggers`; the node's process ends with the test's, even if that is killed.
"""

from eventing.testing.journey import Journey
from eventing.testing.making_events import event
from eventing.testing.records import Attempt, DeadLetter, Delivery, LogLine, Verdict
from eventing.testing.running_handlers import Result, run
from eventing.testing.running_node import Node, Unfinished, node

__all__ = [
    "Attempt",
    "DeadLetter",
    "Delivery",
    "Journey",
    "LogLine",
    "Node",
    "Result",
    "Unfinished",
    "Verdict",
    "event",
    "node",
    "run",
]
