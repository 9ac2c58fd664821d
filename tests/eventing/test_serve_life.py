"""`python -m eventing.serve`: hooks, signals, timeouts, handlers that do not end, and mistakes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serve_process import ServeProcess, wait_for

Serve = Callable[..., ServeProcess]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    started: list[ServeProcess] = []

    def start(*arguments, **options) -> ServeProcess:
        started.append(ServeProcess(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


BOTH = pytest.mark.parametrize("kind", ["def", "async def"])

HOOKS = """
    import threading
    from pathlib import Path
    from eventing import CloudEvent, function, on_start, on_stop

    main = threading.main_thread()
    seen = []

    @on_start
    {kind} begin():
        while not Path("go").exists():
            pass
        seen.append(threading.current_thread() is main)

    @on_stop
    {kind} end():
        seen.append(threading.current_thread() is main)
        Path("seen").write_text(repr(seen))

    @function
    {kind} handler(event: CloudEvent):
        seen.append(threading.current_thread() is main)
"""


@BOTH
def test_hooks_run_around_the_calls_on_the_same_thread(serve, tmp_path, kind):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    served = serve(HOOKS.format(kind=kind), "app:handler", "--port", str(port), wait=False)
    # The port is bound before the hooks run and listens only after them.
    wait_for(lambda: _bound(port), "the port is taken")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
    (tmp_path / "go").touch()
    wait_for(served._is_ready, "it is ready")
    assert served.ask({})[0] == 204
    served.terminate()
    assert served.wait() == 0
    assert (tmp_path / "seen").read_text() == "[True, True, True]"


def _bound(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


SLOW = """
    import asyncio, time
    from pathlib import Path
    from eventing import CloudEvent, function

    @function(concurrency=2)
    async def concurrent(event: CloudEvent):
        with Path("begun").open("a") as begun:
            begun.write(event.get_id())
        while not Path("go").exists():
            await asyncio.sleep(0.01)
        return {"id": event.get_id()}

    @function
    def handler(event: CloudEvent):
        with Path("begun").open("a") as begun:
            begun.write(event.get_id())
        while not Path("go").exists():
            time.sleep(0.01)
        return {"id": event.get_id()}
"""


def begun(folder: Path) -> str:
    return (folder / "begun").read_text() if (folder / "begun").exists() else ""


@pytest.mark.parametrize("handler", ["handler", "concurrent"])
def test_sigterm_lets_what_has_come_end_and_accepts_no_more(serve, tmp_path, handler):
    served = serve(SLOW, f"app:{handler}")
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(served.ask, {}, ce_id=id) for id in "abc"]
        wait_for(lambda: begun(tmp_path), "the handler has begun")
        served.terminate()
        wait_for(lambda: not _listens(served.port), "it accepts no more")
        (tmp_path / "go").touch()
        assert served.wait() == 0
        told = [answer.result() for answer in answers]
    ended = {json.loads(body)["id"] for status, _, body in told if status == 200}
    assert ended == set("abc")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("handler", ["handler", "concurrent"])
def test_what_does_not_end_in_the_grace_time_is_told(serve, tmp_path, handler):
    served = serve(SLOW, f"app:{handler}", "--grace", "1")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(served.ask, {})
        wait_for(lambda: begun(tmp_path), "the handler has begun")
        served.terminate()
        # An async handler is cancelled and so over; a sync one can't be.
        assert served.wait() == (0 if handler == "concurrent" else 1)
        assert answer.result()[0] == 503
    if handler == "handler":
        assert served.said("calls were not over 1 s after the signal to end")


@pytest.mark.parametrize("handler", ["handler", "concurrent"])
def test_a_second_signal_ends_it_at_once(serve, tmp_path, handler):
    served = serve(SLOW, f"app:{handler}")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(served.ask, {})
        wait_for(lambda: begun(tmp_path), "the handler has begun")
        served.terminate(signal.SIGINT)
        wait_for(lambda: not _listens(served.port), "it accepts no more")
        served.terminate(signal.SIGINT)
        assert served.wait() == 1
        with pytest.raises(OSError):
            answer.result()


def test_health_answers_while_a_sync_handler_works_and_the_others_wait(serve, tmp_path):
    served = serve(SLOW)
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(served.ask, {}, ce_id=id) for id in "ab"]
        wait_for(lambda: begun(tmp_path), "the handler has begun")
        assert served.request("GET", "/healthz", headers={})[0] == 200
        assert len(begun(tmp_path)) == 1
        (tmp_path / "go").touch()
        assert [answer.result()[0] for answer in answers] == [200, 200]


def test_an_async_handler_serves_as_many_as_it_says(serve, tmp_path):
    served = serve(SLOW, "app:concurrent")
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(served.ask, {}, ce_id=id) for id in "abc"]
        wait_for(lambda: len(begun(tmp_path)) == 2, "two have begun")
        (tmp_path / "go").touch()
        assert [answer.result()[0] for answer in answers] == [200, 200, 200]


def test_the_option_for_concurrency_goes_before_the_decorator(serve, tmp_path):
    served = serve(SLOW, "app:concurrent", "--concurrency", "3")
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(served.ask, {}, ce_id=id) for id in "abc"]
        wait_for(lambda: len(begun(tmp_path)) == 3, "three have begun")
        (tmp_path / "go").touch()
        assert [answer.result()[0] for answer in answers] == [200, 200, 200]


CANCELLED = """
    import asyncio
    from pathlib import Path
    from eventing import CloudEvent, function

    @function
    async def handler(event: CloudEvent):
        Path("begun").touch()
        try:
            await asyncio.sleep(600)
        finally:
            Path("cancelled").touch()
"""


def test_a_caller_that_goes_away_cancels_its_async_call(serve, tmp_path):
    served = serve(CANCELLED)
    connection = served.connect()
    connection.request("POST", "/", b"", {"ce-specversion": "1.0", "ce-id": "gone-1"} | REST)
    wait_for((tmp_path / "begun").exists, "the handler has begun")
    connection.close()
    wait_for((tmp_path / "cancelled").exists, "it is cancelled")
    assert served.request("GET", headers={})[0] == 200


REST = {"ce-source": "/test", "ce-type": "asked"}


def test_a_caller_that_goes_away_before_its_turn_takes_its_call_along(serve, tmp_path):
    served = serve(SLOW)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(served.ask, {}, ce_id="a")
        wait_for(lambda: begun(tmp_path) == "a", "the handler has begun")
        connection = served.connect()
        connection.request("POST", "/", b"", {"ce-specversion": "1.0", "ce-id": "b"} | REST)
        # Whether it was read shows in that a later request was.
        assert served.request("GET", headers={})[0] == 200
        connection.close()
        assert served.request("GET", headers={})[0] == 200
        last = pool.submit(served.ask, {}, ce_id="c")
        (tmp_path / "go").touch()
        assert (first.result()[0], last.result()[0]) == (200, 200)
    assert begun(tmp_path) == "ac"


def test_an_async_handler_past_its_timeout_is_cancelled(serve, tmp_path):
    served = serve(CANCELLED, "app:handler", "--timeout", "0.2")
    status, _, body = served.ask({})
    assert (status, body) == (504, b"the handler ran past its timeout of 0.2 s")
    assert (tmp_path / "cancelled").exists()
    assert served.request("GET", headers={})[0] == 200


STUBBORN = """
    import asyncio, time
    from pathlib import Path
    from eventing import CloudEvent, function

    @function(timeout=0.2)
    def handler(event: CloudEvent):
        while event.get_id() != "harmless":
            time.sleep(0.01)

    @function(timeout=0.2)
    async def stubborn(event: CloudEvent):
        while event.get_id() != "harmless":
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                pass

    @function(timeout=0.2)
    async def blocking(event: CloudEvent):
        time.sleep(600)
"""


@pytest.mark.parametrize(
    ("handler", "why"),
    [("handler", "can't be interrupted"), ("stubborn", "went on after it was cancelled")],
)
def test_a_handler_that_can_not_be_ended_ends_the_process(serve, handler, why):
    served = serve(STUBBORN, f"app:{handler}", "--concurrency", "1")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(served.ask, {})
        told = first.result()
        assert (told[0], told[2]) == (504, b"the handler ran past its timeout of 0.2 s")
    assert served.wait() == 1
    assert served.said("eventing.serve ends: ") and served.said(why)


def test_what_waits_behind_it_is_told_to_come_again(serve):
    served = serve(STUBBORN)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(served.ask, {})
        behind = pool.submit(served.ask, {}, ce_id="harmless")
        statuses = {first.result()[0], behind.result()[0]}
    assert statuses <= {504, 503, 204} and 504 in statuses
    assert served.wait() == 1


def test_a_handler_that_blocks_the_event_loop_ends_the_process(serve):
    served = serve(STUBBORN, "app:blocking")
    with pytest.raises(OSError):
        served.ask({})
    assert served.wait() == 1
    assert served.said("has blocked its event loop for 5.2 s")


EXITS = """
    import sys
    from eventing import CloudEvent, function

    @function
    {kind} handler(event: CloudEvent):
        sys.exit(3)
"""


@BOTH
def test_a_handler_that_exits_fails_its_call_and_ends_the_process(serve, kind):
    served = serve(EXITS.format(kind=kind))
    assert served.ask({})[::2] == (500, b"the handler called sys.exit(3)")
    assert served.wait() == 1
    assert served.said("ends: the handler called sys.exit(3)")


FAILING = """
    from eventing import CloudEvent, function

    @function
    {kind} handler(event: CloudEvent):
        pass

    @handler.on_{which}
    {kind} hook():
        raise OSError("no such model")
"""


@BOTH
def test_a_start_up_hook_that_fails_ends_it_before_it_listens(serve, kind):
    served = serve(FAILING.format(kind=kind, which="start"), wait=False)
    assert served.wait() == 1
    assert served.said("ends: the start-up hook failed: OSError: no such model (")
    assert not served.said("is ready")


@BOTH
def test_a_shutdown_hook_that_fails_is_told(serve, kind):
    served = serve(FAILING.format(kind=kind, which="stop"))
    served.terminate()
    assert served.wait() == 1
    assert served.said("ends: the shutdown hook failed: OSError: no such model (")


STARTING = """
    import time
    from pathlib import Path
    from eventing import CloudEvent, function
    {top}
    @function
    def handler(event: CloudEvent):
        pass

    @handler.on_start
    def hook():
        Path("here").touch()
        time.sleep(600)
"""


@pytest.mark.parametrize("top", ["", 'Path("here").touch(); time.sleep(600)'])
def test_sigterm_before_it_is_ready_ends_it_at_once(serve, tmp_path, top):
    served = serve(STARTING.format(top=top), wait=False)
    wait_for((tmp_path / "here").exists, "it is busy starting")
    served.terminate()
    assert served.wait() == 128 + signal.SIGTERM


def test_the_service_gives_the_name_and_the_environment_goes_before_the_decorator(serve):
    app = """
        import os
        from eventing import Context, function

        @function(env={"ONE": "code", "TWO": "code"})
        def handler(context: Context):
            return {name: os.environ.get(name) for name in ("ONE", "TWO")}
    """
    environment = {"K_SERVICE": "thumbs", "EVENTING_NAMESPACE": "shop", "ONE": "given"}
    served = serve(app, environment=environment)
    _, headers, body = served.ask({})
    assert json.loads(body) == {"ONE": "given", "TWO": "code"}
    assert headers["ce-source"] == "/functions/shop/thumbs"
    assert headers["ce-type"] == "thumbs.reply"


def test_the_port_is_the_platforms(serve):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    served = serve(EXITS.format(kind="def"), environment={"PORT": str(port)})
    assert served.port == port


def test_projects_with_packages_named_as_ours_are_served(serve, tmp_path):
    for name in ("functions", "brokers", "triggers", "click", "uvicorn"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f'NAME = "the user\'s {name}"\n')
    app = """
        from brokers import NAME as brokers
        from eventing import CloudEvent, function
        from functions import NAME as functions

        @function
        def handler(event: CloudEvent):
            return [brokers, functions]
    """
    served = serve(app)
    _, _, body = served.ask({})
    assert [each["data"] for each in json.loads(body)] == [
        "the user's brokers",
        "the user's functions",
    ]


def test_knatives_own_functions_are_served(serve, tmp_path):
    (tmp_path / "func.py").write_text(
        "from cloudevents.core.v1.event import CloudEvent\n"
        "class Function:\n"
        "    async def handle(self, scope, receive, send):\n"
        "        data = scope['event'].get_data()\n"
        "        await send(CloudEvent({'type': 'answer', 'source': '/f'}, {'got': data}))\n"
        "def new():\n"
        "    return Function()\n"
    )
    served = serve("", "func:new")
    status, headers, body = served.ask({"a": 1})
    assert (status, headers["ce-type"], json.loads(body)) == (200, "answer", {"got": {"a": 1}})
    served.terminate()
    assert served.wait() == 0


def test_threads_the_code_has_left_behind_do_not_hold_up_the_end(serve):
    app = """
        import threading, time
        from eventing import CloudEvent, function
        threading.Thread(target=time.sleep, args=(600,)).start()

        @function
        def handler(event: CloudEvent):
            pass
    """
    served = serve(app)
    served.terminate()
    assert served.wait() == 0


def test_a_loop_of_the_handlers_own_does_not_keep_the_signal_from_us(serve):
    app = """
        import asyncio
        import uvloop
        from eventing import CloudEvent, function

        async def work():
            await asyncio.sleep(0.01)

        @function
        def handler(event: CloudEvent):
            uvloop.run(work())
            asyncio.run(work())
    """
    served = serve(app)
    assert served.ask({})[0] == 204
    served.terminate()
    assert served.wait() == 0


def test_a_caller_that_goes_away_within_its_body_does_no_harm(serve):
    served = serve(SLOW)
    with socket.create_connection(("127.0.0.1", served.port), 20) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n" + b"x" * 99
        )
    assert served.request("GET", headers={})[0] == 200
    assert served.request("POST", headers={}, body=b"x")[0] == 400
    assert "Traceback" not in served.log


# Mistakes


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventing.serve", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


WRONG = """
import asyncio
from eventing import CloudEvent, function, on_start

@function
def handler(event: CloudEvent): pass

number = 5

def two(a, b): pass

@function
def sync_one(event: CloudEvent): pass

@sync_one.on_start
async def hook(): pass
"""


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        ("app", "write it as module:name, like app:thumbnail"),
        ("app:", "write it as module:name"),
        ("app:handlr", "has no 'handlr'; it has handler, sync_one"),
        ("ap:handler", "No module named 'ap'"),
        ("app:number", "'number' is a int, no function"),
        ("app:two", "annotated `Context`"),
        ("app:sync_one", "the hook 'hook' is async"),
        ("broken:handler", "broken.py:2"),
        ("needy:handler", "No module named 'numpie'; install it"),
        ("leaves:handler", "sys.exit(4) when imported"),
    ],
)
def test_a_wrong_handler_is_one_line_and_status_2(tmp_path, handler, says):
    (tmp_path / "app.py").write_text(WRONG)
    (tmp_path / "broken.py").write_text("x = 1\ndef (\n")
    (tmp_path / "needy.py").write_text("import numpie\n")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(4)\n")
    ran = run(tmp_path, handler, "--port", "0")
    assert ran.returncode == 2
    assert says in ran.stderr and ran.stderr.startswith("eventing.serve: ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["abc", "-1", "0", "70000", "８０"])
def test_a_port_that_is_none_is_told(tmp_path, port):
    (tmp_path / "app.py").write_text(WRONG)
    ran = run(tmp_path, "app:handler", PORT=port)
    assert ran.returncode == 2
    assert "the variable PORT is" in ran.stderr and "from 1 to 65535" in ran.stderr


def test_a_port_that_is_taken_is_told(tmp_path):
    (tmp_path / "app.py").write_text(WRONG)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = run(tmp_path, "app:handler", "--host", "127.0.0.1", PORT=port)
    assert ran.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}: Address already in use" in ran.stderr
    assert "PORT" in ran.stderr and ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["app:handler", "--timeout", "0"], ["app:handler", "--folder", "no"], ["a:b", "c:d"]],
)
def test_a_wrong_command_line_is_status_2(tmp_path, arguments):
    ran = run(tmp_path, *arguments)
    assert ran.returncode == 2 and "Error: " in ran.stderr and "Traceback" not in ran.stderr


def test_check_imports_the_handler_and_ends(tmp_path):
    (tmp_path / "app.py").write_text(WRONG)
    ran = run(tmp_path, "app:handler", "--check")
    assert (ran.returncode, ran.stdout) == (0, "handler at app:handler can be served\n")
    assert run(tmp_path, "app:nothing", "--check").returncode == 2


def test_the_folder_may_be_another(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").write_text(WRONG)
    assert run(tmp_path, "app:handler", "--check", "--folder", "src").returncode == 0
