"""What goes wrong in worker processes is told as it is, and leaves nothing behind."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

APP = """
    import ctypes, os, subprocess, sys, time
    from eventing import function

    @function
    def fault(what: str):
        match what:
            case "segfault": ctypes.string_at(0)
            case "exit": os._exit(3)
            case "spin":
                while True: pass
            case "sleep": time.sleep(1000)
            case "child":
                child = subprocess.Popen(["sleep", "1000"])
                print("child", child.pid)
                time.sleep(1000)
            case "deaf":
                os.closerange(3, 100)
                time.sleep(1000)
            case "garbage":
                import socket
                for fd in range(3, 40):
                    try: os.write(fd, b"\\x00\\x00\\x00\\x02hi")
                    except OSError: pass
                time.sleep(1000)
            case "leak":
                kept = []
                while True:
                    kept.append(bytearray(b"x" * (1 << 20)))
                    time.sleep(0.001)
            case "huge":
                return str(len(bytearray(8 << 30)))

    @function
    async def wait(what: str):
        import asyncio
        await asyncio.sleep(1000)
"""

THREAD = """
import threading
threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
"""


@pytest.mark.parametrize(
    ("what", "reason"), [("segfault", "killed by SIGSEGV"), ("exit", "exited with status 3")]
)
@pytest.mark.parametrize("mode", ["fork", "fresh"])
def test_a_crash_is_told_by_its_signal_or_status(run_project, zombies, what, reason, mode):
    async def body(running):
        assert running.project.launcher.mode == mode
        fault = running.launch("fault")
        fault.call(1, what.encode())
        assert await fault.end() == reason
        assert not fault.worker.between_calls
        if what == "segfault":
            await running.logged("Fatal Python error: Segmentation fault")
        assert zombies() == []

    run_project(textwrap.dedent(APP) + (THREAD if mode == "fresh" else ""), body)


@pytest.mark.parametrize("what", ["spin", "sleep"])
def test_a_hanging_worker_is_killed(run_project, what):
    async def body(running):
        fault = running.launch("fault")
        await fault.until_ready()
        fault.call(1, what.encode())
        fault.worker.kill()
        assert await fault.end() == "killed by SIGKILL"

    run_project(APP, body)


def test_a_worker_killed_before_it_is_born_ends_all_the_same(run_project):
    async def body(running):
        fault = running.launch("fault")
        fault.worker.kill()
        assert await fault.end() == "killed by SIGKILL"

    run_project(APP, body)


def test_what_a_handler_has_started_is_gone_before_its_worker_is(run_project):
    async def body(running):
        fault = running.launch("fault")
        fault.call(1, b"child")
        child = int((await running.logged("child ")).text.split()[1])
        fault.worker.kill()
        await fault.end()
        assert not Path(f"/proc/{child}").exists()

    run_project(APP, body)


def test_a_daemon_that_prints_without_end_does_not_hold_the_node(run_project):
    source = """
        import subprocess, sys
        from eventing import function

        @function
        def daemonize(data: bytes):
            script = "while True: print('y' * 1000)"
            command = [sys.executable, "-c", script]
            daemon = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
            print("daemon", daemon.pid, file=sys.stderr)
    """

    async def body(running):
        daemonize = running.launch("daemonize")
        daemonize.call()
        await daemonize.answer()
        await running.logged("yyyy")
        daemon = int((await running.logged("daemon ")).text.split()[1])
        daemonize.worker.kill()
        assert await daemonize.end() == "killed by SIGKILL"
        while Path(f"/proc/{daemon}").exists():  # it is waited for as well
            await asyncio.sleep(0.01)

    run_project(source, body)


def test_a_worker_that_closes_its_socket_is_killed(run_project):
    async def body(running):
        fault = running.launch("fault")
        fault.call(1, b"deaf")
        assert await fault.end() == "killed, for it had closed its connection to the node"

    run_project(APP, body)


def test_a_malformed_frame_ends_the_worker_with_its_reason(run_project):
    async def body(running):
        fault = running.launch("fault")
        fault.call(1, b"garbage")
        assert (await fault.end()).startswith("killed, for it sent a frame")

    run_project(APP, body)


def test_a_leak_is_killed_at_the_memory_limit(run_project):
    async def body(running):
        fault = running.launch("fault", memory=64 << 20)
        fault.call(1, b"leak")
        assert await fault.end() == "killed, over its memory limit of 64 MiB (OOM)"

    run_project(APP, body)


def test_one_huge_allocation_is_refused_within_the_process(run_project):
    async def body(running):
        fault = running.launch("fault", memory=64 << 20)
        fault.call(1, b"huge")
        answer = await fault.answer()
        assert (answer.status, answer.reason) == (500, "MemoryError")
        assert await fault.end() == "the handler ran out of memory"

    run_project(APP, body)


def test_workers_outlive_their_zygote_and_others_are_born_of_the_next(run_project, zombies):
    source = """
        import os
        from eventing import function

        @function
        def parent(data: bytes):
            return str(os.getppid())
    """

    async def body(running):
        old = running.launch("parent")
        old.call(1)
        zygote = int((await old.answer(1)).replies[0].data)
        os.kill(zygote, signal.SIGKILL)
        await running.logged("the zygote ended (killed by SIGKILL)")
        old.call(2)
        assert (await old.answer(2)).status == 200
        new = running.launch("parent")
        new.call(1)
        assert (await new.answer(1)).status == 200
        old.worker.kill()
        assert await old.end() == "killed by SIGKILL"
        assert zombies() == []

    run_project(source, body)


def test_a_worker_whose_zygote_dies_before_forking_it_is_told_so(run_project):
    async def body(running):
        zygote = running.project._zygote.pid
        os.kill(zygote, signal.SIGSTOP)
        fault = running.launch("fault")
        os.kill(zygote, signal.SIGKILL)
        assert await fault.end() == (
            "the zygote ended (killed by SIGKILL) before it could be forked"
        )

    run_project(APP, body)


def test_an_idle_zygote_goes_and_comes_back_at_need(run_project, gone):
    async def body(running):
        first = running.project._zygote.pid
        fault = running.launch("fault")
        await fault.until_ready()
        fault.worker.drain()
        await fault.end()
        await gone(first)
        again = running.launch("fault")
        again.call(1, b"nothing")
        assert (await again.answer()).status == 200

    run_project(APP, body, idle_timeout=0.01)


def test_code_that_can_no_longer_be_imported_is_told_to_those_who_wait(run_project, tmp_path, gone):
    async def body(running):
        zygote = running.project._zygote.pid
        (tmp_path / "app.py").write_text("from eventing import function\nimport nowhere\n")
        os.kill(zygote, signal.SIGKILL)
        await gone(zygote)
        fault = running.launch("fault")
        reason = await fault.end()
        assert "can't be imported any more" in reason
        assert "app.py:2" in reason

    run_project(APP, body)


HOOKS = """
    import time
    from eventing import function

    @function
    def unready(data: bytes): ...

    @unready.on_start
    def load():
        raise FileNotFoundError("model.onnx is missing")

    @function
    def clingy(data: bytes): ...

    @clingy.on_stop
    def hang():
        time.sleep(1000)

    @function
    async def clumsy(data: bytes): ...

    @clumsy.on_stop
    async def fail():
        raise OSError("cannot close")
"""


def test_a_failing_start_up_hook_is_the_reason_of_the_end(run_project):
    async def body(running):
        unready = running.launch("unready")
        unready.call()
        reason = await unready.end()
        assert reason.startswith("start-up hook failed: FileNotFoundError: model.onnx is missing")
        assert "app.py:10" in reason
        assert not unready.is_ready
        assert unready.worker.between_calls
        assert (await running.logged("model.onnx is missing")).level == "ERROR"

    run_project(HOOKS, body)


def test_a_hanging_shutdown_hook_is_given_a_grace(run_project, monkeypatch):
    monkeypatch.setattr("functions.worker_process.STOP_GRACE", 0.1)

    async def body(running):
        clingy = running.launch("clingy")
        clingy.worker.drain()
        assert await clingy.end() == "killed, its shutdown hooks took over 0.1 s"

    run_project(HOOKS, body)


def test_a_failing_shutdown_hook_is_told(run_project):
    async def body(running):
        clumsy = running.launch("clumsy")
        clumsy.worker.drain()
        assert await clumsy.end() == "shutdown hook failed: OSError: cannot close"

    run_project(HOOKS, body)


def test_out_of_descriptors_a_worker_ends_before_it_begins(run_project):
    async def body(running):
        held = []
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        try:
            fault = running.launch("fault")
            assert "Too many open files" in await fault.end()
        finally:
            for descriptor in held:
                os.close(descriptor)
        fault = running.launch("fault")
        fault.call(1, b"nothing")
        assert (await fault.answer()).status == 200

    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        run_project(APP, body)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_launching_for_a_closed_project_ends_at_once(run_project):
    async def body(running):
        await running.project.close()
        fault = running.launch("fault")
        assert await fault.end() == "no worker can be started: the project is closed"

    run_project(APP, body)


def test_closing_leaves_no_process(run_project, gone, zombies):
    pids = []

    async def body(running):
        pids.append(running.project._zygote.pid)
        for what in (b"spin", b"sleep"):
            fault = running.launch("fault")
            fault.call(1, what)
            await fault.until_ready()
            pids.append(fault.worker.pid)

    run_project(APP, body)
    for pid in pids:
        asyncio.run(gone(pid))
    assert zombies() == []


NODE = """
import asyncio, sys
from eventing.event import Event
from functions.base import Call
from functions.process import Project
from functions.worker import Revision

class Listener:
    def ready(self, worker): print("worker", worker.pid, flush=True)
    def result(self, worker, id, response): ...
    def exited(self, worker, reason): print("exited", reason, flush=True)

def log(line):
    print(line.text, flush=True)

async def main():
    project = await Project.start([sys.argv[1]], on_log=log)
    if project._zygote is not None:
        print("worker", project._zygote.pid, flush=True)
    kept = []
    for what in (b"spin", b"sleep", b"child"):
        worker = project.launcher.launch(Revision("fault", "default", "app:fault"), Listener())
        attributes = {"specversion": "1.0", "id": "1", "source": "/", "type": "t"}
        worker.call(1, Call(Event(attributes, what), 1, "t"))
        kept.append(worker)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.mark.parametrize("mode", ["fork", "fresh"])
def test_nothing_outlives_a_node_that_is_killed(tmp_path, gone, mode):
    app = textwrap.dedent(APP)
    if mode == "fresh":
        app += THREAD
    (tmp_path / "app.py").write_text(app)
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    expected = {"fork": 4, "fresh": 3}[mode]
    workers: list[int] = []
    children: list[int] = []
    try:
        assert node.stdout is not None
        while len(workers) < expected or not children:
            word, _, number = node.stdout.readline().partition(" ")
            if word in ("worker", "child"):
                (workers if word == "worker" else children).append(int(number))
    finally:
        node.kill()
        node.wait()
    began = time.monotonic()
    for pid in (*workers, *children):
        asyncio.run(gone(pid))
    assert time.monotonic() - began < 10
