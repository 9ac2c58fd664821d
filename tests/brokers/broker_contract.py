"""What every broker promises, as one suite to run against each implementation.

A test module makes a class of BrokerContract and gives it a fixture `harness`.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import pytest

from brokers.base import (
    At,
    Broker,
    Dead,
    Delivery,
    Done,
    Failure,
    Limits,
    Order,
    Place,
    Retry,
    Subscription,
)
from eventing.errors import BrokerFull
from eventing.event import Event

REFUSED = Failure("http://subscriber/", 503, "503 Service Unavailable", b"busy\xff")


class Harness(Protocol):
    """Brokers over one lasting place, one at a time.

    `own_records`: how many records of its own the engine may count as the log's in such a test.
    `takeover`: seconds within which what a crash left in flight is handed out again.
    """

    own_records: int
    takeover: float

    async def open(self, limits: Limits | None = None) -> Broker:
        """A started broker over what the one before it left."""

    async def crash(self, broker: Broker) -> None:
        """End it as a kill would: nothing more is written, nothing is closed in order."""


def awaited(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an async test, within a minute."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def within() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(within())

    return run


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for it. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def event(id: int | str, type: str = "order", data: bytes | None = b"{}", **more: str) -> Event:
    attributes = {"specversion": "1.0", "id": str(id), "source": "/test", "type": type, **more}
    return Event(attributes, data)


class TypeRouter:
    """Each subscription wants the event types listed for it; one listed with None wants all."""

    observed = False
    routed: tuple[Event, ...] = ()

    def __init__(self, **wants: set[str] | None) -> None:
        self.wants = wants

    def route(self, event: Event) -> Iterable[str]:
        self.routed += (event,)
        return [name for name in self.wants if self.accepts(name, event)]

    def accepts(self, subscription: str, event: Event) -> bool:
        types = self.wants.get(subscription, set())
        return types is None or event.attributes["type"] in types


ALL = TypeRouter(a=None, b=None, c=None)


async def opened(
    harness: Harness, router: TypeRouter = ALL, limits: Limits | None = None
) -> Broker:
    broker = await harness.open(limits)
    broker.set_router(router)
    return broker


async def receive(subscription: Subscription, count: int) -> list[Delivery]:
    """Exactly `count` deliveries, however many calls they take."""
    deliveries: list[Delivery] = []
    while len(deliveries) < count:
        async with asyncio.timeout(20):
            deliveries += await subscription.receive(count - len(deliveries))
    return deliveries


async def receives_nothing(subscription: Subscription) -> bool:
    """Whether nothing comes within a time in which anything ready would have come."""
    try:
        async with asyncio.timeout(0.3):
            await subscription.receive(1)
    except TimeoutError:
        return True
    return False


def ids(deliveries: Iterable[Delivery]) -> list[str]:
    return [delivery.event.attributes["id"] for delivery in deliveries]


async def settle_all(subscription: Subscription, deliveries: Iterable[Delivery]) -> None:
    await subscription.settle([Done(delivery) for delivery in deliveries])


async def publish(broker: Broker, *ids: int | str, **more: str) -> list[int]:
    return await broker.publish([event(id, **more) for id in ids])


class BrokerContract:
    # Publishing.

    @awaited
    async def test_positions_rise_in_the_order_of_publishing(self, harness: Harness) -> None:
        broker = await opened(harness)
        first = await publish(broker, 1, 2)
        second = await publish(broker, 3)
        assert sorted(first + second) == first + second
        assert len(set(first + second)) == 3
        await broker.close()

    @awaited
    async def test_an_event_is_handed_out_as_it_came(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        sent = [
            event("ü", data=b"\x00\xff", extension="é \U0001f600", partitionkey=""),
            event("none", data=None),
            event("empty", data=b""),
        ]
        positions = await broker.publish(sent)
        got = await receive(a, 3)
        assert [delivery.event for delivery in got] == sent
        assert [delivery.position for delivery in got] == positions
        assert {(d.attempt, d.stage, d.failure) for d in got} == {(1, "subscriber", None)}
        await broker.close()

    @awaited
    async def test_published_events_survive_a_crash(self, harness: Harness) -> None:
        broker = await opened(harness)
        await broker.subscribe("a")
        await publish(broker, *range(10))
        await harness.crash(broker)
        broker = await opened(harness)
        a = await broker.subscribe("a")
        assert ids(await receive(a, 10)) == [str(n) for n in range(10)]
        await broker.close()

    @awaited
    async def test_a_publish_of_no_events_has_no_positions(self, harness: Harness) -> None:
        broker = await opened(harness)
        assert await broker.publish([]) == []
        await broker.close()

    @awaited
    async def test_many_publish_at_once(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        positions = await asyncio.gather(*(publish(broker, n) for n in range(300)))
        assert len({position for (position,) in positions}) == 300
        got = await receive(a, 300)
        assert sorted(int(id) for id in ids(got)) == list(range(300))
        await broker.close()

    # Subscriptions.

    @awaited
    async def test_each_subscription_gets_what_its_filter_wants(self, harness: Harness) -> None:
        broker = await opened(harness, TypeRouter(a={"x"}, b={"x", "y"}))
        a, b = await broker.subscribe("a"), await broker.subscribe("b")
        await broker.publish([event(1, "x"), event(2, "y"), event(3, "z")])
        assert ids(await receive(a, 1)) == ["1"]
        assert ids(await receive(b, 2)) == ["1", "2"]
        assert await receives_nothing(a)
        assert await receives_nothing(b)
        await broker.close()

    @awaited
    async def test_a_new_router_counts_for_events_stored_from_then_on(
        self, harness: Harness
    ) -> None:
        broker = await opened(harness, TypeRouter(a={"x"}))
        a = await broker.subscribe("a")
        await broker.publish([event(1, "x"), event(2, "y")])
        broker.set_router(TypeRouter(a={"y"}))
        await broker.publish([event(3, "x"), event(4, "y")])
        assert ids(await receive(a, 2)) == ["1", "4"]
        await broker.close()

    @awaited
    async def test_a_new_subscription_begins_with_the_next_event(self, harness: Harness) -> None:
        broker = await opened(harness)
        await publish(broker, 1)
        a = await broker.subscribe("a")
        await publish(broker, 2)
        assert ids(await receive(a, 1)) == ["2"]
        await broker.close()

    @awaited
    async def test_a_new_subscription_may_begin_at_a_position(self, harness: Harness) -> None:
        broker = await opened(harness)
        positions = await publish(broker, 1, 2, 3)
        whole = await broker.subscribe("a", start=1)
        rest = await broker.subscribe("b", start=positions[1])
        assert ids(await receive(whole, 3)) == ["1", "2", "3"]
        assert ids(await receive(rest, 2)) == ["2", "3"]
        await broker.close()

    @awaited
    async def test_a_known_subscription_goes_on_where_it_was(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1, 2, 3)
        await settle_all(a, await receive(a, 1))
        await broker.close()
        broker = await opened(harness)
        assert broker.known_subscriptions() == ["a"]
        a = await broker.subscribe("a", start=1)
        assert ids(await receive(a, 2)) == ["2", "3"]
        await broker.close()

    @awaited
    async def test_events_of_a_closed_subscription_wait_for_it(self, harness: Harness) -> None:
        broker = await opened(harness)
        await broker.subscribe("a")
        await broker.detach("a")
        await publish(broker, 1)
        a = await broker.subscribe("a")
        assert ids(await receive(a, 1)) == ["1"]
        await broker.close()

    @awaited
    async def test_detach_forgets_what_is_in_flight_and_keeps_what_is_settled(
        self, harness: Harness
    ) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1, 2, 3)
        got = await receive(a, 2)
        settled = a.settle([Done(got[0])])
        await broker.detach("a")
        assert await settled == [()]
        late = await a.settle([Done(got[1], (event("late"),))])
        assert late == [()]
        again = await broker.subscribe("a")
        assert ids(await receive(again, 2)) == ["2", "3"]
        assert await receives_nothing(again)
        await broker.close()

    @awaited
    async def test_detach_ends_a_wait_for_deliveries(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        waiting = asyncio.ensure_future(a.receive(1))
        await asyncio.sleep(0)
        await broker.detach("a")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await broker.close()

    @awaited
    async def test_unsubscribe_tells_how_much_was_left_and_forgets_it(
        self, harness: Harness
    ) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1, 2, 3, 4)
        got = await receive(a, 2)
        await a.settle([Done(got[0]), Retry(got[1], time.time() + 60, REFUSED)])
        assert await broker.unsubscribe("a") == 3
        assert broker.known_subscriptions() == []
        a = await broker.subscribe("a")
        assert await receives_nothing(a)
        await publish(broker, 5)
        assert ids(await receive(a, 1)) == ["5"]
        await broker.close()

    # Receiving.

    @awaited
    async def test_receive_keeps_to_its_limit_and_waits_for_nothing_more(
        self, harness: Harness
    ) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1, 2, 3)
        assert len(await a.receive(2)) == 2
        assert len(await a.receive(2)) == 1
        await broker.close()

    @awaited
    async def test_a_cancelled_receive_loses_nothing(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        got: list[Delivery] = []
        for n in range(20):
            waiting = asyncio.ensure_future(a.receive(1))
            await asyncio.sleep(0)
            stored = broker.publish([event(n)])
            if n % 2:
                await stored
            waiting.cancel()
            await asyncio.wait([waiting])
            if not waiting.cancelled():
                got += waiting.result()
            await stored
        got += await receive(a, 20 - len(got))
        assert sorted(int(id) for id in ids(got)) == list(range(20))
        await broker.close()

    @awaited
    async def test_in_flight_deliveries_are_not_handed_out_twice(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1)
        await receive(a, 1)
        assert await receives_nothing(a)
        await broker.close()

    @awaited
    async def test_more_events_than_memory_takes_all_arrive_in_order(
        self, harness: Harness
    ) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        for first in range(0, 5000, 500):
            await publish(broker, *range(first, first + 500))
        got: list[str] = []
        stored = 5000
        while len(got) < 6000:
            batch = await a.receive(100)
            got += ids(batch)
            await settle_all(a, batch)
            # More comes in while it catches up, a little at each step.
            if stored < 6000 and len(got) > stored - 4500:
                await publish(broker, *range(stored, stored + 100))
                stored += 100
        assert got == [str(n) for n in range(6000)]
        await broker.close()

    # Settling.

    @awaited
    async def test_settled_deliveries_never_come_again_in_whatever_order_they_were_settled(
        self, harness: Harness
    ) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, *range(10))
        got = await receive(a, 8)
        await settle_all(a, [got[7], got[2], got[5]])
        await harness.crash(broker)
        broker = await opened(harness)
        a = await broker.subscribe("a")
        again = await receive(a, 7)
        assert sorted(ids(again)) == ["0", "1", "3", "4", "6", "8", "9"]
        await settle_all(a, again[::-1])
        await harness.crash(broker)
        broker = await opened(harness)
        assert await receives_nothing(await broker.subscribe("a"))
        await broker.close()

    @awaited
    async def test_replies_enter_the_log_with_the_acknowledgement(self, harness: Harness) -> None:
        broker = await opened(harness, TypeRouter(a={"order"}, b={"reply"}))
        a, b = await broker.subscribe("a"), await broker.subscribe("b")
        await publish(broker, 1, 2)
        got = await receive(a, 2)
        positions = await a.settle(
            [Done(got[0], (event("r1", "reply"), event("r2", "reply"))), Done(got[1])]
        )
        assert [len(each) for each in positions] == [2, 0]
        replies = await receive(b, 2)
        assert ids(replies) == ["r1", "r2"]
        assert tuple(delivery.position for delivery in replies) == positions[0]
        await harness.crash(broker)
        broker = await opened(harness, TypeRouter(a={"order"}, b={"reply"}))
        a, b = await broker.subscribe("a"), await broker.subscribe("b")
        assert ids(await receive(b, 2)) == ["r1", "r2"]
        assert await receives_nothing(a)
        await broker.close()

    @awaited
    async def test_a_router_that_somebody_watches_is_asked_of_all_that_is_stored(
        self, harness: Harness
    ) -> None:
        router = TypeRouter(a={"order"})
        router.observed = True
        broker = await opened(harness, router)
        a = await broker.subscribe("a")
        await publish(broker, 1)
        await publish(broker, 2, 3)
        got = await receive(a, 3)
        replies = (event("r1", "reply"), event("r2", "reply"))
        await a.settle([Done(got[0], replies), *(Done(each) for each in got[1:])])
        asked = [each.attributes["id"] for each in router.routed]
        assert asked == ["1", "2", "3", "r1", "r2"]
        await broker.close()

    @awaited
    async def test_a_second_settling_of_a_delivery_counts_for_nothing(
        self, harness: Harness
    ) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1)
        (got,) = await receive(a, 1)
        assert await a.settle([Done(got), Done(got, (event("again"),))]) == [(), ()]
        assert await a.settle([Retry(got, time.time(), REFUSED)]) == [()]
        assert await receives_nothing(a)
        await broker.close()

    @awaited
    async def test_closing_waits_for_what_was_asked_for(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1, 2)
        got = await receive(a, 2)
        settled = a.settle([Done(got[0])])
        stored = broker.publish([event(3)])
        await broker.close()
        assert settled.done()
        assert stored.done()
        broker = await opened(harness)
        a = await broker.subscribe("a")
        assert ids(await receive(a, 2)) == ["2", "3"]
        await broker.close()

    # Retries.

    @awaited
    async def test_a_retry_comes_at_its_time_with_its_attempt_and_failure(
        self, harness: Harness
    ) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1)
        (got,) = await receive(a, 1)
        at = time.time() + 0.3
        await a.settle([Retry(got, at, REFUSED)])
        (again,) = await receive(a, 1)
        assert time.time() >= at - 0.01
        assert (again.event, again.position) == (got.event, got.position)
        assert (again.attempt, again.stage, again.failure) == (2, "subscriber", REFUSED)
        await settle_all(a, [again])
        assert await receives_nothing(a)
        await broker.close()

    @awaited
    async def test_retries_survive_a_crash(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1, 2)
        got = await receive(a, 2)
        at = time.time() + 1.0
        await a.settle([Retry(delivery, at, REFUSED) for delivery in got])
        await harness.crash(broker)
        broker = await opened(harness)
        a = await broker.subscribe("a")
        again = await receive(a, 2)
        assert time.time() >= at - 0.01
        assert {(d.attempt, d.stage, d.failure) for d in again} == {(2, "subscriber", REFUSED)}
        await a.settle([Retry(again[0], 0.0, REFUSED), Done(again[1])])
        (third,) = await receive(a, 1)
        assert third.attempt == 3
        await harness.crash(broker)
        broker = await opened(harness)
        a = await broker.subscribe("a")
        (third,) = await receive(a, 1)
        assert third.attempt == 3
        assert await receives_nothing(a)
        await broker.close()

    @awaited
    async def test_a_change_of_stage_counts_attempts_from_one(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1)
        (got,) = await receive(a, 1)
        await a.settle([Retry(got, 0.0, REFUSED)])
        (got,) = await receive(a, 1)
        await a.settle([Retry(got, 0.0, REFUSED, "dead_letter")])
        (got,) = await receive(a, 1)
        assert (got.attempt, got.stage, got.failure) == (1, "dead_letter", REFUSED)
        await a.settle([Retry(got, 0.0, REFUSED, "dead_letter")])
        (got,) = await receive(a, 1)
        assert (got.attempt, got.stage) == (2, "dead_letter")
        await broker.close()

    @awaited
    async def test_waiting_retries_hold_up_no_other_event(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        for round in range(5):
            await publish(broker, *range(round * 600, round * 600 + 600))
            got = await receive(a, 600)
            await a.settle([Retry(delivery, time.time() + 600, REFUSED) for delivery in got])
        await publish(broker, "next")
        assert ids(await receive(a, 1)) == ["next"]
        assert (await broker.stats()).subscriptions["a"].retrying == 3000
        await broker.close()

    @awaited
    async def test_many_retries_come_once_each(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, *range(3000))
        due = time.time() + 0.5 + harness.takeover
        for _ in range(30):
            got = await receive(a, 100)
            await a.settle([Retry(delivery, due, REFUSED) for delivery in got])
        seen: list[str] = []
        while len(seen) < 3000:
            batch = await a.receive(100)
            assert {delivery.attempt for delivery in batch} == {2}
            seen += ids(batch)
            await settle_all(a, batch)
        assert sorted(seen, key=int) == [str(n) for n in range(3000)]
        assert await receives_nothing(a)
        await broker.close()

    # Order by key.

    @awaited
    async def test_ordered_hands_out_one_of_a_key_at_a_time(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a", order="ordered")
        await publish(broker, 1, 2, 3, partitionkey="k")
        await publish(broker, 4, partitionkey="other")
        await publish(broker, 5, 6)
        got = await receive(a, 4)
        assert ids(got) == ["1", "4", "5", "6"]
        await settle_all(a, got[1:])
        assert await receives_nothing(a)
        await settle_all(a, got[:1])
        second = await receive(a, 1)
        assert ids(second) == ["2"]
        await settle_all(a, second)
        assert ids(await receive(a, 1)) == ["3"]
        await broker.close()

    @pytest.mark.parametrize("crash", [False, True])
    @awaited
    async def test_a_retry_blocks_its_key_and_no_other(self, harness: Harness, crash: bool) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a", order="ordered")
        await publish(broker, 1, 2, partitionkey="k")
        (got,) = await receive(a, 1)
        waits = 1.5 + harness.takeover if crash else 1.5
        await a.settle([Retry(got, time.time() + waits, REFUSED)])
        if crash:
            await harness.crash(broker)
            broker = await opened(harness)
            a = await broker.subscribe("a", order="ordered")
        await publish(broker, 3, partitionkey="k")
        await publish(broker, 4, partitionkey="other")
        assert ids(await receive(a, 1)) == ["4"]
        for expected in ["1", "2", "3"]:
            assert await receives_nothing(a) or expected != "1"
            (got,) = await receive(a, 1) if expected == "1" else [got]
            assert ids([got]) == [expected]
            await settle_all(a, [got])
            if expected != "3":
                (got,) = await receive(a, 1)
        await broker.close()

    @pytest.mark.parametrize("crash", [False, True])
    @awaited
    async def test_order_holds_with_more_behind_a_key_than_memory_takes(
        self, harness: Harness, crash: bool
    ) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a", order="ordered")
        for first in range(0, 4000, 500):
            await publish(broker, *range(first, first + 500), partitionkey="k")
        await publish(broker, "free", partitionkey="other")
        got = await receive(a, 2)
        assert ids(got) == ["0", "free"]
        if crash:
            await harness.crash(broker)
            broker = await opened(harness)
            a = await broker.subscribe("a", order="ordered")
            got = await receive(a, 2)
            assert sorted(ids(got)) == ["0", "free"]
        await settle_all(a, got)
        for n in range(1, 1500):
            got = await receive(a, 1)
            assert ids(got) == [str(n)]
            last = a.settle([Done(got[0])])
        await last
        await broker.close()

    # Dead letters.

    @awaited
    async def test_a_dead_letter_holds_the_event_and_why(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        sent = event(1, data=b"\x00payload", extension="x")
        await broker.publish([sent])
        (got,) = await receive(a, 1)
        await a.settle([Retry(got, 0.0, REFUSED)])
        (got,) = await receive(a, 1)
        before = time.time()
        await a.settle([Dead(got, REFUSED)])
        await harness.crash(broker)
        broker = await opened(harness)
        a = await broker.subscribe("a")
        (letter,) = await broker.dead_letters()
        assert (letter.event, letter.failure, letter.trigger) == (sent, REFUSED, "a")
        assert (letter.attempts, letter.position) == (2, got.position)
        assert before - 1 <= letter.at <= time.time() + 1
        assert await broker.dead_letter(letter.id) == letter
        assert await broker.dead_letter(letter.id + 1) is None
        assert await receives_nothing(a)
        await broker.close()

    @awaited
    async def test_dead_letters_are_listed_by_trigger_and_page(self, harness: Harness) -> None:
        broker = await opened(harness)
        a, b = await broker.subscribe("a"), await broker.subscribe("b")
        await publish(broker, *range(5))
        for subscription in (a, b):
            got = await receive(subscription, 5)
            await subscription.settle([Dead(delivery, REFUSED) for delivery in got])
        letters = await broker.dead_letters()
        assert len(letters) == 10
        assert [letter.id for letter in letters] == sorted(letter.id for letter in letters)
        of_b = await broker.dead_letters("b")
        assert [letter.trigger for letter in of_b] == ["b"] * 5
        first = await broker.dead_letters("b", limit=2)
        rest = await broker.dead_letters("b", after=first[-1].id)
        assert first + rest == of_b
        assert (await broker.stats()).subscriptions["b"].dead == 5
        await broker.close()

    @awaited
    async def test_dropped_dead_letters_are_gone(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1, 2)
        await a.settle([Dead(delivery, REFUSED) for delivery in await receive(a, 2)])
        first, second = await broker.dead_letters()
        assert await broker.drop([first.id, second.id + 1000]) == 1
        assert await broker.dead_letters() == [second]
        await broker.close()

    @pytest.mark.parametrize("edited", [None, event("edited", "unwanted", b"mended")])
    @awaited
    async def test_redrive_delivers_afresh_to_its_trigger_alone(
        self, harness: Harness, edited: Event | None
    ) -> None:
        broker = await opened(harness, TypeRouter(a={"order"}, b={"order", "unwanted"}))
        a, b = await broker.subscribe("a"), await broker.subscribe("b")
        await publish(broker, 1)
        await settle_all(b, await receive(b, 1))
        (got,) = await receive(a, 1)
        await a.settle([Dead(got, REFUSED)])
        (letter,) = await broker.dead_letters()
        assert await broker.redrive(letter.id, edited)
        assert not await broker.redrive(letter.id, edited)
        assert await broker.dead_letters() == []
        await harness.crash(broker)
        broker = await opened(harness, TypeRouter(a={"order"}, b={"order", "unwanted"}))
        a, b = await broker.subscribe("a"), await broker.subscribe("b")
        (again,) = await receive(a, 1)
        assert again.event == (edited or got.event)
        assert (again.attempt, again.stage, again.failure) == (1, "subscriber", None)
        await settle_all(a, [again])
        assert await receives_nothing(b)
        assert await receives_nothing(a)
        await broker.close()

    @awaited
    async def test_redrive_of_a_removed_subscription_says_so(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1)
        await a.settle([Dead(delivery, REFUSED) for delivery in await receive(a, 1)])
        await broker.unsubscribe("a")
        (letter,) = await broker.dead_letters()
        with pytest.raises(LookupError):
            await broker.redrive(letter.id)
        assert await broker.dead_letters() == [letter]
        await broker.close()

    @awaited
    async def test_what_never_came_into_the_log_is_kept_as_the_brokers_own(
        self, harness: Harness
    ) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        refused = event("ü", data=b"\x00\xff", extension="x")
        before = time.time()
        await broker.keep(refused, REFUSED)
        await broker.keep(event(2, data=None), REFUSED)
        await harness.crash(broker)
        broker = await opened(harness)
        a = await broker.subscribe("a")
        first, second = await broker.dead_letters()
        assert (first.event, first.failure, first.trigger) == (refused, REFUSED, "")
        assert (first.attempts, first.position) == (1, 0)
        assert before - 1 <= first.at <= time.time() + 1
        assert await broker.dead_letters("") == [first, second]
        assert await broker.dead_letters("a") == []
        assert await broker.dead_letter(first.id) == first
        assert await broker.drop([first.id]) == 1
        assert await broker.dead_letters() == [second]
        assert await receives_nothing(a)
        assert [each async for each in broker.read()] == []
        await broker.close()

    @pytest.mark.parametrize("edited", [None, event("edited", "mended", b"mended")])
    @awaited
    async def test_redrive_publishes_what_is_the_brokers_own(
        self, harness: Harness, edited: Event | None
    ) -> None:
        broker = await opened(harness, TypeRouter(a={"order", "mended"}, b=None, c={"other"}))
        a, b, c = [await broker.subscribe(name) for name in "abc"]
        await broker.keep(event(1), REFUSED)
        (letter,) = await broker.dead_letters()
        assert await broker.redrive(letter.id, edited)
        assert not await broker.redrive(letter.id, edited)
        assert await broker.dead_letters() == []
        for subscription in (a, b):
            (got,) = await receive(subscription, 1)
            assert got.event == (edited or letter.event)
            assert (got.attempt, got.stage, got.failure) == (1, "subscriber", None)
            await settle_all(subscription, [got])
        assert await receives_nothing(c)
        assert [each.event async for each in broker.read()] == [edited or letter.event]
        await broker.close()

    @awaited
    async def test_what_is_kept_counts_among_what_a_broker_may_hold(self, harness: Harness) -> None:
        broker = await opened(harness, limits=Limits(max_bytes=1, min_free_bytes=0))
        with pytest.raises(BrokerFull):
            await broker.keep(event(1), REFUSED)
            await broker.keep(event(2), REFUSED)
        await broker.close()

    # Looking back.

    @pytest.mark.parametrize("order", ["unordered", "ordered"])
    @awaited
    async def test_replay_hands_out_again_what_the_filter_wants(
        self, harness: Harness, order: Order
    ) -> None:
        broker = await opened(harness, TypeRouter(a={"order"}))
        a = await broker.subscribe("a", order=order)
        positions = await publish(broker, *range(5), partitionkey="k")
        await broker.publish([event("other", "unwanted")])
        positions += await publish(broker, *range(5, 10), partitionkey="k")
        for _ in range(10):
            (got,) = await receive(a, 1)
            await a.settle([Done(got)])
        assert await a.replay(positions[3], positions[6]) == 4
        await harness.crash(broker)
        broker = await opened(harness, TypeRouter(a={"order"}))
        a = await broker.subscribe("a", order=order)
        again = []
        for _ in range(4):
            (got,) = await receive(a, 1)
            assert got.attempt == 1
            again.append(got)
            await a.settle([Done(got)])
        assert ids(again) == ["3", "4", "5", "6"]
        assert await receives_nothing(a)
        await broker.close()

    @awaited
    async def test_replay_does_not_double_what_is_on_its_way(self, harness: Harness) -> None:
        broker = await opened(harness)
        a = await broker.subscribe("a")
        await publish(broker, 1, 2, 3, 4)
        got = await receive(a, 3)
        await a.settle([Done(got[0]), Retry(got[1], time.time() + 0.2, REFUSED)])
        assert await a.replay(1) == 1
        assert sorted(ids(await receive(a, 3))) == ["1", "2", "4"]
        assert await receives_nothing(a)
        await broker.close()

    @awaited
    async def test_read_gives_the_log_in_order(self, harness: Harness) -> None:
        broker = await opened(harness)
        before = time.time()
        positions = await publish(broker, *range(700))
        stored = [each async for each in broker.read()]
        assert [each.position for each in stored] == positions
        assert [each.event.attributes["id"] for each in stored] == [str(n) for n in range(700)]
        assert all(before - 1 <= each.at <= time.time() + 1 for each in stored)
        part = [each async for each in broker.read(positions[10], positions[12])]
        assert part == stored[10:13]
        await broker.close()

    @awaited
    async def test_the_log_is_read_from_and_to_a_moment(self, harness: Harness) -> None:
        broker = await opened(harness)
        first = await publish(broker, 1, 2, 3)
        await asyncio.sleep(0.05)
        between = time.time()
        await asyncio.sleep(0.05)
        second = await publish(broker, 4)

        async def read(start: Place, end: Place | None = None) -> list[int]:
            return [each.position async for each in broker.read(start, end)]

        assert await read(At(0.0)) == first + second
        assert await read(At(between)) == second
        assert await read(1, At(between)) == first
        assert await read(At(time.time() + 60)) == []
        await broker.close()

    @awaited
    async def test_stats_count_what_waits(self, harness: Harness) -> None:
        broker = await opened(harness)
        empty = await broker.stats()
        assert (empty.head, empty.events, empty.subscriptions) == (0, 0, {})
        a = await broker.subscribe("a")
        positions = await publish(broker, *range(10))
        got = await receive(a, 5)
        await a.settle(
            [Done(got[0]), Retry(got[1], time.time() + 60, REFUSED), Dead(got[2], REFUSED)]
        )
        stats = await broker.stats()
        assert stats.head >= positions[-1]
        assert stats.head == positions[-1] or harness.own_records
        assert 10 <= stats.events <= 10 + harness.own_records
        assert stats.bytes > 0 or harness.own_records
        of_a = stats.subscriptions["a"]
        assert 8 <= of_a.lag <= 8 + harness.own_records
        assert (of_a.in_flight, of_a.retrying, of_a.dead) == (2, 1, 1)
        assert of_a.share == of_a.lag
        await broker.close()

    # Limits.

    @awaited
    async def test_a_broker_over_its_backlog_refuses_until_it_is_worked_off(
        self, harness: Harness
    ) -> None:
        broker = await opened(harness, limits=Limits(max_backlog=10, min_free_bytes=0))
        a = await broker.subscribe("a")
        await publish(broker, *range(10))
        with pytest.raises(BrokerFull) as full:
            await publish(broker, "refused")
        assert full.value.retry_after > 0
        await settle_all(a, await receive(a, 10))
        async with asyncio.timeout(10):
            while True:
                try:
                    await publish(broker, "taken")
                    break
                except BrokerFull:
                    await asyncio.sleep(0.02)
        assert ids(await receive(a, 1)) == ["taken"]
        await broker.close()
