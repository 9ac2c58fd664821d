"""A real node in a process of its own, for tests to start, load, watch and kill.

Everything waits for a condition and gives up after a bound; nothing sleeps for a fixed time.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

START_LIMIT = 60.0
"""Seconds a node may take to be ready: far above what it takes, so that only a fault reaches it."""
PATIENCE = 60.0
"""Seconds a condition is waited for, likewise."""

_ROOT = Path(__file__).parents[2]
# Of its log: node.json, which has it too, can't be written while the disk is full.
_READY = re.compile(rb"ready: events to http://([^/]+)/\S+, admin API at http://(\S+)\n")

Result = TypeVar("Result")


def wait_for(condition: Callable[[], Result], what: str, seconds: float = PATIENCE) -> Result:
    """The first true result of `condition`, asked every 20 ms. Fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"after {seconds:g} s still not so: {what}"
        time.sleep(0.02)


def write_project(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a project's files, their common indentation taken off."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


class NodeProcess:
    """`eventing up` of `paths` on free ports, again and again over one data folder.

    `log` gets what all its lives print. `environment` is added to its own and so to its workers'.
    """

    def __init__(
        self,
        *paths: Path,
        data: Path,
        log: Path,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.ingress = ""
        self.admin = ""
        self._begins = 0
        self._command = [sys.executable, "-m", "eventing", "up", *map(str, paths)]
        self._command += ["--port", "0", "--admin-port", "0", "--data", str(data), *arguments]
        self._environment = os.environ | dict(environment or {})

    # Life

    def start(self, *, ready: bool = True) -> "NodeProcess":
        """Start it and wait until it listens, and is `ready`."""
        self.launch()
        return self.wait_until_up(ready=ready)

    def wait_until_up(self, *, ready: bool = True) -> "NodeProcess":
        """Wait until it listens, and is `ready`."""
        wait_for(self._listens, f"the node listens, see {self.log}", START_LIMIT)
        if ready:
            wait_for(self._is_ready, f"the node is ready, see {self.log}", START_LIMIT)
        return self

    def launch(self) -> None:
        """Start it, without waiting for anything."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        with self.log.open("ab") as log:
            self._begins = log.tell()
            self.process = subprocess.Popen(
                self._command,
                cwd=_ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL to the node alone; returns once it and every process it had started are gone."""
        if self.process is None:
            return
        family = self.descendants()
        self.process.kill()
        self.process.wait()
        wait_for(lambda: not any(map(runs, family)), "what the node had started is gone with it")

    def terminate(self) -> None:
        """Ask it to end, as an operator would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit status, waited for. Fails the test after `seconds`."""
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        self.terminate()
        return self.wait()

    def last_words(self, lines: int = 30) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    # Talk

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """A request to the admin API: its status, and the JSON of its answer."""
        status, answer = request(self.admin, method, path, body, headers)
        return status, json.loads(answer)

    def apply(self, text: str) -> None:
        """Add resources. Fails the test where they are refused."""
        status, answer = self.ask("POST", "/api/v1/resources", textwrap.dedent(text).encode())
        assert status == 200, answer

    def resource(self, kind: str, name: str) -> dict[str, Any]:
        """One resource of the default namespace as the admin API shows it."""
        _, answer = self.ask("GET", f"/api/v1/resources?kind={kind}&namespace=default&name={name}")
        (item,) = answer["items"]
        found: dict[str, Any] = item
        return found

    def post(self, type: str, id: str, data: bytes = b"", **attributes: str) -> int:
        """Send one event, in binary mode; the status of the answer."""
        headers = {f"ce-{name}": value for name, value in attributes.items()}
        headers |= {"ce-specversion": "1.0", "ce-source": "/test", "ce-type": type, "ce-id": id}
        return request(self.ingress, "POST", "/default/default", data, headers)[0]

    # Watch

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def resident_bytes(self) -> int:
        """Its resident memory now, workers not included."""
        return _status_bytes(self.pid, "VmRSS")

    def peak_bytes(self) -> int:
        """The most resident memory it ever had in this life."""
        return _status_bytes(self.pid, "VmHWM")

    def cpu_seconds(self) -> float:
        """CPU time it has used in this life, workers not included."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def descendants(self) -> list[int]:
        """The processes it has started, and those they have."""
        return _descendants(self.pid)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the node ended at once:\n{self.last_words()}"
        with self.log.open("rb") as log:
            log.seek(self._begins)
            found = _READY.search(log.read())
        if found is None:
            return False
        self.ingress, self.admin = (address.decode() for address in found.groups())
        return True

    def _is_ready(self) -> bool:
        return self.ask("GET", "/readyz")[0] == 200


def request(
    address: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """One HTTP request on a connection of its own: the status and body of the answer."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _status_bytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def runs(pid: int) -> bool:
    """Whether there is such a process, and more of it than what its parent has yet to hear."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        for child in pids:
            found += [child, *_descendants(child)]
    return found
