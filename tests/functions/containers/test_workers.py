"""A container serves calls as a worker does: found, started, probed, called, drained."""

import json
import time

import pytest

from functions.containers.spec import Probe


def test_a_call_reaches_the_container_and_its_reply_comes_back(run_containers):
    async def body(house):
        began = time.monotonic_ns()
        function = house.launch(house.spec({"GREETING": "hello"}, path="/events"))
        # Before it is ready: it waits for that.
        function.call(
            1, "echo", b"data", subject="a subject", traceparent=f"00-{1:032x}-{1:016x}-01"
        )
        told = await function.told()
        assert function.is_ready
        assert told["body"] == "data" and told["path"] == "/events"
        headers = told["headers"]
        assert headers["ce-subject"] == "a%20subject" and headers["prefer"] == "reply"
        assert headers["traceparent"] == f"00-{1:032x}-{1:016x}-01"
        environment = told["environment"]
        assert environment["PORT"] == "8080" and environment["GREETING"] == "hello"
        assert environment["K_SERVICE"] == environment["K_CONFIGURATION"] == "thumbnail"
        assert environment["K_REVISION"] == "thumbnail-00001"
        assert began < function.results[1].started < time.monotonic_ns()

    run_containers(body)


def test_a_call_goes_in_the_format_and_to_the_path_that_its_trigger_asks_for(run_containers):
    async def body(house):
        function = house.launch(house.spec(path="/events"))
        data, of_type = b'{"a": 1}', {"datacontenttype": "application/json"}
        function.call(1, "echo", data, path="/at?once", format="json", **of_type)
        told = await function.told()
        assert told["path"] == "/at"
        assert told["headers"]["content-type"].startswith("application/cloudevents+json")
        assert not [name for name in told["headers"] if name.startswith("ce-")]
        whole = json.loads(told["body"])
        assert whole["type"] == "echo" and whole["data"] == {"a": 1}

    run_containers(body)


def test_the_containers_own_settings_are_kept(run_containers):
    async def body(house):
        function = house.launch(
            house.spec(
                {"PORT": "1", "K_SERVICE": "another"},
                command=("/server", "one"),
                args=("two",),
                port=9000,
                user="1234",
                working_dir="/proc",
                read_only=True,
                memory=128 << 20,
                cpu=0.5,
            )
        )
        function.call(1, "echo")
        told = await function.told()
        assert told["arguments"] == ["one", "two"]
        assert told["environment"]["PORT"] == "9000"
        assert told["environment"]["K_SERVICE"] == "thumbnail"
        assert told["user"] == 1234 and told["folder"] == "/proc" and not told["writable"]
        container = house.sdk.containers.get(*house.ids())
        host = container.attrs["HostConfig"]
        assert host["Memory"] == host["MemorySwap"] == 128 << 20
        assert host["NanoCpus"] == 500_000_000
        assert container.name.startswith("eventing-thumbnail-00001-")
        published = container.attrs["NetworkSettings"]["Ports"]
        assert [each["HostIp"] for each in published["9000/tcp"]] == ["127.0.0.1"]

    run_containers(body)


@pytest.mark.parametrize(
    ("type", "status", "reason"),
    [
        ("quiet", 204, ""),
        ("status.429", 429, "answered 429 Too Many Requests"),
        ("status.500", 500, "answered 500 Internal Server Error"),
        ("malformed", 502, "malformed reply: "),
    ],
)
def test_an_answer_means_what_it_means_of_any_subscriber(run_containers, type, status, reason):
    async def body(house):
        function = house.launch()
        function.call(1, type)
        response = await function.answer()
        assert response.status == status and response.reason.startswith(reason)
        if type == "status.500":
            assert response.body == b"as was asked"

    run_containers(body)


def test_many_calls_are_in_flight_at_once(run_containers):
    async def body(house):
        function = house.launch()
        await function.until_ready()
        for id in range(50):
            function.call(id, "wait.200ms")
        assert max([(await function.told(id))["handled"] for id in range(50)]) == 50

    run_containers(body)


def test_a_cancelled_call_is_given_up_and_the_others_go_on(run_containers):
    async def body(house):
        function = house.launch()
        function.call(1, "hang")
        function.call(2, "echo")
        await function.answer(2)
        function.worker.cancel(1)
        response = await function.answer(1)
        assert response.status == 0 and response.reason == "cancelled"
        await house.logged("given up")
        function.call(3, "echo")
        await function.told(3)

    run_containers(body)


def test_a_lost_connection_of_a_container_that_lives_is_a_failed_attempt(run_containers):
    async def body(house):
        function = house.launch()
        function.call(1, "cut")
        response = await function.answer()
        assert response.status == 0 and "connection ended" in response.reason
        function.call(2, "echo")
        assert (await function.told(2))["handled"] == 2

    run_containers(body)


def test_an_event_that_breaks_the_rules_is_not_sent(run_containers):
    async def body(house):
        function = house.launch()
        function.call(1, "echo", subject="\ud800")
        response = await function.answer()
        assert response.status == 500 and "can't be sent" in response.reason

    run_containers(body)


@pytest.mark.parametrize(
    "probe",
    [
        Probe("http", path="/ready", headers=(("X-Probe", "yes"),), period=0.02),
        Probe("http", path="/ready", headers=(("X-Probe", "yes"),), port=8080, success=3),
        Probe("exec", command=("/server", "check"), period=0.02),
        Probe("tcp", initial_delay=0.05),
    ],
)
def test_a_container_is_ready_when_its_probe_succeeds(run_containers, probe):
    async def body(house):
        env = {"START_DELAY": "300ms", "READY_AFTER": "3"}
        if probe.kind == "http":
            env["PROBE_HEADER"] = "yes"
        function = house.launch(house.spec(env, probe=probe))
        function.call(1, "echo")
        assert (await function.told())["handled"] == 1

    run_containers(body)


def test_a_probe_on_another_port_is_asked_there(run_containers):
    async def body(house):
        # The server listens on the probed port alone: so it is ready, and a call is refused.
        function = house.launch(house.spec({"LISTEN_PORT": "9090"}, probe=Probe(port=9090)))
        await function.until_ready()
        function.call(1, "echo")
        assert (await function.answer()).status == 0

    run_containers(body)


def test_output_becomes_log_lines_of_the_function(run_containers):
    async def body(house):
        function = house.launch()
        function.call(1, "print", "grüße".encode())
        await function.answer()
        out = await house.logged("out grüße")
        err = await house.logged("err grüße")
        assert (out.function, out.stream) == ("default/thumbnail", "stdout")
        assert (err.function, err.stream) == ("default/thumbnail", "stderr")
        assert await house.logged("listening")

    run_containers(body)


def test_much_output_is_told_whole_and_in_order(run_containers):
    async def body(house):
        function = house.launch()
        function.call(1, "chatter.5000")
        await function.answer()
        await house.logged("line 4999")
        lines = [line.text for line in house.logs if line.text.startswith("line ")]
        assert lines == [f"line {number}" for number in range(5000)]

    run_containers(body)


def test_a_kill_is_at_once_and_told_once(run_containers):
    async def body(house):
        function = house.launch(house.spec({"IGNORE_SIGTERM": "yes"}))
        function.call(1, "hang")
        await function.until_ready()
        function.worker.kill()
        assert await function.end() == "killed"
        assert function.results == {}
        assert house.states() == []

    run_containers(body)


def test_a_kill_while_it_starts_leaves_nothing(run_containers):
    async def body(house):
        function = house.launch(house.spec({"LISTEN": "never"}))
        await house.eventually(lambda: house.states() == ["running"])
        function.worker.kill()
        await function.end()
        await house.eventually(lambda: house.states() == [])

    run_containers(body)


def test_two_workers_of_a_revision_are_two_containers(run_containers):
    async def body(house):
        one = house.launch()
        two = house.launch(launcher=one.launcher)
        one.call(1, "echo")
        two.call(1, "echo")
        assert (await one.told())["handled"] == (await two.told())["handled"] == 1
        assert house.states() == ["running", "running"]

    run_containers(body)


def test_a_pool_runs_containers_as_it_runs_processes(run_containers):
    from eventing.event import Event
    from functions.autoscaler import ScaleConfig
    from functions.base import Call
    from functions.pool import Pool
    from functions.worker import Revision

    async def body(house):
        launcher = house.launcher()
        revision = Revision("thumbnail", "default", "", sync=False, concurrency=5, timeout=2.0)
        pool = Pool(revision, launcher, ScaleConfig(max=2), start_timeout=launcher.start_timeout)
        answers = []

        def call(type):
            event = Event({"specversion": "1.0", "id": "1", "source": "/t", "type": type}, None)
            pool.submit(Call(event, 1, "t"), lambda answer: (answers.append(answer), house.touch()))

        for _ in range(20):
            call("wait.20ms")
        await house.until(lambda: len(answers) == 20)
        assert {answer.status for answer in answers} == {200}
        stats = pool.stats()
        assert stats.cold_starts == 1 and 0 < stats.cold_start_seconds[0] < 60
        answers.clear()
        call("hang")
        call("exit.7")
        await house.until(lambda: len(answers) == 2)
        assert {answer.status for answer in answers} == {0}
        assert any("exited with status 7" in answer.reason for answer in answers)
        answers.clear()
        call("hang")
        await house.until(lambda: bool(answers))
        assert answers[0].status == 0 and answers[0].reason == "timed out after 2 s"
        await pool.close(5.0)

    run_containers(body)


def test_sdk_is_not_imported_before_a_container_is_wanted():
    import subprocess
    import sys

    code = """
import asyncio, sys
from functions.containers.containers import Containers
async def main():
    containers = Containers("a-node", print, "unix:///nowhere.sock")
    containers.start()
    containers.retain([])
    await asyncio.sleep(0)
    await containers.close()
asyncio.run(main())
sys.exit("docker" in sys.modules or "requests" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
