"""What every cluster promises, as one suite to run against each engine.

A test module makes a class of ClusterContract and gives it a fixture `harness`; a node on its own
keeps LoneContract alone. Names of nodes and leases are new in each test, so that an engine may be
shared.
"""

import asyncio
import contextlib
import signal
import sys
import time
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest
from broker_contract import awaited

from brokers.cluster import FORGET_AFTER, Cluster, Lease
from eventing.node.engines import make_cluster, parse_engine_url

TAKEN_OVER = FORGET_AFTER + 5
"""Seconds within which another node holds the lease of one that vanished."""


class Harness(Protocol):
    """`url` is that of the engine, as `eventing up --broker` takes it."""

    url: str


def new_name(what: str) -> str:
    return f"{what}-{uuid.uuid4().hex[:12]}"


@contextlib.asynccontextmanager
async def joined(harness: Harness, node: str = "") -> AsyncIterator[Cluster]:
    """A started cluster as a node of this name sees it, closed in the end."""
    cluster = make_cluster(parse_engine_url(harness.url), node or new_name("node"))
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.close()


class OtherNode:
    """A process that announces itself, wants one lease, and says when it has it and loses it."""

    def __init__(self, process: Process, name: str) -> None:
        self.name = name
        self.process = process

    async def says(self, word: str) -> None:
        """Wait until it does; what it said before goes unheard."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line.decode().strip() == word:
                return
        raise AssertionError(f"it ended without saying {word!r}")


@contextlib.asynccontextmanager
async def other_node(harness: Harness, lease: str) -> AsyncIterator[OtherNode]:
    """Killed in the end."""
    name = new_name("other")
    program = str(Path(__file__).with_name("cluster_node.py"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, harness.url, name, lease, stdout=PIPE
    )
    try:
        yield OtherNode(process, name)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def names(cluster: Cluster) -> list[str]:
    return [member.name for member in await cluster.members()]


async def seen(cluster: Cluster, node: str) -> None:
    while node not in await names(cluster):
        await asyncio.sleep(0.05)


async def gone(cluster: Cluster, node: str) -> None:
    while node in await names(cluster):
        await asyncio.sleep(0.05)


async def acquired(lease: Lease) -> None:
    """Held within the time of a take-over."""
    async with asyncio.timeout(TAKEN_OVER):
        await lease.wait()
    assert lease.held


class LoneContract:
    """What also a node without others may count on."""

    @awaited
    async def test_a_node_sees_itself_as_it_announced_itself(self, harness: Harness) -> None:
        node = new_name("node")
        document = {"workers": 3, "triggers": {"default/greet": {"lag": 0}}, "name": "Überall"}
        async with joined(harness, node) as cluster:
            assert node not in await names(cluster)
            before = time.time()
            await cluster.announce(document)
            (member,) = [each for each in await cluster.members() if each.name == node]
            assert member.document == document
            # Clocks of an engine and of this machine may differ by a little.
            assert before - 5 < member.at < time.time() + 5

    @awaited
    async def test_the_newest_announcement_counts(self, harness: Harness) -> None:
        node = new_name("node")
        async with joined(harness, node) as cluster:
            await cluster.announce({"version": 1})
            await cluster.announce({"version": 2})
            found = [each.document for each in await cluster.members() if each.name == node]
            assert found == [{"version": 2}]

    @awaited
    async def test_a_lease_nobody_else_wants_is_held_until_it_is_closed(
        self, harness: Harness
    ) -> None:
        async with joined(harness) as cluster:
            lease = cluster.lease(new_name("lease"))
            await acquired(lease)
            lost = lease.lost()
            assert not lost.done()
            await lease.close()
            assert not lease.held
            await asyncio.wait_for(lost, 5)
            assert lease.lost().done()

    @awaited
    async def test_a_lease_that_was_closed_can_be_taken_again(self, harness: Harness) -> None:
        name = new_name("lease")
        async with joined(harness) as cluster:
            for _ in range(2):
                lease = cluster.lease(name)
                await acquired(lease)
                await lease.close()

    @awaited
    async def test_a_node_holds_several_leases_each_on_its_own(self, harness: Harness) -> None:
        async with joined(harness) as cluster:
            leases = [cluster.lease(new_name("lease")) for _ in range(3)]
            for lease in leases:
                await acquired(lease)
            await leases[0].close()
            assert [lease.held for lease in leases] == [False, True, True]
            for lease in leases[1:]:
                await lease.close()

    @awaited
    async def test_a_lease_may_have_any_name(self, harness: Harness) -> None:
        async with joined(harness) as cluster:
            lease = cluster.lease(f"source/näme space/{uuid.uuid4().hex}/{'x' * 300}")
            await acquired(lease)
            await lease.close()

    @awaited
    async def test_a_table_holds_what_was_stored_last_under_each_key(
        self, harness: Harness
    ) -> None:
        table = new_name("table")
        async with joined(harness) as cluster:
            assert await cluster.documents(table) == {}
            first = {"a/b": {"name": "Überall", "shares": [1, 2.5, None]}, "ä key": {}}
            await cluster.store(table, first)
            assert await cluster.documents(table) == first
            await cluster.store(table, {"a/b": {"version": 2}, "third": {"is": "new"}})
            await cluster.store(table, {"ä key": None, "never there": None})
            assert await cluster.documents(table) == {
                "a/b": {"version": 2},
                "third": {"is": "new"},
            }

    @awaited
    async def test_a_table_that_nobody_has_changed_is_the_same_object(
        self, harness: Harness
    ) -> None:
        table, other = new_name("table"), new_name("table")
        async with joined(harness) as cluster:
            empty = await cluster.documents(table)
            assert await cluster.documents(table) is empty
            await cluster.store(table, {})
            assert await cluster.documents(table) is empty
            await cluster.store(table, {"key": {"version": 1}})
            before = await cluster.documents(table)
            await cluster.store(other, {"key": {"version": 2}})
            assert await cluster.documents(table) is before == {"key": {"version": 1}}

    @awaited
    async def test_a_large_table_is_read_whole(self, harness: Harness) -> None:
        table = new_name("table")
        async with joined(harness) as cluster:
            documents = {f"key-{number}": {"text": "x" * 2000} for number in range(1000)}
            await cluster.store(table, documents)
            assert await cluster.documents(table) == documents

    @awaited
    async def test_closing_twice_does_nothing(self, harness: Harness) -> None:
        async with joined(harness) as cluster:
            lease = cluster.lease(new_name("lease"))
            await acquired(lease)
            await lease.close()
            await lease.close()
        await cluster.close()


class ClusterContract(LoneContract):
    """What nodes that share an engine may count on."""

    @awaited
    async def test_nodes_see_each_other_by_name(self, harness: Harness) -> None:
        first, second = sorted((new_name("node"), new_name("node")))
        async with joined(harness, second) as one, joined(harness, first) as another:
            await one.announce({"is": "second"})
            await another.announce({"is": "first"})
            for cluster in (one, another):
                found = [each for each in await cluster.members() if each.name in (first, second)]
                assert [each.name for each in found] == [first, second]
                assert [each.document for each in found] == [{"is": "first"}, {"is": "second"}]

    @awaited
    async def test_a_node_that_joins_later_sees_those_that_were_there(
        self, harness: Harness
    ) -> None:
        node = new_name("node")
        async with joined(harness, node) as cluster:
            await cluster.announce({})
            async with joined(harness) as later:
                assert node in await names(later)

    @awaited
    async def test_a_node_that_leaves_is_gone_at_once(self, harness: Harness) -> None:
        node = new_name("node")
        async with joined(harness) as staying:
            async with joined(harness, node) as leaving:
                await leaving.announce({})
                await seen(staying, node)
            assert node not in await names(staying)

    @awaited
    async def test_what_one_node_stores_the_others_see_at_once(self, harness: Harness) -> None:
        table = new_name("table")
        async with joined(harness) as one, joined(harness) as another:
            assert await another.documents(table) == {}
            await one.store(table, {"key": {"by": "one"}, "other": {}})
            assert await another.documents(table) == {"key": {"by": "one"}, "other": {}}
            await another.store(table, {"key": {"by": "another"}, "other": None})
            assert await one.documents(table) == {"key": {"by": "another"}}

    @awaited
    async def test_a_table_outlives_the_nodes_that_stored_it(self, harness: Harness) -> None:
        table = new_name("table")
        async with joined(harness) as leaving:
            await leaving.store(table, {"kept": {"version": 1}, "removed": {}})
            await leaving.store(table, {"removed": None})
        async with joined(harness) as later:
            assert await later.documents(table) == {"kept": {"version": 1}}

    @awaited
    async def test_many_nodes_may_store_at_once(self, harness: Harness) -> None:
        table = new_name("table")
        async with contextlib.AsyncExitStack() as stack:
            clusters = [await stack.enter_async_context(joined(harness)) for _ in range(3)]
            await asyncio.gather(
                *(
                    cluster.store(table, {f"{index}-{number}": {}, "of all": {"by": index}})
                    for index, cluster in enumerate(clusters)
                    for number in range(20)
                )
            )
            seen = [await cluster.documents(table) for cluster in clusters]
            assert seen[0] == seen[1] == seen[2]
            assert len(seen[0]) == 61

    @awaited
    async def test_of_two_nodes_one_holds_a_lease_and_hands_it_on(self, harness: Harness) -> None:
        name = new_name("lease")
        async with joined(harness) as one, joined(harness) as another:
            first = one.lease(name)
            await acquired(first)
            second = another.lease(name)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(second.wait(), 1)
            assert first.held
            assert not second.held
            assert second.lost().done()
            await first.close()
            await acquired(second)
            await second.close()

    @awaited
    async def test_many_that_want_it_have_it_one_after_the_other(self, harness: Harness) -> None:
        name = new_name("lease")
        async with contextlib.AsyncExitStack() as stack:
            clusters = [await stack.enter_async_context(joined(harness)) for _ in range(3)]
            waiting = [cluster.lease(name) for cluster in clusters]
            while waiting:
                tasks = {asyncio.ensure_future(lease.wait()): lease for lease in waiting}
                done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in pending:
                    task.cancel()
                assert len(done) == 1
                assert len([lease for lease in waiting if lease.held]) == 1
                holder = tasks[done.pop()]
                waiting.remove(holder)
                await holder.close()

    @awaited
    async def test_a_lease_closed_before_it_was_held_is_left_to_others(
        self, harness: Harness
    ) -> None:
        name = new_name("lease")
        async with joined(harness) as one, joined(harness) as another:
            first = one.lease(name)
            await acquired(first)
            second = another.lease(name)
            await second.close()
            await first.close()
            third = one.lease(name)
            await acquired(third)
            assert not second.held
            await third.close()

    @awaited
    async def test_a_node_that_leaves_gives_up_its_leases(self, harness: Harness) -> None:
        name = new_name("lease")
        async with joined(harness) as staying:
            async with joined(harness) as leaving:
                first = leaving.lease(name)
                await acquired(first)
                lost = first.lost()
                second = staying.lease(name)
            await asyncio.wait_for(lost, 5)
            assert not first.held
            await acquired(second)
            await second.close()

    @awaited
    async def test_a_killed_node_is_missed_and_its_lease_taken_over(self, harness: Harness) -> None:
        name = new_name("lease")
        async with joined(harness) as cluster, other_node(harness, name) as other:
            await other.says("held")
            await seen(cluster, other.name)
            lease = cluster.lease(name)
            other.process.kill()
            await acquired(lease)
            async with asyncio.timeout(TAKEN_OVER):
                await gone(cluster, other.name)
            await lease.close()

    @awaited
    async def test_a_paused_node_learns_that_its_lease_is_anothers(self, harness: Harness) -> None:
        name = new_name("lease")
        async with joined(harness) as cluster, other_node(harness, name) as other:
            await other.says("held")
            lease = cluster.lease(name)
            other.process.send_signal(signal.SIGSTOP)
            await acquired(lease)
            other.process.send_signal(signal.SIGCONT)
            await other.says("lost")
            assert lease.held
            await lease.close()
            await other.says("held")
