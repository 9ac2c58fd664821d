"""HTTP/2: many requests on one connection, and what becomes of them when it or a stream ends."""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack
import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import PATIENCE, open_sockets, until

from functions.http import http2_connection
from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.connect import first_connected
from functions.http.exchange import KEPT, Answer, Exchange, Limits, Request
from functions.http.http2_frames import FrameCutter, GoAway
from functions.http.security import Security

Run = Callable[[Coroutine[Any, Any, None]], None]
LIMITS = Limits(headers=4096, body=100_000)
MAX_STREAMS = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
MAX_FRAME = h2.settings.SettingCodes.MAX_FRAME_SIZE
WINDOW = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
Codes = h2.errors.ErrorCodes


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


@dataclass
class Asked:
    """A request as the server has it; `whole` once its end has come."""

    id: int
    fields: list[tuple[bytes, bytes]]
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    reset: int | None = None


class Peer:
    """The server's end of one connection, over the h2 library; `reading` says whether it gives
    room for more of a body."""

    def __init__(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        **options: int,
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.asked: dict[int, Asked] = {}
        self.reading = True
        self.went_away: list[int] = []
        self.pings: list[bytes] = []
        self.most = 0
        self.changed = asyncio.Event()
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        self.allowed = options.pop("allowed", 250)
        self.h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={MAX_STREAMS: self.allowed, WINDOW: options.pop("window", 65_535)},
        )
        self.goodbye = number <= options.pop("goodbye", 0)
        self.unread: list[tuple[int, int]] = []
        assert not options

    def greet(self) -> None:
        self.h2.initiate_connection()
        if self.goodbye:
            self.h2.close_connection(last_stream_id=0)
        self.flush()

    async def read(self) -> None:
        """Until the client's end."""
        while data := await self.reader.read(1 << 16):
            for event in self.h2.receive_data(data):
                self._on(event)
            open_now = sum(1 for asked in self.asked.values() if asked.id in self._open)
            self.most = max(self.most, open_now)
            self.flush()
            self.changed.set()

    @property
    def _open(self) -> set[int]:
        return {id for id, stream in self.h2.streams.items() if stream.open}

    def _on(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self.asked[event.stream_id] = Asked(event.stream_id, list(event.headers))
            case h2.events.DataReceived():
                self.asked[event.stream_id].body += event.data
                self.unread.append((event.flow_controlled_length, event.stream_id))
                self.take()
            case h2.events.StreamEnded():
                self.asked[event.stream_id].whole = True
            case h2.events.StreamReset() if event.stream_id in self.asked:
                self.asked[event.stream_id].reset = int(event.error_code)
            case h2.events.ConnectionTerminated():
                self.went_away.append(int(event.error_code))
            case h2.events.PingReceived():
                self.pings.append(event.ping_data)

    def take(self) -> None:
        """Give back the room of what was read."""
        while self.reading and self.unread:
            with suppress(h2.exceptions.ProtocolError):
                self.h2.acknowledge_received_data(*self.unread.pop(0))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def request(self, count: int = 1) -> Asked:
        """The `count`th request of the connection, whole."""
        await self.until(lambda: sum(asked.whole for asked in self.asked.values()) >= count)
        return [asked for asked in self.asked.values() if asked.whole][count - 1]

    def head(self, id: int, status: int = 200, *fields: tuple[bytes, bytes], end: bool) -> None:
        self.h2.send_headers(id, [(b":status", b"%d" % status), *fields], end_stream=end)
        self.flush()

    async def answer(self, id: int, status: int = 202, body: bytes = b"") -> None:
        """A whole answer, as fast as the client gives room for it."""
        with suppress(h2.exceptions.StreamClosedError):
            self.head(id, status, end=not body)
            await self.send(id, body, end=True)

    async def send(self, id: int, body: bytes, *, end: bool) -> None:
        while body:
            await self.until(lambda: self.h2.local_flow_control_window(id) > 0)
            room = min(self.h2.local_flow_control_window(id), self.h2.max_outbound_frame_size)
            self.h2.send_data(id, body[:room], end_stream=end and room >= len(body))
            body = body[room:]
            self.flush()

    def reset(self, id: int, code: Codes) -> None:
        self.h2.reset_stream(id, code)
        self.flush()

    def go_away(self, last: int, code: Codes = Codes.NO_ERROR, debug: bytes = b"") -> None:
        """Written by hand: to the library, the connection would have ended."""
        body = struct.pack(">II", last, int(code)) + debug
        self.raw(len(body).to_bytes(3, "big") + b"\x07\x00" + bytes(4) + body)

    def raw(self, data: bytes) -> None:
        if not self.writer.is_closing():
            self.writer.write(data)

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())


Handler = Callable[[Peer], Awaitable[None]]


async def echo(peer: Peer) -> None:
    """Answers every request with its body."""
    answered: set[int] = set()
    answering: set[asyncio.Task[None]] = set()
    while True:
        await peer.until(lambda: any(a.whole and a.id not in answered for a in peer.asked.values()))
        for asked in list(peer.asked.values()):
            if asked.whole and asked.id not in answered:
                answered.add(asked.id)
                body = bytes(asked.body)
                task = asyncio.create_task(peer.answer(asked.id, 200 if body else 202, body))
                answering.add(task)
                task.add_done_callback(answering.discard)


class Server:
    """A server whose every connection is one call of `handler`, which may read `peer.asked` while
    the connection goes on; the connection ends with it."""

    def __init__(
        self,
        handler: Handler = echo,
        *,
        greets: bool = True,
        certificate: trustme.LeafCert | None = None,
        **options: int,
    ) -> None:
        self.peers: list[Peer] = []
        self._handler = handler
        self._greets = greets
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.set_alpn_protocols(["h2"])
            certificate.configure_cert(self._tls)
        self._options = options
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Server":
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        # So little that a client soon notices who does not read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        listener.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(
            self._serve, sock=listener, backlog=512, ssl=self._tls
        )
        self.port = listener.getsockname()[1]
        self.address = Address.parse(f"http://127.0.0.1:{self.port}/hook?a=b", http2=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        for end in await asyncio.gather(*self._serving, return_exceptions=True):
            if isinstance(end, Exception):
                raise end
        await self._server.wait_closed()

    @property
    def asked(self) -> list[Asked]:
        return [asked for peer in self.peers for asked in peer.asked.values()]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        peer = Peer(len(self.peers) + 1, reader, writer, **self._options)
        self.peers.append(peer)
        ends: list[asyncio.Future[Any]] = []
        with suppress(ConnectionError, asyncio.CancelledError):
            if self._greets:
                peer.greet()
            ends = [asyncio.ensure_future(peer.read()), asyncio.ensure_future(self._handler(peer))]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if ends[1].done() and ends[1].exception() is None:
                writer.close()
                await writer.wait_closed()
        for end in ends:
            end.cancel()
        for fault in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(fault, Exception) and not isinstance(
                fault, ConnectionError | h2.exceptions.ProtocolError
            ):
                raise fault
        writer.transport.abort()
        self._serving.discard(task)


class Told:
    """Collects answers; a second one to the same request shows."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.exchange: Exchange

    async def wait(self) -> Answer:
        await until(lambda: bool(self.answers))
        assert len(self.answers) == 1
        return self.answers[0]


def begin(
    client: HttpClient,
    server: Server,
    body: bytes = b"",
    *,
    timeout: float = 30.0,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Told:
    told = Told()
    request = Request(server.address, headers, body, timeout)
    told.exchange = client.send(request, told.answers.append)
    return told


async def ask(client: HttpClient, server: Server, body: bytes = b"", **options: Any) -> Answer:
    return await begin(client, server, body, **options).wait()


async def forever(peer: Peer) -> None:
    await asyncio.Event().wait()


# Requests


def test_a_request_arrives_as_it_was_given_and_its_answer_comes_back(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            client = HttpClient()
            headers = ((b"ce-id", b"1"), (b"Content-Type", b" text/plain "))
            answer = await ask(client, server, b"hello", headers=headers)
            assert (answer.status, answer.body, answer.reason) == (200, b"hello", "")
            (asked,) = server.asked
            assert asked.fields == [
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":authority", f"127.0.0.1:{server.port}".encode()),
                (b":path", b"/hook?a=b"),
                (b"ce-id", b"1"),
                (b"content-type", b"text/plain"),
                (b"content-length", b"5"),
            ]
            await client.close()

    run(main())


def test_a_thousand_requests_share_one_connection(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            client = HttpClient()
            told = [begin(client, server, b"%d" % n) for n in range(1000)]
            for n, one in enumerate(told):
                assert (await one.wait()).body == b"%d" % n
            (peer,) = server.peers
            assert len(peer.asked) == 1000
            # What the server would allow, and what we do.
            assert peer.allowed == 250
            assert 50 <= peer.most <= 100
            assert client.connections(server.address) == 1
            await client.close()

    run(main())


def test_bodies_larger_than_every_window_go_and_return_whole(run: Run) -> None:
    bodies = [os.urandom(1_500_000) for _ in range(3)]

    async def main() -> None:
        async with Server() as server:
            client = HttpClient()
            told = [begin(client, server, body) for body in bodies]
            for body, one in zip(bodies, told, strict=True):
                assert (await one.wait()).body == body
            assert len(server.peers) == 1
            await client.close()

    run(main())


def test_a_server_that_does_not_read_one_body_gets_no_more_of_it_and_the_other_requests(
    run: Run,
) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            peer.reading = False
            # The connection's window is larger than a stream's: others have room.
            peer.h2.increment_flow_control_window(1_000_000)
            peer.flush()
            await peer.until(lambda: any(len(a.body) == 1000 for a in peer.asked.values()))
            await peer.request()
            first, second = peer.asked.values()
            await peer.answer(second.id)
            await peer.until(lambda: len(first.body) == 1000)
            taken.append(len(first.body))
            await go_on.wait()
            peer.reading = True
            peer.take()
            peer.flush()
            await peer.until(lambda: first.whole)
            await peer.answer(first.id, 200, b"%d" % len(first.body))
            await forever(peer)

        taken: list[int] = []
        go_on = asyncio.Event()
        async with Server(handler, window=1000) as server:
            client = HttpClient()
            slow = begin(client, server, b"x" * 500_000)
            assert (await ask(client, server, b"y")).status == 202
            await until(lambda: bool(taken))
            assert not slow.answers
            go_on.set()
            assert (await slow.wait()).body == b"500000"
            await client.close()

    run(main())


def test_of_a_refusals_long_body_only_the_start_is_kept(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            asked = await peer.request()
            peer.head(asked.id, 500, end=False)
            for _ in range(90):
                await peer.send(asked.id, b"x" * 1000, end=False)
            await peer.send(asked.id, b"x", end=True)
            await forever(peer)

        async with Server(handler) as server:
            client = HttpClient(LIMITS)
            answer = await ask(client, server)
            assert answer.status == 500
            assert KEPT <= len(answer.body) < 5_000
            await client.close()

    run(main())


def test_interim_answers_and_trailers_are_left_out(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            asked = await peer.request()
            peer.head(asked.id, 103, (b"link", b"</x>"), end=False)
            peer.head(asked.id, 200, (b"a", b"b"), end=False)
            await peer.send(asked.id, b"hello", end=False)
            peer.h2.send_headers(asked.id, [(b"trailer", b"x")], end_stream=True)
            peer.flush()
            await forever(peer)

        async with Server(handler) as server:
            client = HttpClient()
            assert await ask(client, server) == Answer(200, [(b"a", b"b")], b"hello")
            await client.close()

    run(main())


def test_over_tls_it_is_spoken_where_both_offer_it(run: Run) -> None:
    async def main() -> None:
        ca = trustme.CA()
        async with Server(certificate=ca.issue_cert("localhost")) as server:
            security = Security(ca=ca.cert_pem.bytes().decode(), token="hush")
            server.address = Address.parse(f"https://localhost:{server.port}/", security=security)
            client = HttpClient()
            for size in (0, 10, 1_000_000):
                told = [begin(client, server, b"x" * size) for _ in range(20)]
                for one in told:
                    answer = await one.wait()
                    assert (answer.status, len(answer.body)) == (200 if size else 202, size)
            assert len(server.peers) == 1
            fields = [dict(asked.fields) for asked in server.asked]
            assert {field[b":scheme"] for field in fields} == {b"https"}
            assert {field[b"authorization"] for field in fields} == {b"Bearer hush"}
            await client.close()
            sockets = open_sockets()
        await until(lambda: open_sockets() < sockets)

    run(main())


def test_a_token_is_marked_never_to_be_kept_by_those_in_between(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            url = f"http://127.0.0.1:{server.port}/"
            security = Security(token="hush")
            server.address = Address.parse(url, security=security, http2=True)
            client = HttpClient()
            for _ in range(2):
                assert (await ask(client, server)).status == 202
            for asked in server.asked:
                (token,) = [each for each in asked.fields if each[0] == b"authorization"]
                assert isinstance(token, hpack.NeverIndexedHeaderTuple)
            await client.close()

    run(main())


def test_a_server_that_would_have_us_keep_all_headers_gets_them_all_the_same(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            peer.h2.update_settings(
                {h2.settings.SettingCodes.HEADER_TABLE_SIZE: 1 << 30, MAX_FRAME: (1 << 24) - 1}
            )
            peer.flush()
            await echo(peer)

        async with Server(handler) as server:
            client = HttpClient()
            for number in range(200):
                headers = ((b"ce-id", b"%d" % number * 100),)
                answer = await ask(client, server, b"x" * number * 10, headers=headers)
                assert len(answer.body) == number * 10
            ids = [dict(asked.fields)[b"ce-id"] for asked in server.asked]
            assert ids == [b"%d" % number * 100 for number in range(200)]
            (pool,) = client._pools.values()
            (connection,) = pool._shared
            assert connection._h2.encoder.header_table._current_size <= http2_connection.TABLE
            await client.close()

    run(main())


# How many, over how many connections


def test_a_server_that_allows_few_gets_more_connections_up_to_the_bound(run: Run) -> None:
    async def main() -> None:
        async with Server(allowed=2) as server:
            client = HttpClient(Limits(connections=6))
            told = [begin(client, server) for _ in range(60)]
            for one in told:
                assert (await one.wait()).status == 202
            assert 1 < len(server.peers) <= 3
            assert max(peer.most for peer in server.peers) <= 2
            await client.close()

    run(main())


def test_a_server_that_allows_more_later_gets_who_waits(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.request()
            peer.h2.update_settings({MAX_STREAMS: 5})
            peer.flush()
            await peer.request(5)
            for id in list(peer.asked):
                await peer.answer(id)
            await forever(peer)

        async with Server(handler, allowed=1) as server:
            client = HttpClient(Limits(connections=1))
            client_of_more = HttpClient(Limits(connections=5))
            told = [begin(client_of_more, server) for _ in range(5)]
            for one in told:
                assert (await one.wait()).status == 202
            await client.close()
            await client_of_more.close()

    async def handled() -> None:
        async with asyncio.timeout(PATIENCE):
            await main()

    run(handled())


def test_a_server_that_allows_nothing_is_a_clear_reason(run: Run) -> None:
    async def main() -> None:
        async with Server(allowed=0) as server:
            client = HttpClient()
            told = [begin(client, server) for _ in range(3)]
            for one in told:
                answer = await one.wait()
                assert answer.status == 0
                assert answer.reason == "the server allows no request on an HTTP/2 connection"
            assert len(server.peers) == 1
            await client.close()

    run(main())


def test_a_server_that_comes_to_allow_nothing_is_left_when_its_requests_are_answered(
    run: Run,
) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            asked = await peer.request()
            if peer.number == 1:
                peer.h2.update_settings({MAX_STREAMS: 0})
                peer.flush()
                await until(lambda: peer.h2.local_settings.max_concurrent_streams == 0)
                told.append(begin(client, server))
            await peer.answer(asked.id)
            await forever(peer)

        told: list[Told] = []
        async with Server(handler) as server:
            client = HttpClient()
            assert (await ask(client, server)).status == 202
            assert (await told[0].wait()).status == 202
            assert len(server.peers) == 2
            await until(lambda: client.connections(server.address) == 1)
            assert server.peers[0].went_away == [Codes.NO_ERROR]
            await client.close()

    run(main())


def test_an_idle_connection_is_closed_after_its_time_with_a_goodbye(run: Run) -> None:
    async def main() -> None:
        async with Server() as server:
            client = HttpClient(Limits(idle=0.05))
            assert (await ask(client, server)).status == 202
            assert client.connections(server.address) == 1
            await until(lambda: client.connections(server.address) == 0)
            await until(lambda: server.peers[0].went_away == [Codes.NO_ERROR])
            assert (await ask(client, server)).status == 202
            assert len(server.peers) == 2
            await client.close()

    run(main())


# Streams that end without an answer


def test_no_answer_in_time_ends_the_request_alone(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.answer((await peer.request()).id)
            other, late = await peer.request(2), await peer.request(3)
            await peer.until(lambda: late.reset is not None)
            resets.append(late.reset)
            await peer.answer(other.id)
            await forever(peer)

        resets: list[int | None] = []
        async with Server(handler) as server:
            client = HttpClient()
            # The next one's time is none of connecting.
            assert (await ask(client, server)).status == 202
            other = begin(client, server)
            late = await ask(client, server, timeout=0.1)
            assert late == Answer(0, reason="no answer within 0.1 s")
            assert (await other.wait()).status == 202
            assert resets == [Codes.CANCEL]
            assert len(server.peers) == 1
            # Nothing was heard since it began: the server was asked, and has answered.
            assert len(server.peers[0].pings) == 1
            assert client.connections(server.address) == 1
            await client.close()

    run(main())


def test_a_silent_server_is_pinged_then_left_and_its_requests_told(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_connection, "PING_PATIENCE", 0.1)

    async def main() -> None:
        async def handler(peer: Peer) -> None:
            if peer.number == 1:
                await peer.request()
                # As behind a cable that was pulled.
                peer.writer.transport.pause_reading()
            else:
                await echo(peer)
            await forever(peer)

        async with Server(handler) as server:
            client = HttpClient(Limits(connections=2))
            other = begin(client, server, timeout=60)
            await until(lambda: len(server.asked) == 1)
            assert (await ask(client, server, timeout=0.1)).reason == "no answer within 0.1 s"
            # The next goes elsewhere, without waiting to know.
            assert (await ask(client, server)).status == 202
            answer = await other.wait()
            assert answer.reason == "the server is silent: no answer to a ping within 0.1 s"
            await until(lambda: client.connections(server.address) == 1)
            await client.close()

    run(main())


def test_a_cancelled_request_ends_its_stream_alone(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            first, second = await peer.request(), await peer.request(2)
            await peer.until(lambda: first.reset is not None)
            await peer.answer(second.id)
            await forever(peer)

        async with Server(handler) as server:
            client = HttpClient()
            cancelled, other = begin(client, server), begin(client, server)
            await until(lambda: len(server.asked) == 2)
            cancelled.exchange.cancel()
            assert cancelled.answers == [Answer(0, reason="cancelled")]
            cancelled.exchange.cancel()
            assert (await other.wait()).status == 202
            other.exchange.cancel()
            assert len(cancelled.answers) == len(other.answers) == 1
            assert server.asked[0].reset == Codes.CANCEL
            await client.close()

    run(main())


def test_a_request_cancelled_while_its_body_is_sent_leaves_room_for_others(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            peer.reading = False
            await peer.until(lambda: bool(peer.asked))
            first = next(iter(peer.asked.values()))
            await peer.until(lambda: first.reset is not None)
            peer.reading = True
            peer.take()
            peer.flush()
            await echo(peer)

        async with Server(handler) as server:
            client = HttpClient()
            cancelled = begin(client, server, b"x" * 500_000)
            await until(lambda: bool(server.asked) and len(server.asked[0].body) == 65_535)
            cancelled.exchange.cancel()
            assert (await ask(client, server, b"y" * 200_000)).body == b"y" * 200_000
            assert len(server.peers) == 1
            await client.close()

    run(main())


def test_a_refused_request_is_sent_again_by_itself(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            peer.reset((await peer.request()).id, Codes.REFUSED_STREAM)
            peer.reset((await peer.request(2)).id, Codes.REFUSED_STREAM)
            await peer.answer((await peer.request(3)).id)
            await forever(peer)

        async with Server(handler) as server:
            client = HttpClient()
            assert (await ask(client, server, b"hello")).status == 202
            assert [bytes(asked.body) for asked in server.asked] == [b"hello"] * 3
            await client.close()

    run(main())


def test_a_request_that_is_always_refused_is_answered_in_the_end(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            for count in range(1, 100):
                peer.reset((await peer.request(count)).id, Codes.REFUSED_STREAM)

        async with Server(handler) as server:
            client = HttpClient()
            answer = await ask(client, server)
            assert answer.status == 0
            assert answer.reason == "the server refused the request 3 times (REFUSED_STREAM)"
            assert len(server.asked) == 3
            await client.close()

    run(main())


@pytest.mark.parametrize(
    ("begun", "reason"),
    [
        (False, "the server ended the request (INTERNAL_ERROR) before an answer"),
        (True, "the server ended the request (INTERNAL_ERROR) in the middle of the answer"),
    ],
)
def test_a_request_that_the_server_ends_is_told_and_not_sent_again(
    run: Run, begun: bool, reason: str
) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            asked = await peer.request()
            if begun:
                peer.head(asked.id, 200, end=False)
            peer.reset(asked.id, Codes.INTERNAL_ERROR)
            await peer.answer((await peer.request(2)).id)
            await forever(peer)

        async with Server(handler) as server:
            client = HttpClient()
            assert await ask(client, server) == Answer(0, reason=reason)
            assert (await ask(client, server)).status == 202
            assert len(server.asked) == 2
            assert len(server.peers) == 1
            await client.close()

    run(main())


@pytest.mark.parametrize("polite", [True, False])
def test_a_refusal_before_the_request_is_whole_is_final(run: Run, polite: bool) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            peer.reading = False
            await peer.until(lambda: bool(peer.asked))
            asked = next(iter(peer.asked.values()))
            await peer.answer(asked.id, 413, b"too large")
            if polite:
                peer.reset(asked.id, Codes.NO_ERROR)
            await forever(peer)

        async with Server(handler) as server:
            client = HttpClient()
            answer = await ask(client, server, b"x" * 500_000)
            assert (answer.status, answer.body) == (413, b"too large")
            assert len(server.asked[0].body) < 500_000
            await client.close()

    run(main())


def test_a_success_stands_once_the_server_has_taken_the_whole_request(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            peer.reading = False
            await peer.until(lambda: bool(peer.asked))
            first = next(iter(peer.asked.values()))
            await peer.answer(first.id)
            await go_on.wait()
            peer.reading = True
            peer.take()
            peer.flush()
            await peer.until(lambda: first.whole)
            await peer.until(lambda: len(peer.asked) == 2)
            second = peer.asked[3]
            await peer.answer(second.id)
            peer.reset(second.id, Codes.NO_ERROR)
            await forever(peer)

        go_on = asyncio.Event()
        async with Server(handler) as server:
            client = HttpClient()
            taken = begin(client, server, b"x" * 300_000)
            await until(lambda: bool(server.asked) and len(server.asked[0].body) == 65_535)
            await asyncio.sleep(0)
            assert not taken.answers
            go_on.set()
            assert (await taken.wait()).status == 202
            await until(lambda: server.asked[0].whole)
            assert len(server.asked[0].body) == 300_000
            # One that is ended in between is none.
            answer = await ask(client, server, b"x" * 3_000_000)
            assert answer == Answer(0, reason="answered 202 before the request was whole")
            await client.close()

    run(main())


# Connections that end


def test_nothing_is_lost_or_doubled_when_a_server_goes_away_again_and_again(run: Run) -> None:
    """Every connection answers some, then says which it was the last to look at."""

    async def main() -> None:
        handled: list[bytes] = []

        async def handler(peer: Peer) -> None:
            await peer.request(20)
            taken = sorted(peer.asked)[:20]
            last = taken[-1]
            peer.go_away(last)
            for id in taken:
                await peer.until(lambda id=id: peer.asked[id].whole)
                handled.append(bytes(peer.asked[id].body))
                await peer.answer(id)
            # Whoever closes first, none of them is looked at.
            await asyncio.Event().wait()

        async with Server(handler) as server:
            client = HttpClient(Limits(connections=30))
            told = [begin(client, server, b"%d" % n) for n in range(400)]
            for one in told:
                assert (await one.wait()).status == 202
            assert sorted(handled) == sorted(b"%d" % n for n in range(400))
            assert len(server.peers) == 20
            await until(lambda: client.connections(server.address) == 0)
            await client.close()

    run(main())


def test_a_server_that_shuts_down_in_two_steps_loses_nothing(run: Run) -> None:
    """It says first that it will, and then which request was the last it took."""

    async def main() -> None:
        async def handler(peer: Peer) -> None:
            if peer.number > 1:
                await echo(peer)
            first, second = await peer.request(), await peer.request(2)
            peer.go_away(2**31 - 1)
            peer.go_away(first.id, debug=b"bye\r\n")
            assert second.id > first.id
            await peer.answer(first.id)
            await forever(peer)

        async with Server(handler) as server:
            client = HttpClient()
            told = [begin(client, server) for _ in range(2)]
            assert [(await one.wait()).status for one in told] == [202, 202]
            assert [len(peer.asked) for peer in server.peers] == [2, 1]
            await client.close()

    run(main())


def test_a_request_the_server_may_have_looked_at_is_told_with_what_it_said(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            asked = await peer.request()
            peer.go_away(asked.id, Codes.ENHANCE_YOUR_CALM, b"too many\r\npings")

        async with Server(handler) as server:
            client = HttpClient()
            answer = await ask(client, server)
            assert answer.reason == (
                "the server ended the connection (GOAWAY, ENHANCE_YOUR_CALM: too manypings) "
                "before an answer"
            )
            assert len(server.peers) == 1
            await client.close()

    run(main())


def test_a_server_that_always_goes_away_is_a_reason_in_the_end(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.request()
            peer.go_away(0)

        async with Server(handler) as server:
            client = HttpClient()
            answer = await ask(client, server)
            assert answer.reason == (
                "the server ended the connection (GOAWAY, NO_ERROR) before the request, 10 times"
            )
            assert len(server.peers) == 10
            await client.close()

    run(main())


def test_a_server_that_goes_away_before_any_request_is_tried_again_and_not_without_end(
    run: Run,
) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            if peer.number > patient:
                await echo(peer)

        for patient, status in ((2, 202), (50, 0)):
            async with Server(handler, goodbye=patient) as server:
                client = HttpClient()
                told = [begin(client, server) for _ in range(10)]
                assert {(await one.wait()).status for one in told} == {status}
                assert len(server.peers) == 3
                await client.close()

    run(main())


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_ends_without_a_word_is_the_reason_for_all_on_it(
    run: Run, reset: bool
) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            first = await peer.request(3)
            peer.head(first.id, 200, end=False)
            await peer.writer.drain()
            await until(lambda: not peer.writer.transport.get_write_buffer_size())
            if reset:
                sock = peer.writer.get_extra_info("socket")
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                peer.writer.transport.abort()

        async with Server(handler) as server:
            client = HttpClient()
            told = [begin(client, server) for _ in range(3)]
            reasons = [(await one.wait()).reason for one in told]
            assert all(text.startswith("the connection ended ") for text in reasons)
            assert client.connections(server.address) == 0
            assert len(server.asked) == 3
            await client.close()

    run(main())


def test_a_connection_that_ended_while_idle_is_not_used(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            await peer.answer((await peer.request()).id)
            peer.go_away(1)
            ended.set()

        async with Server(handler) as server:
            client = HttpClient()
            for count in range(1, 4):
                ended = asyncio.Event()
                assert (await ask(client, server)).status == 202
                # It has not read the end yet when it is asked again.
                await ended.wait()
                assert len(server.peers) == count
            assert len(server.asked) == 3
            await client.close()

    run(main())


def test_close_ends_each_request_exactly_once_and_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        sockets = open_sockets()
        async with Server(forever) as server, Server(forever, greets=False) as dumb:
            client = HttpClient(Limits(connections=5))
            told = [begin(client, server) for _ in range(20)]
            connecting = [begin(client, dumb) for _ in range(20)]
            await until(lambda: len(server.asked) == 5 and len(dumb.peers) == 1)
            await client.close()
            assert [len(one.answers) for one in told + connecting] == [1] * 40
            assert {one.answers[0].reason for one in told + connecting} == {
                "the HTTP client was closed before the answer came",
                "the HTTP client was closed before the request was sent",
            }
        await until(lambda: open_sockets() <= sockets)

    run(main())


# Servers that misbehave


def test_a_server_that_speaks_http_1_is_a_clear_reason(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            peer.raw(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")

        async with Server(handler, greets=False) as server:
            client = HttpClient()
            answer = await ask(client, server)
            assert answer == Answer(0, reason="the server does not speak HTTP/2")
            await client.close()

    run(main())


def test_a_server_that_says_nothing_is_a_reason_after_its_time(run: Run) -> None:
    async def main() -> None:
        async with Server(forever, greets=False) as server:
            client = HttpClient(Limits(connect=0.1))
            answer = await ask(client, server)
            assert answer.reason == f"no connection to 127.0.0.1:{server.port} within 0.1 s"
            await until(lambda: client.connections(server.address) == 0)
            await client.close()

    run(main())


@pytest.mark.parametrize(
    ("size", "alone"), [(5_000, True), (50_000, False)], ids=["over", "far over"]
)
def test_headers_over_the_limit_are_a_clear_reason(run: Run, size: int, alone: bool) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            asked = await peer.request()
            with suppress(h2.exceptions.ProtocolError):
                peer.head(asked.id, 200, (b"a", b"b" * size), end=True)
            with suppress(TimeoutError):
                await peer.answer((await peer.request(2)).id)
            await forever(peer)

        async with Server(handler) as server:
            client = HttpClient(LIMITS)
            answer = await ask(client, server)
            assert answer.status == 0
            if alone:
                assert answer.reason == "the answer's headers are over 4,096 bytes"
                assert (await ask(client, server)).status == 202
            else:
                assert answer.reason.startswith("the server broke the rules of HTTP/2: Oversized")
            await client.close()

    run(main())


def test_a_body_over_the_limit_ends_its_request_alone(run: Run) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            first, second = await peer.request(), await peer.request(2)
            peer.head(first.id, 500, end=False)
            while first.reset is None:
                with suppress(h2.exceptions.ProtocolError):
                    await peer.send(first.id, b"x" * 1000, end=False)
                await asyncio.sleep(0)
            await peer.answer(second.id)
            await forever(peer)

        async with Server(handler) as server:
            client = HttpClient(LIMITS)
            flooded, other = begin(client, server), begin(client, server)
            reason = "the answer's body is over 100,000 bytes"
            assert await flooded.wait() == Answer(0, reason=reason)
            assert (await other.wait()).status == 202
            await client.close()

    run(main())


def test_a_server_that_asks_without_reading_is_cut(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def with_a_small_buffer(places: Any) -> socket.socket:
        connected = await first_connected(places)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 10)
        return connected

    monkeypatch.setattr("functions.http.connect.first_connected", with_a_small_buffer)
    monkeypatch.setattr(http2_connection, "OWED", 16 << 10)

    async def main() -> None:
        sent = 0

        async def handler(peer: Peer) -> None:
            nonlocal sent
            await peer.request()
            peer.writer.transport.pause_reading()
            ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"eightbyt"
            with suppress(ConnectionError):
                while not peer.writer.is_closing():
                    peer.raw(ping * 1000)
                    sent += 17_000
                    await peer.writer.drain()
                    await asyncio.sleep(0)

        async with Server(handler) as server:
            client = HttpClient()
            answer = await ask(client, server)
            assert answer.reason == "the server sends without reading"
            # Buffers of ours and of the system, no more.
            assert sent < 20_000_000
            await client.close()

    run(main())


BROKEN = {
    "a frame too large": b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "data on no stream": b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x",
    "data on a stream nobody opened": b"\x00\x00\x01\x00\x00\x00\x00\x00\x63x",
    "headers that are no HPACK": b"\x00\x00\x03\x01\x05\x00\x00\x00\x01\xff\xff\xff",
    "headers without a status": b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\x82",
    "a push": b"\x00\x00\x05\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02\x82",
    "a window beyond all": b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff",
    "a window of nothing": b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    "settings that can't be": b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00",
    "a headless continuation": b"\x00\x00\x00\x09\x04\x00\x00\x00\x01",
    "HTTP/1.1": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "a short GOAWAY": b"\x00\x00\x04\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_ends_the_connection_with_a_clear_reason(run: Run, data: bytes) -> None:
    async def main() -> None:
        async def handler(peer: Peer) -> None:
            if peer.number == 1:
                await peer.request()
                peer.raw(data)
                await forever(peer)
            await echo(peer)

        async with Server(handler) as server:
            client = HttpClient()
            answer = await ask(client, server)
            assert answer.status == 0
            assert answer.reason.startswith("the server broke the rules of HTTP/2: ")
            assert (await ask(client, server)).status == 202
            assert len(server.peers) == 2
            await until(lambda: bool(server.peers[0].went_away))
            await client.close()

    run(main())


_FRAMES = st.builds(
    lambda kind, flags, id, body: (
        len(body).to_bytes(3, "big") + bytes((kind, flags)) + id.to_bytes(4, "big") + body
    ),
    st.integers(0, 11),
    st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D, 255]),
    st.sampled_from([0, 1, 2, 3, 5, 2**31 - 1]),
    st.sampled_from([b"", b"\x88", b"\x00\x00\x00\x01", b"\x00\x00\x00\x03\x00\x00\x00\x07", b"8"])
    | st.binary(max_size=20),
)


def test_whatever_a_server_sends_each_request_is_answered_once() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def count() -> int:
            return open_sockets()

        sockets = runner.run(count())

        @settings(max_examples=300, deadline=None)
        @given(st.lists(_FRAMES | st.binary(max_size=20), min_size=1, max_size=6))
        def check(pieces: list[bytes]) -> None:
            async def handler(peer: Peer) -> None:
                await peer.request()
                for piece in pieces:
                    peer.raw(piece)
                    await asyncio.sleep(0)

            async def main() -> None:
                async with Server(handler) as server:
                    client = HttpClient(LIMITS)
                    told = [begin(client, server, b"x" * 10) for _ in range(3)]
                    for one in told:
                        answer = await one.wait()
                        assert answer.status == 0 or 200 <= answer.status <= 599
                        assert bool(answer.reason) == (answer.status == 0)
                    await client.close()
                    assert [len(one.answers) for one in told] == [1, 1, 1]

            runner.run(main())

        check()

        async def settled() -> None:
            await until(lambda: open_sockets() <= sockets)

        runner.run(settled())


# What is cut out of the frames


def _frame(kind: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, 0)) + bytes(4) + body


_GOAWAYS = st.builds(lambda debug: _frame(7, b"\x00\x00\x00\x05" + bytes(4) + debug), st.binary())
_OTHERS = st.builds(_frame, st.sampled_from([0, 4, 6]), st.binary(max_size=30))


@given(st.lists(_GOAWAYS | _OTHERS, max_size=8), st.lists(st.integers(0, 300), max_size=8))
def test_goaways_are_cut_out_wherever_the_network_cuts(
    frames: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(frames)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    cutter = FrameCutter()
    pieces = [piece for start, end in pairwise(places) for piece in cutter.feed(data[start:end])]
    expected = [GoAway(5, 0, frame[17:]) if frame[3] == 7 else frame for frame in frames]
    assert _joined(pieces) == _joined(expected)


def _joined(pieces: list[bytes | GoAway]) -> list[bytes | GoAway]:
    """With all that stands between two GOAWAYs in one piece."""
    joined: list[bytes | GoAway] = []
    for piece in pieces:
        if joined and isinstance(piece, bytes) and isinstance(joined[-1], bytes):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
