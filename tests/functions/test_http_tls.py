"""https: whom the client trusts, and what it says of those it doesn't."""

import asyncio
import datetime
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvicorn
import uvloop

from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.exchange import Answer, Limits, Request
from functions.http.security import ClientCertificate, Security

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
    """A uvicorn server in a thread that answers with the body it got; knows who was asked for, and
    wants a certificate of the CA `wanted`."""

    def __init__(
        self,
        folder: Path,
        certificate: trustme.LeafCert,
        *,
        wanted: trustme.CA | None = None,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        chain, key = folder / "chain.pem", folder / "key.pem"
        certificate.private_key_pem.write_to_path(key)
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(chain, append=True)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.clients: set[Any] = set()
        self.asked_for: list[str | None] = []
        self.tokens: list[bytes] = []
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
        config.ssl.minimum_version = config.ssl.maximum_version = version
        if wanted is not None:
            config.ssl.verify_mode = ssl.CERT_REQUIRED
            wanted.configure_trust(config.ssl)
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
        self.tokens += [value for name, value in scope["headers"] if name == b"authorization"]
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


Serve = Callable[..., Subscriber]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    subscribers = []

    def start(certificate: trustme.LeafCert, **options: Any) -> Subscriber:
        folder = tmp_path / str(len(subscribers))
        folder.mkdir()
        subscribers.append(Subscriber(folder, certificate, **options))
        return subscribers[-1]

    yield start
    for subscriber in subscribers:
        subscriber.stop()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trust(ca: trustme.CA) -> Security:
    return Security(ca=ca.cert_pem.bytes().decode())


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
    run: Run, ca: trustme.CA, trust: Security, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))
    address = Address.parse(f"https://localhost:{subscriber.port}/", security=trust)
    assert answer_of(run, address).status == 200
    assert subscriber.asked_for == ["localhost"]


def test_a_certificate_for_an_ip_address_is_accepted(
    run: Run, ca: trustme.CA, trust: Security, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("127.0.0.1"))
    address = Address.parse(f"https://127.0.0.1:{subscriber.port}/", security=trust)
    assert answer_of(run, address).status == 200


def test_a_session_is_used_again_and_carries_large_bodies(
    run: Run, ca: trustme.CA, trust: Security, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))
    address = Address.parse(f"https://localhost:{subscriber.port}/", security=trust)
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
    run: Run, ca: trustme.CA, trust: Security, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))
    address = Address.parse(f"https://localhost:{subscriber.port}/", security=trust)

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
    run: Run, ca: trustme.CA, trust: Security, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("elsewhere.example"))
    address = Address.parse(f"https://localhost:{subscriber.port}/", security=trust)
    answer = answer_of(run, address)
    assert answer.status == 0
    assert "not valid for 'localhost'" in answer.reason


def test_an_expired_certificate_is_not_accepted(
    run: Run, ca: trustme.CA, trust: Security, serve: Serve
) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    subscriber = serve(ca.issue_cert("localhost", not_after=past))
    address = Address.parse(f"https://localhost:{subscriber.port}/", security=trust)
    answer = answer_of(run, address)
    assert answer.status == 0
    assert "expired" in answer.reason


def test_a_server_that_speaks_no_tls_is_a_clear_reason(run: Run, trust: Security) -> None:
    async def main() -> None:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 welcome to the mail server\r\n")
            await reader.read(1)
            writer.close()

        async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = HttpClient()
            address = Address.parse(f"https://127.0.0.1:{port}/", security=trust)
            answer = await ask(client, address)
            assert answer.status == 0
            assert answer.reason.startswith(f"no TLS session with 127.0.0.1:{port}: ")
            await client.close()

    run(main())


# Client certificates


def identity(certificate: trustme.LeafCert) -> ClientCertificate:
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    return ClientCertificate(chain.decode(), certificate.private_key_pem.bytes().decode())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_is_shown_to_a_server_that_wants_one(
    run: Run, ca: trustme.CA, trust: Security, serve: Serve, version: ssl.TLSVersion
) -> None:
    subscriber = serve(ca.issue_cert("localhost"), wanted=ca, version=version)
    security = replace(trust, client_certificate=identity(ca.issue_cert("client.example")))
    address = Address.parse(f"https://localhost:{subscriber.port}/", security=security)
    assert answer_of(run, address).status == 200


def refuse(context: ssl.SSLContext, accepted: socket.socket) -> None:
    """A handshake, and an end that leaves nothing unread, or the reason would get lost too."""
    begun = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
    with suppress(ssl.SSLError):
        begun.do_handshake()
    with socket.socket(fileno=begun.detach()) as bare:
        bare.settimeout(PATIENCE)
        bare.shutdown(socket.SHUT_WR)
        while bare.recv(4096):
            pass


@contextmanager
def demanding(certificate: trustme.LeafCert, wanted: trustme.CA, version: Any) -> Iterator[int]:
    """The port of a server that says why it ends the handshake, as asyncio's do not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    certificate.configure_cert(context)
    wanted.configure_trust(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    accepted, _ = listener.accept()
                    with suppress(OSError), accepted:
                        refuse(context, accepted)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("strange", "reason"),
    [
        (False, "the server wants a client certificate ("),
        (True, "the server does not accept the client certificate ("),
    ],
)
def test_a_missing_or_strange_client_certificate_is_a_clear_reason(
    run: Run,
    ca: trustme.CA,
    trust: Security,
    version: ssl.TLSVersion,
    strange: bool,
    reason: str,
) -> None:
    if strange:
        stranger = identity(trustme.CA().issue_cert("client.example"))
        trust = replace(trust, client_certificate=stranger)
    with demanding(ca.issue_cert("localhost"), ca, version) as port:
        answer = answer_of(run, Address.parse(f"https://localhost:{port}/", security=trust))
    assert answer.status == 0
    assert reason in answer.reason


# Names, trust and tokens


def test_another_server_name_is_asked_for_and_checked(
    run: Run, ca: trustme.CA, trust: Security, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("sink.example"))
    security = replace(trust, server_name="sink.example")
    address = Address.parse(f"https://127.0.0.1:{subscriber.port}/", security=security)
    assert answer_of(run, address).status == 200
    assert subscriber.asked_for == ["sink.example"]
    security = replace(trust, server_name="other.example")
    address = Address.parse(f"https://127.0.0.1:{subscriber.port}/", security=security)
    assert "not valid for 'other.example'" in answer_of(run, address).reason


def test_any_certificate_is_taken_where_none_is_to_be_verified(run: Run, serve: Serve) -> None:
    subscriber = serve(trustme.CA().issue_cert("elsewhere.example"))
    address = Address.parse(
        f"https://localhost:{subscriber.port}/", security=Security(verify=False)
    )
    assert answer_of(run, address).status == 200


def test_cas_may_be_trusted_beside_the_systems(
    run: Run, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, of_system = trustme.CA(), trustme.CA()
    of_system.cert_pem.write_to_path(tmp_path / "system.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    pem = ca.cert_pem.bytes().decode()
    for issuer, system_cas, accepted in (
        (ca, False, True),
        (ca, True, True),
        (of_system, False, False),
        (of_system, True, True),
    ):
        subscriber = serve(issuer.issue_cert("localhost"))
        security = Security(ca=pem, system_cas=system_cas)
        address = Address.parse(f"https://localhost:{subscriber.port}/", security=security)
        assert (answer_of(run, address).status == 200) == accepted


def test_an_intermediate_ca_is_enough(run: Run, ca: trustme.CA, serve: Serve) -> None:
    between = ca.create_child_ca()
    subscriber = serve(between.issue_cert("localhost"))
    security = Security(ca=between.cert_pem.bytes().decode())
    address = Address.parse(f"https://localhost:{subscriber.port}/", security=security)
    assert answer_of(run, address).status == 200


def test_a_token_is_sent_and_a_changed_one_over_another_connection(
    run: Run, ca: trustme.CA, trust: Security, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))

    async def main() -> None:
        client = HttpClient()
        for token in ("first", "second"):
            security = replace(trust, token=token)
            url = f"https://localhost:{subscriber.port}/"
            assert (await ask(client, Address.parse(url, security=security))).status == 200
        await client.close()

    run(main())
    assert subscriber.tokens == [b"Bearer first", b"Bearer second"]
    assert len(subscriber.clients) == 2


# Which protocol


def test_a_server_that_offers_http_1_alone_gets_that_over_as_many_connections_as_requests(
    run: Run, ca: trustme.CA, trust: Security, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))
    address = Address.parse(f"https://localhost:{subscriber.port}/", security=trust)

    async def main() -> None:
        client = HttpClient(Limits(connections=10))
        answers = await asyncio.gather(*[ask(client, address, b"x" * 100) for _ in range(100)])
        assert {answer.status for answer in answers} == {200}
        assert 1 < client.connections(address) <= 10
        await client.close()

    run(main())


def test_a_server_without_http_2_is_a_clear_reason_where_that_is_asked_for(
    run: Run, ca: trustme.CA, trust: Security, serve: Serve
) -> None:
    subscriber = serve(ca.issue_cert("localhost"))
    url = f"https://localhost:{subscriber.port}/"
    answer = answer_of(run, Address.parse(url, security=trust, http2=True))
    assert answer == Answer(0, reason="the server does not speak HTTP/2")
