"""The command line against a real node: what is sent, seen, explained, mended and removed."""

import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventing.node.cli.new_project import FILES

APP = '''\
from eventing import CloudEvent, Context, Reject, function


@function(reply_type="order.priced")
def price(order: dict):
    """Three a piece; without an amount there is no price."""
    return {"total": 3 * order["amount"]}


@function
def receipt(event: CloudEvent, context: Context):
    print("total", event.get_data()["total"])
    context.logger.warning("printed")


@function
def flaky(event: CloudEvent, context: Context):
    if context.attempt == 1:
        raise RuntimeError("not yet")


@function
def picky(event: CloudEvent):
    raise Reject("never")


@function
def grave(event: CloudEvent):
    pass
'''


def trigger(name: str, type: str, extra: str = "", function: str = "") -> str:
    return f"""\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {{name: {name}}}
spec:
  broker: default
  filters: [{{exact: {{type: {type}}}}}]
  subscriber: {{ref: {{apiVersion: functions/v1, kind: Function, name: {function or name}}}}}
{extra}---
"""


SINK = """\
  delivery:
    deadLetterSink: {ref: {apiVersion: functions/v1, kind: Function, name: grave}}
"""
RETRIES = "  delivery: {retry: 2, backoffPolicy: linear, backoffDelay: PT0.05S}\n"

WIRING = (
    trigger("price", "order.placed")
    + trigger("receipt", "order.priced")
    + trigger("flaky", "flaky", RETRIES)
    + trigger("buried", "buried", SINK, function="picky")
    + trigger("held", "held", function="nobody")
)


class NodeProcess:
    """A node of its own, and the command line as somebody in its folder has it."""

    def __init__(self, folder: Path, *options: str, app: str = APP, wiring: str = WIRING) -> None:
        self.folder = folder
        self.log = folder / "node.log"
        self._options = options
        (folder / "app.py").write_text(app)
        (folder / "wiring.yaml").write_text(wiring)
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        arguments = ["up", ".", "--port", "0", "--admin-port", "0", *self._options]
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "eventing", *arguments],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        where = self.folder / ".eventing" / "node.json"
        until(lambda: process.poll() is not None or (where.exists() and where.read_text()))
        assert process.poll() is None, self.log.read_text()
        return process

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)

    def restart(self) -> None:
        self.stop()
        self.process = self._start()

    def run(
        self, *arguments: str, stdin: str = "", **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        ran = subprocess.run(
            [sys.executable, "-m", "eventing", *arguments],
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=60,
        )
        assert "Traceback" not in ran.stderr, ran.stderr
        return ran

    def json(self, *arguments: str) -> Any:
        ran = self.run(*arguments, "-o", "json")
        assert ran.stdout, ran.stderr
        return json.loads(ran.stdout)

    def dead(self, data: str = "{}") -> str:
        """A new dead letter of the trigger `price`; its id."""
        id = str(uuid.uuid4())
        sent = self.run("send", "--type", "order.placed", "--id", id, "--data", data, "--wait")
        assert sent.returncode == 1
        listed = self.json("dead-letters", "list", "--all")["items"]
        [letter] = [letter for letter in listed if letter["event"]["id"] == id]
        return str(letter["id"])

    def background(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "eventing", *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    running = NodeProcess(tmp_path_factory.mktemp("node"))
    yield running
    running.stop()


# send


def test_send_says_what_was_accepted_by_whom(node: NodeProcess) -> None:
    ran = node.run("send", "--type", "seen", "--id", "7")
    assert (ran.returncode, ran.stdout) == (0, "sent seen 7 to default/default\n")


def test_send_wait_follows_the_event_and_its_replies_to_their_end(node: NodeProcess) -> None:
    ran = node.run("send", "--type", "order.placed", "--data", '{"amount": 2}', "--wait")
    assert ran.returncode == 0
    assert "→ price" in ran.stdout
    assert "↳ order.priced" in ran.stdout
    assert "receipt" in ran.stdout.splitlines()[-1]
    assert ran.stderr.startswith("done in ")


def test_send_wait_tells_each_attempt_of_an_event_that_succeeds_at_last(node: NodeProcess) -> None:
    told = node.json("send", "--type", "flaky", "--wait")
    attempts = [hop for hop in told["hops"] if hop["record"] == "attempt"]
    assert told["outcome"] == "done"
    assert [(hop["attempt"], hop["outcome"]) for hop in attempts] == [(1, "retry"), (2, "done")]
    assert "not yet" in attempts[0]["reason"]


def test_send_wait_exits_1_for_a_dead_letter(node: NodeProcess) -> None:
    ran = node.run("send", "--type", "order.placed", "--data", "{}", "--wait")
    assert ran.returncode == 1
    assert "KeyError: 'amount'" in ran.stdout
    assert "failed at price" in ran.stderr


def test_send_wait_exits_1_where_a_dead_letter_sink_takes_it(node: NodeProcess) -> None:
    ran = node.run("send", "--type", "buried", "--wait")
    assert ran.returncode == 1
    assert "dead-letter sink grave" in ran.stdout
    assert "failed at buried" in ran.stderr


def test_send_wait_exits_1_where_no_trigger_wants_it_and_names_explain(node: NodeProcess) -> None:
    ran = node.run("send", "--type", "nothing.wants.this", "--wait")
    assert ran.returncode == 1
    assert "no trigger wanted it; 'eventing explain'" in ran.stderr


def test_send_wait_says_what_holds_an_event_that_does_not_end_in_time(node: NodeProcess) -> None:
    ran = node.run("send", "--type", "held", "--wait", "--timeout", "300ms")
    assert ran.returncode == 1
    assert "trigger held is not ready and holds the event" in ran.stderr
    assert "not ended after 300 ms" in ran.stderr


def test_send_takes_a_whole_event_from_stdin_and_flags_beside_it(node: NodeProcess) -> None:
    event = {"specversion": "1.0", "id": "e1", "source": "/shop", "type": "t", "data": {"a": 1}}
    ran = node.run("send", "--event", "-", "--type", "seen", stdin=json.dumps(event))
    assert (ran.returncode, ran.stdout) == (0, "sent seen e1 to default/default\n")


def test_send_to_a_broker_that_is_not_there_is_the_users_mistake(node: NodeProcess) -> None:
    ran = node.run("send", "--type", "t", "--broker", "team/other")
    assert ran.returncode == 2
    assert "there is no broker 'other' in namespace 'team'" in ran.stderr


# tail and logs


def test_tail_tells_the_way_of_each_event_in_json(node: NodeProcess) -> None:
    tail = node.background("tail", "--type", "order.*", "-o", "json")
    assert tail.stdout is not None
    try:
        # Whether it listens yet only an event can tell.
        while not select.select([tail.stdout], [], [], 1.0)[0]:
            node.run("send", "--type", "order.nobody-wants")
        node.run("send", "--type", "order.placed", "--data", '{"amount": 1}')
        records: list[dict[str, Any]] = []
        while len(records) < 4:
            record = json.loads(tail.stdout.readline())
            if record["event"]["type"] != "order.nobody-wants":
                records.append(record)
    finally:
        tail.send_signal(signal.SIGINT)
        tail.communicate(timeout=20)
    assert tail.returncode == 130
    assert [(each["record"], each["event"]["type"]) for each in records] == [
        ("accepted", "order.placed"),
        ("attempt", "order.placed"),
        ("accepted", "order.priced"),
        ("attempt", "order.priced"),
    ]
    assert records[1]["outcome"] == "done"


def test_tail_ends_quietly_when_its_reader_has_seen_enough(node: NodeProcess) -> None:
    tail = node.background("tail")
    assert tail.stdout is not None and tail.stderr is not None
    assert "watching" in tail.stderr.readline()
    node.run("send", "--type", "seen")
    assert "no trigger wants it" in tail.stdout.readline()
    tail.stdout.close()
    while tail.poll() is None:
        node.run("send", "--type", "seen")
    assert (tail.returncode, tail.stderr.read()) == (0, "")
    tail.stderr.close()


def test_logs_show_what_a_function_prints_and_logs_with_its_event(node: NodeProcess) -> None:
    sent = ("send", "--type", "order.priced", "--id", "log-me", "--data", '{"total": 5}', "--wait")
    assert node.run(*sent).returncode == 0
    until(lambda: "log-me" in node.run("logs", "receipt").stdout)
    lines = [line for line in node.run("logs", "receipt").stdout.splitlines() if "log-me" in line]
    assert any("INFO" in line and line.endswith("total 5") for line in lines)
    assert any("WARNING" in line and line.endswith("printed") for line in lines)


def test_logs_of_a_function_that_is_not_there_name_the_nearest(node: NodeProcess) -> None:
    ran = node.run("logs", "reciept")
    assert ran.returncode == 2
    assert "did you mean 'receipt'?" in ran.stderr


# get, describe, apply, delete


def test_get_lists_readiness_and_figures(node: NodeProcess) -> None:
    rows = {line.split()[0]: line.split() for line in node.run("get", "tr").stdout.splitlines()}
    assert rows["NAME"][:3] == ["NAME", "READY", "REASON"]
    assert rows["price"][1] == "True"
    assert rows["held"][1:3] == ["False", "SubscriberNotResolved"]


def test_get_shows_all_kinds_below_their_names(node: NodeProcess) -> None:
    shown = node.run("get").stdout.splitlines()
    assert [line for line in shown if line.isupper() and " " not in line] == [
        "BROKERS",
        "TRIGGERS",
        "FUNCTIONS",
    ]


def test_get_in_yaml_can_be_applied_again(node: NodeProcess) -> None:
    node.run("apply", "-f", "-", stdin=trigger("copy", "copy", function="grave"))
    document = node.run("get", "trigger", "copy", "-o", "yaml").stdout
    assert "status: 'True'" in document
    ran = node.run("apply", "-f", "-", stdin=document)
    assert (ran.returncode, ran.stdout) == (0, "Trigger/default/copy unchanged\n")


def test_get_names_are_one_a_line(node: NodeProcess) -> None:
    names = node.run("get", "functions", "-o", "name").stdout.split()
    assert "Function/default/price" in names


def test_describe_tells_the_filter_in_words_the_place_and_the_dead_letters(
    node: NodeProcess,
) -> None:
    node.dead()
    shown = node.run("describe", "trigger", "price").stdout
    assert 'type = "order.placed"' in shown
    assert "wiring.yaml:1:1" in shown
    assert "KeyError: 'amount'" in shown


@pytest.mark.parametrize("kind", ["broker", "function"])
def test_describe_knows_what_no_file_declares(node: NodeProcess, kind: str) -> None:
    ran = node.run("describe", kind, {"broker": "default", "function": "price"}[kind])
    assert ran.returncode == 0
    assert {"broker": "/default/default", "function": "app:price"}[kind] in ran.stdout


def test_a_name_that_is_not_there_is_answered_with_the_nearest(node: NodeProcess) -> None:
    ran = node.run("describe", "trigger", "prize")
    assert ran.returncode == 2
    assert ran.stderr == "eventing: there is no trigger prize; did you mean 'price'?\n"


def test_what_is_applied_works_at_once_outlives_the_node_and_can_be_deleted(
    tmp_path: Path,
) -> None:
    node = NodeProcess(tmp_path)
    try:
        created = node.run("apply", "-f", "-", stdin=trigger("extra", "extra", function="grave"))
        assert (created.returncode, created.stdout) == (0, "Trigger/default/extra created\n")
        assert node.run("send", "--type", "extra", "--wait").returncode == 0
        node.restart()
        assert node.run("send", "--type", "extra", "--wait").returncode == 0
        deleted = node.run("delete", "trigger", "extra")
        assert (deleted.returncode, deleted.stdout) == (0, "Trigger/default/extra deleted\n")
        assert node.run("send", "--type", "extra", "--wait").returncode == 1
    finally:
        node.stop()


def test_apply_with_a_mistake_changes_nothing_and_names_its_place(node: NodeProcess) -> None:
    (node.folder / "two.yml.txt").write_text(
        trigger("first", "x", function="grave")
        + trigger("second", "x", function="grave").replace("broker:", "brokr:")
    )
    ran = node.run("apply", "-f", "two.yml.txt")
    assert ran.returncode == 2
    assert "two.yml.txt:13:3: " in ran.stderr
    assert 'did you mean "broker"?' in ran.stderr
    assert node.run("get", "trigger", "first").returncode == 2


def test_what_a_file_defines_is_neither_applied_over_nor_deleted(node: NodeProcess) -> None:
    applied = node.run("apply", "-f", "-", stdin=trigger("price", "other"))
    deleted = node.run("delete", "trigger", "price")
    assert (applied.returncode, deleted.returncode) == (2, 2)
    assert "wiring.yaml:1:1; change it there" in applied.stderr
    assert "wiring.yaml:1:1; remove it there" in deleted.stderr


# explain


def test_explain_asks_the_node_and_tells_of_triggers_that_are_not_ready(node: NodeProcess) -> None:
    ran = node.run("explain", "--type", "held", "--trigger", "held")
    assert ran.returncode == 0
    assert "✓ held" in ran.stdout
    assert "not ready" in ran.stdout


def test_explain_exits_1_where_no_trigger_matches(node: NodeProcess) -> None:
    told = node.run("explain", "--type", "nope")
    assert told.returncode == 1
    assert 'wanted type = "order.placed", but type is "nope"' in told.stdout


# dead letters and replay


def test_a_dead_letter_is_listed_and_shown_with_event_and_reason(node: NodeProcess) -> None:
    id = node.dead('{"item": "tea"}')
    rows = [line.split() for line in node.run("dead-letters", "list").stdout.splitlines()]
    [row] = [row for row in rows if row[0] == id]
    assert row[2:4] == ["price", "order.placed"]
    shown = node.run("dead-letters", "show", id).stdout
    assert '"item": "tea"' in shown
    assert 'return {"total": 3 * order["amount"]}' in shown


def test_redrive_with_new_data_mends_a_dead_letter(node: NodeProcess) -> None:
    id = node.dead()
    ran = node.run("dead-letters", "redrive", id, "--data", '{"amount": 1}', "--wait")
    assert ran.returncode == 0
    assert "order.priced" in ran.stdout
    assert node.run("dead-letters", "show", id).returncode == 2


def test_redrive_of_what_fails_again_exits_1(node: NodeProcess) -> None:
    assert node.run("dead-letters", "redrive", node.dead(), "--wait").returncode == 1


def test_redrive_edits_the_data_in_the_editor(node: NodeProcess) -> None:
    editor = node.folder / "editor.py"
    editor.write_text('import sys\nopen(sys.argv[1], "w").write(\'{"amount": 4}\\n\')\n')
    ran = node.run(
        *("dead-letters", "redrive", node.dead(), "--edit", "--wait"),
        EDITOR=f"{sys.executable} {editor}",
    )
    assert ran.returncode == 0, ran.stderr


def test_redrive_refuses_data_that_is_not_what_its_content_type_says(node: NodeProcess) -> None:
    id = node.dead()
    ran = node.run("dead-letters", "redrive", id, "--data", "{amount: 1}")
    assert ran.returncode == 2
    assert "no JSON" in ran.stderr
    assert node.run("dead-letters", "show", id).returncode == 0


def test_redrive_can_change_an_attribute(node: NodeProcess) -> None:
    id = node.dead()
    node.run("dead-letters", "redrive", id, "--set-attr", "region=eu")
    until(lambda: node.json("dead-letters", "list", "--all")["items"][-1]["id"] != int(id))
    newest = node.json("dead-letters", "list", "--all")["items"][-1]["id"]
    assert node.json("dead-letters", "show", str(newest))["event"]["region"] == "eu"


def test_drop_asks_and_where_nobody_can_answer_needs_yes(node: NodeProcess) -> None:
    id = node.dead()
    asked = node.run("dead-letters", "drop", id)
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert node.run("dead-letters", "drop", id, "--yes").stdout == f"dropped dead letter {id}\n"
    assert node.run("dead-letters", "show", id).returncode == 2


def test_drop_all_of_a_trigger_leaves_none(node: NodeProcess) -> None:
    node.dead()
    assert node.run("dead-letters", "drop", "--all", "--trigger", "price", "--yes").returncode == 0
    assert node.json("dead-letters", "list", "--trigger", "price")["items"] == []


def test_replay_delivers_again_what_the_log_holds(node: NodeProcess) -> None:
    node.run("send", "--type", "order.priced", "--data", '{"total": 1}', "--wait")
    head = node.json("get", "broker", "default")["status"]["head"]
    told = node.json("replay", "receipt", "--from", str(head))
    assert told == {"trigger": "default/receipt", "replayed": 1}
    assert node.json("replay", "receipt", "--since", "1h", "--to", "1")["replayed"] == 0


def test_replay_of_a_trigger_that_is_not_there_is_the_users_mistake(node: NodeProcess) -> None:
    ran = node.run("replay", "nobody")
    assert ran.returncode == 2
    assert "there is no trigger" in ran.stderr


# The project of `eventing init`


def test_the_new_projects_readme_works_word_for_word(tmp_path: Path) -> None:
    readme = FILES["README.md"]
    commands = re.findall(r"^\$ (eventing .*)$", readme, re.MULTILINE)
    assert commands.pop(0) == "eventing up . --reload"
    assert '"milk": 1' in readme
    node = NodeProcess(tmp_path, "--reload", app=FILES["app.py"], wiring=FILES["wiring.yaml"])
    try:
        told = {}
        for command in commands:
            if "redrive" in command:
                prices = FILES["app.py"].replace("PRICES = {", 'PRICES = {"milk": 1, ')
                (tmp_path / "app.py").write_text(prices)
                until(lambda: "reloaded" in node.log.read_text())
            told[command] = node.run(*shlex.split(command)[1:])
    finally:
        node.stop()
    tea, logs, milk, listed, shown, redriven = told.values()
    assert (tea.returncode, milk.returncode, redriven.returncode) == (0, 1, 0)
    assert "tea: 6 EUR" in logs.stdout
    assert "there is no milk for sale" in listed.stdout
    assert "there is no milk for sale" in shown.stdout
    assert "receipt" in redriven.stdout


# The node's end


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_waits_on_a_node_that_ends_is_told_and_exits_3(tmp_path: Path, number: int) -> None:
    node = NodeProcess(tmp_path)
    waiting = node.background("send", "--type", "held", "--wait")
    assert waiting.stderr is not None
    assert "holds the event" in waiting.stderr.readline()
    node.stop(number)
    _, told = waiting.communicate(timeout=20)
    assert waiting.returncode == 3
    assert "the node is gone" in told
    assert "Traceback" not in told
