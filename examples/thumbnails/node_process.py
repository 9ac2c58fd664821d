"""For the demo: a node in a process of its own, and how to talk to it with the standard library."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from journeys import Upload

START_LIMIT = 30.0
"""Seconds the node may take to be ready."""
SCALE_TO_ZERO_GRACE = 2.0
"""Seconds an idle function's last worker is kept, in place of 30: nobody likes to watch that."""


class Failed(Exception):
    """The demo can't go on; the message says why."""


class Node:
    """`eventing up` on a folder, on free ports, with all it keeps and says beneath `work`.

    `broker` is an engine's address, or "embedded"; `name` tells nodes of one engine apart.
    """

    def __init__(
        self,
        folder: Path,
        work: Path,
        environment: dict[str, str],
        *,
        name: str = "solo",
        broker: str = "embedded",
    ) -> None:
        work.mkdir(exist_ok=True)
        self.name = name
        self.killed = False
        self.log = work / "node.log"
        self._where = work / "data" / "node.json"
        self._ingress = self._admin = ""
        command = [sys.executable, "-m", "eventing", "up", str(folder)]
        command += ["--port", "0", "--admin-port", "0", "--data", str(work / "data")]
        command += ["--scale-to-zero-grace", str(SCALE_TO_ZERO_GRACE)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                # An address may hold a password: not for the command line, which all may see.
                env=os.environ
                | environment
                | {"EVENTING_BROKER": broker, "EVENTING_NODE_NAME": name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self, limit: float = START_LIMIT) -> None:
        """Raises Failed where it ends instead, or is not ready in `limit` seconds."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                status = self._process.returncode
                raise Failed(f"node {self.name} ended at once, with status {status}")
            if self._listens() and self._get("/readyz")[0] == 200:
                return
            time.sleep(0.02)
        raise Failed(f"node {self.name} was not ready within {limit:.0f} s")

    def post(self, picture: Upload) -> tuple[int, str]:
        """Post a picture as an event in HTTP's binary mode: the picture is the body as it is, the
        event's attributes are headers. Returns the answer's status and text."""
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid.uuid4()),
            "ce-source": "/examples/thumbnails/demo",
            "ce-type": "com.example.image.uploaded",
            "ce-subject": quote(picture.name),
            "content-type": picture.type,
            **{f"ce-{name}": value for name, value in picture.extensions.items()},
        }
        connection = http.client.HTTPConnection(self._ingress, timeout=30)
        try:
            body = picture.path.read_bytes()
            connection.request("POST", "/default/default", body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace").strip()
        finally:
            connection.close()

    def follow(self, tell: Callable[[dict[str, Any], str], None]) -> None:
        """Hand every entry of the node's live record to `tell`, with the node's name, from now on
        and in a thread."""
        connection = http.client.HTTPConnection(self._admin)
        connection.request("GET", "/api/v1/activity")
        answer = connection.getresponse()
        if answer.status != 200:
            raise Failed(f"the node's live record answered {answer.status}")

        def read() -> None:
            try:
                while line := answer.readline():
                    if line.strip():
                        tell(json.loads(line), self.name)
            except (OSError, ValueError, http.client.HTTPException):
                pass  # the node has ended

        threading.Thread(target=read, name="follow", daemon=True).start()

    def functions(self) -> dict[str, dict[str, Any]]:
        """How each function does right now: the figures of its workers, by its name."""
        status, body = self._get("/api/v1/resources?kind=Function")
        if status != 200:
            raise Failed(f"the admin API answered {status}: {body[:200].decode(errors='replace')}")
        return {item["name"]: item["status"] for item in json.loads(body)["items"]}

    def at_work(self) -> int:
        """How many events its workers have in their hands."""
        return sum(figures["inFlight"] for figures in self.functions().values())

    def nodes(self) -> dict[str, bool]:
        """The nodes it sees, itself among them, and whether each is ready."""
        status, body = self._get("/api/v1/nodes")
        items = json.loads(body)["items"] if status == 200 else ()
        return {item["name"]: item["ready"] for item in items}

    def kill(self) -> None:
        """kill -9: no farewell, nothing settled."""
        self.killed = True
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End it as an operator would, with SIGTERM; returns its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def last_words(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _listens(self) -> bool:
        """Whether the node has told on which ports it listens: in a file among its data."""
        if not self._where.exists():
            return False
        try:
            told = json.loads(self._where.read_text())
        except ValueError:
            return False  # half written
        self._ingress, self._admin = (
            urlsplit(told["ingress"]).netloc,
            urlsplit(told["admin"]).netloc,
        )
        return True

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._admin, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
