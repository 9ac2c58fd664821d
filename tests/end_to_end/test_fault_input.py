"""Whatever comes in at a boundary of a running node: a clear error, and the node goes on.

Bad frames from workers are in test_fault_workers.py, a broken node.json in test_fault_shutdown.py.
"""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from chain import Journal, write_chain
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_process import NodeProcess, wait_for, write_project

SETTINGS = settings(
    max_examples=150,
    deadline=None,
    # The node is meant to live on from one example to the next.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    return Journal(tmp_path_factory.mktemp("journal") / "journal")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("input")
    node = NodeProcess(
        write_chain(folder / "project"),
        data=folder / "data",
        log=folder / "node.log",
        environment={"JOURNAL": str(journal.path)},
    ).start()
    yield node
    node.kill()


@pytest.fixture
def node(
    running: NodeProcess, journal: Journal, request: pytest.FixtureRequest
) -> Iterator[NodeProcess]:
    """The running node, which must handle a good event after the test as it did before."""
    said = len(running.log.read_text(errors="replace"))
    yield running
    id = re.sub(r"\W+", "-", request.node.name)
    assert running.post("order", id, subject=id) == 202
    wait_for(lambda: journal.handled()["record"][id], "a good event is handled afterwards")
    assert "Traceback" not in running.log.read_text(errors="replace")[said:]


# What is sent: bytes on a connection; what comes back: status and body, or nothing.


def exchange(address: str, data: bytes, *, cut: bool = False) -> tuple[int, bytes] | None:
    """Send and read to the end; None where there was no answer. `cut` ends the sending at once."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        try:
            connection.sendall(data)
            if cut:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has answered, and closed
        answer = b""
        try:
            while chunk := connection.recv(1 << 16):
                answer += chunk
        except ConnectionResetError:
            pass
    if not answer:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    assert found, f"no HTTP answer: {answer[:200]!r}"
    return int(found[1]), body


def http(method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: test", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def assert_clear(answer: tuple[int, bytes] | None) -> None:
    """Accepted, or refused with a reason: never a fault of the node's own."""
    assert answer is not None, "the connection was closed without an answer"
    status, body = answer
    assert status < 500, answer
    if status >= 400 and body and not body.startswith(b"Invalid HTTP request"):
        error = json.loads(body)["error"]
        assert error
        assert "Traceback" not in error


# Strategies

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
line = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n\0"), max_size=40
)
token = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True)
ce_name = st.sampled_from(["ce-id", "ce-source", "ce-type", "ce-specversion", "ce-time", "ce-data"])
content_type = st.sampled_from(
    [
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents+json; charset=latin-1",
        "application/cloudevents-batch+json",
        "application/cloudevents+avro",
        "text/plain; =;",
        "",
    ]
)
headers = st.lists(
    st.one_of(
        st.tuples(ce_name, st.one_of(line, st.sampled_from(["1.0", "0.3", "%", "%zz", ""]))),
        st.tuples(st.just("content-type"), content_type),
        st.tuples(st.just("ce-knativebrokerttl"), line),
        st.tuples(token, line),
    ),
    max_size=10,
)
method = st.one_of(st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]), token)
path = st.one_of(
    st.sampled_from(["/default/default", "/", "//", "/default", "/a/b/c", "/default/none", "*"]),
    visible.map(lambda text: "/" + text),
    line.map(lambda text: "/" + quote(text, safe="/")),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | line
jsons = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(line, inner, max_size=4)
)
near_events = st.fixed_dictionaries(
    {"specversion": st.sampled_from(["1.0", "2.0", 1.0, None]), "id": scalars, "source": scalars},
    optional={"type": scalars, "data": jsons, "data_base64": scalars, "time": scalars, "ÄÖ": line},
)


def as_body(document: object) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


bodies = st.one_of(
    st.binary(max_size=200),
    jsons.map(as_body),
    near_events.map(as_body),
    st.lists(near_events, max_size=3).map(as_body),
    st.integers(1, 100_000).map(lambda depth: b"[" * depth),
    st.integers(1, 100_000).map(lambda depth: b'{"a":' * depth),
)


# The ingress


@SETTINGS
@given(data=st.binary(min_size=1, max_size=500))
def test_bytes_that_are_no_http_do_the_ingress_no_harm(node: NodeProcess, data: bytes) -> None:
    answer = exchange(node.ingress, data, cut=True)
    assert answer is None or 400 <= answer[0] < 500


@SETTINGS
@given(data=st.binary(min_size=1, max_size=500))
def test_bytes_that_are_no_http_do_the_admin_api_no_harm(node: NodeProcess, data: bytes) -> None:
    answer = exchange(node.admin, data, cut=True)
    assert answer is None or 400 <= answer[0] < 500


@SETTINGS
@given(method=method, path=path, headers=headers, body=bodies)
def test_any_http_request_to_the_ingress_gets_a_clear_answer(
    node: NodeProcess, method: str, path: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    assert_clear(exchange(node.ingress, http(method, path, headers, body)))


@SETTINGS
@given(
    type=st.sampled_from(["application/cloudevents+json", "application/cloudevents-batch+json"]),
    body=bodies,
)
def test_any_body_as_structured_or_batched_events_gets_a_clear_answer(
    node: NodeProcess, type: str, body: bytes
) -> None:
    request = http("POST", "/default/default", [("content-type", type)], body)
    assert_clear(exchange(node.ingress, request))


@SETTINGS
@given(cut=st.integers(0, 300))
def test_a_request_that_ends_early_is_no_event(node: NodeProcess, cut: int) -> None:
    attributes = {"ce-specversion": "1.0", "ce-id": "cut", "ce-source": "/s", "ce-type": "order"}
    whole = http("POST", "/default/default", list(attributes.items()), b"x" * 100)
    answer = exchange(node.ingress, whole[: min(cut, len(whole) - 1)], cut=True)
    assert answer is None or 400 <= answer[0] < 500


# The admin API

ROUTES = [
    "/healthz",
    "/api/v1/node",
    "/api/v1/resources",
    "/api/v1/resources/Trigger/default/none",
    "/api/v1/explain",
    "/api/v1/dead-letters",
    "/api/v1/dead-letters/default/default/1",
    f"/api/v1/dead-letters/default/default/{2**63}",
    f"/api/v1/dead-letters/default/default/{2**63}/redrive",
    f"/api/v1/dead-letters/default/default/{'9' * 5000}",
    "/api/v1/dead-letters/default/default/none/redrive",
    "/api/v1/dead-letters/default/none/1/redrive",
    "/api/v1/replay",
    "/api/v1/logs",
]
parameter = st.sampled_from(
    ["kind", "name", "broker", "trigger", "after", "limit", "lines", "file"]
)
queries = st.dictionaries(
    parameter, line | st.integers().map(str) | st.just("9" * 30), max_size=3
).map(lambda query: "&".join(f"{name}={quote(value)}" for name, value in query.items()))
numbers = st.integers() | st.floats() | st.sampled_from([2**63 - 1, 2**63, 10**400, 1e308, -1e308])
asked = st.fixed_dictionaries(
    {"trigger": st.just("default/audit") | jsons, "event": near_events | jsons},
    optional=dict.fromkeys(("since", "until", "from", "to", "broker"), numbers | jsons),
).map(as_body)


METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route[:60])
def test_every_route_of_the_admin_api_answers_every_method(node: NodeProcess, route: str) -> None:
    for method in METHODS:
        assert_clear(exchange(node.admin, http(method, route, [], b"")))


@SETTINGS
@given(
    method=st.sampled_from(METHODS),
    route=st.sampled_from(ROUTES) | path,
    query=queries,
    body=bodies | asked,
)
def test_any_http_request_to_the_admin_api_gets_a_clear_answer(
    node: NodeProcess, method: str, route: str, query: str, body: bytes
) -> None:
    assert_clear(exchange(node.admin, http(method, f"{route}?{query}", [], body)))


@SETTINGS
@given(route=st.sampled_from(["explain", "replay"]), body=asked)
def test_any_json_that_is_nearly_right_gets_a_clear_answer(
    node: NodeProcess, route: str, body: bytes
) -> None:
    assert_clear(exchange(node.admin, http("POST", f"/api/v1/{route}", [], body)))


DOCUMENT: dict[str, Any] = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Trigger",
    "metadata": {"name": "applied", "namespace": "default"},
    "spec": {
        "broker": "none",
        "filters": [{"cesql": "type = 'x'"}, {"not": {"exact": {"type": "y"}}}],
        "subscriber": {"ref": {"apiVersion": "functions/v1", "kind": "Function", "name": "none"}},
        "delivery": {"retry": 3, "backoffDelay": "PT1S", "backoffPolicy": "linear"},
    },
}


@st.composite
def spoilt_documents(draw: st.DrawFn) -> bytes:
    """A good document with one of its parts replaced by anything."""
    document = json.loads(json.dumps(DOCUMENT))
    part: Any = document
    while True:
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        key = draw(st.sampled_from(keys))
        if isinstance(part[key], (dict, list)) and part[key] and draw(st.booleans()):
            part = part[key]
            continue
        part[key] = draw(jsons)
        return as_body(document)


@SETTINGS
@given(
    body=st.one_of(
        spoilt_documents(),
        st.binary(max_size=200),
        line.map(str.encode),
        st.lists(
            st.sampled_from(["a: ", "- ", "&x ", "*x ", "{", "}", "[", "]", "!!python/name:os", "|",
                             "\n", "  ", "---\n", "kind: Trigger", "\t", "? ", "<<: ", "'", '"']),
            max_size=30,
        ).map(lambda parts: "".join(parts).encode()),
        bodies,
    )
)  # fmt: skip
def test_any_yaml_that_is_applied_is_taken_or_refused_with_its_place(
    node: NodeProcess, body: bytes
) -> None:
    answer = exchange(node.admin, http("POST", "/api/v1/resources?file=test.yaml", [], body))
    assert_clear(answer)
    assert answer is not None
    if answer[0] == 400 and "problems" in (told := json.loads(answer[1])):
        for problem in told["problems"]:
            assert problem.startswith("test.yaml"), problem


def test_a_broker_whose_storage_can_not_be_opened_asks_senders_to_come_again(
    tmp_path: Path,
) -> None:
    project = write_project(tmp_path / "project", {"empty.yaml": ""})
    database = tmp_path / "data" / "brokers" / "default" / "default.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"no database at all" * 1000)
    node = NodeProcess(project, data=tmp_path / "data", log=tmp_path / "node.log")
    try:
        node.start(ready=False)
        assert node.post("any", "1") == 503
        assert node.ask("GET", "/readyz")[0] == 503
    finally:
        node.kill()
