"""A real node in a process of its own, with a project written for the occasion."""

import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import cpu_seconds, free_port, wait_for_port


@dataclass(slots=True)
class RunningNode:
    """`pid` of the node alone: its zygotes and workers are processes of their own."""

    pid: int
    port: int
    admin: str
    folder: Path
    log: Path

    def cpu(self) -> float:
        return cpu_seconds(self.pid)

    def workers_cpu(self) -> float:
        """Of all processes below it that are there now: what a worker that went had spent is not
        in it."""
        total = 0.0
        for pid in self.children():
            with suppress(OSError):
                total += cpu_seconds(pid)
        return total

    def items(self, kind: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.admin}/api/v1/resources?kind={kind}") as answer:
            items: list[dict[str, Any]] = json.load(answer)["items"]
            return items

    def done(self) -> int:
        """Deliveries that are over, of all triggers."""
        return sum(item["status"].get("done", 0) for item in self.items("Trigger"))

    def wait_done(self, count: int, seconds: float = 120.0, *, every: float = 0.02) -> None:
        """Asks the node `every` so many seconds, which costs it a little each time."""
        end = time.monotonic() + seconds
        while self.done() < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.done()} of {count} deliveries are done")
            time.sleep(every)

    def wait_ready(self, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                urllib.request.urlopen(f"{self.admin}/readyz").close()
                return
            except OSError as error:
                if time.monotonic() > end:
                    raise TimeoutError(f"the node is not ready: {error}") from None
                time.sleep(0.02)

    def children(self) -> list[int]:
        """Every process below the node."""
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            for task in Path(f"/proc/{pid}/task").iterdir():
                below = [int(each) for each in (task / "children").read_text().split()]
                found += below
                waiting += below
        return found


def trigger(name: str, subscriber: str, type: str = "com.example.bench", **spec: Any) -> str:
    """A Trigger's document. `subscriber` is a function's name or a URI."""
    if "://" in subscriber:
        where: dict[str, Any] = {"uri": subscriber}
    else:
        where = {"ref": {"apiVersion": "functions/v1", "kind": "Function", "name": subscriber}}
    return json.dumps(
        {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": name},
            "spec": {
                "broker": "default",
                "filters": [{"exact": {"type": type}}],
                "subscriber": where,
                **spec,
            },
        }
    )


@contextmanager
def running_node(
    files: Mapping[str, str], *, data: Path | None = None, options: tuple[str, ...] = ()
) -> Iterator[RunningNode]:
    """A node over these files, stopped by SIGTERM at the end. `data` to keep its brokers."""
    with tempfile.TemporaryDirectory(prefix="eventing-bench-") as name:
        folder = Path(name)
        project = folder / "project"
        project.mkdir()
        for file, text in files.items():
            (project / file).write_text(text)
        port, admin_port = free_port(), free_port()
        command = [sys.executable, "-m", "eventing", "up", str(project)]
        command += ["--port", str(port), "--admin-port", str(admin_port)]
        command += ["--data", str(data or folder / "data"), *options]
        log = folder / "node.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=folder)
        try:
            try:
                wait_for_port(port)
            except OSError:
                raise RuntimeError(f"the node did not start:\n{log.read_text()}") from None
            node = RunningNode(process.pid, port, f"http://127.0.0.1:{admin_port}", folder, log)
            node.wait_ready()
            yield node
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
