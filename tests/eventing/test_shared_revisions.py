"""Nodes of an engine agree on revisions and rollouts, in whichever order they learn of them.

The table here is one in memory, by the contract that tests/brokers holds the engines to; real
engines are in tests/end_to_end/test_rollout_nodes.py.
"""

import asyncio
import itertools
import logging
import tempfile
import time
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.cluster import Document, Member
from brokers.local_cluster import LocalCluster
from eventing.errors import StorageError
from eventing.node import shared_revisions as module
from eventing.node.agreed_revisions import agreed, joined
from eventing.node.revision_records import (
    TABLE,
    read_records,
    revision_document,
    revision_key,
    rollout_document,
    rollout_key,
)
from eventing.node.revision_store import RevisionStore
from eventing.node.revisions import (
    KEPT,
    Revision,
    Revisions,
    Rollout,
    document_digest,
    is_ready,
    judged,
    settled,
    split,
)
from eventing.node.shared_revisions import SharedRevisions
from eventing.resources import Workload, load_text

KEY = "default/hello"
PLAN = "{steps: [10, 100]}"


def hello(text: str, **spec: Any) -> Workload:
    """A Function whose template says `text`."""
    extra = "".join(f"\n  {name}: {value}" for name, value in spec.items())
    loaded = load_text(
        "apiVersion: functions/v1\nkind: Function\nmetadata: {name: hello}\nspec:\n"
        f"  handler: app:hello\n  env: [{{name: TEXT, value: {text}}}]{extra}\n",
        "hello.yaml",
    )
    assert not loaded.errors, loaded.errors
    (workload,) = loaded.resources
    assert isinstance(workload, Workload)
    return workload


def revision(number: int, digest: str, *, created: float = 1.0, **fields: Any) -> Revision:
    name = fields.pop("name", f"hello-{number:05d}")
    return Revision(KEY, name, number, digest, created, {"spec": {"is": digest}}, **fields)


def named(revisions: Iterable[Revision]) -> dict[str, str]:
    return {each.name: each.digest for each in revisions}


class Engine:
    """What the nodes of a test share; nobody reaches it while it is `away`."""

    def __init__(self) -> None:
        self.table = LocalCluster("engine")
        self.nodes: dict[str, Node] = {}
        self.away = False
        self.stored = 0


class Node:
    """What of a node has to do with revisions, and its view of the engine; `cut_off`: it alone
    does not reach it."""

    shared = reached = True

    def __init__(self, engine: Engine, folder: Path, name: str) -> None:
        self.store_ = RevisionStore(folder / name)
        (folder / name).mkdir(exist_ok=True)
        self.store_.load()
        self.sharing = SharedRevisions(self.store_, self, self.store_.put)
        self.sharing.name = name
        self.cut_off = False
        self._engine = engine
        engine.nodes[name] = self

    # As a membership

    async def members(self) -> list[Member]:
        self._reach()
        return [
            Member(name, 0.0, {"rollouts": {"documents": dict(node.sharing.announcement())}})
            for name, node in self._engine.nodes.items()
        ]

    async def documents(self, table: str) -> Mapping[str, Document]:
        self._reach()
        return await self._engine.table.documents(table)

    async def store(self, table: str, changes: Mapping[str, Document | None]) -> None:
        self._reach()
        self._engine.stored += len(changes)
        await self._engine.table.store(table, changes)

    def _reach(self) -> None:
        if self._engine.away or self.cut_off:
            raise StorageError("the engine is away")

    # As a node

    async def apply(self, *workloads: Workload) -> None:
        documents = {f"default/{each.name}": each for each in workloads}
        await self.sharing.catch_up(documents)
        self.settle(documents)

    def settle(self, documents: Mapping[str, Workload]) -> None:
        before = self.sharing.before(documents)
        elsewhere = self.sharing.elsewhere(before)
        after, problems = settled(documents.items(), before, time.time(), elsewhere)
        assert not problems
        self.sharing.note(documents)
        for key, revisions in after.items():
            self.store_.put(key, revisions)

    async def sync(self) -> None:
        await self.sharing.refresh()
        await self.sharing.share()

    @property
    def revisions(self) -> Revisions:
        return self.store_.revisions[KEY]

    def ready(self, name: str = "") -> None:
        self.store_.put(KEY, is_ready(self.revisions, name or self.revisions.latest))

    def move(self, **fields: Any) -> None:
        """As its rollouts would."""
        before = self.revisions
        assert before.rollout is not None
        rollout = replace(before.rollout, since=time.time(), **fields)
        after = replace(before, rollout=rollout)
        if rollout.state != "rolling":
            good = rollout.state == "complete"
            after = judged(after, rollout.new, good=good, now=rollout.since)
        self.store_.put(KEY, after)

    def shares(self) -> dict[str, float]:
        return {each.revision: each.weight for each in self.revisions.latest_shares()}


class Nodes:
    """Makes them; one made again under a name begins with what its folder holds."""

    def __init__(self, folder: Path) -> None:
        self.engine = Engine()
        self._folder = folder

    def make(self, name: str) -> Node:
        return Node(self.engine, self._folder, name)

    async def sync(self, *nodes: Node) -> None:
        """Until all have heard of all."""
        for _ in range(2):
            for node in nodes:
                await node.sync()


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    return Nodes(tmp_path)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


# Names


def test_the_same_under_the_same_name_is_one() -> None:
    one = revision(1, "aa", created=5.0, ready=True)
    other = revision(1, "aa", created=4.0, ready_elsewhere=True, used=3.0)
    (both,) = agreed([one, other])
    assert (both.created, both.ready, both.ready_elsewhere, both.used) == (4.0, True, True, 3.0)


def test_of_two_of_one_name_the_older_keeps_it_and_the_other_gets_the_next_number() -> None:
    claims = [revision(1, "aa"), revision(2, "bb", created=3.0), revision(2, "cc", created=2.0)]
    assert named(agreed(claims)) == {"hello-00001": "aa", "hello-00002": "cc", "hello-00003": "bb"}


def test_one_that_has_run_under_a_name_keeps_it() -> None:
    claims = [revision(1, "aa", created=1.0), revision(1, "bb", created=2.0, ready_elsewhere=True)]
    assert named(agreed(claims)) == {"hello-00001": "bb", "hello-00002": "aa"}


def test_one_that_two_nodes_have_numbered_differently_has_one_number() -> None:
    claims = [revision(3, "aa", created=2.0), revision(1, "aa", created=1.0, ready=True)]
    (one,) = agreed(claims)
    assert (one.name, one.number, one.ready) == ("hello-00001", 1, True)


def test_a_name_that_was_given_stays_beside_the_number() -> None:
    claims = [revision(1, "aa"), revision(2, "aa", name="hello-first")]
    assert named(agreed(claims)) == {"hello-00001": "aa", "hello-first": "aa"}


def test_the_latest_and_the_rollout_go_by_the_new_names() -> None:
    rollout = Rollout(KEY, "d", "hello-00001", "hello-00002", 10.0, "rolling")
    own = Revisions(
        (revision(1, "aa", created=5.0), revision(2, "bb", created=6.0)), "hello-00002", rollout
    )
    told = [revision(1, "zz"), revision(2, "aa"), revision(3, "bb")]
    after = joined(own, told)
    assert named(after.known) == {
        "hello-00001": "zz",
        "hello-00002": "aa",
        "hello-00003": "bb",
    }
    assert after.latest == "hello-00003"
    assert after.rollout == replace(rollout, old="hello-00002", new="hello-00003")


CLAIMS = st.lists(
    st.builds(
        revision,
        st.integers(1, 4),
        st.sampled_from(["aa", "bb", "cc", "dd"]),
        created=st.sampled_from([1.0, 2.0, 3.0]),
        ready_elsewhere=st.booleans(),
    ),
    max_size=7,
)


@given(CLAIMS, st.randoms(use_true_random=False))
def test_what_is_agreed_on_does_not_depend_on_the_order_and_is_agreed_on(
    claims: list[Revision], random: Any
) -> None:
    found = agreed(claims)
    assert len({each.name for each in found}) == len(found)
    assert {each.digest for each in found} == {each.digest for each in claims}
    assert agreed(found) == found
    shuffled = list(claims)
    random.shuffle(shuffled)
    assert named(agreed(shuffled)) == named(found)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["apply", "ready", "sync", "cut off", "back", "stopped"]),
        st.integers(0, 4),
    ),
    max_size=25,
)
WORKLOADS = [hello(f"text-{number}") for number in range(5)]


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_nodes_agree_whatever_happened_while_they_could_not_hear_each_other(
    steps: list[tuple[int, str, int]],
) -> None:
    async def main(folder: Path) -> None:
        nodes = Nodes(folder)
        all_of_them = [nodes.make(f"node-{index}") for index in range(3)]
        for node in all_of_them:
            await node.apply(WORKLOADS[0])
        wanted = [WORKLOADS[0]] * 3
        for index, what, number in steps:
            node = all_of_them[index]
            match what:
                case "apply":
                    wanted[index] = WORKLOADS[number]
                    await node.apply(wanted[index])
                case "ready":
                    node.ready()
                case "sync":
                    await node.sync()
                case "cut off" | "back":
                    node.cut_off = what == "cut off"
                case "stopped":
                    node.store_.save()
                    cut_off = node.cut_off
                    all_of_them[index] = nodes.make(f"node-{index}")
                    all_of_them[index].cut_off = cut_off
                    await all_of_them[index].apply(wanted[index])
        for node in all_of_them:
            node.cut_off = False
        await nodes.sync(*all_of_them)
        await nodes.sync(*all_of_them)
        seen = [named(node.revisions.known) for node in all_of_them]
        assert seen[0] == seen[1] == seen[2]
        assert len(set(seen[0].values())) == len(seen[0])
        for node, workload in zip(all_of_them, wanted, strict=True):
            latest = node.revisions.find(node.revisions.latest)
            assert latest is not None and latest.template == workload.template
        before = nodes.engine.stored
        await nodes.sync(*all_of_them)
        assert nodes.engine.stored == before, "there is nothing left to tell"

    with tempfile.TemporaryDirectory() as folder:
        run(main(Path(folder)))


# What is so on other nodes


def test_a_node_that_joins_takes_over_names_and_what_was_ready(nodes: Nodes) -> None:
    async def main() -> None:
        a = nodes.make("a")
        for text in ("one", "two"):
            await a.apply(hello(text))
            a.ready()
        await a.sync()
        b = nodes.make("b")
        await b.apply(hello("two"))
        assert named(b.revisions.known) == named(a.revisions.known)
        assert b.revisions.latest == "hello-00002"
        # It has had none of them: what the others go by is what it begins with.
        assert b.shares() == {"hello-00002": 100}
        assert split((), b.revisions).running == {"hello-00002"}

    run(main())


def test_a_node_holds_its_calls_back_until_the_new_one_is_ready_there(nodes: Nodes) -> None:
    async def main() -> None:
        a, b = nodes.make("a"), nodes.make("b")
        for node in (a, b):
            await node.apply(hello("one"))
            node.ready()
        for node in (a, b):
            await node.apply(hello("two"))
        a.ready()
        await nodes.sync(a, b)
        assert a.shares() == {"hello-00002": 100}
        assert b.shares() == {"hello-00001": 100}
        b.ready()
        assert b.shares() == {"hello-00002": 100}

    run(main())


def test_a_new_one_that_starts_nowhere_yet_leaves_the_calls_to_what_others_have(
    nodes: Nodes,
) -> None:
    async def main() -> None:
        a = nodes.make("a")
        await a.apply(hello("one"))
        a.ready()
        await a.sync()
        b = nodes.make("b")
        await b.apply(hello("two"))
        assert b.revisions.latest == "hello-00002"
        assert b.shares() == {"hello-00001": 100}
        await nodes.sync(a, b)
        assert a.revisions.latest == "hello-00001", "each goes by its own document"
        assert named(a.revisions.known) == named(b.revisions.known)

    run(main())


async def rolling(nodes: Nodes, *names: str) -> list[Node]:
    """Nodes on which a rollout of "two" has begun, and is at 10 %."""
    made = [nodes.make(name) for name in names]
    for node in made:
        await node.apply(hello("one", rollout=PLAN))
        node.ready()
        await node.sync()
    for node in made:
        await node.apply(hello("two", rollout=PLAN))
        node.ready()
        await node.sync()
    made[0].move(percent=10.0)
    await nodes.sync(*made)
    return made


def test_a_rollout_is_one_on_all_nodes_and_its_steps_are_followed(nodes: Nodes) -> None:
    async def main() -> None:
        a, b = await rolling(nodes, "a", "b")
        assert a.revisions.rollout == b.revisions.rollout
        assert b.shares() == {"hello-00001": 90, "hello-00002": 10}
        b.move(percent=100.0, step=1)
        await nodes.sync(a, b)
        assert a.shares() == {"hello-00002": 100}

    run(main())


def test_going_back_counts_whatever_another_node_stores_after_it(nodes: Nodes) -> None:
    async def main() -> None:
        a, b = await rolling(nodes, "a", "b")
        b.move(percent=0.0, state="rolled back", reason="it fails")
        await b.sync()
        a.move(percent=100.0, step=1)  # it has not heard of it yet
        assert a.revisions.rollout is not None
        document = rollout_document(a.revisions.rollout, a.revisions)
        name = rollout_key(KEY, a.revisions.rollout.of)
        await nodes.engine.table.store(TABLE, {name: document})
        await nodes.sync(b, a)
        for node in (a, b):
            assert node.revisions.rollout is not None
            assert (node.revisions.rollout.state, node.revisions.rollout.reason) == (
                "rolled back",
                "it fails",
            )
            assert node.shares() == {"hello-00001": 100}

    run(main())


def test_a_node_that_joins_sends_nothing_to_what_was_rolled_back(nodes: Nodes) -> None:
    async def main() -> None:
        a, b = await rolling(nodes, "a", "b")
        b.move(percent=0.0, state="rolled back")
        await nodes.sync(a, b)
        c = nodes.make("c")
        await c.apply(hello("two", rollout=PLAN))
        assert c.revisions.rollout == a.revisions.rollout
        assert c.shares() == {"hello-00001": 100}
        assert split((), c.revisions).running == {"hello-00001"}
        # Neither does one with a third version, which is not ready yet.
        d = nodes.make("d")
        await d.apply(hello("three"))
        assert d.shares() == {"hello-00001": 100}

    run(main())


def test_a_node_that_joins_after_a_rollout_begins_with_the_new_one(nodes: Nodes) -> None:
    async def main() -> None:
        a, b = await rolling(nodes, "a", "b")
        a.move(percent=100.0, step=1, state="complete")
        await nodes.sync(a, b)
        c = nodes.make("c")
        await c.apply(hello("two", rollout=PLAN))
        assert c.shares() == {"hello-00002": 100}

    run(main())


def test_what_others_have_in_force_without_a_rollout_is_not_rolled_out_again(
    nodes: Nodes,
) -> None:
    async def main() -> None:
        (late,) = [nodes.make("late")]
        await late.apply(hello("one", rollout=PLAN))
        late.ready()
        await late.sync()
        late.store_.save()
        a = nodes.make("a")
        await a.apply(hello("two"))  # at once, without steps
        a.ready()
        await a.apply(hello("two", rollout=PLAN))
        await a.sync()
        late = nodes.make("late")
        await late.apply(hello("two", rollout=PLAN))
        assert late.revisions.rollout is None
        await nodes.sync(late, a)
        assert a.shares() == {"hello-00002": 100}

    run(main())


def test_documents_that_come_back_begin_anew_once_no_node_has_them(nodes: Nodes) -> None:
    async def main() -> None:
        a, b = await rolling(nodes, "a", "b")
        b.move(percent=0.0, state="rolled back")
        await nodes.sync(a, b)
        back = a.revisions.rollout
        await a.apply(hello("one", rollout=PLAN))
        await nodes.sync(a, b)
        assert b.revisions.rollout == back, "the other has it still"
        await a.apply(hello("two", rollout=PLAN))
        assert a.revisions.rollout == back, "so it counts"

        for node in (a, b):
            await node.apply(hello("one", rollout=PLAN))
        await nodes.sync(a, b)
        assert not read_records(await a.documents(TABLE)).rollouts
        assert not a.sharing._to_remove, "nothing is left to do"
        for node in (a, b):
            await node.apply(hello("two", rollout=PLAN))
            await node.sync()
        assert a.revisions.rollout is not None
        assert a.revisions.rollout.state == "rolling"
        assert a.revisions.rollout == b.revisions.rollout

    run(main())


def test_a_node_that_comes_back_does_not_undo_what_the_others_have_done(nodes: Nodes) -> None:
    async def main() -> None:
        a, b = await rolling(nodes, "a", "b")
        b.cut_off = True
        b.move(percent=0.0, state="rolled back")  # nobody hears of it
        b.store_.save()
        a.move(percent=100.0, step=1, state="complete")
        await a.sync()
        b = nodes.make("b")
        await b.apply(hello("two", rollout=PLAN))
        await nodes.sync(b, a)
        assert a.shares() == b.shares() == {"hello-00002": 100}

    run(main())


def test_what_was_done_by_hand_while_the_engine_was_away_counts_when_it_is_back(
    nodes: Nodes,
) -> None:
    async def main() -> None:
        a, b = await rolling(nodes, "a", "b")
        nodes.engine.away = True
        b.move(percent=0.0, state="rolled back", begun=time.time() + 1)
        await nodes.sync(a, b)
        assert a.shares() == {"hello-00001": 90, "hello-00002": 10}
        b.store_.save()
        b = nodes.make("b")
        await b.apply(hello("two", rollout=PLAN))
        assert b.shares() == {"hello-00001": 100}
        nodes.engine.away = False
        await nodes.sync(b, a)
        assert a.shares() == b.shares() == {"hello-00001": 100}

    run(main())


def test_an_engine_that_is_away_is_told_once_and_nothing_is_lost(
    nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        a, b = nodes.make("a"), nodes.make("b")
        nodes.engine.away = True
        await a.apply(hello("one"))
        a.ready()
        await a.apply(hello("two"))
        for _ in range(3):
            await a.sync()
        told = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert len(told) == 1
        assert "this node goes on as it is" in told[0].getMessage()
        nodes.engine.away = False
        await nodes.sync(a, b)
        await b.apply(hello("two"))
        assert named(b.revisions.known) == named(a.revisions.known)
        nodes.engine.table = LocalCluster("emptied")
        await nodes.sync(a, b)
        assert len(await a.documents(TABLE)) == 2, "what an engine has lost it is told again"

    run(main())


def test_what_is_used_elsewhere_is_kept_and_what_nobody_has_used_for_a_day_goes(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(time.time(), 3 * 3600)

    async def main() -> None:
        a, b = nodes.make("a"), nodes.make("b")
        pinned = "[{revisionName: hello-00002, percent: 100}]"
        for number in range(2):
            await a.apply(hello(f"text-{number}"))
            a.ready()
            await nodes.sync(a)
        await b.apply(hello("text-1", traffic=pinned))
        for number in range(2, KEPT + 12):
            monkeypatch.setattr(time, "time", lambda now=next(clock): now)
            await a.apply(hello(f"text-{number}"))
            a.ready()
            await nodes.sync(a, b)
        names = named(a.revisions.known)
        assert names == named(b.revisions.known)
        assert "hello-00002" in names and "hello-00001" not in names
        # Those of the last day, and the newest beyond them.
        assert len(names) <= KEPT + 10
        assert len(await a.documents(TABLE)) == len(names)

    run(main())


def test_what_is_no_record_or_can_not_be_read_here_is_left_alone(nodes: Nodes) -> None:
    async def main() -> None:
        newer = replace(
            revision(7, "ff"), template={"spec": {"handler": "app:hello", "warpDrive": True}}
        )
        strange: dict[str, Document] = {
            "revision/default/hello/x/y": {"record": "revision", "name": 7},
            "rollout/default/hello/x": {"record": "rollout"},
            "else": {"record": "else"},
            revision_key(newer): {**revision_document(newer), "added": "later"},
        }
        await nodes.engine.table.store(TABLE, strange)
        a = nodes.make("a")
        await a.apply(hello("one"))
        a.ready()
        await nodes.sync(a)
        assert named(a.revisions.known).keys() == {"hello-00001"}
        assert strange.items() <= dict(await a.documents(TABLE)).items()

    run(main())


def test_a_function_of_another_kind_has_none_of_the_revisions_before(nodes: Nodes) -> None:
    service = load_text(
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: hello}\n"
        "spec: {template: {spec: {containers: [{image: example.com/hello:1}]}}}\n",
        "hello.yaml",
    )
    (workload,) = service.resources
    assert isinstance(workload, Workload)

    async def main() -> None:
        a = nodes.make("a")
        await a.apply(hello("one"))
        a.ready()
        await a.sync()
        await a.apply(workload)
        await a.sync()
        (only,) = a.revisions.known
        assert only.template == workload.template
        assert a.shares() == {only.name: 100}

    run(main())


def test_a_node_on_its_own_asks_nobody(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        a = nodes.make("a")
        monkeypatch.setattr(Node, "shared", False)
        nodes.engine.away = True
        await a.apply(hello("one"))
        a.ready()
        await a.sync()
        assert a.shares() == {"hello-00001": 100}
        assert nodes.engine.stored == 0

    run(main())


def test_it_is_shared_as_soon_as_there_is_something_and_a_mistake_ends_nothing(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ANNOUNCE_EVERY", 30.0)

    async def main() -> None:
        a = nodes.make("a")
        monkeypatch.setattr(a.sharing, "_untold", None)
        task = asyncio.create_task(a.sharing.run())
        while "not shared" not in caplog.text:
            await asyncio.sleep(0.01)
        monkeypatch.undo()
        await a.apply(hello("one"))
        while not await a.documents(TABLE):
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_a_document_of_a_rollout_is_read_as_it_was() -> None:
    known = (revision(1, "aa"), revision(2, "bb"))
    rollout = Rollout(
        KEY, "d", "hello-00001", "hello-00002", 5.0, "rolling", 1, 2.0, "", {"steps": [1]}, 3.0
    )
    document = rollout_document(rollout, Revisions(known, "hello-00002", rollout))
    (record,) = read_records({rollout_key(KEY, "d"): document}).rollouts[KEY]
    assert record.among(known) == rollout
    assert record.among(known[:1]) is None


def test_a_document_under_another_key_is_none() -> None:
    document = revision_document(revision(1, "aa"))
    assert not read_records({"revision/default/hello/hello-00001/bb": document}).revisions


def test_digests_of_documents_are_the_same_on_every_node() -> None:
    one, other = hello("one", rollout=PLAN), hello("one", rollout=PLAN)
    assert document_digest(one) == document_digest(other)
    assert document_digest(one) != document_digest(hello("one"))
