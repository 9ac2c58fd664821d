"""How a source's events reach their sink, and what becomes of those that don't."""

import asyncio
from base64 import b64decode

import pytest
from source_harness import (
    Sink,
    embedded_broker,
    eventually,
    outlet_into,
    outlet_to,
)

from brokers.base import Limits
from eventing.errors import BrokerFull, EventTooLarge, StorageError
from eventing.event import Event
from eventing.sources.outlet import Outlet, SourceRoute
from functions.base import Response
from triggers.delivery import DeliveryPolicy


def event(id: str = "1", **more: str) -> Event:
    return Event({"specversion": "1.0", "id": id, "source": "/s", "type": "t", **more}, b"x")


def test_the_sink_gets_the_event_with_what_is_set_on_every_one() -> None:
    async def main() -> None:
        sink = Sink()
        outlet = outlet_to(sink, extensions={"region": "eu", "source2": "x"})
        end = await outlet.deliver(event(region="us", knativebrokerttl="7"))
        assert end.how == "taken"
        (call,) = sink.calls
        assert call.event == event(region="eu", source2="x") and call.ttl == 7

    asyncio.run(main())


def test_a_failure_is_tried_again_as_the_policy_says_then_it_is_a_dead_letter() -> None:
    async def main() -> None:
        sink, dead = Sink(lambda event: Response(500, body=b"no luck")), Sink()
        outlet = outlet_to(sink, dead_letters=dead)
        end = await outlet.deliver(event())
        assert (end.how, len(sink.calls)) == ("dead-lettered", 4)
        assert [call.attempt for call in sink.calls] == [1, 2, 3, 4]
        told = dead.events[0].attributes
        assert told["knativeerrordest"] == "function:default/f"
        assert told["knativeerrorcode"] == "500"
        assert b64decode(told["knativeerrordata"]) == b"no luck"

    asyncio.run(main())


def test_what_is_refused_is_not_tried_again(caplog) -> None:
    async def main() -> None:
        sink = Sink(lambda event: Response(400, reason="answered 400 Bad Request"))
        outlet = outlet_to(sink)
        end = await outlet.deliver(event("7"))
        assert (end.how, len(sink.calls)) == ("given up", 1)
        assert outlet.counters.given_up == 1
        assert (await outlet.deliver(event())).how == "given up"

    asyncio.run(main())
    assert "gave up event 7 of /s: answered 400" in caplog.text


def test_replies_are_dropped() -> None:
    async def main() -> None:
        sink = Sink(lambda event: Response(200, (event,)))
        assert (await outlet_to(sink).deliver(event())).how == "taken"
        assert len(sink.calls) == 1

    asyncio.run(main())


def test_without_a_route_events_wait_for_one() -> None:
    async def main() -> None:
        outlet = Outlet("test")
        waiting = asyncio.ensure_future(outlet.deliver(event()))
        batch = asyncio.ensure_future(outlet.publish([event("2"), event("3")]))
        await asyncio.sleep(0)
        sink = Sink()
        outlet.route = SourceRoute(sink, "function:default/f", extensions={"region": "eu"})
        assert (await waiting).how == "taken" and await batch
        assert sink.ids == ["1", "2", "3"]
        assert all(each.attributes["region"] == "eu" for each in sink.events)

    asyncio.run(main())


class Moody:
    """A broker that answers its publishes with these errors first."""

    name = "default/b"

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.published: list[list[Event]] = []

    def publish(self, events):
        future = asyncio.get_running_loop().create_future()
        if self.errors:
            future.set_exception(self.errors.pop(0))
        else:
            self.published.append(list(events))
            future.set_result(list(range(len(events))))
        return future


@pytest.mark.parametrize("error", [BrokerFull("full", 0.01), StorageError("away")])
def test_a_broker_that_can_not_store_now_is_tried_until_it_can(error, monkeypatch, caplog) -> None:
    monkeypatch.setattr("eventing.sources.outlet.FIRST_WAIT", 0.001)
    monkeypatch.setattr("eventing.sources.outlet.LONGEST_WAIT", 0.001)

    async def main() -> None:
        broker = Moody(*[error] * 30)
        outlet = outlet_into(broker, policy=DeliveryPolicy(retry=1))
        assert await outlet.publish([event("1"), event("2")])
        assert [[each.attributes["id"] for each in batch] for batch in broker.published] == [
            ["1", "2"]
        ]
        broker.errors = [error] * 30
        assert (await outlet.deliver(event("3"))).how == "taken"
        assert outlet.obstacle == ""

    asyncio.run(main())
    assert len([each for each in caplog.records if "waits for its sink" in each.message]) == 2


def test_one_that_a_broker_never_takes_leaves_the_others_their_way() -> None:
    async def main() -> None:
        dead = Sink()
        broker = Moody(EventTooLarge("too large"), EventTooLarge("too large"))
        outlet = outlet_into(broker, sink=dead, sink_destination="function:default/dead")
        assert await outlet.publish([event("1"), event("2"), event("3")])
        assert dead.ids == ["1"] and dead.events[0].attributes["knativeerrorcode"] == "413"
        assert [batch[0].attributes["id"] for batch in broker.published] == ["2", "3"]

    asyncio.run(main())


def test_what_enters_a_broker_has_its_hops_counted(tmp_path) -> None:
    async def main() -> None:
        async with embedded_broker(tmp_path) as broker:
            outlet = outlet_into(broker)
            sent = [event("1"), event("2", knativebrokerttl="5"), event("3", knativebrokerttl="1")]
            assert await outlet.publish(sent[:2])
            assert await outlet.publish(sent)
            ttls = [each.event.attributes["knativebrokerttl"] async for each in broker.read()]
            assert ttls == ["255", "4", "255", "4"]
            (letter,) = await broker.dead_letters()
            assert letter.event == event("3") and "loop" in letter.failure.reason

    asyncio.run(main())


def test_a_full_broker_holds_events_and_loses_none(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("eventing.sources.outlet.LONGEST_WAIT", 0.05)

    async def main() -> None:
        async with embedded_broker(tmp_path) as broker:
            broker.set_limits(Limits(max_bytes=1))
            outlet = outlet_into(broker)
            sending = asyncio.ensure_future(outlet.publish([event("1"), event("2")]))
            await eventually(lambda: outlet.obstacle, "it is told")
            broker.set_limits(Limits())
            assert await sending and broker.head == 2

    asyncio.run(main())


def test_drain_ends_what_is_out_and_lets_go_of_what_waits() -> None:
    async def main() -> None:
        sink = Sink(lambda event: None if event.attributes["id"] == "1" else Response(503))
        outlet = outlet_to(sink, policy=DeliveryPolicy(retry=9, backoff_delay=600))
        out = asyncio.ensure_future(outlet.deliver(event("1")))
        waiting = asyncio.ensure_future(outlet.deliver(event("2")))
        await eventually(lambda: len(sink.calls) == 2, "both were tried")
        draining = asyncio.ensure_future(outlet.drain(10.0))
        assert (await waiting).how == "abandoned"
        sink.release()
        assert (await out).how == "taken" and await draining
        assert (await outlet.deliver(event("3"))).how == "abandoned"
        assert not await outlet.publish([event("4")])

    asyncio.run(main())


def test_what_is_not_answered_in_time_is_not_settled() -> None:
    async def main() -> None:
        sink = Sink(lambda event: None)
        outlet = outlet_to(sink)
        out = asyncio.ensure_future(outlet.deliver(event("1")))
        await eventually(lambda: sink.calls, "it is out")
        assert not await outlet.drain(0.01)
        assert (await out).how == "abandoned"
        sink.release()
        assert outlet.counters.taken == 0

    asyncio.run(main())


def test_the_one_who_cancels_is_told_no_end() -> None:
    async def main() -> None:
        sink = Sink(lambda event: None)
        outlet = outlet_to(sink)
        out = asyncio.ensure_future(outlet.deliver(event("1")))
        await eventually(lambda: sink.calls, "it is out")
        out.cancel()
        await asyncio.gather(out, return_exceptions=True)
        assert outlet.in_flight == 0
        sink.release()
        assert outlet.counters.taken == 0 and await outlet.drain(1.0)

    asyncio.run(main())
