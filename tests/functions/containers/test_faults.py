"""What goes wrong in a container is told by its cause, with the last it printed."""

import pytest

from functions.containers.spec import Probe


def test_one_that_exits_at_once_is_told_by_its_status_and_last_lines(run_containers):
    async def body(house):
        function = house.launch(house.spec({"EXIT_AT_ONCE": "3"}))
        function.call(1, "echo")
        reason = await function.end()
        assert reason == "exited with status 3; its last lines: starting | no configuration found"
        assert function.results == {} and not function.is_ready
        await house.logged("no configuration found")
        await house.eventually(lambda: house.states() == [])

    run_containers(body)


def test_a_command_that_is_not_in_the_image_is_named(run_containers):
    async def body(house):
        function = house.launch(house.spec(command=("/nothing",)))
        reason = await function.end()
        assert reason.startswith("its container could not be started: ") and "/nothing" in reason
        await house.eventually(lambda: house.states() == [])

    run_containers(body)


def test_one_that_never_listens_says_so(run_containers):
    async def body(house):
        function = house.launch(house.spec({"LISTEN": "never"}, ready_timeout=1.0))
        reason = await function.end()
        assert reason.startswith("not ready within 1 s of its start: ")
        assert "listens on port 8080" in reason and reason.endswith("its last lines: starting")
        await house.eventually(lambda: house.states() == [])

    run_containers(body)


def test_one_that_listens_on_the_wrong_port_is_told_which(run_containers):
    async def body(house):
        function = house.launch(house.spec({"LISTEN_PORT": "3000"}, ready_timeout=1.0))
        reason = await function.end()
        assert "nothing in it listens on port 8080, it listens on 3000" in reason
        assert "$PORT" in reason

    run_containers(body)


def test_one_that_listens_on_its_own_loopback_is_told_where_to(run_containers):
    async def body(house):
        function = house.launch(house.spec({"LISTEN_HOST": "127.0.0.1"}, ready_timeout=1.0))
        reason = await function.end()
        assert "it listens on 127.0.0.1:8080 alone" in reason
        assert "have it listen on 0.0.0.0:8080" in reason

    run_containers(body)


@pytest.mark.parametrize(
    ("probe", "why_not"),
    [
        (Probe("http", path="/ready"), "GET /ready on port 8080 answered 503"),
        (Probe("exec", command=("/server", "check")), "exited with status 2: not yet"),
        (Probe("exec", command=("/nothing",)), "its probe '/nothing' "),
        (Probe("http", path="/", port=9), "nothing accepts connections on port 9"),
    ],
)
def test_a_probe_that_fails_is_told_with_its_answer(run_containers, probe, why_not):
    async def body(house):
        function = house.launch(
            house.spec({"READY_AFTER": "1000000"}, probe=probe, ready_timeout=1.0)
        )
        assert why_not in await function.end()

    run_containers(body)


def test_a_slow_start_is_explained_while_it_lasts(run_containers, monkeypatch):
    from functions.containers import probe

    monkeypatch.setattr(probe, "SAY_AFTER", 0.2)

    async def body(house):
        function = house.launch(house.spec({"START_DELAY": "1s"}, probe=Probe(failure=2)))
        line = await house.logged("not ready yet")
        assert line.stream == "node" and line.function == "default/thumbnail"
        assert "nothing in it listens on port 8080" in line.text
        await function.until_ready()

    run_containers(body)


@pytest.mark.parametrize(
    ("type", "reason"),
    [("exit.4", "exited with status 4"), ("exit.0", "exited with status 0")],
)
def test_one_that_ends_with_calls_in_flight_tells_them_how(run_containers, type, reason):
    async def body(house):
        function = house.launch()
        function.call(1, "hang")
        await function.until_ready()
        function.call(2, type)
        told = await function.end()
        assert told.startswith(f"{reason}; its last lines: starting | listening")
        assert function.results == {}
        await house.eventually(lambda: house.states() == [])

    run_containers(body)


def test_one_over_its_memory_limit_is_said_to_be(run_containers):
    async def body(house):
        function = house.launch(house.spec(memory=48 << 20))
        function.call(1, "devour")
        reason = await function.end()
        assert reason.startswith("killed") and "its memory limit of 48 MiB" in reason
        assert "(OOM)" in reason

    run_containers(body)


def test_one_that_somebody_else_kills_or_removes_is_gone(run_containers):
    async def body(house):
        function = house.launch()
        function.call(1, "hang")
        await function.until_ready()
        house.sdk.api.kill(*house.ids(), signal="SIGKILL")
        assert (await function.end()).startswith("killed by SIGKILL")
        another = house.launch(launcher=function.launcher)
        await another.until_ready()
        await house.eventually(lambda: len(house.ids()) == 1)
        house.sdk.api.remove_container(*house.ids(), force=True)
        assert "removed from the engine" in await another.end()

    run_containers(body)


def test_a_death_is_told_without_this_machines_kernel(run_containers, monkeypatch):
    """As where the engine runs in a virtual machine: by the engine's events, and its word."""
    from functions.containers.host_process import HostProcess

    monkeypatch.setattr(HostProcess, "open", lambda pid, container: None)

    async def body(house):
        function = house.launch(house.spec(memory=48 << 20))
        function.call(1, "echo")
        await function.told()
        function.call(2, "hang")
        function.call(3, "exit.5")
        assert (await function.end()).startswith("exited with status 5")
        another = house.launch(launcher=function.launcher)
        another.call(1, "devour")
        reason = await another.end()
        assert reason.startswith("killed") and "its memory limit of 48 MiB (OOM)" in reason

    run_containers(body)


def test_one_that_ignores_sigterm_is_killed_after_its_grace(run_containers):
    async def body(house):
        function = house.launch(house.spec({"IGNORE_SIGTERM": "yes"}, grace=0.5))
        await function.until_ready()
        function.worker.drain()
        assert await function.end() == "drained"
        line = await house.logged("did not end within 0.5 s of SIGTERM and was killed")
        assert line.stream == "node" and line.function == "default/thumbnail"
        await house.eventually(lambda: function.launcher.at_rest)

    run_containers(body)
