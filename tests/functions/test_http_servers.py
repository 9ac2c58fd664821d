"""The HTTP client with HTTP/2 servers of other languages, Node.js and Go, with TLS and without."""

import asyncio
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from certificates import Authority
from service_rule import unavailable

from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.exchange import Answer, Limits, Request
from functions.http.security import ClientCertificate, Security

PATIENCE = 30.0
"""Seconds until a condition that does not come true fails the test."""

NODE = """
const fs = require("node:fs"), http2 = require("node:http2"), https = require("node:https");
const [mode, folder] = process.argv.slice(1);
const pem = (name) => fs.readFileSync(`${folder}/${name}`);
const handle = (request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    response.writeHead(200, {"x-version": request.httpVersion,
                             "x-token": request.headers["authorization"] ?? ""});
    response.end(Buffer.concat(pieces));
  });
};
const tls = () => ({cert: pem("tls.crt"), key: pem("tls.key"), ca: pem("ca.crt"),
                    requestCert: mode.includes("mutual"), rejectUnauthorized: true});
const server =
  mode === "h2c" ? http2.createServer(handle)
  : mode === "http1" ? https.createServer(tls(), handle)
  : http2.createSecureServer({...tls(), allowHTTP1: true}, handle);
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""

GO = """
package main

import (
    "context"
    "crypto/tls"
    "crypto/x509"
    "fmt"
    "io"
    "net"
    "net/http"
    "os"
    "os/signal"
    "strings"
    "syscall"
    "time"
)

func handle(w http.ResponseWriter, r *http.Request) {
    body, err := io.ReadAll(r.Body)
    if err != nil {
        panic(http.ErrAbortHandler)
    }
    if strings.HasPrefix(string(body), "count ") {
        time.Sleep(5 * time.Millisecond)
        fmt.Println(string(body))
    }
    w.Header().Set("x-version", fmt.Sprintf("%d.%d", r.ProtoMajor, r.ProtoMinor))
    w.Header().Set("x-token", r.Header.Get("authorization"))
    if strings.HasPrefix(string(body), "abort") {
        panic(http.ErrAbortHandler)
    }
    w.Write(body)
}

func main() {
    mode, folder, port := os.Args[1], os.Args[2], os.Args[3]
    listener, err := net.Listen("tcp", "127.0.0.1:"+port)
    if err != nil {
        panic(err)
    }
    protocols := new(http.Protocols)
    protocols.SetHTTP1(true)
    protocols.SetHTTP2(true)
    protocols.SetUnencryptedHTTP2(true)
    server := &http.Server{Handler: http.HandlerFunc(handle), Protocols: protocols,
        HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 20}}
    if strings.Contains(mode, "mutual") {
        pem, _ := os.ReadFile(folder + "/ca.crt")
        pool := x509.NewCertPool()
        pool.AppendCertsFromPEM(pem)
        server.TLSConfig = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
    }
    done := make(chan error)
    go func() {
        stop := make(chan os.Signal, 1)
        signal.Notify(stop, syscall.SIGTERM)
        <-stop
        done <- server.Shutdown(context.Background())
    }()
    fmt.Println(listener.Addr().(*net.TCPAddr).Port)
    if mode == "h2c" {
        err = server.Serve(listener)
    } else {
        err = server.ServeTLS(listener, folder+"/tls.crt", folder+"/tls.key")
    }
    if err != http.ErrServerClosed {
        panic(err)
    }
    if err = <-done; err != nil {
        panic(err)
    }
}
"""


@dataclass
class Started:
    process: "subprocess.Popen[str]"
    port: int

    def url(self, host: str = "localhost", scheme: str = "https") -> str:
        return f"{scheme}://{host}:{self.port}/"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def folder(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    issued = authority.issue("localhost")
    (folder / "tls.crt").write_text(issued.certificate)
    (folder / "tls.key").write_text(issued.key)
    (folder / "ca.crt").write_text(authority.ca)
    return folder


@pytest.fixture(scope="module")
def trust(authority: Authority) -> Security:
    return Security(ca=authority.ca)


@pytest.fixture(scope="module")
def go_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the built server."""
    if shutil.which("go") is None:
        unavailable("go is not installed: apt install golang-go (1.24 or later)")
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(textwrap.dedent(GO).replace("    ", "\t"))
    (folder / "go.mod").write_text("module server\n\ngo 1.24\n")
    built = subprocess.run(
        ["go", "build", "-o", "server", "."], cwd=folder, capture_output=True, text=True
    )
    if "requires go >=" in built.stderr:
        unavailable("go is older than 1.24, the first to speak HTTP/2 without TLS by itself")
    assert built.returncode == 0, built.stderr
    return str(folder / "server")


@contextmanager
def started(command: list[str]) -> Iterator[Started]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.strip().isdigit(), process.stderr and process.stderr.read()
        yield Started(process, int(line))
    finally:
        process.kill()
        process.communicate()


Start = Callable[..., Any]


@pytest.fixture(params=["node", "go"])
def start(request: pytest.FixtureRequest, folder: Path) -> Start:
    """`with start(mode) as server`: h2c, tls, mutual, and http1 where there is such."""
    if request.param == "go":
        binary = request.getfixturevalue("go_server")
        return lambda mode: started([binary, mode, str(folder), "0"])
    node = shutil.which("node")
    if node is None:
        unavailable("node is not installed: apt install nodejs")
    return lambda mode: started([node, "-e", NODE, "--", mode, str(folder)])


async def ask(client: HttpClient, address: Address, body: bytes = b"") -> Answer:
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    client.send(Request(address, (), body, PATIENCE), answered.set_result)
    return await answered


def test_http_2_is_spoken_where_a_server_offers_it(start: Start, trust: Security) -> None:
    async def main() -> None:
        with start("tls") as server:
            client = HttpClient()
            address = Address.parse(server.url(), security=replace(trust, token="hush"))
            answers = await asyncio.gather(
                *[ask(client, address, b"%d" % number) for number in range(1000)]
            )
            assert [answer.body for answer in answers] == [b"%d" % n for n in range(1000)]
            assert {dict(answer.headers)[b"x-version"] for answer in answers} == {b"2.0"}
            assert {dict(answer.headers)[b"x-token"] for answer in answers} == {b"Bearer hush"}
            # Go was told to allow 20 at once, we have 100 under way.
            assert 1 <= client.connections(address) <= 5
            large = b"large" * 1_000_000
            assert (await ask(client, address, large)).body == large
            await client.close()

    uvloop.run(main())


def test_http_2_without_tls_is_spoken_where_that_is_asked_for(start: Start) -> None:
    async def main() -> None:
        with start("h2c") as server:
            client = HttpClient()
            address = Address.parse(server.url(scheme="http"), http2=True)
            answers = await asyncio.gather(*[ask(client, address, b"x") for _ in range(200)])
            assert {answer.body for answer in answers} == {b"x"}
            assert {dict(answer.headers)[b"x-version"] for answer in answers} == {b"2.0"}
            await client.close()

    uvloop.run(main())


def test_http_1_is_spoken_where_that_is_all_we_want(start: Start, trust: Security) -> None:
    async def main() -> None:
        with start("tls") as server:
            client = HttpClient()
            address = Address.parse(server.url(), security=trust, http2=False)
            assert dict((await ask(client, address)).headers)[b"x-version"] == b"1.1"
            await client.close()

    uvloop.run(main())


def test_http_1_is_spoken_where_a_server_offers_nothing_else(folder: Path, trust: Security) -> None:
    node = shutil.which("node")
    if node is None:
        unavailable("node is not installed: apt install nodejs")

    async def main() -> None:
        with started([node, "-e", NODE, "--", "http1", str(folder)]) as server:
            client = HttpClient()
            address = Address.parse(server.url(), security=trust)
            answers = await asyncio.gather(*[ask(client, address, b"x") for _ in range(50)])
            assert {dict(answer.headers)[b"x-version"] for answer in answers} == {b"1.1"}
            await client.close()

    uvloop.run(main())


def test_a_client_certificate_is_wanted_and_shown(
    start: Start, authority: Authority, trust: Security
) -> None:
    issued, strange = authority.issue("client.example"), Authority().issue("client.example")

    async def main() -> None:
        with start("mutual") as server:
            client = HttpClient()

            async def asked(certificate: ClientCertificate | None) -> Answer:
                security = replace(trust, client_certificate=certificate)
                return await ask(client, Address.parse(server.url(), security=security))

            shown = await asked(ClientCertificate(issued.certificate, issued.key))
            assert (shown.status, dict(shown.headers)[b"x-version"]) == (200, b"2.0")
            for certificate in (None, ClientCertificate(strange.certificate, strange.key)):
                answer = await asked(certificate)
                assert answer.status == 0
                # Node.js just ends the connection.
                ended = "the connection ended before HTTP/2 was agreed on"
                assert "client certificate" in answer.reason or answer.reason == ended
            await client.close()

    uvloop.run(main())


def test_a_wrong_ca_and_a_wrong_name_are_clear_reasons(start: Start, trust: Security) -> None:
    async def main() -> None:
        with start("tls") as server:
            client = HttpClient()
            other = Address.parse(server.url(), security=Security(ca=Authority().ca))
            assert "certificate of localhost" in (await ask(client, other)).reason
            named = Address.parse(server.url("127.0.0.1"), security=trust)
            assert "not valid for '127.0.0.1'" in (await ask(client, named)).reason
            await client.close()

    uvloop.run(main())


def test_an_aborted_answer_harms_no_other(go_server: str, folder: Path, trust: Security) -> None:
    async def main() -> None:
        with started([go_server, "tls", str(folder), "0"]) as server:
            client = HttpClient()
            address = Address.parse(server.url(), security=trust)
            bodies = [b"abort" if number % 5 == 0 else b"x" for number in range(100)]
            answers = await asyncio.gather(*[ask(client, address, body) for body in bodies])
            for body, answer in zip(bodies, answers, strict=True):
                if body == b"x":
                    assert answer.status == 200
                else:
                    reason = "the server ended the request (INTERNAL_ERROR) before an answer"
                    assert answer == Answer(0, reason=reason)
            await client.close()

    uvloop.run(main())


def test_nothing_is_lost_or_doubled_while_servers_shut_down_under_load(
    go_server: str, folder: Path, trust: Security
) -> None:
    """Each takes its leave with GOAWAY, while its successor listens already; the client has the
    one address all the time."""
    count = 600

    async def main() -> None:
        front = Front()
        client = HttpClient(Limits(connections=60))
        async with await asyncio.start_server(front.serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            address = Address.parse(f"https://localhost:{port}/", security=trust)
            handled: list[str] = []
            with started([go_server, "tls", str(folder), "0"]) as first:
                front.port = first.port
                asked = [
                    asyncio.create_task(ask(client, address, b"count %d" % number))
                    for number in range(count)
                ]
                await until(lambda: sum(task.done() for task in asked) > 50)
                with started([go_server, "tls", str(folder), "0"]) as second:
                    front.port = second.port
                    first.process.send_signal(signal.SIGTERM)
                    answers = await asyncio.gather(*asked)
                    handled += await asyncio.to_thread(lines_of, first)
                    await client.close()
                    second.process.send_signal(signal.SIGTERM)
                    after = await asyncio.to_thread(lines_of, second)
            assert {(answer.status, answer.reason) for answer in answers} == {(200, "")}
            assert handled and after
            expected = sorted(f"count {number}" for number in range(count))
            assert sorted(handled + after) == expected

    uvloop.run(main())


def lines_of(server: Started) -> list[str]:
    """What it has still to say until its end, which is a good one."""
    output, errors = server.process.communicate(timeout=PATIENCE)
    assert server.process.returncode == 0, errors
    return output.splitlines()


class Front:
    """Passes connections on to `port`, as a load balancer does: those there are stay."""

    def __init__(self) -> None:
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)
