"""HTTP subscribers that are slow or dead hold up nobody else; a long backlog takes no memory."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain import WANTS, Journal, write_chain
from ingress_load import IngressLoad
from node_process import NodeProcess, request, wait_for

BACKLOG = 100_000
MOST_MEMORY = 200 << 20
"""Bytes a node may take with BACKLOG events waiting."""

TRIGGER = """
    apiVersion: eventing.knative.dev/v1
    kind: Trigger
    metadata: {{name: {name}}}
    spec:
      broker: default
      filter: {{attributes: {{type: {type}}}}}
      subscriber: {{uri: "{uri}"}}
      delivery: {{retry: 1000, backoffPolicy: linear, backoffDelay: {delay}, timeout: {timeout}}}
    """


class Subscriber:
    """An HTTP server on a port of its own that answers every event with `status`; counts them."""

    def __init__(self, status: int, port: int = 0) -> None:
        self.events = 0
        subscriber = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                subscriber.events += 1
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Connections are made here (by the kernel), and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Connections are refused here; nobody else gets the port meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def failing() -> Iterator[Subscriber]:
    server = Subscriber(500)
    yield server
    server.close()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def node(tmp_path: Path, journal: Journal) -> Iterator[NodeProcess]:
    node = NodeProcess(
        write_chain(tmp_path / "project"),
        data=tmp_path / "data",
        log=tmp_path / "node.log",
        arguments=("--grace", "2"),
        environment={"JOURNAL": str(journal.path)},
    )
    yield node
    node.kill()


def add_trigger(
    node: NodeProcess,
    name: str,
    port: int,
    type: str,
    *,
    delay: str = "PT1S",
    timeout: str = "PT1H",
) -> None:
    uri = f"http://127.0.0.1:{port}/"
    node.apply(TRIGGER.format(name=name, uri=uri, type=type, delay=delay, timeout=timeout))


def status(node: NodeProcess, trigger: str) -> dict[str, int]:
    found: dict[str, int] = node.resource("Trigger", trigger)["status"]
    return found


@pytest.mark.slow
def test_other_triggers_of_the_broker_get_every_event_while_some_subscribers_are_slow_or_dead(
    node: NodeProcess, journal: Journal, silent_port: int, closed_port: int, failing: Subscriber
) -> None:
    node.start()
    add_trigger(node, "silent", silent_port, "order")
    add_trigger(node, "closed", closed_port, "order")
    add_trigger(node, "failing", failing.port, "order")
    load = IngressLoad(node.ingress, "load", type="order", most=10_000).start().join()
    accepted = set(load.accepted)
    assert len(accepted) == 10_000
    wait_for(
        lambda: all(set(journal.handled()[name]) >= accepted for name in WANTS),
        "every chain is complete",
    )
    for name in ("silent", "closed", "failing"):
        found = status(node, name)
        assert (found["done"], found["dead"]) == (0, 0), name
        assert found["lag"] >= 10_000, name
    assert failing.events > 0
    assert node.peak_bytes() < MOST_MEMORY


@pytest.mark.slow
@pytest.mark.parametrize("dead", ["silent", "refused", "failing"])
def test_a_hundred_thousand_events_for_a_dead_subscriber_wait_on_disk_over_a_restart(
    node: NodeProcess,
    journal: Journal,
    silent_port: int,
    closed_port: int,
    failing: Subscriber,
    dead: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = {"silent": silent_port, "refused": closed_port, "failing": failing.port}[dead]
    node.start()
    before = node.resident_bytes()
    add_trigger(node, "dead", port, "wanted", delay="PT5S", timeout="PT2S")
    post_many(node, BACKLOG)
    assert status(node, "dead")["lag"] == BACKLOG
    if dead != "silent":
        wait_for(lambda: status(node, "dead")["retried"] > 10_000, "many attempts have failed")
    first = node.peak_bytes()
    node.stop()

    node.start()
    assert status(node, "dead")["lag"] == BACKLOG
    assert node.post("order", "beside", subject="beside") == 202
    wait_for(lambda: journal.handled()["record"]["beside"], "another trigger goes on")
    revived = Subscriber(202)
    add_trigger(node, "dead", revived.port, "wanted")
    wait_for(lambda: status(node, "dead")["lag"] <= BACKLOG - 10_000, "the backlog is worked off")
    second = node.peak_bytes()
    with capsys.disabled():
        print(
            f"\n{BACKLOG:,} events of 1 KiB wait for a {dead} subscriber: {first >> 20} MiB"
            f" resident at the most ({before >> 20} without), after a restart {second >> 20}"
        )
    assert max(first, second) < MOST_MEMORY
    revived.close()


def post_many(node: NodeProcess, count: int, batch: int = 1000) -> None:
    """Send events of type `wanted` with 1 KiB of data each."""
    for start in range(0, count, batch):
        events = [
            {
                "specversion": "1.0",
                "type": "wanted",
                "source": "/many",
                "id": str(number),
                "data": "x" * 1024,
            }
            for number in range(start, start + batch)
        ]
        answer = request(
            node.ingress,
            "POST",
            "/default/default",
            json.dumps(events).encode(),
            {"content-type": "application/cloudevents-batch+json"},
        )
        assert answer[0] == 202, answer
