"""The process a test's node runs in: started, asked, ended; no socket but an inherited pair."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

import eventing
from eventing.errors import OperationError, UserError
from eventing.sdk.frames import FrameReader, encode
from eventing.testing.frames import ANSWER, REFUSED, REQUEST

_HOME: Final = str(Path(next(iter(eventing.__path__))).parent)

# The node's packages have names that a project may have as well, on PYTHONPATH for instance. Once
# imported from where this module is, they are what those names mean in that process; the user's
# modules are only ever imported in the node's workers, which import none of ours.
_BOOT: Final = """
import sys
_, home, descriptor, parent = sys.argv
path = list(sys.path)
sys.path.insert(0, home)
import brokers, eventing, functions, triggers
sys.path[:] = path
from eventing.node.testing_host import main
main(int(descriptor), int(parent))
"""

_CHUNK: Final = 1 << 18
_LOG_LINES: Final = 20
_STOP_LIMIT: Final = 15.0


class NodeProcess:
    """A node's process, one request at a time. It ends with this process, however that ends."""

    def __init__(self, log: Path) -> None:
        """Starts it. What it says for itself goes to the file `log`."""
        self._log = log
        self._reader = FrameReader()
        self._lock = threading.Lock()
        self._connection, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-c", _BOOT, _HOME, str(theirs.fileno()), str(os.getpid())]
        with theirs, log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                # Ctrl-C is for the test alone, which then ends this.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, method: str, arguments: dict[str, Any], patience: float) -> Any:
        """The answer to a request, waited for up to `patience` seconds.

        Raises UserError or OperationError as the node does, and OperationError where it does not
        answer.
        """
        with self._lock:
            if self._ended:
                raise UserError("the node has ended; use it inside its `with` block")
            try:
                self._connection.settimeout(patience)
                self._connection.sendall(encode(REQUEST, method, arguments))
                frame = self._read()
            except TimeoutError:
                self.kill()
                reason = f"the node did not answer within {patience:g} s and was ended"
                raise OperationError(self._with_log(reason)) from None
            except OSError:
                status = self.kill()
                reason = f"the node's process has ended, with status {status}"
                raise OperationError(self._with_log(reason)) from None
            except BaseException:
                # Ctrl-C, or a test's time limit: the answer that is to come would be taken for
                # that to the next request.
                self.kill()
                raise
        match frame:
            case [kind, value] if kind == ANSWER:
                return value
            case [kind, mistake, message] if kind == REFUSED:
                raise UserError(message) if mistake else OperationError(self._with_log(message))
        raise OperationError(f"the node answered {frame!r:.200}")

    def stop(self) -> None:
        """End it in good order, its workers' shutdown hooks included, or by force."""
        if self._ended:
            return
        try:
            self.ask("stop", {}, _STOP_LIMIT)
            self._connection.close()
            self._process.wait(_STOP_LIMIT)
        except (OperationError, subprocess.TimeoutExpired):
            self.kill()

    def kill(self) -> int:
        """End it at once; its workers end with it. Returns its status."""
        self._connection.close()
        self._process.kill()
        return self._process.wait()

    @property
    def _ended(self) -> bool:
        return self._connection.fileno() < 0

    def _read(self) -> list[Any]:
        while True:
            data = self._connection.recv(_CHUNK)
            if not data:
                raise ConnectionResetError
            for frame in self._reader.feed(data):
                return frame

    def _with_log(self, text: str) -> str:
        """`text`, and the last lines of what the node has said, where there are any."""
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return "\n".join([text, *(f"  {line}" for line in lines)])
