"""The thumbnails example's demo as a process, for tests to start, wait for and look into."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "thumbnails"


class Demo:
    """One run of the demo, begun at once. `broker` is what the environment names as one."""

    def __init__(
        self, temporary: Path, *arguments: str, example: Path = EXAMPLE, broker: str = "embedded"
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(example / "demo.py"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(temporary), "EVENTING_BROKER": broker},
        )
        self.output = self.complaints = ""

    def wait(self) -> int:
        """Its exit status."""
        if self._process.poll() is None or not self.output:
            self.output, self.complaints = self._process.communicate(timeout=200)
        return self._process.returncode

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=30)

    def folder(self, what: str) -> Path:
        """The folder it named on its line `{what}: {folder}`."""
        (line,) = (line for line in self.output.splitlines() if line.startswith(f"{what}: "))
        return Path(line.partition(": ")[2])
