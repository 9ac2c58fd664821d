"""The engine goes away and comes back: what runs goes on, what can't be done is said, and done
then.

Each test has an engine of its own, which it stops and starts.
"""

import asyncio
import time
from contextlib import closing

import pytest


@pytest.fixture
def engine(start_container_engine):
    return start_container_engine()


@pytest.fixture
def run_over(engine, node, make_house):
    def run(body):
        async def main():
            with closing(engine.client()) as sdk:
                house = make_house(engine.url, engine.image, sdk, node)
                house.containers.start()
                try:
                    await body(house)
                finally:
                    await house.containers.close(5.0)
                    await house.client.close()
                assert house.states() == []

        asyncio.run(main())

    return run


def test_containers_are_called_while_it_is_away_and_watched_when_it_is_back(
    run_over, engine, caplog
):
    async def body(house):
        function = house.launch()
        await function.until_ready()
        engine.stop()
        await house.eventually(lambda: house.containers.fault is not None)
        fault = house.containers.fault
        assert fault.reason == "EngineUnreachable" and engine.url in fault.message
        function.call(1, "print", b"while it was away")
        assert (await function.answer(1)).status == 204
        engine.start()
        await house.eventually(lambda: house.containers.fault is None)
        # Its output has waited, and is told once.
        await house.logged("out while it was away")
        function.call(2, "print", b"when it was back")
        await house.logged("out when it was back")
        texts = [line.text for line in house.logs if line.stream == "stdout"]
        assert texts == ["starting", "listening", "out while it was away", "out when it was back"]
        said = [each for each in caplog.messages if "can't be reached" in each]
        assert len(said) == 1, "it is said once"
        function.call(3, "exit.3")
        assert (await function.end()).startswith("exited with status 3; its last lines: ")

    run_over(body)


def test_a_launch_fails_while_it_is_away_and_succeeds_when_it_is_back(run_over, engine):
    async def body(house):
        engine.stop()
        function = house.launch()
        reason = await function.end()
        assert f"the container engine at {engine.url}" in reason
        assert "can't be reached: No such file or directory" in reason
        assert house.containers.fault is not None
        engine.start()
        again = house.launch(launcher=function.launcher)
        again.call(1, "echo")
        await again.told()

    run_over(body)


def test_a_death_while_it_is_away_is_told_at_once(run_over, engine):
    async def body(house):
        function = house.launch()
        await function.until_ready()
        engine.stop()
        function.call(1, "hang")
        function.call(2, "exit.3")
        reason = await function.end()
        assert reason.startswith("ended, and how can't be told: the container engine at ")
        engine.start()
        again = house.launch(launcher=function.launcher)
        await again.until_ready()
        # What is left of the first goes as soon as the engine can be told to.
        await house.eventually(lambda: house.states() == ["running"])

    run_over(body)


def test_a_kill_while_it_is_away_is_made_up_for(run_over, engine):
    async def body(house):
        function = house.launch()
        await function.until_ready()
        engine.stop()
        function.worker.kill()
        assert await function.end() == "killed"
        engine.start()
        await house.eventually(lambda: house.states() == [])

    run_over(body)


def test_one_that_drains_while_it_is_away_is_removed_when_it_is_back(run_over, engine):
    async def body(house):
        function = house.launch()
        await function.until_ready()
        engine.stop()
        function.worker.drain()
        assert await function.end() == "drained"
        engine.start()
        await house.eventually(lambda: house.states() == [])

    run_over(body)


def test_an_engine_that_hangs_holds_up_no_calls(run_over, engine, monkeypatch):
    from functions.containers import engine as engine_module

    monkeypatch.setattr(engine_module, "CALL_TIMEOUT", 1.0)

    async def body(house):
        function = house.launch()
        await function.until_ready()
        engine.pause()
        try:
            launched = house.launch(launcher=function.launcher)
            function.call(1, "echo")
            await function.told()
            assert "did not answer in time" in await launched.end()
        finally:
            engine.resume()
        again = house.launch(launcher=function.launcher)
        await again.until_ready()

    run_over(body)


def test_other_clients_drive_the_same_engine(engine, monkeypatch):
    """Among them testcontainers, which users' own tests may use."""
    from urllib.request import urlopen

    monkeypatch.setenv("DOCKER_HOST", engine.url)
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer

    with DockerContainer(engine.image).with_exposed_ports(8080).with_env("PORT", "8080") as server:
        deadline = time.monotonic() + 60
        while b"listening" not in server.get_logs()[0] and time.monotonic() < deadline:
            time.sleep(0.05)
        port = server.get_exposed_port(8080)
        assert urlopen(f"http://127.0.0.1:{port}/ready", timeout=30).status == 200
