"""SIGTERM under load loses nothing; a data folder has one node at a time."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import WANTS, Journal, write_chain
from ingress_load import IngressLoad
from node_process import NodeProcess, runs, wait_for, write_project

SLOW = """
    import os, time
    from eventing import CloudEvent, Context, function

    _journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @function
    def slow(event: CloudEvent, context: Context):
        id = context.attributes["id"]
        os.write(_journal, f"begun {os.getpid()} {id} {context.attempt}\\n".encode())
        time.sleep(float(os.environ["SECONDS"]))
        os.write(_journal, f"ended {os.getpid()} {id} {context.attempt}\\n".encode())
    """
SLOW_TRIGGER = """
    apiVersion: eventing.knative.dev/v1
    kind: Trigger
    metadata: {name: slow}
    spec:
      broker: default
      subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: slow}}
    """


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def nodes() -> Iterator[list[NodeProcess]]:
    """Nodes to be killed in the end, however the test ends."""
    started: list[NodeProcess] = []
    yield started
    for node in started:
        node.kill()


def a_slow_node(
    tmp_path: Path, journal: Journal, nodes: list[NodeProcess], *, seconds: float, grace: float
) -> NodeProcess:
    """One whose handler takes so many seconds."""
    node = NodeProcess(
        write_project(tmp_path / "slow", {"app.py": SLOW, "slow.yaml": SLOW_TRIGGER}),
        data=tmp_path / "data",
        log=tmp_path / "node.log",
        arguments=("--grace", str(grace)),
        environment={"JOURNAL": str(journal.path), "SECONDS": str(seconds)},
    )
    nodes.append(node)
    return node


@pytest.mark.slow
def test_sigterm_under_load_ends_in_time_with_status_0_and_nothing_is_lost_or_repeated(
    tmp_path: Path, journal: Journal, nodes: list[NodeProcess]
) -> None:
    node = NodeProcess(
        write_chain(tmp_path / "project"),
        data=tmp_path / "data",
        log=tmp_path / "node.log",
        environment={"JOURNAL": str(journal.path)},
    )
    nodes.append(node)
    accepted: set[str] = set()
    for number in range(5):
        node.start()
        load = IngressLoad(node.ingress, f"{number}", type="order").start()
        wait_for(lambda: load.statuses[202] > 300, "the load runs")  # noqa: B023
        node.terminate()
        assert node.wait(35) == 0, node.last_words()  # its grace time is 30 s
        load.join()
        assert set(load.statuses) <= {202, 503}
        accepted |= set(load.accepted)
    node.start()
    wait_for(
        lambda: all(set(journal.handled()[name]) >= accepted for name in WANTS),
        "every chain is complete",
    )
    assert node.stop() == 0
    for name, counts in journal.handled().items():
        assert set(counts.values()) == {1}, f"{name} handled an event twice without any crash"


def test_sigterm_lets_a_handler_end_within_the_grace_time(
    tmp_path: Path, journal: Journal, nodes: list[NodeProcess]
) -> None:
    node = a_slow_node(tmp_path, journal, nodes, seconds=1.5, grace=30).start()
    assert node.post("any", "1") == 202
    wait_for(lambda: journal.handled()["begun"], "the handler has begun")
    assert node.stop() == 0
    assert len(journal.calls()) == 2, "begun and ended, once each"
    node.start()
    lag = wait_for(lambda: [node.resource("Trigger", "slow")["status"]["lag"]], "the trigger's lag")
    assert lag == [0], "nothing is left to do"
    assert len(journal.calls()) == 2


def test_what_outlasts_the_grace_time_is_told_by_status_1_and_delivered_again(
    tmp_path: Path, journal: Journal, nodes: list[NodeProcess]
) -> None:
    node = a_slow_node(tmp_path, journal, nodes, seconds=3600, grace=0.5).start()
    assert node.post("any", "1") == 202
    wait_for(lambda: journal.handled()["begun"], "the handler has begun")
    assert node.stop() == 1
    assert "delivered again" in node.last_words()
    wait_for(lambda: no_worker_is_left(journal), "its workers are gone with it", 5)
    node = a_slow_node(tmp_path, journal, nodes, seconds=0, grace=0.5).start()
    wait_for(lambda: journal.handled()["ended"], "it is handled after the next start")
    assert [call.attempt for call in journal.calls() if call.function == "begun"] == [1, 1]


def no_worker_is_left(journal: Journal) -> bool:
    """Whether every worker that wrote to the journal is gone."""
    return not any(runs(int(call.subject)) for call in journal.calls())


def test_a_second_sigterm_ends_it_at_once_and_nothing_is_lost(
    tmp_path: Path, journal: Journal, nodes: list[NodeProcess]
) -> None:
    node = a_slow_node(tmp_path, journal, nodes, seconds=3600, grace=3600).start()
    assert node.post("any", "1") == 202
    wait_for(lambda: journal.handled()["begun"], "the handler has begun")
    node.terminate()
    wait_for(lambda: "shutting down" in node.last_words(), "it has heard the first")
    assert node.stop() == 1
    wait_for(lambda: no_worker_is_left(journal), "its workers are gone with it", 5)
    a_slow_node(tmp_path, journal, nodes, seconds=0, grace=1).start()
    wait_for(lambda: journal.handled()["ended"], "it is handled after the next start")


def test_a_second_node_on_the_same_data_is_refused_and_the_first_minds_nothing(
    tmp_path: Path, journal: Journal, nodes: list[NodeProcess]
) -> None:
    node = a_slow_node(tmp_path, journal, nodes, seconds=0, grace=1).start()
    told = (node.data / "node.json").read_text()
    command = [sys.executable, "-m", "eventing", "up", str(tmp_path / "slow")]
    command += ["--data", str(node.data), "--port", "0", "--admin-port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert second.returncode == 2
    assert f"another node (process {node.pid}) runs on the data folder" in second.stderr
    assert "--data" in second.stderr
    assert "Traceback" not in second.stderr
    assert (node.data / "node.json").read_text() == told
    assert node.post("any", "1") == 202
    wait_for(lambda: journal.handled()["ended"], "the first goes on")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "\0\xff", '{"pid": 1}'])
def test_a_broken_node_file_of_an_earlier_life_keeps_nobody_from_starting(
    tmp_path: Path, journal: Journal, nodes: list[NodeProcess], text: str
) -> None:
    node = a_slow_node(tmp_path, journal, nodes, seconds=0, grace=1)
    node.data.mkdir()
    (node.data / "node.json").write_text(text)
    node.start()
    assert node.post("any", "1") == 202
    wait_for(lambda: journal.handled()["ended"], "the event is handled")
