"""The embedded broker against a model of what it owes, over random interleavings.

Publishing, receiving, settling in every way, replay, redrive, detaching, crashes, restarts and
jumps of the clock, with every bound of memory made small so that all of them are crossed: no event
is lost, none that was settled comes again, and a key's events keep their order.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from broker_contract import REFUSED, TypeRouter, event
from embedded_harness import EmbeddedHarness
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from brokers import key_order
from brokers.base import Dead, Delivery, Done, Limits, Retry
from brokers.embedded import (
    EmbeddedBroker,
    reading,
    retention,
    retries,
    subscription,
    upkeep,
)

SMALL = [
    (subscription, "QUEUE_EVENTS", 6),
    (subscription, "REFILL_EVENTS", 3),
    (subscription, "PAGE_EVENTS", 4),
    (reading, "PAGE_EVENTS", 4),
    (key_order, "PARKED", 3),
    (key_order, "LOAD_KEYS", 2),
    (subscription, "LOAD_EACH", 2),
    (retries, "PAGE", 3),
    (retention, "CHUNK_EVENTS", 3),
    (upkeep, "TICK", 0.01),
    (upkeep, "STALE", 0.01),
]
WANTS = {"plain": {"x"}, "ordered": {"x", "y"}}
ROUTER = TypeRouter(**WANTS)
DELAY = 50.0
JUMP = 100.0
names = st.sampled_from(sorted(WANTS))
kinds = st.sampled_from(["done", "done", "reply", "now", "later", "dead"])
stages = st.sampled_from(["subscriber", "dead_letter"])


@dataclass
class Owed:
    """A delivery not settled yet, as the model has it."""

    key: str | None
    attempt: int = 1
    stage: str = "subscriber"
    due: float | None = None
    replayed: bool = False
    held: Delivery | None = None


@dataclass
class Trigger:
    owed: dict[int, Owed] = field(default_factory=dict)
    settled: dict[int, str | None] = field(default_factory=dict)
    dead: int = 0


class BrokerMachine(RuleBasedStateMachine):
    limits = Limits(min_free_bytes=0)

    @initialize()
    def begin(self) -> None:
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.harness = EmbeddedHarness(self.folder)
        self.loop = asyncio.new_event_loop()
        self.wall = self.time = self.stamped = 1_000_000.0
        self.count = 0
        self.confirmed: set[str] = set()
        self.triggers = {name: Trigger() for name in WANTS}
        self.open()

    def run(self, awaitable):
        return self.loop.run_until_complete(asyncio.wait_for(awaitable, 10))

    def open(self) -> None:
        # A clock set back does not stretch what retries wait: they count from the last stamp.
        shift = max(0.0, self.stamped - self.wall)
        for trigger in self.triggers.values():
            for owed in trigger.owed.values():
                owed.held = None
                if owed.due is not None:
                    owed.due -= shift
        self.time = self.wall
        self.stamped = min(self.stamped, self.wall)

        async def opened() -> None:
            self.broker = EmbeddedBroker(
                "model", self.harness.path, self.limits, clock=lambda: self.wall
            )
            await self.broker.start()
            self.broker.set_router(ROUTER)
            self.subs = {}
            for name in WANTS:
                await self.subscribe(name)

        self.run(opened())

    async def subscribe(self, name: str) -> None:
        order = "ordered" if name == "ordered" else "unordered"
        self.subs[name] = await self.broker.subscribe(name, order=order, start=1)

    def stored(self, position: int, type: str, key: str | None) -> None:
        for name, types in WANTS.items():
            if type in types:
                self.triggers[name].owed[position] = Owed(key)

    def next_id(self) -> str:
        self.count += 1
        return f"e{self.count}"

    @rule(events=st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("kl-")), max_size=12))
    def publish(self, events) -> None:
        made = [
            event(self.next_id(), type, **({"partitionkey": key} if key != "-" else {}))
            for type, key in events
        ]

        async def publish() -> list[int]:
            return await self.broker.publish(made)

        for position, (type, key) in zip(self.run(publish()), events, strict=True):
            self.stored(position, type, key if key != "-" else None)

    def ready(self, name: str) -> list[int]:
        """Positions that must be handed out now, or some of them."""
        owed = self.triggers[name].owed
        if name == "plain":
            return [
                p for p, o in owed.items() if not o.held and (o.due is None or o.due <= self.time)
            ]
        blocked = {o.key for o in owed.values() if o.held or o.due is not None}
        return [
            p
            for p, o in owed.items()
            if not o.held
            and ((o.due is not None and o.due <= self.time) or o.due is None)
            and (o.key is None or o.key not in blocked or o.due is not None)
        ]

    @rule(name=names, limit=st.integers(1, 8))
    def receive(self, name, limit) -> None:
        if not self.ready(name):
            return
        owed = self.triggers[name].owed
        batch = self.run(self.subs[name].receive(limit))
        assert 1 <= len(batch) <= limit
        for delivery in batch:
            position = delivery.position
            assert position in owed, f"{position} is not owed to {name}"
            mine = owed[position]
            assert mine.held is None, f"{position} handed out twice"
            assert (delivery.attempt, delivery.stage) == (mine.attempt, mine.stage)
            if mine.due is not None:
                assert mine.due <= self.time, f"{position} is early"
                assert delivery.failure == REFUSED
            if name == "ordered" and mine.key is not None:
                for other, theirs in owed.items():
                    if theirs.key == mine.key and other != position:
                        assert theirs.held is None, "two of a key at a time"
                        assert theirs.due is None, f"{position} passed a retry of its key"
                        if not mine.replayed and not theirs.replayed:
                            assert other > position, f"{position} passed {other}"
            mine.held = delivery

    @rule(name=names, choices=st.lists(st.tuples(st.integers(0, 20), kinds, stages), max_size=8))
    def settle(self, name, choices) -> None:
        # What is drawn must not hang on what came in time: choices are taken by index.
        trigger = self.triggers[name]
        held = [(p, o) for p, o in trigger.owed.items() if o.held]
        outcomes = []
        for index, kind, stage in choices:
            if not held:
                break
            _, owed = held.pop(index % len(held))
            delivery = owed.held
            if kind in ("done", "reply"):
                reply = (event(self.next_id(), "y"),) if kind == "reply" else ()
                outcomes.append(Done(delivery, reply))
            elif kind == "dead":
                outcomes.append(Dead(delivery, REFUSED))
            else:
                at = 0.0 if kind == "now" else self.wall + DELAY
                outcomes.append(Retry(delivery, at, REFUSED, stage))

        async def settle() -> list[tuple[int, ...]]:
            return await self.subs[name].settle(outcomes)

        for outcome, replies in zip(outcomes, self.run(settle()), strict=True):
            position = outcome.delivery.position
            owed = trigger.owed[position]
            owed.held = None
            if isinstance(outcome, Retry):
                same = outcome.stage == owed.stage
                owed.attempt = owed.attempt + 1 if same else 1
                owed.stage = outcome.stage
                owed.due = self.time + (outcome.at - self.wall)
                self.stamped = self.time
                continue
            del trigger.owed[position]
            trigger.settled[position] = owed.key
            if isinstance(outcome, Dead):
                trigger.dead += 1
            else:
                assert len(replies) == len(outcome.replies)
                for reply in replies:
                    self.stored(reply, "y", None)

    @rule(name=names)
    def detach(self, name) -> None:
        async def again() -> None:
            await self.broker.detach(name)
            await self.subscribe(name)

        self.run(again())
        for owed in self.triggers[name].owed.values():
            owed.held = None

    @rule(name=names, start=st.integers(1, 50), span=st.none() | st.integers(0, 50))
    def replay(self, name, start, span) -> None:
        head = self.broker.head
        end = None if span is None else start + span
        count = self.run(self.subs[name].replay(start, end))
        trigger = self.triggers[name]
        self.stamped = self.time
        again = [p for p in trigger.settled if start <= p <= (head if end is None else end)]
        assert count == len(again)
        for position in again:
            key = trigger.settled.pop(position)
            trigger.owed[position] = Owed(key, replayed=True)

    @rule()
    def redrive(self) -> None:
        letters = self.run(self.broker.dead_letters())
        assert len(letters) == sum(trigger.dead for trigger in self.triggers.values())
        if letters:
            letter = letters[0]
            assert self.run(self.broker.redrive(letter.id))
            key = letter.event.attributes.get("partitionkey")
            trigger = self.triggers[letter.trigger]
            trigger.owed[self.broker.head] = Owed(key)
            trigger.dead -= 1

    @rule(direction=st.sampled_from([-1, 1]))
    def jump(self, direction) -> None:
        self.wall += direction * JUMP
        self.time = max(self.time, self.wall)

    @rule()
    def crash(self) -> None:
        self.run(self.harness.crash(self.broker))
        self.open()

    @rule(outcome=st.booleans())
    def crash_while_settling(self, outcome) -> None:
        """Either all of the settling counts after the crash, or nothing of it."""
        doubtful: dict[str, tuple[str, int]] = {}

        async def die() -> None:
            for name, trigger in self.triggers.items():
                for position, owed in trigger.owed.items():
                    if owed.held:
                        reply = event(self.next_id(), "z")
                        doubtful[reply.attributes["id"]] = (name, position)
                        self.subs[name].settle([Done(owed.held, (reply,))])
            await asyncio.sleep(0.001 if outcome else 0)
            await self.harness.crash(self.broker)

        self.run(die())
        self.open()

        async def ids() -> set[str]:
            return {each.event.attributes["id"] async for each in self.broker.read()}

        for id in self.run(ids()) & doubtful.keys():
            name, position = doubtful[id]
            owed = self.triggers[name].owed.pop(position)
            self.triggers[name].settled[position] = owed.key

    @rule()
    def restart(self) -> None:
        self.run(self.broker.close())
        self.open()

    @precondition(lambda self: self.broker.head)
    @rule()
    def count_up(self) -> None:
        stats = self.run(self.broker.stats())
        assert stats.head == self.broker.head
        for name, trigger in self.triggers.items():
            of_it = stats.subscriptions[name]
            assert of_it.lag >= len(trigger.owed)
            assert of_it.in_flight == sum(1 for owed in trigger.owed.values() if owed.held)
            assert of_it.dead == trigger.dead

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.wall = self.time + 10 * JUMP
            self.time = self.wall
            for name, trigger in self.triggers.items():
                while trigger.owed:
                    held = [owed.held for owed in trigger.owed.values() if owed.held]
                    if held:
                        self.finish(name, held)
                    if trigger.owed:
                        self.receive(name, 8)
            self.run(self.nothing_left())
            self.run(self.broker.close())
            with sqlite3.connect(self.harness.path) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (0,)
            connection.close()
        finally:
            self.loop.close()
            shutil.rmtree(self.folder)

    def finish(self, name: str, held: list[Delivery]) -> None:
        async def settle() -> None:
            await self.subs[name].settle([Done(delivery) for delivery in held])

        self.run(settle())
        for delivery in held:
            del self.triggers[name].owed[delivery.position]

    async def nothing_left(self) -> None:
        for sub in self.subs.values():
            try:
                async with asyncio.timeout(0.02):
                    assert await sub.receive(10) == []
            except TimeoutError:
                pass
        stats = await self.broker.stats()
        assert [each.lag for each in stats.subscriptions.values()] == [0, 0]


def run_small(machine: type[RuleBasedStateMachine], examples: int) -> None:
    patches = [mock.patch.object(module, name, value) for module, name, value in SMALL]
    for patch in patches:
        patch.start()
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        for patch in patches:
            patch.stop()


def test_nothing_is_lost_or_doubled_whatever_happens_in_whatever_order() -> None:
    run_small(BrokerMachine, 40)


def test_nor_when_retention_removes_all_it_may() -> None:
    class Forgetful(BrokerMachine):
        limits = Limits(min_free_bytes=0, retention_age=0.0)
        replay = None

    run_small(Forgetful, 20)
