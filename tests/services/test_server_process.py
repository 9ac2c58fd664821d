"""A server as a child process: it says why it did not come up, and never outlives the tests."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from server_process import ServerFailed, ServerProcess

SERVICES = Path(__file__).parent
LOCAL_SERVERS = SERVICES.parents[1] / "compose" / "local_servers"


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Not so where the process has ended and only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_that_ends_at_once_tells_what_it_printed(tmp_path: Path) -> None:
    server = ServerProcess("Thing", ["/bin/sh", "-c", "echo no such option; exit 3"], tmp_path)
    server.launch()
    with pytest.raises(ServerFailed, match=r"(?s)Thing ended before it served.*no such option"):
        server.wait_until(lambda: False, 20)


def test_one_that_never_serves_is_given_up_and_ended(tmp_path: Path) -> None:
    server = ServerProcess("Thing", ["/bin/sleep", "600"], tmp_path)
    server.launch()
    pid = server.pid
    with pytest.raises(ServerFailed, match=r"Thing did not serve within 0 s"):
        server.wait_until(lambda: False, 0.1)
    assert not alive(pid)


def test_one_that_ignores_sigterm_is_killed_when_its_time_is_over(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]
    server = ServerProcess("Thing", command, tmp_path)
    server.launch()
    server.wait_until(lambda: "deaf" in server.tail(), 20)
    server.stop(0.2)
    assert not server.running


def test_a_paused_one_can_be_stopped(tmp_path: Path) -> None:
    server = ServerProcess("Thing", ["/bin/sleep", "600"], tmp_path)
    server.launch()
    server.pause()
    server.stop()
    assert not server.running


def test_it_goes_on_when_the_thread_that_started_it_has_ended(tmp_path: Path) -> None:
    server = ServerProcess("Thing", ["/bin/sleep", "600"], tmp_path)
    thread = threading.Thread(target=server.launch)
    thread.start()
    thread.join()
    try:
        assert alive(server.pid) and server.running
    finally:
        server.kill()


def test_a_killed_process_leaves_neither_its_server_nor_its_data() -> None:
    program = textwrap.dedent("""
        import sys, time
        from redis_server import RedisServer
        server = RedisServer()
        server.start()
        server.pause()  # It has to end all the same.
        print(server.pid, server.output.parent, flush=True)
        time.sleep(600)
    """)
    environment = {**os.environ, "PYTHONPATH": str(LOCAL_SERVERS)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        pid, folder = child.stdout.readline().split()
        assert alive(int(pid)) and Path(folder).is_dir()
        child.send_signal(signal.SIGKILL)
    wait_for(lambda: not alive(int(pid)) and not Path(folder).exists())
