"""The ingress's short way and uvicorn's own, on one connection: told apart by nobody outside."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import uvloop

from eventing.errors import BrokerFull, StorageError
from eventing.event import Event
from eventing.node.ingress import Ingress
from eventing.node.ingress_protocol import IngressProtocol
from eventing.node.servers import HttpServer


class Broker:
    """Stores when told to; as much of a broker as the ingress sees."""

    def __init__(self) -> None:
        self.stored: list[Event] = []
        self.held: list[asyncio.Future[list[int]]] = []
        self.holds = False
        self.error: Exception | None = None

    def publish(self, events):
        future = asyncio.get_running_loop().create_future()
        if self.error is not None:
            future.set_exception(self.error)
            return future
        self.stored += events
        if self.holds:
            self.held.append(future)
        else:
            future.set_result([1])
        return future

    def release(self) -> None:
        held, self.held = self.held, []
        for future in held:
            if not future.done():
                future.set_result([1])


def serving(test: Callable[[Broker, HttpServer, Ingress], Awaitable[None]]) -> None:
    async def main() -> None:
        broker = Broker()
        ingress = Ingress(lambda namespace, name: broker if name == "default" else None)
        protocol = partial(IngressProtocol, ingress)
        server = HttpServer(ingress, "127.0.0.1", 0, option="--port", protocol=protocol)
        await server.start()
        try:
            await asyncio.wait_for(test(broker, server, ingress), 20)
        finally:
            broker.release()
            await server.close(1.0)

    uvloop.run(main())


def request(
    id: str, *, path: str = "/default/default", method: str = "POST", body: bytes = b"x", extra=""
) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nhost: h\r\nce-specversion: 1.0\r\nce-type: t\r\n"
        f"ce-source: /s\r\nce-id: {id}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    ).encode() + body


async def connected(server: HttpServer):
    return await asyncio.open_connection("127.0.0.1", server.port)


async def status(reader: asyncio.StreamReader) -> int:
    """The status of the next answer, its body read."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = head.partition("content-length: ")[2].partition("\r\n")[0]
    await reader.readexactly(int(length or 0))
    return int(head.split(" ", 2)[1])


def ids(broker: Broker) -> list[str]:
    return [event.attributes["id"] for event in broker.stored]


def test_many_requests_share_a_connection() -> None:
    async def test(broker, server, ingress):
        reader, writer = await connected(server)
        for number in range(5):
            writer.write(request(str(number)))
            assert await status(reader) == 202
        assert ids(broker) == ["0", "1", "2", "3", "4"]

    serving(test)


def test_nothing_is_answered_before_it_is_stored() -> None:
    async def test(broker, server, ingress):
        broker.holds = True
        reader, writer = await connected(server)
        writer.write(request("1"))
        while not broker.held:
            await asyncio.sleep(0.001)
        waiting = asyncio.ensure_future(status(reader))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
        broker.release()
        assert await waiting == 202

    serving(test)


def test_pipelined_requests_are_answered_in_order_whatever_their_way() -> None:
    async def test(broker, server, ingress):
        broker.holds = True
        reader, writer = await connected(server)
        writer.write(
            request("1")
            + request("2", path="/default/nobody")
            + request("3")
            + request("4", method="PUT")
            + request("5")
        )
        while not broker.held:
            await asyncio.sleep(0.001)
        broker.holds = False
        broker.release()
        assert [await status(reader) for _ in range(5)] == [202, 404, 202, 405, 202]
        assert ids(broker) == ["1", "3", "5"]

    serving(test)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_request_may_come_in_pieces(chunk: int) -> None:
    async def test(broker, server, ingress):
        reader, writer = await connected(server)
        whole = request("1", body=b"some data of an event")
        for start in range(0, len(whole), chunk):
            writer.write(whole[start : start + chunk])
            await writer.drain()
            await asyncio.sleep(0)
        assert await status(reader) == 202
        assert broker.stored[0].data == b"some data of an event"

    serving(test)


def test_a_large_body_takes_the_long_way_whole() -> None:
    async def test(broker, server, ingress):
        reader, writer = await connected(server)
        body = bytes(range(256)) * 4096
        writer.write(request("1", body=body))
        assert await status(reader) == 202
        assert broker.stored[0].data == body

    serving(test)


def test_chunked_bodies_and_expectations_are_served() -> None:
    async def test(broker, server, ingress):
        reader, writer = await connected(server)
        head = request("1", body=b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
        writer.write(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert await status(reader) == 202
        writer.write(request("2", body=b"", extra="expect: 100-continue\r\n"))
        assert await status(reader) in (100, 202)
        assert broker.stored[0].data == b"abcde"

    serving(test)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(BrokerFull("full", 7.0), 429), (StorageError("disk"), 503), (ValueError("bug"), 500)],
)
def test_what_the_broker_can_not_store_is_told(error: Exception, expected: int) -> None:
    async def test(broker, server, ingress):
        broker.error = error
        reader, writer = await connected(server)
        writer.write(request("1"))
        assert await status(reader) == expected
        broker.error = None
        writer.write(request("2"))
        assert await status(reader) == 202

    serving(test)


def test_a_connection_that_asks_to_close_is_closed_after_its_answer() -> None:
    async def test(broker, server, ingress):
        reader, writer = await connected(server)
        writer.write(request("1", extra="connection: close\r\n"))
        assert await status(reader) == 202
        assert await reader.read() == b""

    serving(test)


def test_a_client_that_leaves_does_not_take_its_event_along() -> None:
    async def test(broker, server, ingress):
        broker.holds = True
        reader, writer = await connected(server)
        writer.write(request("1"))
        while not broker.held:
            await asyncio.sleep(0.001)
        writer.close()
        await writer.wait_closed()
        broker.release()
        reader, writer = await connected(server)
        broker.holds = False
        writer.write(request("2"))
        assert await status(reader) == 202
        assert ids(broker) == ["1", "2"]

    serving(test)


def test_a_closing_server_answers_what_it_has_taken() -> None:
    async def test(broker, server, ingress):
        broker.holds = True
        reader, writer = await connected(server)
        writer.write(request("1"))
        while not broker.held:
            await asyncio.sleep(0.001)
        closing = asyncio.ensure_future(server.close(5.0))
        await asyncio.sleep(0.01)
        broker.release()
        assert await status(reader) == 202
        assert await reader.read() == b""
        await closing

    serving(test)


def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    async def test(broker, server, ingress):
        server._server.config.timeout_keep_alive = 0.2
        idle, _ = await connected(server)
        reader, writer = await connected(server)
        _, first = await connected(server)
        first.write(request("first"))
        closed = asyncio.ensure_future(idle.read())
        for number in range(8):
            writer.write(request(str(number)))
            assert await status(reader) == 202
            await asyncio.sleep(0.05)
        closed.cancel()

    serving(test)
