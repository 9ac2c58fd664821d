"""A project's functions served by real worker processes, forked and fresh."""

import asyncio
import os
from pathlib import Path

import pytest

APP = """
    import os
    from dataclasses import dataclass
    from eventing import CloudEvent, Context, Reject, Retry, function, on_start, on_stop

    state = []

    @on_start
    def load():
        state.append("module")

    @function
    def echo(event: CloudEvent, ctx: Context):
        return {"data": event.get_data(), "state": state, "attempt": ctx.attempt,
                "trigger": ctx.trigger, "pid": os.getpid()}

    @echo.on_start
    def load_mine():
        state.append("mine")

    @echo.on_stop
    def unload():
        print("unloaded")

    @function(concurrency=10)
    async def gather(event: CloudEvent):
        import asyncio
        global waiting
        waiting += 1
        while waiting < 3:
            await asyncio.sleep(0.001)
        return "together"

    waiting = 0

    @function
    async def forever(event: CloudEvent):
        import asyncio
        await asyncio.Event().wait()

    @function
    def failing(event: CloudEvent):
        match event.get_data():
            case "retry": raise Retry(after=7)
            case "reject": raise Reject("not for me")
            case "exit": raise SystemExit(3)
            case "memory": raise MemoryError("pretended")
        raise ValueError("no good")
"""
TEXT = {"datacontenttype": "text/plain"}


def threaded(source: str) -> str:
    return (
        source
        + """
    import threading
    threading.Thread(target=threading.Event().wait, name="mine", daemon=True).start()
"""
    )


@pytest.mark.parametrize("mode", ["fork", "fresh"])
def test_a_worker_runs_its_hooks_and_answers_in_either_mode(run_project, mode):
    async def body(running):
        assert running.project.launcher.mode == mode
        echo = running.launch("echo")
        echo.call(1, b'{"a":1}', datacontenttype="application/json", attempt=4)
        answer = await echo.answer(1)
        assert answer.status == 200
        assert answer.started > 0
        (reply,) = answer.replies
        assert reply.data is not None
        assert b'"data":{"a":1},"state":["module","mine"],"attempt":4' in reply.data
        assert reply.attributes["type"] == "echo.reply"
        assert reply.attributes["source"] == "/functions/default/echo"
        assert echo.worker.pid != os.getpid()
        echo.worker.drain()
        assert await echo.end() == "drained"
        await running.logged("unloaded")

    run_project(APP if mode == "fork" else threaded(APP), body)


def test_a_project_that_starts_a_thread_says_why_it_is_not_forked(run_project):
    async def body(running):
        line = await running.logged("can't be forked")
        assert (line.stream, line.level) == ("node", "WARNING")
        assert "mine" in line.text

    run_project(threaded(APP), body)


def test_calls_sent_before_the_worker_is_ready_wait_in_order(run_project):
    async def body(running):
        echo = running.launch("echo")
        for id in range(20):
            echo.call(id, str(id).encode(), datacontenttype="application/json")
        await echo.answer(19)
        assert list(echo.results) == list(range(20))
        started = [echo.results[id].started for id in range(20)]
        assert started == sorted(started)

    run_project(APP, body)


def test_async_calls_run_together(run_project):
    async def body(running):
        gather = running.launch("gather", concurrency=10)
        for id in range(3):
            gather.call(id)
        for id in range(3):
            assert (await gather.answer(id)).replies[0].data == b"together"

    run_project(APP, body)


def test_an_async_worker_holds_its_concurrency(run_project):
    async def body(running):
        forever = running.launch("forever", concurrency=1)
        forever.call(1)
        forever.call(2)
        forever.worker.cancel(1)
        assert (await forever.answer(1)).reason == "cancelled"
        assert 2 not in forever.results
        forever.worker.cancel(2)
        assert (await forever.answer(2)).status == 0

    run_project(APP, body)


def test_a_drained_async_worker_answers_what_it_has(run_project):
    async def body(running):
        gather = running.launch("gather", concurrency=10)
        for id in range(3):
            gather.call(id)
        gather.worker.drain()
        assert await gather.end() == "drained"
        assert len(gather.results) == 3

    run_project(APP, body)


def test_failures_become_statuses(run_project):
    async def body(running):
        failing = running.launch("failing")
        failing.call(1, b"retry", **TEXT)
        failing.call(2, b"reject", **TEXT)
        failing.call(3, b"other", **TEXT)
        retry, reject, other = [await failing.answer(id) for id in (1, 2, 3)]
        assert (retry.status, retry.retry_after) == (503, 7.0)
        assert (reject.status, reject.body, reject.reason) == (400, b"not for me", "not for me")
        assert (other.status, other.reason) == (500, "ValueError: no good")
        assert other.body.startswith(b"Traceback")
        assert b'app.py", line ' in other.body
        assert b"eventing/sdk" not in other.body

    run_project(APP, body)


@pytest.mark.parametrize("what", ["exit", "memory"])
def test_exit_and_memory_errors_fail_the_attempt_and_end_the_worker(run_project, what):
    async def body(running):
        failing = running.launch("failing")
        failing.call(1, what.encode(), **TEXT)
        failing.call(2, b"never begun", **TEXT)
        assert (await failing.answer(1)).status == 500
        reason = await failing.end()
        assert reason in ("the handler called sys.exit(3)", "the handler ran out of memory")
        assert failing.worker.between_calls
        assert 2 not in failing.results

    run_project(APP, body)


def test_large_events_and_replies_pass(run_project):
    source = """
        from eventing import function

        @function
        def back(data: bytes):
            return data
    """

    async def body(running):
        back = running.launch("back")
        data = os.urandom(20 << 20)
        for id in range(3):
            back.call(id, data)
        for id in range(3):
            assert (await back.answer(id)).replies[0].data == data

    run_project(source, body)


def test_what_is_too_large_for_a_frame_fails_for_good_and_the_worker_goes_on(run_project):
    source = """
        from eventing import function

        @function
        def swell(data: bytes):
            return b"." * (65 << 20) if data == b"swell" else None
    """

    async def body(running):
        swell = running.launch("swell")
        swell.call(1, b"." * (65 << 20))
        swell.call(2, b"swell")
        swell.call(3, b"small")
        assert (await swell.answer(1)).status == 413
        assert (await swell.answer(2)).status == 413
        assert (await swell.answer(3)).status == 200

    run_project(source, body)


def test_a_worker_that_does_not_read_holds_calls_not_copies(run_project):
    source = """
        import time
        from eventing import function

        @function
        def sleep(data: bytes):
            time.sleep(60)
    """

    async def body(running):
        sleep = running.launch("sleep")
        await sleep.until_ready()
        data = b"." * (1 << 20)
        before = _resident()
        for id in range(200):
            sleep.call(id, data)
        await asyncio.sleep(0.05)
        assert _resident() - before < 50 << 20
        sleep.worker.kill()
        assert await sleep.end() == "killed by SIGKILL"

    run_project(source, body)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_env_and_namespace_reach_the_handler(run_project):
    source = """
        import os
        from eventing import Context, function

        @function
        def tell(ctx: Context):
            return [os.environ["GREETING"], ctx.namespace, ctx.remaining > 4]
    """

    async def body(running):
        tell = running.launch("tell", env={"GREETING": "hi"}, namespace="team", timeout=9.0)
        tell.call(1, timeout=5.0)
        assert [r.data for r in (await tell.answer()).replies] == [b"hi", b"team", b"true"]

    run_project(source, body)


def test_workers_do_not_share_random_state(run_project):
    source = """
        import random
        import numpy
        from eventing import function

        numpy.random.rand(), random.random()

        @function
        def draw(data: bytes):
            return [random.random(), float(numpy.random.rand())]
    """

    async def body(running):
        drawn = set()
        for _ in range(2):
            draw = running.launch("draw")
            draw.call()
            drawn |= {reply.data for reply in (await draw.answer()).replies}
        assert len(drawn) == 4
        assert running.project.launcher.mode == "fork"
        assert "numpy" in running.project.modules

    run_project(source, body)


def test_a_projects_own_packages_win_over_the_nodes(run_project):
    files = {
        "functions/__init__.py": "OWNER = 'the project'",
        "brokers/__init__.py": "OWNER = 'the project'",
        "triggers.py": "OWNER = 'the project'",
        "tests/__init__.py": "OWNER = 'the project'",
        "app.py": """
            import brokers, functions, tests, triggers
            from eventing import function

            @function
            def owners(data: bytes):
                return [m.OWNER for m in (brokers, functions, tests, triggers)]
        """,
    }

    async def body(running):
        owners = running.launch("owners")
        owners.call()
        assert {r.data for r in (await owners.answer()).replies} == {b"the project"}

    run_project(files, body)


def test_a_worker_imports_nothing_of_the_node_nor_what_no_handler_asked_for(run_project):
    source = """
        import sys
        from eventing import CloudEvent, function

        @function
        def loaded(event: CloudEvent):
            unwanted = ("functions", "brokers", "triggers", "eventing.node", "eventing.resources",
                        "pydantic", "starlette", "uvicorn", "asyncio")
            return {"loaded": [name for name in unwanted if name in sys.modules]}
    """

    async def body(running):
        loaded = running.launch("loaded")
        loaded.call()
        assert (await loaded.answer()).replies[0].data == b'{"loaded":[]}'

    run_project(source, body)


def test_a_plain_function_named_by_its_address_is_served(run_project):
    files = {"plain.py": "def add(data: dict):\n    return data['a'] + data['b']\n"}

    async def body(running):
        assert [f.handler for f in running.project.functions] == ["plain:add"]
        add = running.launch("add")
        add.call(1, b'{"a":1,"b":2}')
        assert (await add.answer()).replies[0].data == b"3"

    run_project(files, body, handlers=["plain:add"])


def test_what_a_project_sets_for_its_sockets_and_loops_is_its_own(run_project):
    source = """
        import signal, socket
        import uvloop
        from eventing import function

        socket.setdefaulttimeout(0.01)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        uvloop.install()

        @function
        def sync(data: bytes):
            import time
            time.sleep(0.05)
            return str(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)

        @function
        async def concurrent(data: bytes):
            import asyncio
            return type(asyncio.get_running_loop()).__module__
    """

    async def body(running):
        sync = running.launch("sync")
        for id in range(3):
            await asyncio.sleep(0.02)
            sync.call(id)
            assert (await sync.answer(id)).replies[0].data == b"True"
        concurrent = running.launch("concurrent")
        concurrent.call()
        assert (await concurrent.answer()).replies[0].data == b"uvloop"
        for each in (sync, concurrent):
            each.worker.drain()
            assert await each.end() == "drained"

    run_project(source, body)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_nodes_loop_may_be_either(tmp_path, loop, run_project):
    uvloop = pytest.importorskip("uvloop")

    async def body(running):
        echo = running.launch("echo")
        echo.call()
        assert (await echo.answer()).status == 200

    if loop == "uvloop":
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        run_project(APP, body)
    finally:
        asyncio.set_event_loop_policy(None)
