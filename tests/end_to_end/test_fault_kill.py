"""`kill -9` of the node at random moments under load: nothing accepted is lost.

docs/faults.md has the figures this prints.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import WANTS, Journal, write_chain
from ingress_load import IngressLoad
from node_process import NodeProcess, wait_for

from brokers.embedded import EmbeddedBroker
from eventing.node.runtime import IN_FLIGHT_FUNCTION

ROUNDS = int(os.environ.get("KILL_ROUNDS", "50"))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def node(tmp_path: Path, journal: Journal) -> Iterator[NodeProcess]:
    node = NodeProcess(
        write_chain(tmp_path / "project"),
        data=tmp_path / "data",
        log=tmp_path / "node.log",
        environment={"JOURNAL": str(journal.path)},
    )
    yield node
    node.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_again_and_again_it_loses_nothing_and_repeats_only_what_was_in_flight(
    node: NodeProcess, journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    accepted: list[str] = []
    bounds = [0]
    """The journal's size at each kill."""
    began = time.monotonic()
    for number in range(ROUNDS):
        if number % 5 == 4:  # now and then it does not even come up before the next kill
            node.launch()
            time.sleep(chance.uniform(0.0, 0.8))
            node.kill()
            bounds.append(journal.size())
        node.start()
        load = IngressLoad(node.ingress, f"{number}", type="order").start()
        time.sleep(chance.uniform(0.05, 0.6))
        node.kill()
        load.join()
        assert set(load.statuses) <= {202}
        accepted += load.accepted
        bounds.append(journal.size())
    node.start()
    wait_until_settled(node)
    assert node.stop() == 0

    handled = journal.handled()
    lost = {name: set(accepted) - set(handled[name]) for name in WANTS}
    repeats = repeats_by_round(journal, bounds)
    report(seed, accepted, handled, repeats, time.monotonic() - began, capsys)
    assert lost == {name: set() for name in WANTS}
    for number, again in enumerate(repeats):
        for name, count in again.items():
            assert count <= IN_FLIGHT_FUNCTION, f"round {number}, {name}"
    assert_every_chain_is_stored_once(node, set(accepted))


def wait_until_settled(node: NodeProcess) -> None:
    """Until no trigger has anything left to do."""

    def settled() -> bool:
        _, answer = node.ask("GET", "/api/v1/resources?kind=Trigger")
        return all(
            item["status"]["lag"] == item["status"]["retrying"] == item["status"]["dead"] == 0
            for item in answer["items"]
        )

    wait_for(settled, "every trigger has handled all it wants", 300)


def repeats_by_round(journal: Journal, bounds: list[int]) -> list[Counter[str]]:
    """For each life of the node, how many events each function handled that it had handled in an
    earlier life. Within one life nothing may be handled twice."""
    known: dict[str, set[str]] = {name: set() for name in WANTS}
    repeats = []
    for start, end in zip(bounds, [*bounds[1:], journal.size()], strict=True):
        again: Counter[str] = Counter()
        seen: set[tuple[str, str]] = set()
        for call in journal.calls(start, end):
            key = (call.function, call.id)
            assert key not in seen, f"handled twice between two kills: {call}"
            seen.add(key)
            if call.id in known[call.function]:
                again[call.function] += 1
            known[call.function].add(call.id)
        repeats.append(again)
    return repeats


def assert_every_chain_is_stored_once(node: NodeProcess, accepted: set[str]) -> None:
    """The broker's log itself: each cause has exactly one reply, and that one exactly one."""

    async def stored() -> dict[str, Counter[str]]:
        broker = EmbeddedBroker("default/default", node.data / "brokers/default/default.db")
        await broker.start()
        found: dict[str, Counter[str]] = {}
        async for each in broker.read():
            attributes = each.event.attributes
            found.setdefault(attributes["type"], Counter())[attributes["subject"]] += 1
        await broker.close()
        return found

    found = asyncio.run(stored())
    assert accepted <= set(found["order"])
    for type in ("order", "checked", "shipped"):
        assert set(found[type]) == set(found["order"]), type
        assert set(found[type].values()) == {1}, f"{type} events that are in the log twice"


def report(
    seed: int,
    accepted: list[str],
    handled: dict[str, Counter[str]],
    repeats: list[Counter[str]],
    seconds: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Print the figures past pytest's capture."""
    calls = sum(counts.total() for counts in handled.values())
    lost = sum(len(set(accepted) - set(handled[name])) for name in WANTS)
    kills = len(repeats) - 1
    totals = [again.total() for again in repeats[1:]]
    with capsys.disabled():
        print(f"\n{kills} kills of the node in {seconds:.0f} s (seed {seed})")
        print(f"  {ROUNDS} under load, accepted {len(accepted):,}, calls {calls:,}, lost {lost}")
        print(
            f"  handled again after a kill: {sum(totals):,} in all, {sum(totals) / kills:.1f} a"
            f" kill, {max(totals)} at the most (in flight: up to"
            f" {IN_FLIGHT_FUNCTION * len(WANTS):,})"
        )
        for name in WANTS:
            each = [again[name] for again in repeats[1:]]
            print(f"    {name:8} {sum(each) / kills:6.1f} a kill, {max(each)} at the most")
