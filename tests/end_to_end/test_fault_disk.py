"""A full disk: events are refused, none that was accepted is lost, and with space it goes on.

Needs root, for a small file system of its own (tmpfs).
"""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import WANTS, Journal, write_chain
from ingress_load import IngressLoad
from node_process import NodeProcess, wait_for

SIZE = 32 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of SIZE bytes."""
    if os.geteuid() != 0:
        reason = "mounting a tmpfs needs root"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode != 0:
        reason = f"no tmpfs could be mounted: {mounted.stderr.strip()}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    yield folder
    # Lazily: a process that a failed test left behind must not keep it.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


LIMITS = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default}
spec: {config: {apiVersion: v1, kind: ConfigMap, name: limits}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: limits}
data: {min.free.bytes: "%d"}
"""


def a_node(tmp_path: Path, disk: Path, journal: Journal, reserve: int) -> NodeProcess:
    project = write_chain(tmp_path / "project")
    (project / "limits.yaml").write_text(LIMITS % reserve)
    return NodeProcess(
        project,
        data=disk / "data",
        log=tmp_path / "node.log",
        environment={"JOURNAL": str(journal.path)},
    )


class Ballast:
    """A file that takes what space is left on a disk."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "ballast"

    def fill(self, leave: int = 0) -> None:
        with self._path.open("ab", buffering=0) as file:
            try:
                while self._free() > leave:
                    file.write(bytes(min(1 << 16, self._free() - leave)))
            except OSError:
                pass  # full

    def drop(self) -> None:
        self._path.unlink()

    def _free(self) -> int:
        state = os.statvfs(self._path.parent)
        return state.f_bavail * state.f_frsize


@pytest.mark.slow
@pytest.mark.parametrize(
    "reserve",
    [pytest.param(8 << 20, id="a reserve is kept free"), pytest.param(0, id="no reserve")],
)
def test_on_a_full_disk_events_are_refused_and_those_accepted_are_handled(
    tmp_path: Path, disk: Path, journal: Journal, reserve: int
) -> None:
    ballast = Ballast(disk)
    node = a_node(tmp_path, disk, journal, reserve).start()
    try:
        accepted: set[str] = set()
        turned_away: set[str] = set()
        for number in range(3):  # full, free again, full …
            ballast.fill(leave=reserve + (2 << 20))
            load = IngressLoad(node.ingress, f"{number}", type="order", size=4096).start()
            wait_for(lambda: load.statuses[202] > 20, "events are taken while there is room")  # noqa: B023
            if not reserve:
                ballast.fill()  # another program takes the last byte under the broker's hands
            wait_for(lambda: refused(load) > 20, "events are refused")  # noqa: B023
            assert node.ask("GET", "/healthz")[0] == 200
            load.stop()
            assert set(load.statuses) <= {202, 429, 503}
            accepted |= set(load.accepted)
            turned_away |= set(load.refused)
            ballast.drop()
            again = f"again-{number}"
            wait_for(
                lambda: node.post("order", again, subject=again) == 202,  # noqa: B023
                "events are taken again",
            )
            accepted.add(again)
            wait_until_complete(journal, accepted)
        assert not turned_away & set(journal.handled()["check"]), "refused, and yet kept"
        assert node.stop() == 0
        assert_whole(node)
    finally:
        node.kill()


@pytest.mark.slow
def test_killed_on_a_full_disk_it_starts_again_and_loses_nothing(
    tmp_path: Path, disk: Path, journal: Journal
) -> None:
    ballast = Ballast(disk)
    node = a_node(tmp_path, disk, journal, 0).start()
    try:
        ballast.fill(leave=4 << 20)
        load = IngressLoad(node.ingress, "load", type="order", size=4096).start()
        wait_for(lambda: load.statuses[202] > 20, "events are taken while there is room")
        ballast.fill()
        wait_for(lambda: refused(load) > 20, "events are refused")
        node.kill()
        load.join()
        accepted = set(load.accepted)

        node.start()  # the disk is as full as before
        ballast.drop()
        wait_for(lambda: node.post("order", "again", subject="again") == 202, "events are taken")
        wait_until_complete(journal, accepted | {"again"})
        assert node.stop() == 0
        assert_whole(node)
    finally:
        node.kill()


@pytest.mark.slow
def test_a_broker_nobody_reads_from_takes_events_again_when_space_returns(
    tmp_path: Path, disk: Path, journal: Journal
) -> None:
    ballast = Ballast(disk)
    node = a_node(tmp_path, disk, journal, 1 << 20).start()
    try:
        ballast.fill(leave=2 << 20)
        load = IngressLoad(node.ingress, "load", type="unwanted", size=4096).start()
        wait_for(lambda: load.statuses[202] > 20, "events are taken while there is room")
        ballast.fill()
        wait_for(lambda: load.statuses[503] > 0, "storage fails")
        wait_for(lambda: load.statuses[429] > 0, "the node has seen that the disk is full")
        load.stop()
        ballast.drop()
        wait_for(
            lambda: node.post("order", "again", subject="again") == 202, "events are taken", 15
        )
    finally:
        node.kill()


@pytest.mark.slow
def test_started_on_a_full_disk_it_says_so_and_goes_on_when_space_returns(
    tmp_path: Path, disk: Path, journal: Journal
) -> None:
    ballast = Ballast(disk)
    node = a_node(tmp_path, disk, journal, 0).start()
    try:
        assert node.stop() == 0
        ballast.fill()
        node.start(ready=False)
        status, answer = node.ask("GET", "/readyz")
        assert status == 503
        assert "default/default" in answer["reason"]
        ballast.drop()
        wait_for(lambda: node.post("order", "again", subject="again") == 202, "events are taken")
        wait_until_complete(journal, {"again"})
        assert node.stop() == 0
    finally:
        node.kill()


def refused(load: IngressLoad) -> int:
    """Requests answered that there is no room (429) or that storage failed (503)."""
    return load.statuses[429] + load.statuses[503]


def wait_until_complete(journal: Journal, accepted: set[str]) -> None:
    wait_for(
        lambda: all(set(journal.handled()[name]) >= accepted for name in WANTS),
        "every chain is complete",
    )


def assert_whole(node: NodeProcess) -> None:
    """SQLite finds nothing wrong with the broker's file."""
    database = sqlite3.connect(node.data / "brokers/default/default.db")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
