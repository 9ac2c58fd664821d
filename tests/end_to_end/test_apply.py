"""Resources applied to a running node: at work at once, kept over a restart, deletable."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_process import NodeProcess, wait_for, write_project

APP = """
    import os
    import pathlib
    from eventing import function

    @function
    def tell(event):
        text = os.environ.get("WORD", "no word")
        (pathlib.Path(os.environ["OUT"]) / event.get_id()).write_text(text)
"""

TRIGGER = """
    apiVersion: eventing.knative.dev/v1
    kind: Trigger
    metadata: {name: tell}
    spec:
      broker: default
      filters: [{exact: {type: tell}}]
      subscriber: {ref: {kind: Function, name: tell}}
"""

FUNCTION = """
    apiVersion: functions/v1
    kind: Function
    metadata: {name: tell}
    spec:
      handler: app:tell
      env: [{name: WORD, valueFrom: {secretKeyRef: {name: words, key: word}}}]
    ---
    apiVersion: v1
    kind: Secret
    metadata: {name: words}
    stringData: {word: top-secret}
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    (tmp_path / "out").mkdir()
    project = write_project(tmp_path / "project", {"app.py": APP})
    process = NodeProcess(
        project,
        data=tmp_path / "data",
        log=tmp_path / "node.log",
        environment={"OUT": str(tmp_path / "out")},
    )
    try:
        yield process.start()
    finally:
        process.kill()


def answer(node: NodeProcess, out: Path, id: str) -> str:
    assert node.post("tell", id) == 202
    written = out / id
    return wait_for(lambda: written.exists() and written.read_text(), f"event {id} is handled")


def test_an_applied_trigger_is_at_work_and_outlives_the_node(
    node: NodeProcess, tmp_path: Path
) -> None:
    node.apply(TRIGGER)
    assert answer(node, tmp_path / "out", "1") == "no word"
    assert node.stop() == 0
    node.start()
    assert answer(node, tmp_path / "out", "2") == "no word"


def test_applying_again_says_what_changed(node: NodeProcess) -> None:
    def result(text: str) -> str:
        _, told = node.ask("POST", "/api/v1/resources", text.encode())
        return told["results"][0]["result"]

    text = textwrap.dedent(TRIGGER)
    assert result(text) == "created"
    assert result(text) == "unchanged"
    assert result(text.replace("exact", "prefix")) == "configured"


def test_a_secret_reaches_the_function_and_nobody_else(node: NodeProcess, tmp_path: Path) -> None:
    node.apply(FUNCTION)
    node.apply(TRIGGER)
    assert answer(node, tmp_path / "out", "1") == "top-secret"
    status, shown = node.ask("GET", "/api/v1/resources")
    assert status == 200
    assert "top-secret" not in str(shown)
    assert "top-secret" not in node.log.read_text()
    assert (tmp_path / "data" / "applied").stat().st_mode & 0o077 == 0
    node.stop()
    node.start()
    assert answer(node, tmp_path / "out", "2") == "top-secret"


def test_a_deleted_trigger_takes_no_more(node: NodeProcess, tmp_path: Path) -> None:
    node.apply(TRIGGER)
    answer(node, tmp_path / "out", "1")
    status, _ = node.ask("DELETE", "/api/v1/resources/Trigger/default/tell")
    assert status == 200
    assert node.post("tell", "2") == 202
    node.apply(TRIGGER.replace("tell}}]", "again}}]"))
    node.stop()
    assert not (tmp_path / "out" / "2").exists()


def test_a_text_with_one_mistake_changes_nothing(node: NodeProcess) -> None:
    text = textwrap.dedent(TRIGGER) + "---\nkind: Triger\napiVersion: eventing.knative.dev/v1\n"
    status, told = node.ask("POST", "/api/v1/resources?file=mine.yaml", text.encode())
    assert status == 400
    assert 'did you mean "Trigger"' in told["error"]
    assert told["problems"][0].startswith("mine.yaml:10:7: ")
    assert node.ask("GET", "/api/v1/resources?kind=Trigger")[1]["items"] == []


def test_an_event_waits_for_a_function_that_comes_later(node: NodeProcess, tmp_path: Path) -> None:
    node.apply(TRIGGER.replace("name: tell}}", "name: later}}"))
    assert node.resource("Trigger", "tell")["reason"] == "SubscriberNotResolved"
    assert node.post("tell", "1") == 202
    node.apply(FUNCTION.replace("metadata: {name: tell}", "metadata: {name: later}"))
    text = wait_for(
        lambda: (tmp_path / "out" / "1").exists() and (tmp_path / "out" / "1").read_text(),
        "the event that waited is handled",
    )
    assert text == "top-secret"


def test_a_function_whose_handler_is_not_there_is_refused_and_the_others_go_on(
    node: NodeProcess, tmp_path: Path
) -> None:
    text = textwrap.dedent(FUNCTION).split("---")[0].replace("app:tell", "app:nowhere")
    status, told = node.ask("POST", "/api/v1/resources?file=mine.yaml", text.encode())
    assert status == 400
    assert told["error"].startswith("mine.yaml:6:12: handler 'app:nowhere'")
    node.apply(TRIGGER)
    assert answer(node, tmp_path / "out", "1") == "no word"
    node.stop()
    node.start()
    assert answer(node, tmp_path / "out", "2") == "no word"
