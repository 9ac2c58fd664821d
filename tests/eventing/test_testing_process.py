"""eventing.testing and processes: what never meets, and what ends with what."""

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from eventing.errors import OperationError, UserError
from eventing.testing import event, node

HOME = Path(__file__).parents[2]

RIVALS = {
    "functions/__init__.py": "",
    "functions/prices.py": "PRICE = 7\n",
    "brokers/__init__.py": "NAME = 'stock brokers'\n",
    "triggers.py": "def pull(): return 'bang'\n",
    "app.py": """
        from brokers import NAME
        from eventing import function
        from functions.prices import PRICE
        from triggers import pull

        @function
        def offer(data: dict) -> dict:
            return {"price": PRICE, "by": NAME, "sound": pull()}
        """,
    "wiring.yaml": """
        apiVersion: eventing.knative.dev/v1
        kind: Trigger
        metadata: {name: offer}
        spec:
          broker: default
          filter: {attributes: {type: asked}}
          subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: offer}}
        """,
    "test_shop.py": """
        import sys
        from app import offer
        from eventing.testing import event, node, run

        EXPECTED = {"price": 7, "by": "stock brokers", "sound": "bang"}

        def test_the_handler():
            assert run(offer, {}).reply.get_data() == EXPECTED

        def test_the_wiring():
            with node("app.py", "wiring.yaml") as shop:
                journey = shop.send(event("asked", {})).assert_done()
                assert journey.replies[0].get_data() == EXPECTED
            ours = [name for name in sys.modules if name.startswith("eventing.node")]
            assert not ours
            for name in ("functions", "brokers", "triggers"):
                assert "rivals" in sys.modules[name].__file__
        """,
}


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip())
    return folder


def environment(*folders: Path) -> dict[str, str]:
    """Ours, with these folders on the import path, and then where eventing is."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*folders, HOME)))}


@pytest.mark.parametrize("on_python_path", [True, False])
def test_a_project_may_have_packages_named_as_the_nodes(
    tmp_path: Path, on_python_path: bool
) -> None:
    folder = write(tmp_path / "rivals", RIVALS)
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env=environment(*[folder] if on_python_path else []),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def gone(descriptor: int, seconds: float) -> bool:
    """Whether the process of this pidfd ends within `seconds`."""
    return bool(select.select([descriptor], [], [], seconds)[0])


STUCK = """
    import time
    from eventing.testing import event, node

    with node("app.py", "wiring.yaml") as running:
        running.send(event("asked"))
        while not running.logs("offer"):
            time.sleep(0.01)
        print(running.pid, flush=True)
        running.wait(600)
    """

SLEEPER = RIVALS | {
    "app.py": """
        import time
        from eventing import function

        @function(timeout=600)
        def offer(data: bytes) -> None:
            print("entered")
            time.sleep(600)
        """,
    "stuck.py": STUCK,
}


def test_a_test_that_is_killed_takes_its_node_and_the_workers_along(tmp_path: Path) -> None:
    folder = write(tmp_path, SLEEPER)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    test = subprocess.Popen(
        [sys.executable, "stuck.py"],
        cwd=folder,
        env=environment() | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert test.stdout is not None
    with test, test.stdout as output:
        number = int(output.readline())
        watched = os.pidfd_open(number)
        workers = [os.pidfd_open(pid) for pid in descendants(number)]
        test.kill()
    assert len(workers) == 2, "the zygote, and the worker that sleeps"
    try:
        assert all(gone(descriptor, 20) for descriptor in (watched, *workers))
    finally:
        for descriptor in (watched, *workers):
            os.close(descriptor)
    assert not list(temporary.iterdir())


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, children) for each in (child, *descendants(child))]


def test_leaving_the_block_ends_the_node_whatever_is_in_flight(tmp_path: Path) -> None:
    folder = write(tmp_path, SLEEPER)
    before = set(Path(tempfile.gettempdir()).glob("eventing-test-*"))
    with pytest.raises(ZeroDivisionError), node(folder) as running:
        running.send(event("asked"))
        watched = os.pidfd_open(running.pid)
        raise ZeroDivisionError
    assert gone(watched, 0)
    os.close(watched)
    assert set(Path(tempfile.gettempdir()).glob("eventing-test-*")) <= before


def test_a_node_that_has_ended_is_told_of(tmp_path: Path) -> None:
    with node(write(tmp_path, {"wiring.yaml": ""})) as running:
        os.kill(running.pid, signal.SIGKILL)
        with pytest.raises(OperationError, match="the node's process has ended, with status -9"):
            running.wait()
        with pytest.raises(UserError, match="the node has ended"):
            running.wait()


def test_a_node_is_of_no_use_after_its_block(tmp_path: Path) -> None:
    with node(write(tmp_path, {"wiring.yaml": ""})) as running:
        pass
    with pytest.raises(UserError, match="use it inside its `with` block"):
        running.send(event("late"))


def test_ctrl_c_while_waiting_ends_the_node_at_once(tmp_path: Path) -> None:
    folder = write(tmp_path, SLEEPER)
    test = subprocess.Popen(
        [sys.executable, "stuck.py"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert test.stdout is not None
    watched = os.pidfd_open(int(test.stdout.readline()))
    test.send_signal(signal.SIGINT)
    _, complaints = test.communicate(timeout=20)
    assert complaints.endswith("KeyboardInterrupt\n")
    assert gone(watched, 0)
    os.close(watched)


def test_a_worker_that_crashes_is_a_failed_attempt_with_its_reason(tmp_path: Path) -> None:
    code = """
        import os, signal
        from eventing import function

        @function
        def offer(data: bytes) -> None:
            os.kill(os.getpid(), signal.SIGSEGV)
        """
    with node(write(tmp_path, RIVALS | {"app.py": code})) as running:
        letter = running.send(event("asked")).assert_dead("offer")
        assert letter.code == 0
        assert "SIGSEGV" in letter.reason
