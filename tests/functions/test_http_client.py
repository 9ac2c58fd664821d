"""The HTTP client with servers that behave: requests, connections, bounds and deadlines."""

import asyncio
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvicorn
import uvloop
from waiting import PATIENCE, open_sockets, until

from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.connect import first_connected
from functions.http.exchange import Answer, Limits, Request

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Subscriber:
    """A uvicorn server in a thread. `/wait` answers once `released` is set, `/echo` with the body
    it got, anything else with an empty 202."""

    def __init__(self, listener: socket.socket) -> None:
        self.requests: list[dict[str, Any]] = []
        self.released = threading.Event()
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            http="httptools",
            loop="asyncio",
            lifespan="off",
            log_level="error",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def forget(self) -> None:
        """Answer what is left, and be as new."""
        self.released.set()
        wait_until(lambda: self.in_flight == 0)
        self.released.clear()
        self.requests.clear()
        self.most_in_flight = 0

    def stop(self) -> None:
        self.released.set()
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.requests.append({"client": scope["client"], "headers": scope["headers"], "body": body})
        status, answer = 202, b""
        if scope["path"] == "/echo":
            status, answer = 200, body
        while scope["path"] == "/wait" and not self.released.is_set():
            await asyncio.sleep(0.005)
        headers = [(b"content-length", b"%d" % len(answer)), (b"X-Path", scope["path"].encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        self.in_flight -= 1
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def server() -> Iterator[Subscriber]:
    server = Subscriber(socket.create_server(("127.0.0.1", 0), backlog=512))
    yield server
    server.stop()


@pytest.fixture
def subscriber(server: Subscriber) -> Iterator[Subscriber]:
    yield server
    server.forget()


def begin(
    client: HttpClient,
    url: str,
    body: bytes = b"",
    *,
    timeout: float = 30.0,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> "asyncio.Future[Answer]":
    """Send, and have the answer as a future; a second answer fails the test by set_result."""
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    request = Request(Address.parse(url), headers, body, timeout)
    client.send(request, answered.set_result)
    return answered


async def use_once(client: HttpClient, subscriber: Subscriber, timeout: float = 30.0) -> None:
    """Leave a kept connection to `/wait`: the next one's time is none of connecting."""
    subscriber.released.set()
    assert (await begin(client, subscriber.url("/wait"), timeout=timeout)).status == 202
    subscriber.released.clear()


@pytest.fixture
def hanging_port() -> Iterator[int]:
    """A port that takes no connection and refuses none: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        while True:
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
            if not select.select([], [filler], [], 0.2)[1]:
                break
        yield listener.getsockname()[1]
        for filler in fillers:
            filler.close()


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that is taken, so that nobody else can come to listen, and refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# Requests


def test_a_request_arrives_as_it_was_given_and_its_answer_comes_back(
    run: Run, subscriber: Subscriber
) -> None:
    async def main() -> None:
        client = HttpClient()
        headers = ((b"ce-id", b"1"), (b"content-type", b"text/plain"))
        answer = await begin(client, subscriber.url("/echo"), b"hello", headers=headers)
        assert (answer.status, answer.body, answer.reason) == (200, b"hello", "")
        assert (b"x-path", b"/echo") in answer.headers
        await client.close()

    run(main())
    (request,) = subscriber.requests
    assert request["body"] == b"hello"
    assert request["headers"] == [
        (b"host", f"127.0.0.1:{subscriber.port}".encode()),
        (b"ce-id", b"1"),
        (b"content-type", b"text/plain"),
        (b"content-length", b"5"),
    ]


def test_a_body_larger_than_any_buffer_arrives_and_returns_whole(
    run: Run, subscriber: Subscriber
) -> None:
    body = os.urandom(5_000_000)

    async def main() -> None:
        client = HttpClient()
        for _ in range(2):
            assert (await begin(client, subscriber.url("/echo"), body)).body == body
        await client.close()

    run(main())
    assert len({request["client"] for request in subscriber.requests}) == 1


def test_credentials_of_the_url_are_sent(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        client = HttpClient()
        await begin(client, f"http://me:secret@127.0.0.1:{subscriber.port}/")
        await client.close()

    run(main())
    assert (b"authorization", b"Basic bWU6c2VjcmV0") in subscriber.requests[0]["headers"]


@pytest.mark.parametrize(
    "header",
    [(b"ce-a", b"1\r\nx: y"), (b"ce-a", b"1\n"), (b"ce-a", b"\r"), (b"ce-a\r\nx", b"1")],
)
def test_a_header_with_a_line_break_is_not_sent(
    run: Run, subscriber: Subscriber, header: tuple[bytes, bytes]
) -> None:
    async def main() -> None:
        client = HttpClient()
        answer = await begin(client, subscriber.url(), headers=(header,))
        assert answer.status == 0
        assert "line break" in answer.reason
        await client.close()

    run(main())
    assert subscriber.requests == []


def test_an_ipv6_literal_is_reached(run: Run) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    subscriber = Subscriber(listener)

    async def main() -> None:
        client = HttpClient()
        assert (await begin(client, f"http://[::1]:{subscriber.port}/")).status == 202
        await client.close()

    try:
        run(main())
    finally:
        subscriber.stop()


# Connections


def test_requests_in_turn_share_one_connection(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        client = HttpClient()
        for _ in range(10):
            await begin(client, subscriber.url())
        await client.close()

    run(main())
    assert len({request["client"] for request in subscriber.requests}) == 1


def test_no_more_connections_are_open_than_the_bound(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        client = HttpClient(Limits(connections=3))
        answers = [begin(client, subscriber.url("/wait")) for _ in range(30)]
        await until(lambda: subscriber.in_flight == 3)
        assert client.connections(Address.parse(subscriber.url("/wait"))) == 3
        subscriber.released.set()
        assert {answer.status for answer in await asyncio.gather(*answers)} == {202}
        await client.close()

    run(main())
    assert subscriber.most_in_flight == 3
    assert len({request["client"] for request in subscriber.requests}) == 3


def test_a_hundred_slow_answers_hold_up_nobody_else(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        client = HttpClient()
        slow = [begin(client, subscriber.url("/wait")) for _ in range(150)]
        await until(lambda: subscriber.in_flight == 100)
        for _ in range(10):
            assert (await begin(client, subscriber.url("/other"))).status == 202
        assert not any(answer.done() for answer in slow)
        subscriber.released.set()
        await asyncio.gather(*slow)
        await client.close()

    run(main())


def test_the_wait_for_a_busy_connection_is_not_counted_as_the_subscribers(
    run: Run, subscriber: Subscriber
) -> None:
    async def main() -> None:
        client = HttpClient(Limits(connections=1))
        first = begin(client, subscriber.url("/wait"), timeout=30)
        await until(lambda: subscriber.in_flight == 1)
        second = begin(client, subscriber.url("/wait"), timeout=1.0)
        # Beyond its time, were it to run already.
        await asyncio.wait([second], timeout=1.2)
        assert not second.done()
        subscriber.released.set()
        assert (await first).status == 202
        assert (await second).status == 202
        await client.close()

    run(main())


def test_who_waits_beyond_the_bound_is_told_at_once(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        client = HttpClient(Limits(connections=1, waiting=2))
        first = begin(client, subscriber.url("/wait"))
        await until(lambda: subscriber.in_flight == 1)
        waiting = [begin(client, subscriber.url("/wait")) for _ in range(2)]
        refused = begin(client, subscriber.url("/wait"))
        assert refused.done()
        assert refused.result().reason == "2 requests wait for a connection already"
        subscriber.released.set()
        assert {answer.status for answer in await asyncio.gather(first, *waiting)} == {202}
        await client.close()

    run(main())


def test_an_idle_connection_is_closed_after_its_time(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        client = HttpClient(Limits(idle=0.05))
        address = Address.parse(subscriber.url())
        sockets = open_sockets()
        await begin(client, subscriber.url())
        assert client.connections(address) == 1
        await until(lambda: client.connections(address) == 0)
        await until(lambda: open_sockets() <= sockets)
        assert (await begin(client, subscriber.url())).status == 202
        await client.close()

    run(main())


def test_the_next_address_is_tried_where_the_first_refuses(run: Run, refusing_port: int) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            refusing, listening = ("127.0.0.1", refusing_port), listener.getsockname()
            places = [(socket.AF_INET, refusing), (socket.AF_INET, listening)]
            with await first_connected(places) as connected:
                assert connected.getpeername() == listening

    run(main())


def test_the_next_address_is_tried_beside_one_that_dallies(run: Run, hanging_port: int) -> None:
    async def main() -> None:
        sockets = open_sockets()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            dallying, listening = ("127.0.0.1", hanging_port), listener.getsockname()
            places = [(socket.AF_INET, dallying), (socket.AF_INET, listening)]
            with await first_connected(places) as connected:
                assert connected.getpeername() == listening
        await until(lambda: open_sockets() <= sockets)

    run(main())


# No connection, no answer


def test_a_refused_connection_is_the_reason_for_all_who_wait(run: Run, refusing_port: int) -> None:
    async def main() -> None:
        client = HttpClient(Limits(connections=2))
        url = f"http://127.0.0.1:{refusing_port}/"
        answers = await asyncio.gather(*[begin(client, url) for _ in range(20)])
        assert {answer.status for answer in answers} == {0}
        assert all(answer.reason.endswith(": Connection refused") for answer in answers)
        assert client.connections(Address.parse(url)) == 0
        await client.close()

    run(main())


def test_a_host_that_is_not_found_is_the_reason(run: Run) -> None:
    # Longer than any name can be: refused by the resolver without a question to the network.
    host = ".".join(["a" * 60] * 6)

    async def main() -> None:
        client = HttpClient()
        answer = await begin(client, f"http://{host}/")
        assert answer.status == 0
        assert answer.reason.startswith(f"the host '{host}' was not found: ")
        await client.close()

    run(main())


def test_connecting_takes_no_longer_than_its_limit(run: Run, hanging_port: int) -> None:
    async def main() -> None:
        client = HttpClient(Limits(connect=0.1))
        answer = await begin(client, f"http://127.0.0.1:{hanging_port}/")
        assert answer.status == 0
        assert answer.reason == f"no connection to 127.0.0.1:{hanging_port} within 0.1 s"
        await client.close()

    run(main())


def test_connecting_takes_no_longer_than_the_request_may(run: Run, hanging_port: int) -> None:
    async def main() -> None:
        client = HttpClient()
        answer = await begin(client, f"http://127.0.0.1:{hanging_port}/", timeout=0.1)
        assert answer.reason == f"no connection to 127.0.0.1:{hanging_port} within 0.1 s"
        await client.close()

    run(main())


def test_no_answer_in_time_ends_the_request_and_its_connection(
    run: Run, subscriber: Subscriber
) -> None:
    async def main() -> None:
        client = HttpClient()
        await use_once(client, subscriber)
        answer = await begin(client, subscriber.url("/wait"), timeout=0.1)
        assert answer == Answer(0, reason="no answer within 0.1 s")
        # Else it could come in among the requests of the next test.
        await until(lambda: subscriber.in_flight == 1)
        address = Address.parse(subscriber.url("/wait"))
        await until(lambda: client.connections(address) == 0)
        await client.close()

    run(main())


def test_a_short_deadline_holds_on_a_connection_used_with_a_long_one(
    run: Run, subscriber: Subscriber
) -> None:
    async def main() -> None:
        client = HttpClient(Limits(connections=1))
        await use_once(client, subscriber, timeout=60)
        answer = await begin(client, subscriber.url("/wait"), timeout=0.1)
        assert answer.reason == "no answer within 0.1 s"
        await until(lambda: subscriber.in_flight == 1)
        await client.close()

    run(main())


def test_a_long_deadline_holds_on_a_connection_used_with_a_short_one(
    run: Run, subscriber: Subscriber
) -> None:
    async def main() -> None:
        client = HttpClient(Limits(connections=1, idle=0.05))
        await use_once(client, subscriber, timeout=1.0)
        answer = begin(client, subscriber.url("/wait"), timeout=60)
        # Beyond the time of the one before, and beyond that of an idle connection.
        await asyncio.wait([answer], timeout=1.2)
        assert not answer.done()
        subscriber.released.set()
        assert (await answer).status == 202
        await client.close()

    run(main())


# Cancelled requests


def test_a_cancelled_request_is_told_at_once_and_its_connection_ends(
    run: Run, subscriber: Subscriber
) -> None:
    async def main() -> None:
        client = HttpClient()
        answers: list[Answer] = []
        address = Address.parse(subscriber.url("/wait"))
        exchange = client.send(Request(address, (), b"", 30), answers.append)
        await until(lambda: subscriber.in_flight == 1)
        exchange.cancel()
        assert answers == [Answer(0, reason="cancelled")]
        exchange.cancel()
        await until(lambda: client.connections(address) == 0)
        subscriber.released.set()
        assert (await begin(client, subscriber.url("/wait"))).status == 202
        assert len(answers) == 1
        await client.close()

    run(main())


def test_a_request_cancelled_while_it_waits_is_never_sent(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        client = HttpClient(Limits(connections=1))
        first = begin(client, subscriber.url("/wait"))
        await until(lambda: subscriber.in_flight == 1)
        answers: list[Answer] = []
        address = Address.parse(subscriber.url("/wait"))
        exchange = client.send(Request(address, (), b"cancelled", 30), answers.append)
        exchange.cancel()
        assert answers == [Answer(0, reason="cancelled")]
        subscriber.released.set()
        assert (await first).status == 202
        await client.close()
        assert len(answers) == 1

    run(main())
    assert [request["body"] for request in subscriber.requests] == [b""]


def test_a_request_cancelled_while_it_connects_leaves_nothing(run: Run, hanging_port: int) -> None:
    async def main() -> None:
        sockets = open_sockets()
        client = HttpClient()
        answers: list[Answer] = []
        address = Address.parse(f"http://127.0.0.1:{hanging_port}/")
        client.send(Request(address, (), b"", 30), answers.append).cancel()
        assert answers == [Answer(0, reason="cancelled")]
        await client.close()
        await until(lambda: open_sockets() <= sockets)
        assert len(answers) == 1

    run(main())


def test_to_cancel_an_answered_request_changes_nothing(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        client = HttpClient()
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        address = Address.parse(subscriber.url())
        exchange = client.send(Request(address, (), b"", 30), answered.set_result)
        assert (await answered).status == 202
        exchange.cancel()
        assert client.connections(address) == 1
        # Nor where the connection carries another's by now.
        other = begin(client, subscriber.url("/"))
        exchange.cancel()
        assert (await other).status == 202
        await client.close()
        client.send(Request(address, (), b"", 30), lambda answer: None).cancel()

    run(main())


def test_a_request_may_be_cancelled_by_its_own_answer_or_by_anothers(
    run: Run, subscriber: Subscriber
) -> None:
    async def main() -> None:
        client = HttpClient(Limits(connections=1))
        address = Address.parse(subscriber.url())
        told: list[tuple[int, str]] = []
        exchanges = []

        def done(answer: Answer) -> None:
            told.append((answer.status, answer.reason))
            for exchange in exchanges:
                exchange.cancel()

        for _ in range(3):
            exchanges.append(client.send(Request(address, (), b"", 30), done))
        await until(lambda: len(told) == 3)
        assert told[0] == (202, "")
        assert (0, "cancelled") in told
        await client.close()
        assert len(told) == 3

    run(main())


# The end


def test_close_ends_each_request_exactly_once(
    run: Run, subscriber: Subscriber, hanging_port: int
) -> None:
    async def main() -> None:
        sockets = open_sockets()
        client = HttpClient(Limits(connections=5))
        in_flight = [begin(client, subscriber.url("/wait")) for _ in range(20)]
        connecting = [begin(client, f"http://127.0.0.1:{hanging_port}/") for _ in range(20)]
        idle = begin(client, subscriber.url())
        await idle
        await until(lambda: subscriber.in_flight == 5)
        await client.close()
        assert all(answer.done() for answer in in_flight + connecting)
        reasons = {answer.result().reason for answer in in_flight + connecting}
        assert reasons == {
            "the HTTP client was closed before the answer came",
            "the HTTP client was closed before the request was sent",
        }
        await until(lambda: open_sockets() <= sockets)

    run(main())


def test_close_ends_a_request_that_was_sent_just_before(run: Run, refusing_port: int) -> None:
    async def main() -> None:
        client = HttpClient()
        answer = begin(client, f"http://127.0.0.1:{refusing_port}/")
        async with asyncio.timeout(PATIENCE):
            await client.close()
        assert answer.result().status == 0

    run(main())


def test_a_closed_client_answers_at_once(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        client = HttpClient()
        await client.close()
        await client.close()
        answer = begin(client, subscriber.url())
        assert answer.result() == Answer(0, reason="the HTTP client is closed")

    run(main())


def test_who_is_told_of_the_end_may_send_again(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        client = HttpClient()
        told: list[Answer] = []
        request = Request(Address.parse(subscriber.url("/wait")), (), b"", 30)

        def again(answer: Answer) -> None:
            told.append(answer)
            if len(told) < 3:
                client.send(request, again)

        client.send(request, again)
        await until(lambda: subscriber.in_flight == 1)
        await client.close()
        assert [answer.status for answer in told] == [0, 0, 0]

    run(main())


def test_a_callback_that_raises_harms_no_other_request(run: Run, subscriber: Subscriber) -> None:
    async def main() -> None:
        faults: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: faults.append(context))
        client = HttpClient(Limits(connections=1))

        def fail(answer: Answer) -> None:
            raise RuntimeError("mine")

        client.send(Request(Address.parse(subscriber.url()), (), b"", 30), fail)
        assert (await begin(client, subscriber.url())).status == 202
        assert [str(fault["exception"]) for fault in faults] == ["mine"]
        await client.close()

    run(main())
    assert len({request["client"] for request in subscriber.requests}) == 1
