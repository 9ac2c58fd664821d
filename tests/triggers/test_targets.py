"""A broker and an EventTransform as targets."""

import asyncio

import pytest

from brokers.embedded import EmbeddedBroker
from eventing.errors import BrokerFull, StorageError
from eventing.event import Event
from functions.base import Call, Response
from triggers.broker_target import BrokerTarget
from triggers.transform import compile_transform
from triggers.transform_target import TransformTarget

EVENT = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b'{"n": 1}')
JSON = Event({**EVENT.attributes, "datacontenttype": "application/json"}, EVENT.data)
RETYPED = '$merge([$, {"type": "other"}])'


def call(event: Event = JSON, ttl: int = 255) -> Call:
    return Call(event, 1, "default/t", None, ttl)


class Sink:
    def __init__(self, response: Response) -> None:
        self.response = response
        self.events: list[Event] = []

    def submit(self, call, done):
        self.events.append(call.event)
        done(self.response)


def answer(target, asked: Call) -> Response:
    answers: list[Response] = []
    target.submit(asked, answers.append)
    [response] = answers
    return response


class Nothing:
    def route(self, event):
        return ()

    def accepts(self, subscription, event):
        return False


def test_a_broker_takes_the_event_with_one_hop_less(tmp_path):
    async def main():
        broker = EmbeddedBroker("default/b", tmp_path / "b.db")
        await broker.start()
        broker.set_router(Nothing())
        answered = asyncio.get_running_loop().create_future()
        BrokerTarget(broker).submit(call(EVENT, 7), answered.set_result)
        assert (await asyncio.wait_for(answered, 10)).status == 202
        [stored] = [each.event async for each in broker.read()]
        assert stored.attributes == {**EVENT.attributes, "knativebrokerttl": "6"}
        await broker.close()

    asyncio.run(main())


def test_a_loop_of_brokers_ends():
    response = answer(BrokerTarget(None), call(ttl=1))
    assert response.status == 400
    assert "loop" in response.reason


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BrokerFull("full", 5.0), Response(429, reason="full", retry_after=5.0)),
        (StorageError("disk"), Response(503, reason="disk")),
        (ValueError("bug"), Response(500, reason="ValueError: bug")),
        (None, Response(0, reason="the broker was closed")),
    ],
    ids=["full", "storage", "unforeseen", "closed"],
)
def test_a_broker_that_can_not_store_is_an_answer(error, expected):
    class Failing:
        def publish(self, events):
            future = asyncio.get_running_loop().create_future()
            if error is None:
                future.cancel()
            else:
                future.set_exception(error)
            return future

    async def main():
        answered = asyncio.get_running_loop().create_future()
        BrokerTarget(Failing()).submit(call(), answered.set_result)
        assert await asyncio.wait_for(answered, 10) == expected

    asyncio.run(main())


def test_without_a_sink_the_transformed_event_is_the_reply():
    response = answer(TransformTarget(compile_transform(RETYPED)), call())
    assert response.status == 200
    assert [reply.attributes["type"] for reply in response.replies] == ["other"]


def test_with_a_sink_the_transformed_event_goes_there_and_its_answer_comes_back():
    sink = Sink(Response(200, (EVENT,)))
    response = answer(TransformTarget(compile_transform(RETYPED), sink), call())
    assert sink.events[0].attributes["type"] == "other"
    assert response == Response(200, (EVENT,))


def test_the_sinks_reply_can_be_transformed():
    target = TransformTarget(
        compile_transform("$"), Sink(Response(200, (JSON,))), compile_transform(RETYPED)
    )
    assert answer(target, call()).replies[0].attributes["type"] == "other"


def test_the_sinks_reply_can_be_dropped():
    target = TransformTarget(compile_transform("$"), Sink(Response(200, (JSON,))), discard=True)
    assert answer(target, call()) == Response(200)


def test_a_failing_sink_is_the_answer():
    target = TransformTarget(compile_transform("$"), Sink(Response(503, reason="down")))
    assert answer(target, call()) == Response(503, reason="down")


@pytest.mark.parametrize("expression", ['$error("no")', "data.n"], ids=["fails", "no event"])
def test_a_failing_expression_is_a_failed_attempt(expression):
    response = answer(TransformTarget(compile_transform(expression)), call())
    assert response.status == 500
    assert "transform" in response.reason


def test_a_failing_expression_for_the_reply_says_that_it_is_the_reply():
    target = TransformTarget(
        compile_transform("$"), Sink(Response(200, (JSON,))), compile_transform("data.n")
    )
    response = answer(target, call())
    assert response.status == 500
    assert response.reason.startswith("the reply: ")
