"""One trigger at work over a real embedded broker: attempts, outcomes, replies, bounds."""

import asyncio
import time
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest

from brokers.embedded import EmbeddedBroker
from eventing.errors import UserError
from eventing.event import Event
from functions.base import Call, Response
from triggers.delivery import DeliveryPolicy
from triggers.dispatcher import Dispatcher, Route

TRIGGER = "default/t"


class Everything:
    """A router for which the one trigger wants what no function replied."""

    def route(self, event):
        return [TRIGGER] if event.attributes["type"] != "reply" else []

    def accepts(self, subscription, event):
        return bool(self.route(event))


class Subscriber:
    """Answers each call as told, at once or when asked to."""

    def __init__(self, answer: Callable[[Call], Response] | None = None):
        self.answer = answer
        self.calls = []
        self.pending = []
        self.most = 0

    def submit(self, call, done):
        self.calls.append(call)
        if self.answer is None:
            self.pending.append(done)
            self.most = max(self.most, len(self.pending))
        else:
            done(self.answer(call))

    def release(self, response=None):
        pending, self.pending = self.pending, []
        for done in pending:
            done(response or Response(200))


def event(number: int = 1, type: str = "order", **extensions: str) -> Event:
    return Event(
        {"specversion": "1.0", "id": str(number), "source": "/s", "type": type, **extensions},
        b"data",
    )


@asynccontextmanager
async def dispatching(tmp_path, subscriber, **route):
    broker = EmbeddedBroker("default/b", tmp_path / "b.db")
    await broker.start()
    broker.set_router(Everything())
    subscription = await broker.subscribe(TRIGGER)
    dispatcher = Dispatcher(TRIGGER, subscription, Route(subscriber, "function:f", **route))
    try:
        yield broker, dispatcher
    finally:
        await dispatcher.stop(0.1)
        await broker.close()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.005)


def test_the_subscriber_gets_the_event_without_the_brokers_own_attribute(tmp_path):
    async def main():
        subscriber = Subscriber(lambda call: Response(200))
        async with dispatching(tmp_path, subscriber) as (broker, dispatcher):
            await broker.publish([event(knativebrokerttl="9")])
            await until(lambda: dispatcher.counters.done == 1)
        assert subscriber.calls[0].event == event()
        assert (subscriber.calls[0].attempt, subscriber.calls[0].ttl) == (1, 9)

    asyncio.run(main())


def test_replies_enter_the_broker_with_one_hop_less(tmp_path):
    async def main():
        subscriber = Subscriber(lambda call: Response(200, (event(2, "reply"),)))
        async with dispatching(tmp_path, subscriber) as (broker, dispatcher):
            await broker.publish([event(knativebrokerttl="9")])
            await until(lambda: dispatcher.outstanding == 0 and dispatcher.counters.done == 1)
            stored = [each.event async for each in broker.read()]
        assert stored[1] == event(2, "reply", knativebrokerttl="8")

    asyncio.run(main())


def test_a_loop_of_replies_ends_as_a_dead_letter_that_says_so(tmp_path):
    async def main():
        subscriber = Subscriber(lambda call: Response(200, (event(2),)))
        async with dispatching(tmp_path, subscriber) as (broker, dispatcher):
            await broker.publish([event(knativebrokerttl="4")])
            await until(lambda: dispatcher.counters.dead == 1)
            await until(lambda: dispatcher.outstanding == 0)
            [letter] = await broker.dead_letters()
        assert len(subscriber.calls) == 4
        assert letter.failure.code == 400
        assert "loop" in letter.failure.reason

    asyncio.run(main())


def test_a_failed_attempt_is_retried_with_its_count(tmp_path):
    async def main():
        subscriber = Subscriber(lambda call: Response(500 if call.attempt < 3 else 200))
        policy = DeliveryPolicy(retry=3, backoff_delay=0.01)
        async with dispatching(tmp_path, subscriber, policy=policy) as (broker, dispatcher):
            await broker.publish([event()])
            await until(lambda: dispatcher.counters.done == 1)
        assert [call.attempt for call in subscriber.calls] == [1, 2, 3]

    asyncio.run(main())


def test_a_spent_event_goes_to_the_sink_with_what_went_wrong(tmp_path):
    async def main():
        subscriber = Subscriber(lambda call: Response(400, body=b"why", reason="bad"))
        sink = Subscriber(lambda call: Response(200, (event(3, "reply"),)))
        async with dispatching(tmp_path, subscriber, sink=sink, sink_destination="function:q") as (
            broker,
            dispatcher,
        ):
            await broker.publish([event(knativebrokerttl="9")])
            await until(lambda: dispatcher.counters.dead_lettered == 1)
            await until(lambda: dispatcher.outstanding == 0)
            letters, log = await broker.dead_letters(), [each async for each in broker.read()]
        assert sink.calls[0].event == event(
            knativeerrordest="function:f", knativeerrorcode="400", knativeerrordata="d2h5"
        )
        assert (letters, len(log)) == ([], 1)

    asyncio.run(main())


def test_a_failing_sink_leaves_the_event_in_the_brokers_dead_letters(tmp_path):
    async def main():
        failing = Subscriber(lambda call: Response(400, reason="no"))
        async with dispatching(tmp_path, failing, sink=failing, sink_destination="s") as (
            broker,
            dispatcher,
        ):
            await broker.publish([event()])
            await until(lambda: dispatcher.counters.dead == 1)
            await until(lambda: dispatcher.outstanding == 0)
            [letter] = await broker.dead_letters()
        assert letter.event == event()
        assert letter.failure.reason == "no; the dead-letter sink failed too: no"

    asyncio.run(main())


def test_a_failing_transform_is_a_failed_attempt(tmp_path):
    class Broken:
        def apply(self, event):
            raise UserError("the transform failed: no such thing")

    async def main():
        subscriber = Subscriber(lambda call: Response(200))
        async with dispatching(tmp_path, subscriber, transform=Broken()) as (broker, dispatcher):
            await broker.publish([event()])
            await until(lambda: dispatcher.counters.dead == 1)
            await until(lambda: dispatcher.outstanding == 0)
            [letter] = await broker.dead_letters()
        assert subscriber.calls == []
        assert letter.failure.reason == "the transform failed: no such thing"

    asyncio.run(main())


def test_no_more_is_out_than_the_route_allows(tmp_path):
    async def main():
        subscriber = Subscriber()
        async with dispatching(tmp_path, subscriber, in_flight=3) as (broker, dispatcher):
            await broker.publish([event(number) for number in range(20)])
            while dispatcher.counters.done < 20:
                await until(lambda: subscriber.pending != [] or dispatcher.counters.done == 20)
                subscriber.release()
        assert subscriber.most == 3

    asyncio.run(main())


def test_stopping_waits_for_what_is_out(tmp_path):
    async def main():
        subscriber = Subscriber()
        async with dispatching(tmp_path, subscriber) as (broker, dispatcher):
            await broker.publish([event()])
            await until(lambda: len(subscriber.pending) == 1)
            stopping = asyncio.ensure_future(dispatcher.stop(10.0))
            await asyncio.sleep(0)
            assert not stopping.done()
            subscriber.release()
            assert await stopping

    asyncio.run(main())


def test_what_outlives_the_grace_time_comes_again_and_its_answer_counts_for_nothing(tmp_path):
    async def main():
        subscriber = Subscriber()
        async with dispatching(tmp_path, subscriber) as (broker, dispatcher):
            await broker.publish([event()])
            await until(lambda: len(subscriber.pending) == 1)
            assert not await dispatcher.stop(0.01)
            subscriber.release()
        again = Subscriber(lambda call: Response(200))
        async with dispatching(tmp_path, again) as (_, dispatcher):
            await until(lambda: dispatcher.counters.done == 1)
        assert again.calls[0].attempt == 1

    asyncio.run(main())


def test_an_observer_sees_every_attempt_and_its_outcome(tmp_path):
    class Observer:
        def __init__(self):
            self.seen = []

        def attempt(self, attempt):
            self.seen.append((attempt.delivery.attempt, type(attempt.outcome).__name__))

    async def main():
        observer = Observer()
        subscriber = Subscriber(lambda call: Response(503 if call.attempt < 2 else 200))
        policy = DeliveryPolicy(retry=1, backoff_delay=0.01)
        async with dispatching(tmp_path, subscriber, policy=policy) as (broker, dispatcher):
            dispatcher.observer = observer
            await broker.publish([event()])
            await until(lambda: dispatcher.counters.done == 1)
        assert observer.seen == [(1, "Retry"), (2, "Done")]

    asyncio.run(main())


@pytest.mark.parametrize("status", [404, 429, 503])
def test_nothing_is_dropped_whatever_the_answer(tmp_path, status):
    async def main():
        subscriber = Subscriber(lambda call: Response(status))
        async with dispatching(tmp_path, subscriber) as (broker, dispatcher):
            await broker.publish([event(number) for number in range(10)])
            await until(lambda: dispatcher.counters.dead == 10)
            await until(lambda: dispatcher.outstanding == 0)
            assert len(await broker.dead_letters()) == 10

    asyncio.run(main())


def reply(number: str, **extensions: str) -> Event:
    return Event(
        {"specversion": "1.0", "id": number, "source": "/f", "type": "reply", **extensions}
    )


def test_a_reply_that_is_no_event_fails_its_own_attempt_alone(tmp_path):
    async def main():
        def answer(call: Call) -> Response:
            number = call.event.attributes["id"]
            bad = {"note": "\ud800"} if number == "1" and call.attempt == 1 else {}
            return Response(200, (reply(number, **bad),))

        policy = DeliveryPolicy(retry=1, backoff_delay=0.01)
        async with dispatching(tmp_path, Subscriber(answer), policy=policy) as (broker, dispatcher):
            await broker.publish([event(number) for number in range(3)])
            await until(lambda: dispatcher.counters.done == 3)
            await until(lambda: dispatcher.outstanding == 0)
            assert dispatcher.counters.retried == 1
            stored = [each.event async for each in broker.read()]
            replies = [each for each in stored if each.attributes["type"] == "reply"]
            assert sorted(each.attributes["id"] for each in replies) == ["0", "1", "2"]
            assert (await broker.stats()).subscriptions[TRIGGER].lag == 0

    asyncio.run(main())


def test_a_reply_too_large_to_store_fails_its_own_attempt_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("brokers.embedded.transaction.LARGEST_DATA", 1000)

    async def main():
        def answer(call: Call) -> Response:
            number = call.event.attributes["id"]
            data = bytes(1001 if number == "1" else 10)
            return Response(200, (Event(reply(number).attributes, data),))

        async with dispatching(tmp_path, Subscriber(answer)) as (broker, dispatcher):
            await broker.publish([event(number) for number in range(3)])
            await until(lambda: dispatcher.counters.attempts == 3)
            await until(lambda: dispatcher.outstanding == 0)
            (letter,) = await broker.dead_letters()
            assert letter.event.attributes["id"] == "1"
            assert "its reply can't be stored" in letter.failure.reason
            assert (await broker.stats()).subscriptions[TRIGGER].lag == 0

    asyncio.run(main())


def test_a_status_beyond_any_protocol_is_cut_and_strands_nothing(tmp_path):
    async def main():
        subscriber = Subscriber(lambda call: Response(2**63))
        async with dispatching(tmp_path, subscriber) as (broker, dispatcher):
            await broker.publish([event()])
            await until(lambda: dispatcher.counters.dead == 1)
            await until(lambda: dispatcher.outstanding == 0)
            (letter,) = await broker.dead_letters()
            assert letter.failure.code == 2**31 - 1

    asyncio.run(main())


def test_a_transform_that_breaks_costs_its_event_an_attempt_and_not_the_trigger(tmp_path):
    class Broken:
        def apply(self, event):
            if event.attributes["id"] == "1":
                raise ZeroDivisionError
            return event

    async def main():
        subscriber = Subscriber(lambda call: Response(200))
        async with dispatching(tmp_path, subscriber, transform=Broken()) as (broker, dispatcher):
            await broker.publish([event(number) for number in range(3)])
            await until(lambda: dispatcher.counters.attempts == 3)
            await until(lambda: dispatcher.outstanding == 0)
            (letter,) = await broker.dead_letters()
            assert "ZeroDivisionError" in letter.failure.reason

    asyncio.run(main())
