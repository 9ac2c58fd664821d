"""What a newcomer does with a page: terminals in which commands run on, and blocks that are pasted.

Real processes on the default ports, in a network of their own where the system allows it, else
where these ports are free. Figures, times, ids and places differ from run to run and are compared
by their form.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from markdown_blocks import Block

PATIENCE = 30.0
"""Seconds a shown output may take to appear: far above what it takes."""

_FORMS = (
    # The time until a cold handler began is told only where it is worth telling.
    (r" \([\d.]+ m?s until the handler began\)", ""),
    # A node's own log has the date as well where it does not go to a terminal.
    (r"^(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d(,\d+)? ", "<moment> "),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<moment>"),
    (r"\d\d:\d\d:\d\d\.\d{3}", "<time>"),
    (r"\b[0-9a-f]{11}…", "<id>"),
    (r"\b[\d.]+ m?s\b", "<duration>"),
    (r"\b\d+s ago\b", "<age> ago"),
    (r"^(\d+) +\d+s +", r"\1 <age> "),
    (r'"/\S*/app\.py"', '"<folder>/app.py"'),
    (r"^\s*[~^]+$", "<marks>"),
)
_FORMS_COMPILED = [(re.compile(pattern), form) for pattern, form in _FORMS]


def by_form(text: str) -> list[str]:
    """The lines of an output, whatever differs between two runs put by its form."""
    lines = []
    for line in text.splitlines():
        for pattern, form in _FORMS_COMPILED:
            line = pattern.sub(form, line)
        # Python 3.11 and 3.13 mark the failing part of a line differently.
        if line.strip() and line.strip() != "<marks>":
            lines.append(line.rstrip())
    return lines


class Terminal:
    """A window where one command runs on; what it says is in a file."""

    def __init__(self, command: list[str], folder: Path, log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._told = 0

    def wait_for(self, shown: str) -> None:
        """Until the lines shown have come, one after the other, behind those awaited before."""
        deadline = time.monotonic() + PATIENCE
        wanted = by_form(shown)
        while True:
            said = by_form(self._log.read_text(errors="replace"))
            found = said[self._told : self._told + len(wanted)]
            if found == wanted:
                self._told += len(wanted)
                return
            assert time.monotonic() < deadline and self.process.poll() is None, (found, wanted)
            time.sleep(0.02)

    def say_anything(self) -> None:
        """Until it has said its first line: it is at work."""
        deadline = time.monotonic() + PATIENCE
        while not self._log.read_text(errors="replace"):
            assert time.monotonic() < deadline, "the command says nothing"
            time.sleep(0.02)
        self._told = len(by_form(self._log.read_text(errors="replace")))

    def end(self) -> int:
        """Ctrl-C, and its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


def environment() -> dict[str, str]:
    """As a newcomer's, with the `eventing` of this environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENTING_")}
    # Beside the interpreter, which in a virtual environment is a link that must not be followed.
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept


# A network of one's own, in which every port is free. The parent's end of the pipe is its life.
_LOOPBACK_UP = """
import fcntl, socket, struct, sys
up = struct.pack("16sh", b"lo", 0x49)
fcntl.ioctl(socket.socket(), 0x8914, up)
print("up", flush=True)
sys.stdin.read()
"""


@contextmanager
def network(*ports: int) -> Iterator[list[str]]:
    """The words to put before a command so that it finds these ports free."""
    for unshare, enter in (
        (["--user", "--map-root-user", "--net"], ["--user", "--net", "--preserve-credentials"]),
        (["--net"], ["--net"]),
    ):
        if not (shutil.which("unshare") and shutil.which("nsenter")):
            break
        holder = subprocess.Popen(
            ["unshare", *unshare, sys.executable, "-c", _LOOPBACK_UP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with holder:
            assert holder.stdin is not None and holder.stdout is not None
            words = ["nsenter", f"--target={holder.pid}", *enter, "--"]
            up = holder.stdout.readline() == b"up\n"
            if up and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
                yield words
                return
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port} is taken, and no network namespace can be made")
    yield []


def paste(block: Block, folder: Path, prefix: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a block's commands as a shell would."""
    return subprocess.run(
        [*prefix, "sh", "-c", block.text],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
