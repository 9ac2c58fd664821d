"""CPU a request of HTTP clients, against a bare uvicorn app in another process, beside the floor.

    python -m benchmarks.http_clients

The floor is what that app spends: httptools, uvloop, a 202 for each POST of 1 KiB. Every client
sends them over kept-alive connections, 16 in flight; its figure is the CPU of its own process, the
best of several rounds. An event to an HTTP subscriber may cost 4 floors in all, of which ingress,
storage and dispatch take about 1.7, so a client has about 2 to spend. Measured: aiohttp 3.1 to
3.4 floors, httpx 77, a bare asyncio.Protocol with httptools ("lean") 0.5. That is why
functions/http/client.py is our own: with pool, timeouts and limits ("ours") it takes 0.7, and a
whole attempt ("target": the event encoded, sent, and its answer read) 0.9. Over one connection of
HTTP/2, to a server of its own over the h2 library, it takes 4 to 5 ("h2"): that is the library's
price, and what HTTP/1.1 is spared.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httptools
import uvloop

from benchmarks.load import cpu_seconds, floor_server, free_port, wait_for_port
from eventing.event import Event
from functions.base import Call, Response
from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.exchange import Answer, Limits, Request
from functions.http.target import HttpTarget

IN_FLIGHT = 16
BODY = b"x" * 1024
HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": "5f0f8b1c-6f43-4a0f-a5a9-93a4b8f6c111",
    "ce-source": "/benchmarks/http_clients",
    "ce-type": "com.example.benchmark",
    "content-type": "application/octet-stream",
    "prefer": "reply",
}

Run = Callable[[str, int], Awaitable[None]]

HTTP2_SERVER = """
import asyncio, sys, uvloop
from h2 import config, connection, events
class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.h2 = connection.H2Connection(config.H2Configuration(client_side=False))
        self.h2.initiate_connection()
        transport.write(self.h2.data_to_send())
    def data_received(self, data):
        for event in self.h2.receive_data(data):
            if isinstance(event, events.DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, events.StreamEnded):
                self.h2.send_headers(event.stream_id, [(b":status", b"202")], end_stream=True)
        self.transport.write(self.h2.data_to_send())
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
uvloop.run(main())
"""


async def run_httpx(url: str, requests: int) -> None:
    import httpx

    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def one() -> None:
            answer = await client.post(url, content=BODY, headers=HEADERS)
            assert answer.status_code == 202

        await in_flight(one, requests)


async def run_aiohttp(url: str, requests: int) -> None:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one() -> None:
            async with session.post(url, data=BODY, headers=HEADERS) as answer:
                await answer.read()
                assert answer.status == 202

        await in_flight(one, requests)


async def in_flight(one: Callable[[], Awaitable[None]], requests: int) -> None:
    async def loop() -> None:
        for _ in range(requests // IN_FLIGHT):
            await one()

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(loop())


class Lean(asyncio.Protocol):
    """One kept-alive connection that does nothing a client may leave out."""

    def __init__(self, host: str, requests: int, over: asyncio.Future) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        self.request = (
            f"POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(BODY)}\r\n{lines}\r\n"
        ).encode() + BODY
        self.left = requests
        self.over = over
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_headers_complete(self) -> None:
        assert self.parser.get_status_code() == 202

    def on_message_complete(self) -> None:
        self.left -= 1
        if self.left:
            self.transport.write(self.request)
        else:
            self.transport.close()
            self.over.set_result(None)


async def run_lean(url: str, requests: int) -> None:
    loop = asyncio.get_running_loop()
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    overs = []
    for _ in range(IN_FLIGHT):
        over = loop.create_future()
        overs.append(over)
        share = requests // IN_FLIGHT
        await loop.create_connection(
            lambda over=over, share=share: Lean(f"{host}:{port}", share, over), host, int(port)
        )
    await asyncio.gather(*overs)


@contextmanager
def http2_server() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", HTTP2_SERVER, str(port)])
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


async def run_ours(url: str, requests: int, *, http2: bool = False) -> None:
    client = HttpClient(Limits(connections=IN_FLIGHT))
    address = Address.parse(url, http2=http2)
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    def begin(done: Callable[[Answer], None]) -> None:
        client.send(Request(address, headers, BODY, 30.0), done)

    await with_callbacks(begin, requests)
    await client.close()


async def run_target(url: str, requests: int) -> None:
    client = HttpClient(Limits(connections=IN_FLIGHT))
    target = HttpTarget(Address.parse(url), client=client)
    attributes = {
        name.removeprefix("ce-"): value for name, value in HEADERS.items() if "ce-" in name
    }
    event = Event(attributes | {"datacontenttype": HEADERS["content-type"]}, BODY)

    def begin(done: Callable[[Response], None]) -> None:
        target.submit(Call(event, 1, "benchmark"), done)

    await with_callbacks(begin, requests)
    await client.close()


async def with_callbacks(begin: Callable[[Callable], None], requests: int) -> None:
    over = asyncio.get_running_loop().create_future()
    begun = answered = 0

    def done(answer: Answer | Response) -> None:
        nonlocal begun, answered
        assert answer.status == 202, answer
        answered += 1
        if begun < requests:
            begun += 1
            begin(done)
        elif answered == requests:
            over.set_result(None)

    for _ in range(IN_FLIGHT):
        begun += 1
        begin(done)
    await over


CLIENTS: dict[str, tuple[Run, float]] = {
    "lean": (run_lean, 1.0),
    "ours": (run_ours, 1.0),
    "target": (run_target, 1.0),
    "h2": (partial(run_ours, http2=True), 0.25),
    "aiohttp": (run_aiohttp, 0.5),
    "httpx": (run_httpx, 0.05),
}


def measure(run: Run, url: str, server: int, requests: int) -> tuple[float, float]:
    """CPU µs a request, of this process and of the server; imports and first uses left out."""
    uvloop.run(run(url, IN_FLIGHT * 4))
    client, served = time.process_time(), cpu_seconds(server)
    uvloop.run(run(url, requests))
    client, served = time.process_time() - client, cpu_seconds(server) - served
    return client / requests * 1e6, served / requests * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=16_000, help="of the leanest, a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=CLIENTS, default=list(CLIENTS))
    arguments = parser.parse_args()
    best = dict.fromkeys(arguments.only, float("inf"))
    floor = float("inf")
    with floor_server() as (server, port), http2_server() as http2_url:
        url = f"http://127.0.0.1:{port}/"
        for _ in range(arguments.rounds):
            for name in arguments.only:
                run, share = CLIENTS[name]
                requests = max(int(arguments.requests * share) // IN_FLIGHT, 1) * IN_FLIGHT
                if name == "h2":
                    client, _ = measure(run, http2_url, server, requests)
                else:
                    client, served = measure(run, url, server, requests)
                    floor = min(floor, served)
                best[name] = min(best[name], client)
    print(f"{'floor':<10}{floor:>9.1f} µs   1.00 ×   (the server: a bare uvicorn app, 202)")
    for name, cost in sorted(best.items(), key=lambda pair: pair[1]):
        print(f"{name:<10}{cost:>9.1f} µs{cost / floor:>7.2f} ×")


if __name__ == "__main__":
    main()
