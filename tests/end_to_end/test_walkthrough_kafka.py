"""What the README shows over Kafka, pasted word for word: two nodes, and an event from kcat."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka_jars import java, kafka_jars
from markdown_blocks import ROOT, Block, read_blocks
from pasted import PATIENCE, Terminal, environment, network, paste
from service_rule import needed, unavailable

RUN_KAFKA = ROOT / "compose" / "local_servers" / "run_kafka.py"
PORTS = (8080, 8081, 9080, 9081, 9092)
ADMIN = {"a": 8081, "b": 9081}
UP = """\
12:00:00 INFO    2 functions and 2 triggers in .
12:00:00 INFO    ready: events to http://127.0.0.1:{port}/default/default, admin API at http://127.0.0.1:{admin}
"""
RECEIPT = "tea: 6 EUR"

pytestmark = [pytest.mark.service("kafka"), pytest.mark.timeout(180)]


def test_what_the_readme_shows_over_kafka_works_word_for_word(tmp_path: Path) -> None:
    if shutil.which("kcat") is None:
        unavailable("kcat is not installed: apt install kcat")
    with needed():
        java()
        kafka_jars()
    blocks = read_blocks(ROOT / "README.md")
    write_files(blocks, tmp_path)
    shown = [block for block in blocks if block.settings.get("needs") == "kafka"]
    (table,) = (block for block in shown if block.language == "text")
    started = {block.settings["terminal"]: block for block in shown if "terminal" in block.settings}
    asking, sending = (
        block for block in shown if block.language == "sh" and "terminal" not in block.settings
    )
    with ExitStack() as stack:
        prefix = stack.enter_context(network(*PORTS))
        kafka = Terminal(
            [*prefix, sys.executable, str(RUN_KAFKA)], tmp_path, tmp_path / "kafka.log"
        )
        stack.callback(kafka.end)
        kafka.wait_for("Kafka is at localhost:9092; Ctrl-C ends it")
        nodes = {}
        for name, block in started.items():
            nodes[name] = Terminal(
                [*prefix, *block.text.split()], tmp_path, tmp_path / f"{name}.log"
            )
            stack.callback(nodes[name].end)
            nodes[name].wait_for(UP.format(port=ADMIN[name] - 1, admin=ADMIN[name]))

        wait_until(
            lambda: (
                first_columns(paste(asking, tmp_path, prefix).stdout) == first_columns(table.text)
            )
        )
        assert paste(sending, tmp_path, prefix).stdout == ""
        # Whichever node it fell to has printed the receipt, and nothing else.
        wait_until(lambda: receipts(tmp_path, prefix) == [RECEIPT])
        assert {name: node.end() for name, node in nodes.items()} == {"a": 0, "b": 0}


def write_files(blocks: list[Block], folder: Path) -> None:
    for block in blocks:
        if "title" in block.settings:
            (folder / block.settings["title"]).write_text(block.text)


def first_columns(table: str) -> list[list[str]]:
    """Names, and whether they are ready: the figures behind differ from run to run."""
    return [line.split()[:2] for line in table.splitlines()]


def receipts(folder: Path, prefix: list[str]) -> list[str]:
    """What the function has printed, on all nodes."""
    said = []
    for port in ADMIN.values():
        ran = subprocess.run(
            [*prefix, "eventing", "logs", "receipt", "--admin", f"http://127.0.0.1:{port}"],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert ran.returncode == 0, ran.stderr
        said += [line.split("  ")[-1] for line in ran.stdout.splitlines()]
    return said


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
