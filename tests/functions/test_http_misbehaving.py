"""The HTTP client with servers that misbehave: a clear reason, once, and nothing left behind."""

import asyncio
import re
import socket
import struct
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import PATIENCE, open_sockets, until

from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.connect import Choose, connect
from functions.http.exchange import KEPT, Answer, Limits, Request

Run = Callable[[Coroutine[Any, Any, None]], None]
Handler = Callable[["Peer"], Awaitable[None]]

OK = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
LIMITS = Limits(headers=4096, body=100_000)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


class Peer:
    """One connection of the server's, raw."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """Read a whole request; its head. Raises IncompleteReadError at the end."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        await self.reader.readexactly(int(length[1]))
        return head

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def flood(self, data: bytes) -> int:
        """Send without end; returns how many bytes went until the client had enough."""
        sent = 0
        with suppress(ConnectionError):
            while not self.writer.is_closing():
                await self.send(data)
                sent += len(data)
                await asyncio.sleep(0)
        return sent

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Raw:
    """A server whose every connection is one call of `handler`."""

    def __init__(self, handler: Handler) -> None:
        self.connections = 0
        self._handler = handler
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Raw":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]
        self.address = Address.parse(f"http://127.0.0.1:{self.port}/")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving)
        await self._server.wait_closed()

    def refuse(self) -> None:
        """Take no more connections; those there are go on."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        # Cancelled is how a handler that would go on ends with its server.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._handler(Peer(self.connections, reader, writer))
            writer.close()
            await writer.wait_closed()
        writer.transport.abort()
        self._serving.discard(task)


class InThread(Raw):
    """The same server on a loop of its own: it acts while the client's loop stands still."""

    async def __aenter__(self) -> "InThread":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        await self._there(super().__aenter__())
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._there(super().__aexit__(*exc))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()

    async def _there(self, work: Coroutine[Any, Any, Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


def after_an_answer(handler: Handler) -> Handler:
    """Answers a first request as it should: the next one's time is none of connecting."""

    async def handle(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await handler(peer)

    return handle


class Told:
    """Collects answers; a second one to the same request shows."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    async def wait(self, count: int = 1) -> Answer:
        await until(lambda: len(self.answers) >= count)
        assert len(self.answers) == count
        return self.answers[-1]


def begin(client: HttpClient, raw: Raw, body: bytes = b"", timeout: float = 30.0) -> Told:
    told = Told()
    client.send(Request(raw.address, (), body, timeout), told.answers.append)
    return told


async def ask(client: HttpClient, raw: Raw, body: bytes = b"", timeout: float = 30.0) -> Answer:
    return await begin(client, raw, body, timeout).wait()


async def answer_to(response: bytes, limits: Limits = LIMITS) -> Answer:
    """What the client makes of a server that reads a request, sends `response` and closes; it
    must have nothing open afterwards."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(response)

    async with Raw(handler) as raw:
        client = HttpClient(limits)
        sockets = open_sockets()
        told = begin(client, raw)
        answer = await told.wait()
        await until(lambda: client.connections(raw.address) == 0)
        await until(lambda: open_sockets() <= sockets)
        await client.close()
        assert len(told.answers) == 1
        return answer


# Answers of every shape HTTP knows


WHOLE = {
    "of a given length": b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 5\r\n\r\nhello",
    "in chunks": b"HTTP/1.1 200 OK\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;extension\r\nllo\r\n0\r\nTrailer: x\r\n\r\n",
    "until the end": b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello",
    "of HTTP/1.0": b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nhello",
    "after interim answers": b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("response", WHOLE.values(), ids=WHOLE.keys())
def test_an_answer_is_read_whole(run: Run, response: bytes) -> None:
    async def main() -> None:
        answer = await answer_to(response)
        assert (answer.status, answer.body, answer.reason) == (200, b"hello", "")
        assert answer.headers[0] == (b"a", b"b")
        assert b"trailer" not in dict(answer.headers)
        assert b"link" not in dict(answer.headers)

    run(main())


@pytest.mark.parametrize("response", WHOLE.values(), ids=WHOLE.keys())
def test_an_answer_is_the_same_in_single_bytes(run: Run, response: bytes) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.request()
            for byte in response:
                await peer.send(bytes((byte,)))
                await asyncio.sleep(0)

        async with Raw(handler) as raw:
            client = HttpClient()
            answer = await ask(client, raw)
            assert (answer.status, answer.body) == (200, b"hello")
            await client.close()

    run(main())


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_can_have_no_body_ends_with_its_headers(run: Run, status: int) -> None:
    async def main() -> None:
        response = b"HTTP/1.1 %d X\r\n\r\n" % status

        async def handler(peer: Peer) -> None:
            while True:
                await peer.request()
                await peer.send(response)

        async with Raw(handler) as raw:
            client = HttpClient()
            for _ in range(2):
                assert (await ask(client, raw)).status == status
            assert raw.connections == 1
            await client.close()

    run(main())


def test_of_a_refusals_long_body_only_the_start_is_kept(run: Run) -> None:
    async def main() -> None:
        body = b"x" * 90_000
        response = b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n"
        response += b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        answer = await answer_to(response)
        assert answer.status == 500
        assert answer.body == body[:KEPT]

    run(main())


# Answers that are none


BROKEN = {
    "nothing": (b"", "the connection ended before an answer"),
    "garbage": (b"hello\r\n\r\n", "the answer is no HTTP: "),
    "another protocol": (b"\x15\x03\x01\x00\x02\x02\x46", "the answer is no HTTP: "),
    "HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "the answer is no HTTP: "),
    "half a status line": (b"HTTP/1.1 20", "the connection ended in the middle of the answer"),
    "half the headers": (
        b"HTTP/1.1 200 OK\r\ncontent-le",
        "the connection ended in the middle of the answer",
    ),
    "half a body": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhell",
        "the connection ended in the middle of the answer",
    ),
    "half a chunk": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhell",
        "the connection ended in the middle of the answer",
    ),
    "no last chunk": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhell\r\n",
        "the connection ended in the middle of the answer",
    ),
    "a bad chunk size": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        "the answer is no HTTP: ",
    ),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "the answer is no HTTP: ",
    ),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "the answer is no HTTP: ",
    ),
    "a status beyond HTTP's": (
        b"HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n",
        "the answer's status 999 is none of HTTP",
    ),
    "status zero": (
        b"HTTP/1.1 000 X\r\ncontent-length: 0\r\n\r\n",
        "the answer's status 000 is none of HTTP",
    ),
    "only interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\n",
        "the connection ended in the middle of the answer",
    ),
    "too many headers": (
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"content-length: 0\r\n\r\n",
        "the answer's headers are over 4,096 bytes",
    ),
    "too large a header": (
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 5000 + b"\r\ncontent-length: 0\r\n\r\n",
        "the answer's headers are over 4,096 bytes",
    ),
    "too large a body": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 100001\r\n\r\n" + b"x" * 100_001,
        "the answer's body is over 100,000 bytes",
    ),
    "too large a body in chunks": (
        b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"400\r\n%b\r\n" % (b"x" * 1024) * 99,
        "the answer's body is over 100,000 bytes",
    ),
    "too large a body until the end": (
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_001,
        "the answer's body is over 100,000 bytes",
    ),
}


@pytest.mark.parametrize(("response", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_is_none_is_a_clear_reason(run: Run, response: bytes, reason: str) -> None:
    async def main() -> None:
        answer = await answer_to(response)
        assert answer.status == 0
        assert answer.reason.startswith(reason)
        assert answer.body == b""

    run(main())


ENDLESS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 100, "headers are over"),
    "one header": (b"HTTP/1.1 200 OK\r\na: ", b"b" * 1000, "headers are over"),
    "a status line": (b"HTTP/1.1 200 ", b"b" * 1000, "headers are over"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40, "headers are over"),
    "trailers": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
        b"a: b\r\n" * 100,
        "headers are over",
    ),
    "a chunk extension": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;a=",
        b"b" * 1000,
        "headers are over",
    ),
    "a body": (b"HTTP/1.1 500 X\r\n\r\n", b"b" * 1000, "body is over"),
}


@pytest.mark.parametrize(("start", "rest", "reason"), ENDLESS.values(), ids=ENDLESS.keys())
def test_an_answer_without_end_is_cut(run: Run, start: bytes, rest: bytes, reason: str) -> None:
    async def main() -> None:
        sent = []

        async def handler(peer: Peer) -> None:
            await peer.request()
            await peer.send(start)
            sent.append(await peer.flood(rest))

        async with Raw(handler) as raw:
            client = HttpClient(LIMITS)
            answer = await ask(client, raw)
            assert answer.status == 0
            assert reason in answer.reason
            await until(lambda: bool(sent))
            # Its buffers and ours, no more.
            assert sent[0] < 20_000_000
            await client.close()

    run(main())


def test_an_answer_that_trickles_ends_with_its_time(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                await peer.send(b"1\r\nx\r\n")
                await asyncio.sleep(0.01)

        async with Raw(after_an_answer(handler)) as raw:
            client = HttpClient()
            assert (await ask(client, raw)).status == 202
            answer = await ask(client, raw, timeout=0.2)
            assert answer == Answer(0, reason="no answer within 0.2 s")
            await client.close()

    run(main())


def test_a_reset_connection_is_a_clear_reason(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.request()
            peer.reset()

        async with Raw(handler) as raw:
            client = HttpClient()
            answer = await ask(client, raw)
            assert answer.status == 0
            assert answer.reason.startswith("the connection ended before an answer")
            await client.close()

    run(main())


def test_a_server_that_accepts_only_to_close_fails_each_request_once(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            peer.reset()

        async with Raw(handler) as raw:
            client = HttpClient(Limits(connections=4))
            told = [begin(client, raw) for _ in range(50)]
            for one in told:
                assert (await one.wait()).status == 0
            # Two at most for each that was put on a connection, and lost with it; see Pool.
            assert raw.connections <= 4 + 2 * 50
            await until(lambda: client.connections(raw.address) == 0)
            await client.close()

    run(main())


def test_a_server_that_takes_one_connection_and_resets_the_others_is_not_stormed(
    run: Run,
) -> None:
    async def main() -> None:
        released = threading.Event()

        async def handler(peer: Peer) -> None:
            if peer.number > 1:
                peer.reset()
                return
            await peer.request()
            await until(released.is_set)
            while True:
                await peer.send(OK)
                await peer.request()

        async with InThread(handler) as raw:
            client = HttpClient()
            first = begin(client, raw)
            await until(lambda: raw.connections == 1)
            waiting = [begin(client, raw) for _ in range(40)]
            # Each attempt is a task: with none left, and no connection but the first, the client
            # has come to rest.
            await until(
                lambda: len(asyncio.all_tasks()) == 1 and client.connections(raw.address) == 1
            )
            assert raw.connections <= 1 + 3 * len(waiting)
            released.set()
            assert (await first.wait()).status == 202
            for told in waiting:
                assert (await told.wait()).status in (0, 202)
            assert raw.connections <= 1 + 3 * len(waiting)
            await client.close()

    run(main())


def test_who_comes_while_others_wait_makes_one_attempt_more_and_not_one_for_each(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    async def counted(address: Address, choose: Choose) -> None:
        attempts.append(address)
        await connect(address, choose)

    monkeypatch.setattr("functions.http.pool.connect", counted)

    async def main() -> None:
        released = asyncio.Event()

        async def handler(peer: Peer) -> None:
            while True:
                await peer.request()
                await released.wait()
                await peer.send(OK)

        async with Raw(handler) as raw:
            client = HttpClient()
            told = [begin(client, raw)]
            await until(lambda: raw.connections == 1)
            raw.refuse()
            at_rest = len(asyncio.all_tasks())
            told += [begin(client, raw) for _ in range(20)]
            await until(lambda: len(asyncio.all_tasks()) == at_rest)
            assert len(attempts) == 21
            told.append(begin(client, raw))
            await until(lambda: len(asyncio.all_tasks()) == at_rest)
            assert len(attempts) == 22
            released.set()
            for one in told:
                assert (await one.wait()).status == 202
            assert len(attempts) == 22
            assert raw.connections == 1
            await client.close()

    run(main())


@pytest.mark.parametrize("upgrade", [b"", b"connection: upgrade\r\nupgrade: websocket\r\n"])
def test_a_switch_of_protocols_nobody_asked_for_is_the_answer(run: Run, upgrade: bytes) -> None:
    async def main() -> None:
        response = b"HTTP/1.1 101 Switching\r\n" + upgrade + b"\r\n\x00\x01\x02"
        assert (await answer_to(response)).status == 101

    run(main())


@pytest.mark.parametrize(
    "surplus", [OK, b"HTTP/1.1 2", b"H", b"garbage", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "later"])
def test_a_second_answer_is_never_taken_for_another_requests(
    run: Run, surplus: bytes, apart: bool
) -> None:
    async def main() -> None:
        first = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"

        async def handler(peer: Peer) -> None:
            await peer.request()
            if peer.number > 1:
                await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")
                await peer.reader.read()
                return
            await peer.send(first if apart else first + surplus)
            if apart:
                await answered.wait()
                await peer.send(surplus)
            await peer.reader.read()

        answered = asyncio.Event()
        async with Raw(handler) as raw:
            client = HttpClient(Limits(idle=60))
            assert (await ask(client, raw)).status == 201
            answered.set()
            await until(lambda: client.connections(raw.address) == 0)
            assert (await ask(client, raw)).status == 204
            assert raw.connections == 2
            await client.close()

    run(main())


def test_a_server_that_speaks_unasked_on_an_idle_connection_loses_it(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK)
            if peer.number == 1:
                # The client finds this on the connection when it wants to use it again.
                await until(unread.is_set)
                peer.writer.write(b"421 busy\r\n")
                sent.set()
            await peer.reader.read()

        unread, sent = threading.Event(), threading.Event()
        async with InThread(handler) as raw:
            client = HttpClient()
            assert (await ask(client, raw)).status == 202
            unread.set()
            assert sent.wait(PATIENCE)
            assert (await ask(client, raw)).status == 202
            assert raw.connections == 2
            await client.close()

    run(main())


# Answers before the request is whole


BIG = b"x" * 8_000_000


def test_a_refusal_before_the_request_is_whole_counts(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
            await released.wait()

        released = asyncio.Event()
        async with Raw(handler) as raw:
            client = HttpClient()
            answer = await ask(client, raw, BIG)
            assert (answer.status, answer.body) == (413, b"big")
            await until(lambda: client.connections(raw.address) == 0)
            released.set()
            await client.close()

    run(main())


@pytest.mark.parametrize("closing", [b"", b"connection: close\r\n"])
def test_a_success_whose_server_does_not_take_the_whole_event_is_none(
    run: Run, closing: bytes
) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(b"HTTP/1.1 202 Accepted\r\n" + closing + b"content-length: 0\r\n\r\n")
            if not closing:
                await read_nothing.wait()

        read_nothing = asyncio.Event()
        async with Raw(after_an_answer(handler)) as raw:
            client = HttpClient()
            assert (await ask(client, raw)).status == 202
            answer = await ask(client, raw, BIG, timeout=1.0)
            assert answer.status == 0
            assert answer.reason.startswith("answered 202 before the request was whole")
            read_nothing.set()
            await client.close()

    run(main())


def test_a_body_that_is_not_read_is_not_held_twice(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            peer.writer.transport.pause_reading()
            await released.wait()

        released = asyncio.Event()
        async with Raw(after_an_answer(handler)) as raw:
            client = HttpClient()
            assert (await ask(client, raw)).status == 202
            tracemalloc.start()
            answer = await ask(client, raw, BIG, timeout=0.3)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert answer.reason == "no answer within 0.3 s"
            assert peak < len(BIG) / 4
            released.set()
            await client.close()

    run(main())


def test_a_success_ahead_of_the_body_stands_once_the_body_is_taken(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            while True:
                await peer.reader.readuntil(b"\r\n\r\n")
                await peer.send(OK)
                # Lets the client read it first. If it does not, the outcome is the same.
                await asyncio.sleep(0.01)
                await peer.reader.readexactly(len(BIG))

        async with Raw(handler) as raw:
            client = HttpClient()
            for _ in range(2):
                assert (await ask(client, raw, BIG)).status == 202
            assert raw.connections == 1
            await client.close()

    run(main())


# A kept connection that ends


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_request_nothing_of_which_was_sent_takes_a_fresh_connection(
    run: Run, reset: bool
) -> None:
    async def main() -> None:
        requests = []

        async def handler(peer: Peer) -> None:
            requests.append(await peer.request())
            await peer.send(OK)
            if peer.number == 1:
                await until(close_now.is_set)
                if reset:
                    peer.reset()
                else:
                    peer.writer.close()
                await peer.writer.wait_closed()
                closed.set()
            else:
                await peer.reader.read()

        close_now, closed = threading.Event(), threading.Event()
        async with InThread(handler) as raw:
            client = HttpClient()
            assert (await ask(client, raw)).status == 202
            close_now.set()
            # The client's loop stands still here: it has not been told of the end when it sends.
            assert closed.wait(PATIENCE)
            assert (await ask(client, raw)).status == 202
            assert len(requests) == 2
            assert raw.connections == 2
            await client.close()

    run(main())


def test_a_request_that_was_sent_is_not_sent_again(run: Run) -> None:
    async def main() -> None:
        requests = []

        async def handler(peer: Peer) -> None:
            requests.append(await peer.request())
            await peer.send(OK)
            requests.append(await peer.request())

        async with Raw(handler) as raw:
            client = HttpClient()
            assert (await ask(client, raw)).status == 202
            answer = await ask(client, raw)
            assert answer == Answer(0, reason="the connection ended before an answer")
            assert len(requests) == 2
            assert raw.connections == 1
            await client.close()

    run(main())


def test_who_waits_gets_another_connection_when_one_ends(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 202 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")

        async with Raw(handler) as raw:
            client = HttpClient(Limits(connections=2))
            told = [begin(client, raw) for _ in range(20)]
            for one in told:
                assert (await one.wait()).status == 202
            assert raw.connections == 20
            await client.close()

    run(main())


# Anything


_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n",
        b"HTTP/1.0 503\r\n",
        b"HTTP/1.1 101 X\r\n",
        b"content-length: 5\r\n",
        b"content-length: -1\r\n",
        b"content-length: 99999999999999999999\r\n",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip\r\n",
        b"connection: close\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\n",
        b"ce-id: \xff\x00\r\n",
        b": empty\r\n",
        b" folded\r\n",
        b"\r\n",
        b"\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
    ]
)
_RESPONSES = st.lists(_LINES | st.binary(max_size=20), max_size=10).map(b"".join)


def test_whatever_a_server_sends_each_request_is_answered_once() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def count() -> int:
            return open_sockets()

        # Counted within the running loop, which has a pair of its own.
        sockets = runner.run(count())

        @settings(max_examples=300, deadline=None)
        @given(st.lists(_RESPONSES, min_size=1, max_size=3))
        def check(pieces: list[bytes]) -> None:
            async def handler(peer: Peer) -> None:
                await peer.request()
                for piece in pieces:
                    await peer.send(piece)
                    await asyncio.sleep(0)

            async def main() -> None:
                async with Raw(handler) as raw:
                    client = HttpClient(LIMITS)
                    told = [begin(client, raw) for _ in range(2)]
                    for one in told:
                        answer = await one.wait()
                        assert answer.status == 0 or 101 <= answer.status <= 599
                        assert bool(answer.reason) == (answer.status == 0)
                    await client.close()
                    assert [len(one.answers) for one in told] == [1, 1]

            runner.run(main())

        check()

        async def settled() -> None:
            await until(lambda: open_sockets() <= sockets)

        runner.run(settled())


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(WHOLE.values())), st.lists(st.integers(0, 200), max_size=6))
def test_an_answer_is_the_same_however_it_is_cut(response: bytes, cuts: list[int]) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.request()
            places = sorted({0, len(response), *(cut % len(response) for cut in cuts)})
            for start, end in pairwise(places):
                await peer.send(response[start:end])
                await asyncio.sleep(0)

        async with Raw(handler) as raw:
            client = HttpClient()
            answer = await ask(client, raw)
            assert (answer.status, answer.headers[0]) == (200, (b"a", b"b"))
            assert answer.body == b"hello"
            await client.close()

    uvloop.run(main())
