"""A process to be killed: a chain of two triggers on an embedded broker, telling what it did.

Usage: kill_child.py FILE ROUND. Lines on standard output, each written at once: `stored ID` when a
publish was answered, `took TRIGGER ID ATTEMPT` when a delivery was handed out, `done TRIGGER ID`
when its settling was answered.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from brokers.base import Dead, Delivery, Done, Failure, Limits, Outcome, Retry, Subscription
from brokers.embedded import EmbeddedBroker
from eventing.event import Event

FAILED = Failure("http://subscriber/", 500, "failed on purpose")


class Chain:
    def route(self, event: Event) -> Iterable[str]:
        return [{"order": "first", "reply": "second"}[event.attributes["type"]]]

    def accepts(self, subscription: str, event: Event) -> bool:
        return subscription in self.route(event)


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def made(id: str, type: str) -> Event:
    attributes = {"specversion": "1.0", "id": id, "source": "/kill", "type": type}
    return Event(attributes, os.urandom(random.choice([0, 100, 5000])))


async def publish(broker: EmbeddedBroker, round: str) -> None:
    count = 0
    while True:
        size = random.choice([1, 1, 5, 30])
        ids = [f"{round}-{count + n}" for n in range(size)]
        count += size
        await broker.publish([made(id, "order") for id in ids])
        for id in ids:
            tell("stored", id)
        await asyncio.sleep(random.choice([0, 0, 0.001]))


def outcome_of(trigger: str, delivery: Delivery) -> Outcome:
    id = delivery.event.attributes["id"]
    if trigger == "first" and delivery.attempt == 1 and hash(id) % 5 == 0:
        return Retry(delivery, time.time() + random.random() / 10, FAILED)
    if trigger == "second" and hash(id) % 50 == 0:
        return Dead(delivery, FAILED)
    return Done(delivery, (made(id, "reply"),) if trigger == "first" else ())


async def consume(trigger: str, subscription: Subscription) -> None:
    flying: set[asyncio.Future[object]] = set()
    while True:
        batch = await subscription.receive(random.choice([1, 10, 50]))
        for delivery in batch:
            tell("took", trigger, delivery.event.attributes["id"], delivery.attempt)
        random.shuffle(batch)
        while batch:
            some, batch = batch[:7], batch[7:]
            outcomes = [outcome_of(trigger, delivery) for delivery in some]
            settled = subscription.settle(outcomes)

            def told(_: object, outcomes: list[Outcome] = outcomes) -> None:
                for outcome in outcomes:
                    if not isinstance(outcome, Retry):
                        tell("done", trigger, outcome.delivery.event.attributes["id"])

            settled.add_done_callback(told)
            flying.add(settled)
            settled.add_done_callback(flying.discard)
        if len(flying) > 5:
            await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)


async def main() -> None:
    broker = EmbeddedBroker("kill", Path(sys.argv[1]), Limits(min_free_bytes=0))
    await broker.start()
    broker.set_router(Chain())
    first = await broker.subscribe("first")
    second = await broker.subscribe("second")
    async with asyncio.TaskGroup() as group:
        group.create_task(consume("first", first))
        group.create_task(consume("second", second))
        if sys.argv[2] == "drain":
            while sum(each.lag for each in (await broker.stats()).subscriptions.values()):
                await asyncio.sleep(0.02)
            await broker.close()
        else:
            await publish(broker, sys.argv[2])


if __name__ == "__main__":
    asyncio.run(main())
