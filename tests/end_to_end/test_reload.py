"""`eventing up --reload`: what is saved is live, what does not load changes nothing."""

import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_process import NodeProcess, request, wait_for, write_project

APP = """
    import os
    import pathlib
    from eventing import function

    WORD = "old"

    @function
    def tell(event):
        folder = pathlib.Path(os.environ["OUT"])
        (folder / event.get_id()).write_text(WORD)

    @function
    def slow(event):
        import time
        folder = pathlib.Path(os.environ["OUT"])
        (folder / "begun").write_text(WORD)
        while not (folder / "go").exists():
            time.sleep(0.01)
        (folder / event.get_id()).write_text(WORD)
"""

WIRING = """
    apiVersion: eventing.knative.dev/v1
    kind: Trigger
    metadata: {name: tell}
    spec:
      broker: default
      filters: [{exact: {type: tell}}]
      subscriber: {ref: {kind: Function, name: tell}}
    ---
    apiVersion: eventing.knative.dev/v1
    kind: Trigger
    metadata: {name: slow}
    spec:
      broker: default
      filters: [{exact: {type: slow}}]
      subscriber: {ref: {kind: Function, name: slow}}
"""


WIRING_OF_SLOW = textwrap.dedent(WIRING).partition("---")[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return write_project(tmp_path / "project", {"app.py": APP, "wiring.yaml": WIRING})


@pytest.fixture
def node(project: Path, tmp_path: Path) -> Iterator[NodeProcess]:
    process = NodeProcess(
        project,
        data=tmp_path / "data",
        log=tmp_path / "node.log",
        arguments=("--reload",),
        environment={"OUT": str(tmp_path / "out")},
    )
    try:
        yield process.start()
    finally:
        process.kill()


def save(path: Path, old: str, new: str) -> None:
    """As editors do: a new file in place of the old one."""
    text = path.read_text()
    assert old in text
    beside = path.with_suffix(".tmp")
    beside.write_text(text.replace(old, new))
    beside.replace(path)


def answer(node: NodeProcess, out: Path, id: str, type: str = "tell") -> str:
    """What the function that gets an event of this id writes down."""
    assert node.post(type, id) == 202
    written = out / id
    return wait_for(lambda: written.exists() and written.read_text(), f"event {id} is handled")


def reload_error(node: NodeProcess) -> str:
    error: str = node.ask("GET", "/api/v1/node")[1]["reloadError"]
    return error


def reloads(node: NodeProcess) -> int:
    return node.log.read_text().count("reloaded in")


def edit(node: NodeProcess, path: Path, old: str, new: str) -> None:
    before = reloads(node)
    save(path, old, new)
    wait_for(lambda: reloads(node) > before, f"{path.name} is live")


def test_a_saved_handler_is_live(node: NodeProcess, project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert answer(node, out, "1") == "old"
    edit(node, project / "app.py", '"old"', '"new"')
    assert answer(node, out, "2") == "new"


def test_a_saved_trigger_is_live(node: NodeProcess, project: Path, tmp_path: Path) -> None:
    edit(node, project / "wiring.yaml", "{type: tell}", "{type: other}")
    assert answer(node, tmp_path / "out", "1", "other") == "old"


def test_what_is_in_flight_ends_on_the_old_code(
    node: NodeProcess, project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert node.post("slow", "s") == 202
    wait_for((out / "begun").exists, "the old code has begun")
    edit(node, project / "app.py", '"old"', '"new"')
    assert answer(node, out, "1") == "new"
    (out / "go").touch()
    assert wait_for(lambda: (out / "s").exists() and (out / "s").read_text(), "it ends") == "old"


def test_replaced_code_leaves_no_process_behind(
    node: NodeProcess, project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    answer(node, out, "0")
    edit(node, project / "app.py", '"old"', '"new0"')
    answer(node, out, "1")
    most = len(node.descendants())
    for number in range(3):
        edit(node, project / "app.py", f'"new{number}"', f'"new{number + 1}"')
        answer(node, out, f"again{number}")
    wait_for(lambda: len(node.descendants()) <= most, "old processes are gone")


@pytest.mark.parametrize(
    ("file", "good", "bad", "told"),
    [
        ("app.py", "WORD =", "WORD = = =", "app.py:6:8"),
        ("app.py", "WORD =", "import nowhere; WORD =", "No module named 'nowhere'"),
        ("wiring.yaml", "filters: [{exact: {type: tell}}]", "filterz: []", "wiring.yaml:7:3"),
        ("wiring.yaml", "{exact: {type: tell}}", '{cesql: "type ="}', "wiring.yaml:7:28"),
    ],
    ids=["syntax", "import", "unknown field", "expression"],
)
def test_a_file_that_does_not_load_keeps_the_old_version_and_shows_why(
    node: NodeProcess, project: Path, tmp_path: Path, file: str, good: str, bad: str, told: str
) -> None:
    out = tmp_path / "out"
    save(project / file, good, bad)
    wait_for(lambda: told in reload_error(node), f"the error names {told}")
    assert answer(node, out, "1") == "old"
    edit(node, project / file, bad, good)
    assert reload_error(node) == ""
    assert answer(node, out, "2") == "old"


def test_a_version_without_the_handler_that_yaml_names_does_not_replace_one_with_it(
    node: NodeProcess, project: Path, tmp_path: Path
) -> None:
    before = reloads(node)
    (project / "named.yaml").write_text(
        "apiVersion: functions/v1\nkind: Function\nmetadata: {name: tell}\n"
        "spec: {handler: app:tell}\n"
    )
    wait_for(lambda: reloads(node) > before, "the Function is live")
    save(project / "app.py", "def tell", "def told")
    wait_for(lambda: "has no 'tell'" in reload_error(node), "the error names the handler")
    assert answer(node, tmp_path / "out", "1") == "old"


FUNCTION = """
    apiVersion: functions/v1
    kind: Function
    metadata: {name: named}
    spec: {handler: "app:slow"}
"""


def test_a_handler_that_only_an_older_revision_had_may_go(
    node: NodeProcess, project: Path, tmp_path: Path
) -> None:
    before = reloads(node)
    write_project(project, {"function.yaml": FUNCTION})
    wait_for(lambda: reloads(node) > before, "the function is there")
    wait_for(lambda: node.resource("Revision", "named-00001")["ready"], "its revision is ready")
    edit(node, project / "function.yaml", "app:slow", "app:tell")
    wait_for(
        lambda: node.resource("Revision", "named-00001")["reason"] == "NoTraffic",
        "the second revision has taken over",
    )
    edit(node, project / "app.py", "def slow(", "def slower(")
    assert reload_error(node) == ""


def test_a_new_file_brings_a_new_function(node: NodeProcess, project: Path, tmp_path: Path) -> None:
    before = reloads(node)
    write_project(
        project,
        {
            "more.py": APP.replace("def tell", "def more").replace("def slow", "def slower"),
            "more.yaml": WIRING.replace("tell", "more").replace("slow", "slower"),
        },
    )
    wait_for(lambda: reloads(node) > before, "the new files are live")
    wait_for(lambda: node.resource("Trigger", "more")["ready"], "its trigger is ready")
    assert answer(node, tmp_path / "out", "1", "more") == "old"


def test_no_event_is_lost_while_code_is_replaced_again_and_again(
    node: NodeProcess, project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    over = threading.Event()
    sent = []

    def send() -> None:
        number = 0
        while not over.is_set():
            number += 1
            if node.post("tell", f"n{number}") == 202:
                sent.append(f"n{number}")
            time.sleep(0.002)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        word = "old"
        for number in range(5):
            edit(node, project / "app.py", f'"{word}"', f'"v{number}"')
            word = f"v{number}"
    finally:
        over.set()
        sender.join()
    assert len(sent) > 20
    wait_for(lambda: all((out / id).exists() for id in sent), "every accepted event is handled")


def test_no_event_fails_while_code_is_replaced_and_another_trigger_is_removed(
    node: NodeProcess, project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert node.post("slow", "s") == 202
    wait_for((out / "begun").exists, "a call of the trigger to be removed is in flight")
    over = threading.Event()
    sent: list[str] = []

    def send() -> None:
        while not over.is_set():
            sent.append(f"e{len(sent)}")
            assert node.post("tell", sent[-1]) == 202

    sender = threading.Thread(target=send)
    sender.start()
    before = reloads(node)
    # Both files in one save, as a checkout of another version does.
    save(project / "wiring.yaml", WIRING_OF_SLOW, "")
    save(project / "app.py", '"old"', '"new"')
    wait_for(lambda: reloads(node) > before, "both are live")
    wait_for(lambda: answer(node, out, f"p{len(sent)}") == "new", "the new code serves")
    over.set()
    sender.join()
    (out / "go").touch()
    wait_for(lambda: all((out / id).exists() for id in sent), "every event is handled")
    assert node.ask("GET", "/api/v1/dead-letters")[1]["items"] == []


def test_what_waits_for_a_retry_outlives_a_broker_that_is_not_ready_for_a_while(
    node: NodeProcess, project: Path
) -> None:
    limits = """
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: limits}
        data: {max.backlog: "1000"}
    """
    shop = """
        apiVersion: eventing.knative.dev/v1
        kind: Broker
        metadata: {name: shop}
        spec: {config: {kind: ConfigMap, apiVersion: v1, name: limits}}
        ---
        apiVersion: eventing.knative.dev/v1
        kind: Trigger
        metadata: {name: nowhere}
        spec:
          broker: shop
          subscriber: {uri: "http://127.0.0.1:1/"}
          delivery: {retry: 1, backoffDelay: PT10M}
    """
    before = reloads(node)
    write_project(project, {"limits.yaml": limits, "shop.yaml": shop})
    wait_for(lambda: reloads(node) > before, "the trigger is live")

    def retrying() -> int:
        waiting: int = node.resource("Trigger", "nowhere")["status"].get("retrying", 0)
        return waiting

    headers = {"ce-specversion": "1.0", "ce-source": "/s", "ce-type": "t", "ce-id": "1"}
    assert request(node.ingress, "POST", "/default/shop", b"", headers)[0] == 202
    wait_for(retrying, "the event waits for its retry")
    (project / "limits.yaml").unlink()
    reason = "BrokerNotReady"
    wait_for(lambda: node.resource("Trigger", "nowhere")["reason"] == reason, "the broker is gone")
    write_project(project, {"limits.yaml": limits})
    wait_for(lambda: node.resource("Trigger", "nowhere")["ready"], "the broker is back")
    assert wait_for(retrying, "the retry is still to come") == 1


def test_a_trigger_whose_file_is_away_for_a_moment_goes_on_where_it_was(
    node: NodeProcess, project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert node.post("slow", "s") == 202
    wait_for((out / "begun").exists, "its only worker is busy, what comes next has to wait")
    assert node.post("slow", "waits") == 202
    before = reloads(node)
    (project / "wiring.yaml").unlink()
    wait_for(lambda: reloads(node) > before, "the trigger is gone")
    assert node.post("slow", "meanwhile") == 202
    before = reloads(node)
    write_project(project, {"wiring.yaml": WIRING})
    wait_for(lambda: reloads(node) > before, "the trigger is back")
    (out / "go").touch()
    for id in ("waits", "meanwhile"):
        wait_for((out / id).exists, f"event {id} is handled")
