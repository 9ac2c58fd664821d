"""https: whom the client trusts, and what it says of those it doesn't."""

import asyncio
import datetime
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvicorn
import uvloop

from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.exchange import Answer, Limits, Request

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


PATIENCE = 20.0
"""Seconds until a condition that does not come true fails the test."""


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Subscriber:
    """A uvicorn server in a thread that answers with the body it got; knows who was asked for."""

    def __init__(self, folder: Path, certificate: trustme.LeafCert) -> None:
        chain, key = folder / "chain.pem", folder / "key.pem"
        certificate.private_key_pem.write_to_path(key)
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(chain, append=True)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.clients: set[Any] = set()
        self.asked_for: list[str | None] = []
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            http="httptools",
            loop="asyncio",
            lifespan="off",
            log_level="critical",
            ssl_certfile=str(chain),
            ssl_keyfile=str(key),
        )
        config.load()
        assert config.ssl is not None
        config.ssl.sni_callback = self._note_name
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _note_name(self, session: Any, name: str | None, context: ssl.SSLContext) -> None:
        self.asked_for.append(name)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.clients.add(scope["client"])
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


Serve = Callable[[trustme.LeafCert], Subscriber]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    subscribers = []

    def start(certificate: trustme.LeafCert) -> Subscriber:
        folder = tmp_path / str(len(subscribers))
        folder.mkdir()
        subscribers.append(Subscriber(folder, certificate))
        return subscribers[-1]

    yield start
    for subscriber in subscribers:
        subscriber.stop()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return str(path)


async def ask(client: HttpClient, address: Address, body: bytes = b"") -> Answer:
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    client.send(Request(address, (), body, 20), answered.set_result)
    return await answered


def answer_of(run: Run, address: Address) -> Answer:
    answers = []

    async def main() -> None:
        client = HttpClient()
        answers.append(await ask(client, address))
        assert client.connections(address) == (answers[0].status != 0)
        await client.close()

    run(main())
    return answers[0]


def test_a_certificate_of_the_given_ca_is_accepted_and_its_name_asked_for(
    run: Run, ca: trustme.CA, ca_file: str, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))
    address = Address.parse(f"https://localhost:{subscriber.port}/", ca_file=ca_file)
    assert answer_of(run, address).status == 200
    assert subscriber.asked_for == ["localhost"]


def test_a_certificate_for_an_ip_address_is_accepted(
    run: Run, ca: trustme.CA, ca_file: str, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("127.0.0.1"))
    address = Address.parse(f"https://127.0.0.1:{subscriber.port}/", ca_file=ca_file)
    assert answer_of(run, address).status == 200


def test_a_session_is_used_again_and_carries_large_bodies(
    run: Run, ca: trustme.CA, ca_file: str, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))
    address = Address.parse(f"https://localhost:{subscriber.port}/", ca_file=ca_file)
    body = os.urandom(3_000_000)

    async def main() -> None:
        client = HttpClient()
        for _ in range(3):
            assert (await ask(client, address, body)).body == body
            assert (await ask(client, address)).body == b""
        await client.close()

    run(main())
    assert len(subscriber.clients) == 1


def test_an_idle_session_is_closed_after_its_time(
    run: Run, ca: trustme.CA, ca_file: str, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))
    address = Address.parse(f"https://localhost:{subscriber.port}/", ca_file=ca_file)

    async def main() -> None:
        client = HttpClient(Limits(idle=0.05))
        await ask(client, address)
        async with asyncio.timeout(PATIENCE):
            while client.connections(address):
                await asyncio.sleep(0.005)
        await client.close()

    run(main())


def test_a_certificate_of_an_unknown_ca_is_not_accepted(
    run: Run, ca: trustme.CA, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))
    place = f"localhost:{subscriber.port}"
    answer = answer_of(run, Address.parse(f"https://{place}/"))
    assert answer.status == 0
    assert answer.reason.startswith(f"the certificate of {place} was not accepted: ")
    assert "certificate" in answer.reason.removeprefix(f"the certificate of {place} ")


def test_a_certificate_for_another_name_is_not_accepted(
    run: Run, ca: trustme.CA, ca_file: str, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("elsewhere.example"))
    address = Address.parse(f"https://localhost:{subscriber.port}/", ca_file=ca_file)
    answer = answer_of(run, address)
    assert answer.status == 0
    assert "not valid for 'localhost'" in answer.reason


def test_an_expired_certificate_is_not_accepted(
    run: Run, ca: trustme.CA, ca_file: str, serve: Serve
) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    subscriber = serve(ca.issue_cert("localhost", not_after=past))
    address = Address.parse(f"https://localhost:{subscriber.port}/", ca_file=ca_file)
    answer = answer_of(run, address)
    assert answer.status == 0
    assert "expired" in answer.reason


def test_a_server_that_speaks_no_tls_is_a_clear_reason(run: Run, ca_file: str) -> None:
    async def main() -> None:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 welcome to the mail server\r\n")
            await reader.read(1)
            writer.close()

        async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = HttpClient()
            address = Address.parse(f"https://127.0.0.1:{port}/", ca_file=ca_file)
            answer = await ask(client, address)
            assert answer.status == 0
            assert answer.reason.startswith(f"no TLS session with 127.0.0.1:{port}: ")
            await client.close()

    run(main())


def test_a_ca_file_that_changed_is_read_again(
    run: Run, ca: trustme.CA, ca_file: str, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))
    url = f"https://localhost:{subscriber.port}/"
    trustme.CA().cert_pem.write_to_path(ca_file)
    os.utime(ca_file, ns=(1, 1))
    assert answer_of(run, Address.parse(url, ca_file=ca_file)).status == 0
    ca.cert_pem.write_to_path(ca_file)
    assert answer_of(run, Address.parse(url, ca_file=ca_file)).status == 200
