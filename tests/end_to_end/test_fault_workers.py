"""Workers that die, hang, leak or babble cost an attempt: no event, no neighbour, not the node."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from chain import WANTS, Journal, write_chain
from ingress_load import IngressLoad
from node_process import NodeProcess, wait_for, write_project

APP = """
    import ctypes, os, sys, threading, time
    from eventing import CloudEvent, Context, function

    _journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(name, context):
        event = context.attributes
        line = f"{name} {os.getpid()} {event['id']} {context.attempt}\\n"
        os.write(_journal, line.encode())

    @function
    def good(event: CloudEvent, context: Context):
        note("good", context)

    @function
    def killed(event: CloudEvent, context: Context):
        note("killed", context)
        if context.attempt == 1:
            time.sleep(3600)

    @function(timeout=0.5)
    def hangs(event: CloudEvent, context: Context):
        note("hangs", context)
        if context.attempt == 1:
            time.sleep(3600)

    @function(timeout=0.5)
    def spins(event: CloudEvent, context: Context):
        note("spins", context)
        while context.attempt == 1:
            pass

    @function(timeout=0.5)
    async def blocks(event: CloudEvent, context: Context):
        note("blocks", context)
        if context.attempt == 1:
            time.sleep(3600)

    @function(memory="64Mi")
    def leaks(event: CloudEvent, context: Context):
        note("leaks", context)
        held = []
        while context.attempt == 1:
            held.append(os.urandom(1 << 20))
            time.sleep(0.001)

    @function(memory="64Mi")
    def grabs(event: CloudEvent, context: Context):
        note("grabs", context)
        if context.attempt == 1:
            bytearray(1 << 30)

    @function
    def exits(event: CloudEvent, context: Context):
        note("exits", context)
        if context.attempt == 1:
            sys.exit(3)

    @function
    def exits_hard(event: CloudEvent, context: Context):
        note("exits-hard", context)
        if context.attempt == 1:
            os._exit(3)

    @function
    def segfaults(event: CloudEvent, context: Context):
        note("segfaults", context)
        if context.attempt == 1:
            ctypes.string_at(0)

    @function
    def garbles(event: CloudEvent, context: Context):
        note("garbles", context)
        if context.attempt == 1:
            send_to_node(b"no frame at all, whatever its length")
            time.sleep(3600)

    @function
    def overflows(event: CloudEvent, context: Context):
        note("overflows", context)
        if context.attempt == 1:
            send_to_node(b"\\xff\\xff\\xff\\xff")
            time.sleep(3600)

    @function
    def lies(event: CloudEvent, context: Context):
        note("lies", context)
        if context.attempt == 1:
            import msgpack
            frame = msgpack.packb([18, 10**9, 200, [], b"", "", None, 0])  # of a call it never got
            send_to_node(len(frame).to_bytes(4, "big") + frame)
            os._exit(0)

    @function
    def shuts_out(event: CloudEvent, context: Context):
        note("shuts-out", context)
        if context.attempt == 1:
            for descriptor in sockets():
                os.close(descriptor)
            time.sleep(3600)

    @function(timeout=8)
    def babbles(event: CloudEvent, context: Context):
        note("babbles", context)
        while True:
            print("all work and no play " * 50)

    @function(timeout=8)
    def mumbles(event: CloudEvent, context: Context):
        note("mumbles", context)
        while True:
            sys.stdout.write("no line ever ends here ")

    def sockets():
        import stat
        found = []
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            try:
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    found.append(descriptor)
            except OSError:
                pass
        return found

    def send_to_node(data):
        for descriptor in sockets():
            os.write(descriptor, data)
    """

FAULTS = (
    "hangs",
    "spins",
    "blocks",
    "leaks",
    "grabs",
    "exits",
    "exits-hard",
    "segfaults",
    "garbles",
    "overflows",
    "lies",
    "shuts-out",
)
"""Functions whose first attempt ends badly, and whose second is fine."""

TRIGGER = """
    apiVersion: eventing.knative.dev/v1
    kind: Trigger
    metadata: {{name: {name}}}
    spec:
      broker: default
      filter: {{attributes: {{type: {name}}}}}
      subscriber: {{ref: {{apiVersion: functions/v1, kind: Function, name: {name}}}}}
      delivery: {{retry: 3, backoffPolicy: linear, backoffDelay: PT0.1S}}
    """


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    return Journal(tmp_path_factory.mktemp("journal") / "journal")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("workers")
    names = ("good", "killed", "babbles", "mumbles", *FAULTS)
    triggers = {f"{name}.yaml": TRIGGER.format(name=name) for name in names}
    node = NodeProcess(
        write_project(folder / "project", {"app.py": APP, **triggers}),
        data=folder / "data",
        log=folder / "node.log",
        environment={"JOURNAL": str(journal.path)},
    )
    node.start()
    yield node
    node.kill()


def wait_for_attempt(journal: Journal, function: str, id: str, attempt: int) -> int:
    """The process id of the worker that made this attempt, once it has begun."""

    def found() -> int | None:
        for call in journal.calls():
            if (call.function, call.id, call.attempt) == (function, id, attempt):
                return int(call.subject)
        return None

    pid = wait_for(found, f"attempt {attempt} of {function} at {id}")
    assert pid is not None
    return pid


def assert_good_event_passes(node: NodeProcess, journal: Journal, id: str) -> None:
    assert node.post("good", id) == 202
    wait_for_attempt(journal, "good", id, 1)


def wait_until_done(node: NodeProcess, trigger: str) -> None:
    def done() -> bool:
        status = node.resource("Trigger", trigger)["status"]
        assert status["dead"] == 0
        return bool(status["lag"] == 0)

    wait_for(done, f"trigger {trigger} has nothing left")


@pytest.mark.parametrize("name", FAULTS)
def test_a_worker_that_fails_costs_one_attempt_and_no_event(
    node: NodeProcess, journal: Journal, name: str
) -> None:
    assert node.post(name, f"first-{name}") == 202
    first = wait_for_attempt(journal, name, f"first-{name}", 1)
    assert_good_event_passes(node, journal, f"beside-{name}")
    second = wait_for_attempt(journal, name, f"first-{name}", 2)
    wait_until_done(node, name)
    if name not in ("exits", "grabs"):  # those raise, and their worker may go on
        assert second != first
    attempts = [call.attempt for call in journal.calls() if call.id == f"first-{name}"]
    assert attempts == [1, 2]


def test_a_worker_killed_while_busy_costs_its_call_one_attempt(
    node: NodeProcess, journal: Journal
) -> None:
    assert node.post("killed", "victim") == 202
    os.kill(wait_for_attempt(journal, "killed", "victim", 1), signal.SIGKILL)
    wait_for_attempt(journal, "killed", "victim", 2)
    wait_until_done(node, "killed")
    errors = node.resource("Function", "killed")["status"]["errors"]
    assert any("SIGKILL" in error for error in errors)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["babbles", "mumbles"])
def test_a_handler_that_prints_without_end_is_slowed_down_and_nobody_else(
    node: NodeProcess, journal: Journal, name: str
) -> None:
    memory, cpu = node.resident_bytes(), node.cpu_seconds()
    assert node.post(name, f"first-{name}") == 202
    wait_for_attempt(journal, name, f"first-{name}", 1)

    def told_to_slow_down() -> bool:
        _, answer = node.ask("GET", f"/api/v1/logs?function=default/{name}&lines=2000")
        return any("faster than" in line["text"] for line in answer["items"])

    wait_for(told_to_slow_down, "the node says that it reads no faster")
    for number in range(200):
        assert_good_event_passes(node, journal, f"beside-{name}-{number}")
    assert node.resident_bytes() < memory + (64 << 20)
    # At 1 MiB/s, 8 s long: without a bound on the rate it would use a core all that time.
    wait_for_attempt(journal, name, f"first-{name}", 2)
    assert node.cpu_seconds() - cpu < 4
    assert node.peak_bytes() < 200 << 20


def test_a_project_that_ends_its_interpreter_when_imported_is_told_so_and_others_run(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "journal")
    broken = write_project(
        tmp_path / "broken",
        {
            "broken.py": """
                import os
                from eventing import function

                @function
                def never(event): ...

                os._exit(7)
                """,
            "never.yaml": TRIGGER.format(name="never"),
        },
    )
    node = NodeProcess(
        broken,
        write_chain(tmp_path / "chain"),
        data=tmp_path / "data",
        log=tmp_path / "node.log",
        environment={"JOURNAL": str(journal.path)},
    ).start()
    try:
        trigger = node.resource("Trigger", "never")
        assert not trigger["ready"]
        assert "exited with status 7" in trigger["message"]
        # Its events are kept for when it is mended, and nobody else minds.
        assert node.post("never", "kept", subject="kept") == 202
        assert node.post("order", "1", subject="1") == 202
        wait_for(lambda: journal.handled()["record"]["1"], "the chain beside it is complete")
        assert node.resource("Trigger", "never")["status"]["lag"] > 0
        assert node.stop() == 0
        (broken / "broken.py").write_text(
            "import os\n"
            "from eventing import Context, CloudEvent, function\n"
            "@function\n"
            "def never(event: CloudEvent, context: Context):\n"
            "    with open(os.environ['JOURNAL'], 'a') as journal:\n"
            "        journal.write(f'never kept {context.attributes[\"id\"]} 1\\n')\n"
        )
        node.start()
        wait_for(lambda: journal.handled()["never"]["kept"], "the event it had kept is handled")
    finally:
        node.kill()


@pytest.mark.slow
def test_a_zygote_killed_under_load_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    node = NodeProcess(
        write_chain(tmp_path / "project"),
        data=tmp_path / "data",
        log=tmp_path / "node.log",
        environment={"JOURNAL": str(journal.path)},
    ).start()
    try:
        load = IngressLoad(node.ingress, "load", type="order").start()
        for number in range(6):
            zygote = wait_for(lambda: zygote_of(node), "there is a zygote")
            family = node.descendants() if number % 2 else [zygote]  # with and without its workers
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_for(lambda: zygote_of(node) not in (0, zygote), "there is another zygote")  # noqa: B023
        accepted = set(load.stop().accepted)
        wait_for(
            lambda: all(set(journal.handled()[name]) >= accepted for name in WANTS),
            "every chain is complete",
            120,
        )
        assert node.stop() == 0
    finally:
        node.kill()


def zygote_of(node: NodeProcess) -> int:
    """The node's child whose command line is a zygote's; 0 where there is none now."""
    for pid in node.descendants():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == node.pid and b"eventing.sdk.zygote" in command:
            return pid
    return 0
