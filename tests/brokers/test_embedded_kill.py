"""kill -9 at random moments under load: nothing accepted is lost, nothing settled comes again."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("kill_child.py")
ROUNDS = 20


def run_and_kill(file: Path, round: int) -> list[str]:
    """Run the child until some time after its first answer, kill it; the lines it told."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with subprocess.Popen(
        [sys.executable, CHILD, file, str(round)], stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout is not None
        told = [child.stdout.readline()]
        # A random moment is the point here, so this is a sleep and no awaited condition.
        time.sleep(random.uniform(0.0, 0.25))
        child.send_signal(signal.SIGKILL)
        told += child.stdout.readlines()
    return [line.decode().strip() for line in told if line.endswith(b"\n")]


def drain(file: Path) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    ended = subprocess.run(
        [sys.executable, CHILD, file, "drain"],
        stdout=subprocess.PIPE,
        env=environment,
        timeout=60,
        check=True,
    )
    return ended.stdout.decode().splitlines()


def log_of(file: Path) -> tuple[list[str], list[str]]:
    """Ids of the orders and of the replies in the log, checked for corruption."""
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM deliveries").fetchone() == (0,)
    orders: list[str] = []
    replies: list[str] = []
    for (attributes,) in connection.execute("SELECT attributes FROM events"):
        told = json.loads(attributes)
        (orders if told["type"] == "order" else replies).append(told["id"])
    connection.close()
    return orders, replies


@pytest.mark.slow
def test_a_broker_killed_under_load_keeps_its_promises(tmp_path: Path) -> None:
    file = tmp_path / "broker.db"
    stored: set[str] = set()
    settled: set[tuple[str, str]] = set()
    taken: set[tuple[str, str]] = set()
    for round in range(ROUNDS + 1):
        handed_out: set[tuple[str, str, str]] = set()
        for line in run_and_kill(file, round) if round < ROUNDS else drain(file):
            kind, *words = line.split()
            if kind == "stored":
                stored.add(words[0])
            elif kind == "took":
                trigger, id, attempt = words
                assert (trigger, id) not in settled, f"{trigger} got {id} again, settled before"
                assert (trigger, id, attempt) not in handed_out, f"{trigger} got {id} twice"
                handed_out.add((trigger, id, attempt))
                taken.add((trigger, id))
            else:
                settled.add((words[0], words[1]))
    orders, replies = log_of(file)
    assert len(stored) > ROUNDS
    assert stored <= set(orders)
    # Whatever was killed when: an order is acknowledged with its reply, so each has exactly one.
    assert len(orders) == len(set(orders))
    assert sorted(replies) == sorted(orders)
    assert {id for trigger, id in taken if trigger == "second"} == set(replies)
