"""A traffic policy of a function that runs elsewhere, against a real HTTP server."""

import http.server
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from node_process import NodeProcess, wait_for, write_project
from traffic_node import send_batches

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    structured: bool
    status: int


class Elsewhere:
    """An HTTP server that takes some milliseconds for an event. `broken`: it answers 500 then.
    `received` are the requests it has answered, `most` is how many it ever had at once."""

    def __init__(self) -> None:
        self.broken = False
        self.received: list[Received] = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        elsewhere = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                structured = "cloudevents+json" in self.headers.get("content-type", "")
                with elsewhere._lock:
                    elsewhere._now += 1
                    elsewhere.most = max(elsewhere.most, elsewhere._now)
                time.sleep(0.003)
                status = 500 if elsewhere.broken else 200
                with elsewhere._lock:
                    elsewhere._now -= 1
                    elsewhere.received.append(Received(self.path, structured, status))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/in"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, status: int) -> int:
        return sum(each.status == status for each in self.received)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


FUNCTION = """
    apiVersion: functions/v1
    kind: Function
    metadata: {{name: remote}}
    spec: {{uri: "{url}", timeout: PT20S}}
    """

TRIGGER = """
    apiVersion: eventing.knative.dev/v1
    kind: Trigger
    metadata: {{name: {name}}}
    spec:
      broker: default
      filters: [{{exact: {{type: {name}}}}}]
      subscriber:
        ref: {{apiVersion: functions/v1, kind: Function, name: remote}}
        {path}
      delivery:
        retry: 200
        backoffPolicy: linear
        backoffDelay: PT0.02S
        retryAfterMax: PT0S  # an ejection asks for as long as it lasts
        format: {format}
    """

POLICY = """
    apiVersion: functions/v1
    kind: TrafficPolicy
    metadata: {name: remote}
    spec:
      function: remote
      %s
    """


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    server = Elsewhere()
    yield server
    server.close()


@pytest.fixture
def node(tmp_path: Path, elsewhere: Elsewhere) -> Iterator[NodeProcess]:
    files = {
        "remote.yaml": FUNCTION.format(url=elsewhere.url),
        "plain.yaml": TRIGGER.format(name="plain", path="", format="binary"),
        "below.yaml": TRIGGER.format(name="below", path="uri: below", format="json"),
    }
    node = NodeProcess(
        write_project(tmp_path / "project", files),
        data=tmp_path / "data",
        log=tmp_path / "node.log",
    ).start()
    yield node
    node.kill()


def figures(node: NodeProcess) -> dict[str, Any]:
    found: dict[str, Any] = traffic(node)["revisions"]["remote"]
    return found


def traffic(node: NodeProcess) -> dict[str, Any]:
    found: dict[str, Any] = node.resource("Function", "remote")["status"]["trafficFigures"]
    return found


def settled(node: NodeProcess) -> bool:
    triggers = [node.resource("Trigger", name)["status"] for name in ("plain", "below")]
    return not any(status["lag"] for status in triggers)


def test_a_bound_is_one_for_all_that_send_there_and_a_retry_ends_within_the_attempt(
    node: NodeProcess, elsewhere: Elsewhere
) -> None:
    node.apply(POLICY % "trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}")
    assert node.resource("TrafficPolicy", "remote")["ready"]
    send_batches(node.ingress, [{"type": "plain"}, {"type": "below"}] * 600)
    wait_for(lambda: settled(node), "all are handled")
    assert elsewhere.most == 3
    assert Counter(elsewhere.received) == {
        Received("/in", structured=False, status=200): 600,
        Received("/below", structured=True, status=200): 600,
    }
    assert (figures(node)["calls"], figures(node)["errors"]) == (1200, 0)
    status = node.resource("Function", "remote")["status"]
    assert status["policies"] == ["TrafficPolicy/default/remote"]


def test_ejections_and_counts_outlive_a_change_of_the_wiring(
    node: NodeProcess, elsewhere: Elsewhere
) -> None:
    policy = "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 5, baseEjectionTime: %s}}"
    node.apply(POLICY % (policy % "1h"))
    elsewhere.broken = True
    send_batches(node.ingress, [{"type": "plain"}, {"type": "below"}] * 500)
    wait_for(lambda: figures(node)["ejectedForSeconds"] > 0, "it is out")
    wait_for(lambda: traffic(node)["unhealthy"] >= 1000, "the events wait")
    failed = elsewhere.count(500)
    assert 5 <= failed <= 5 + 2 * 100  # and what was out by then
    elsewhere.broken = False
    node.apply(TRIGGER.format(name="another", path="uri: other", format="json"))
    node.apply(POLICY % (f"http: [{{timeout: 10s}}]\n      {policy % '1h'}"))
    send_batches(node.ingress, [{"type": "another"}] * 100)
    wait_for(
        lambda: node.resource("Trigger", "another")["status"]["retried"] >= 100,
        "new events wait as well",
    )
    told = figures(node)
    assert (told["errors"], told["ejections"]) == (failed, 1)
    assert told["ejectedForSeconds"] > 3000
    assert len(elsewhere.received) == failed

    # Without the policy nothing holds them back.
    status, _ = node.ask("DELETE", "/api/v1/resources/TrafficPolicy/default/remote")
    assert status == 200
    wait_for(lambda: elsewhere.count(200) == 1100, "all are handled")
    wait_for(lambda: settled(node), "all are settled")
    assert node.resource("Function", "remote")["status"] == {}
    assert node.ask("GET", "/api/v1/dead-letters")[1]["items"] == []


def test_faults_and_retries_of_a_route(node: NodeProcess, elsewhere: Elsewhere) -> None:
    node.apply(
        POLICY
        % """http:
        - match: [{attributes: {type: {exact: below}}}]
          fault: {abort: {httpStatus: 503, percentage: {value: 50}}}
        - retries: {attempts: 50, retryOn: "500", backoff: 100ms}
          timeout: 15s"""
    )
    elsewhere.broken = True
    send_batches(node.ingress, [{"type": "plain"}] * 1000)
    wait_for(lambda: elsewhere.count(500) >= 200, "it is tried")
    elsewhere.broken = False
    wait_for(lambda: elsewhere.count(200) == 1000, "all are handled")
    plain = node.resource("Trigger", "plain")["status"]
    assert (plain["attempts"], plain["retried"]) == (1000, 0)
    assert figures(node)["retried"] == elsewhere.count(500)

    send_batches(node.ingress, [{"type": "below"}] * 1000)
    wait_for(lambda: settled(node), "all are settled")
    aborted = traffic(node)["aborted"]
    assert node.resource("Trigger", "below")["status"]["retried"] == aborted
    # One for each event on average, with a variance of 2.
    assert abs(aborted - 1000) <= 6 * (1000 * 2) ** 0.5
    assert elsewhere.count(200) == 2000
