"""A function that runs elsewhere, over TLS with a CA and a token of a Secret, called by a node."""

import ssl
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from node_process import NodeProcess, wait_for, write_project

TRIGGER = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: elsewhere}
spec:
  broker: default
  filter: {attributes: {type: order}}
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: elsewhere}, uri: events}
  delivery: {retry: 20, backoffPolicy: linear, backoffDelay: PT0.2S}
"""

FUNCTION = """
apiVersion: functions/v1
kind: Function
metadata: {{name: elsewhere}}
spec:
  uri: https://localhost:{port}/base/
  tls:
    caCerts: |
{ca}
  auth:
    bearerToken: {{valueFrom: {{secretKeyRef: {{name: access, key: token}}}}}}
"""

SECRET = """
apiVersion: v1
kind: Secret
metadata: {{name: access}}
stringData: {{token: {token}}}
"""


class Server:
    """Takes events of who has its token."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self.token = ""
        self.taken: list[str] = []
        self.refused = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                known = self.headers["authorization"] == f"Bearer {outer.token}"
                if known and self.path == "/base/events":
                    outer.taken.append(self.headers["ce-id"])
                else:
                    outer.refused += 1
                self.send_response(204 if known else 429)
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    server = Server(authority.issue_cert("localhost"))
    yield server
    server.close()


def test_it_is_reached_with_what_secrets_hold_and_follows_their_changes(
    server: Server, authority: trustme.CA, tmp_path: Path
) -> None:
    node = NodeProcess(
        write_project(tmp_path / "project", {"wiring.yaml": TRIGGER}),
        data=tmp_path / "data",
        log=tmp_path / "node.log",
    ).start()
    try:
        ca = textwrap.indent(authority.cert_pem.bytes().decode(), " " * 6)
        node.apply(FUNCTION.format(port=server.port, ca=ca))
        assert node.resource("Function", "elsewhere")["reason"] == "SecretNotFound"
        server.token = "first-secret-token"
        node.apply(SECRET.format(token=server.token))
        assert node.post("order", "one") == 202
        wait_for(lambda: server.taken == ["one"], "the first token opens")

        server.token = "second-secret-token"
        assert node.post("order", "two") == 202
        wait_for(lambda: server.refused, "the first token opens no more")
        node.apply(SECRET.format(token=server.token))
        wait_for(lambda: server.taken == ["one", "two"], "the second does")

        shown = str(node.ask("GET", "/api/v1/resources")[1]) + node.log.read_text()
        assert "secret-token" not in shown
    finally:
        node.kill()


def test_a_certificate_of_another_authority_is_told(server: Server, tmp_path: Path) -> None:
    node = NodeProcess(
        write_project(tmp_path / "project", {"wiring.yaml": TRIGGER}),
        data=tmp_path / "data",
        log=tmp_path / "node.log",
    ).start()
    try:
        other = textwrap.indent(trustme.CA().cert_pem.bytes().decode(), " " * 6)
        node.apply(SECRET.format(token="x") + "---" + FUNCTION.format(port=server.port, ca=other))
        assert node.post("order", "one") == 202
        wait_for(
            lambda: node.resource("Trigger", "elsewhere")["status"]["retried"] > 0, "it is retried"
        )
        assert server.taken == []
    finally:
        node.kill()
