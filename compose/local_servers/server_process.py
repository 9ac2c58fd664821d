"""A server as a child process on loopback: started, paused, stopped, killed, started again.

It never outlives the process that started it, even when that one is killed: a watchdog ends it.
"""

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
_TAIL = 4_000
# Below the ports Linux takes for outgoing connections (32768 and up), so that nothing else comes
# to hold a server's port while the server is down.
_PORTS = range(20_000, 32_000)
# Ends with the process that holds the other end of its input, however that one ended.
_WATCHDOG = 'read -r _; kill -KILL "$1"; rm -rf "$2"'


_running: "list[ServerProcess]" = []


def running_servers() -> "list[ServerProcess]":
    """Those of this process that were started and not ended."""
    return [*_running]


class ServerUnavailable(Exception):
    """The server's program is not on this machine; the message says what to install."""


class ServerFailed(Exception):
    """The server's program is there and did not come up; the message has the end of its output."""


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    for _ in range(200):
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServerFailed(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free")


class ServerProcess:
    """`name` is for messages. `folder` is the server's own: it is removed should this process be
    killed. What the server prints goes to `output.log` in it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.output = folder / "output.log"
        self._command = list(command)
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Raises RuntimeError where the server does not run."""
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Also while paused."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start the process without waiting until it serves."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        self._gone()
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=self._environment,
                # Ctrl-C is for the process that started it, which then stops it in order.
                start_new_session=True,
            )
        _running.append(self)
        # PR_SET_PDEATHSIG would end the server with the thread that started it, not the process.
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(self._process.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_until(self, serves: Callable[[], bool], seconds: float) -> None:
        """Wait for `serves` to hold. Kills the server and raises ServerFailed when it ends before
        that or is too slow."""
        deadline = time.monotonic() + seconds
        while not serves():
            if not self.running:
                why = "ended before it served"
            elif time.monotonic() > deadline:
                why = f"did not serve within {seconds:.0f} s"
            else:
                time.sleep(0.05)
                continue
            self.kill()
            raise ServerFailed(f"{self.name} {why}; it said:\n{self.tail()}")

    def stop(self, seconds: float = 30) -> None:
        """SIGTERM, and SIGKILL when it has not ended after that time. Ends a paused one, too."""
        if self._process is not None and self.running:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._gone()

    def kill(self) -> None:
        """SIGKILL. Returns once the process is gone."""
        if self._process is not None:
            self._process.kill()
        self._gone()

    def pause(self) -> None:
        """SIGSTOP: the connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def tail(self) -> str:
        """The end of what the server printed."""
        if not self.output.exists():
            return "(nothing)"
        text = self.output.read_bytes()[-_TAIL:].decode(errors="replace")
        return text.strip() or "(nothing)"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or not self.running:
            raise RuntimeError(f"{self.name} does not run")
        self._process.send_signal(number)

    def _gone(self) -> None:
        """The watchdog goes first, lest it meets another process of the same id."""
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        if self._process is not None:
            self._process.wait()
            self._process = None
            _running.remove(self)
