"""`python -m eventing.serve` as a process of its own, in a folder with an app.py."""

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

PATIENCE = 60.0
_READY = re.compile(r"is ready on port (\d+)\n")
EVENT = {"ce-specversion": "1.0", "ce-id": "7", "ce-source": "/test", "ce-type": "asked"}


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"after {PATIENCE:g} s still not so: {what}"
        time.sleep(0.01)


class ServeProcess:
    """Serves `handler` of `app` until it is closed. `wait=False`: it may not come up."""

    def __init__(
        self,
        folder: Path,
        app: str,
        handler: str = "app:handler",
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> None:
        (folder / "app.py").write_text(textwrap.dedent(app))
        self._log = folder / "log"
        self.port = 0
        chosen = [] if "--port" in arguments or "PORT" in (environment or {}) else ["--port", "0"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "eventing.serve", handler, *chosen, *arguments],
                cwd=folder,
                env=os.environ | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            wait_for(self._is_ready, "it is ready")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def said(self, text: str) -> bool:
        return text in self.log

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"it ended at once:\n{self.log}"
        found = _READY.search(self.log)
        if found:
            self.port = int(found[1])
        return found is not None

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def request(
        self,
        method: str = "POST",
        path: str = "/",
        body: bytes = b"",
        headers: Mapping[str, str] = EVENT,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body."""
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, answer.read()
        finally:
            connection.close()

    def ask(self, data: object, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """One binary event with JSON data."""
        sent = {"content-type": "application/json"} | EVENT
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request(body=json.dumps(data).encode(), headers=sent)

    def terminate(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
