"""The ingress's table of answers, row by row, over real sockets on a real uvicorn server."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from eventing.errors import BrokerFull, EventTooLarge, StorageError
from eventing.event import Event
from eventing.node.ingress import Ingress

LIMIT = 10_000
BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
LEAST = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCHED = {"content-type": "application/cloudevents-batch+json"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Store:
    """A broker as far as the ingress sees one: keeps what is published, or fails as told.

    With `hold`, events become durable only when `release` is called.
    """

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.failure: Exception | None = None
        self.hold = False
        self.published = threading.Event()
        self._waiting: list[asyncio.Future[list[int]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def publish(self, events: Sequence[Event]) -> "asyncio.Future[list[int]]":
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[list[int]] = self._loop.create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
        else:
            self.kept.extend(events)
            positions = list(range(len(self.kept)))
            if self.hold:
                self._waiting.append(future)
            else:
                self._loop.call_soon(future.set_result, positions)
        self.published.set()
        return future

    def release(self) -> None:
        assert self._loop is not None
        for future in self._waiting:
            self._loop.call_soon_threadsafe(future.set_result, [1])


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        assert self.headers["content-type"] == "application/json"
        members = json.loads(self.body)
        assert list(members) == ["error"]
        error = members["error"]
        assert isinstance(error, str) and error
        return error


class Client:
    """One connection, written and read byte by byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.reader = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Answer:
        line = self.reader.readline()
        status = int(line.split()[1])
        headers = {}
        while (line := self.reader.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.decode().lower()] = value.strip().decode()
        if status == 100:
            return Answer(status, headers, b"")
        return Answer(status, headers, self.reader.read(int(headers["content-length"])))

    def closed(self) -> bool:
        return self.reader.read(1) == b""

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


def request(
    method: str = "POST",
    path: str = "/default/main",
    headers: Mapping[str, str] = BINARY,
    body: bytes = b"",
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: test", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Node:
    """An ingress behind uvicorn in a thread of its own, as the node serves it."""

    def __init__(self, **options: Any) -> None:
        self.store = Store()
        self.ingress = Ingress(self._find, max_event_bytes=LIMIT, **options)
        config = uvicorn.Config(
            self.ingress,
            http="httptools",
            loop="uvloop",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        # The socket listens before the server runs, so clients need not wait for it.
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()

    def _find(self, namespace: str, name: str) -> Store | None:
        return self.store if (namespace, name) == ("default", "main") else None

    def client(self) -> Client:
        return Client(self.port)

    def ask(self, raw: bytes) -> Answer:
        client = self.client()
        try:
            client.send(raw)
            return client.answer()
        finally:
            client.close()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def start() -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def begin(**options: Any) -> Node:
        nodes.append(Node(**options))
        return nodes[-1]

    yield begin
    for node in nodes:
        node.stop()


@pytest.fixture(scope="module")
def served() -> Iterator[Node]:
    node = Node()
    yield node
    node.stop()


@pytest.fixture
def node(served: Node) -> Iterator[Node]:
    """The module's one server, with an empty store behind it; left as it was found."""
    served.store = Store()
    yield served
    served.store = Store()
    served.ingress.draining = False


def kept(node: Node) -> list[Event]:
    """What the store has, without the time to live that every event carries there."""
    events = []
    for event in node.store.kept:
        attributes = dict(event.attributes)
        assert attributes.pop("knativebrokerttl") == "255"
        events.append(Event(attributes, event.data))
    return events


class TestAccepted:
    def test_a_binary_event(self, node: Node) -> None:
        headers = {**BINARY, "content-type": "text/plain", "ce-subject": "a%20b"}
        answer = node.ask(request(headers=headers, body=b"hello"))
        assert (answer.status, answer.body) == (202, b"")
        assert kept(node) == [
            Event({**LEAST, "datacontenttype": "text/plain", "subject": "a b"}, b"hello")
        ]

    def test_a_structured_event(self, node: Node) -> None:
        body = json.dumps({**LEAST, "datacontenttype": "a/json", "data": [1]}).encode()
        assert node.ask(request(headers=STRUCTURED, body=body)).status == 202
        assert kept(node) == [Event({**LEAST, "datacontenttype": "a/json"}, b"[1]")]

    def test_a_batch(self, node: Node) -> None:
        body = json.dumps([{**LEAST, "id": str(number)} for number in range(3)]).encode()
        assert node.ask(request(headers=BATCHED, body=body)).status == 202
        assert [event.attributes["id"] for event in kept(node)] == ["0", "1", "2"]

    def test_an_empty_batch(self, node: Node) -> None:
        assert node.ask(request(headers=BATCHED, body=b"[]")).status == 202
        assert kept(node) == []

    def test_several_on_one_connection(self, node: Node) -> None:
        client = node.client()
        for _ in range(3):
            client.send(request())
            assert client.answer().status == 202
        client.send(request() * 3)
        assert [client.answer().status for _ in range(3)] == [202, 202, 202]
        client.close()
        assert len(kept(node)) == 6

    def test_a_body_in_pieces(self, node: Node) -> None:
        client = node.client()
        raw = request(body=b"0123456789" * 100)
        for at in range(0, len(raw), 100):
            client.send(raw[at : at + 100])
        assert client.answer().status == 202
        client.close()
        assert kept(node)[0].data == b"0123456789" * 100

    def test_a_chunked_body(self, node: Node) -> None:
        headers = "".join(f"{name}: {value}\r\n" for name, value in BINARY.items())
        head = f"POST /default/main HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n{headers}"
        assert node.ask(f"{head}\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".encode()).status == 202
        assert kept(node)[0].data == b"abcde"

    def test_a_query_string_makes_no_difference(self, node: Node) -> None:
        assert node.ask(request(path="/default/main?a=b")).status == 202

    def test_only_after_the_events_are_durable(self, node: Node) -> None:
        node.store.hold = True
        client = node.client()
        client.send(request())
        assert node.store.published.wait(20)
        # The server's loop has been through this whole request by now, but has not answered ours.
        assert node.ask(request(path="/")).status == 404
        client.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.socket.recv(1)
        client.socket.settimeout(20)
        node.store.release()
        assert client.answer().status == 202
        client.close()


class TestTimeToLive:
    def test_it_starts_at_255(self, node: Node) -> None:
        node.ask(request())
        assert node.store.kept[0].attributes["knativebrokerttl"] == "255"

    def test_it_falls_by_one(self, node: Node) -> None:
        node.ask(request(headers={**BINARY, "ce-knativebrokerttl": "7"}))
        assert node.store.kept[0].attributes["knativebrokerttl"] == "6"

    @pytest.mark.parametrize(
        "ttl", ["1", "0", "-1", "", "x", "1.5", "1_0", "%C2%B2", "+5", "9" * 5_000]
    )
    def test_at_its_end_and_as_no_number_it_is_refused(self, node: Node, ttl: str) -> None:
        answer = node.ask(request(headers={**BINARY, "ce-knativebrokerttl": ttl}))
        assert answer.status == 400
        assert "knativebrokerttl" in answer.error
        assert node.store.kept == []

    def test_one_event_at_its_end_refuses_the_whole_batch(self, node: Node) -> None:
        body = json.dumps([LEAST, {**LEAST, "knativebrokerttl": 1}]).encode()
        assert node.ask(request(headers=BATCHED, body=body)).status == 400
        assert node.store.kept == []


class TestTrace:
    def test_the_request_s_trace_becomes_the_event_s(self, node: Node) -> None:
        node.ask(request(headers={**BINARY, "traceparent": TRACE, "tracestate": "a=1,b=2"}))
        attributes = kept(node)[0].attributes
        assert (attributes["traceparent"], attributes["tracestate"]) == (TRACE, "a=1,b=2")

    def test_tracestate_may_come_in_several_headers(self, node: Node) -> None:
        raw = request(headers={**BINARY, "traceparent": TRACE, "tracestate": "a=1"})
        node.ask(raw.replace(b"tracestate: a=1", b"tracestate: a=1\r\ntracestate: b=2"))
        assert kept(node)[0].attributes["tracestate"] == "a=1,b=2"

    def test_the_event_s_own_trace_wins(self, node: Node) -> None:
        own = TRACE.replace("0af7", "1af7")
        node.ask(
            request(
                headers={**BINARY, "ce-traceparent": own, "traceparent": TRACE, "tracestate": "a=1"}
            )
        )
        assert kept(node)[0].attributes == {**LEAST, "traceparent": own}

    def test_every_event_of_a_batch_gets_it(self, node: Node) -> None:
        body = json.dumps([LEAST, LEAST]).encode()
        node.ask(request(headers={**BATCHED, "traceparent": TRACE}, body=body))
        assert [event.attributes["traceparent"] for event in kept(node)] == [TRACE, TRACE]

    @pytest.mark.parametrize(
        "value",
        ["x", TRACE.upper(), "ff" + TRACE[2:], TRACE[:3] + "0" * 32 + TRACE[35:], TRACE + "0"],
    )
    def test_a_malformed_one_is_left_out(self, node: Node, value: str) -> None:
        assert node.ask(request(headers={**BINARY, "traceparent": value})).status == 202
        assert kept(node)[0].attributes == LEAST


class TestRefused:
    @pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
    @pytest.mark.parametrize("value", [None, "", "null"])
    def test_a_required_attribute_missing_or_empty(
        self, node: Node, name: str, value: str | None
    ) -> None:
        if value == "null":
            raw = request(headers=STRUCTURED, body=json.dumps({**LEAST, name: None}).encode())
        else:
            headers = {**BINARY, f"ce-{name}": value}
            raw = request(headers={key: text for key, text in headers.items() if text is not None})
        answer = node.ask(raw)
        assert answer.status == 400
        assert name in answer.error

    @pytest.mark.parametrize(
        ("headers", "body", "error"),
        [
            ({**BINARY, "ce-specversion": "0.3"}, b"", "0.3"),
            ({**BINARY, "ce-my_ext": "x"}, b"", "ce-my_ext"),
            ({**BINARY, "ce-time": "noon"}, b"", "ce-time"),
            (STRUCTURED, b"{", "JSON"),
            (STRUCTURED, b"[]", "object"),
            (STRUCTURED, json.dumps({**LEAST, "Ext": 1}).encode(), "Ext"),
            ({"content-type": "application/cloudevents+avro"}, b"", "avro"),
            ({"content-type": "application/json"}, b"{}", "ce-specversion"),
            (BATCHED, json.dumps([LEAST, {**LEAST, "id": ""}]).encode(), "event [1] of the batch"),
        ],
    )
    def test_what_is_no_valid_event(
        self, node: Node, headers: dict[str, str], body: bytes, error: str
    ) -> None:
        answer = node.ask(request(headers=headers, body=body))
        assert answer.status == 400
        assert error in answer.error
        assert node.store.kept == []

    @pytest.mark.parametrize("path", ["/", "/other/main", "/default/other", "/?a=b"])
    def test_the_root_and_unknown_brokers(self, node: Node, path: str) -> None:
        answer = node.ask(request(path=path))
        assert answer.status == 404
        assert answer.error

    @pytest.mark.parametrize(
        "path", ["/default", "/default/", "//main", "//", "/default/main/", "/a/b/c", "/a%2Fb/c"]
    )
    def test_a_path_of_another_shape(self, node: Node, path: str) -> None:
        answer = node.ask(request(path=path))
        assert answer.status == 400
        assert "/{namespace}/{broker}" in answer.error

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE"])
    @pytest.mark.parametrize("path", ["/default/main", "/", "/x"])
    def test_another_method(self, node: Node, method: str, path: str) -> None:
        answer = node.ask(request(method, path))
        assert answer.status == 405
        assert answer.headers["allow"] == "POST, OPTIONS"
        assert answer.error

    def test_options_is_the_web_hook_handshake(self, node: Node) -> None:
        answer = node.ask(request("OPTIONS", headers={"webhook-request-origin": "example.com"}))
        assert answer.status == 200
        assert answer.headers["allow"] == "POST, OPTIONS"
        assert answer.headers["webhook-allowed-origin"] == "*"
        assert answer.headers["webhook-allowed-rate"] == "*"

    @pytest.mark.parametrize(("denial", "status"), [(401, 401), (403, 403), (None, 202)])
    def test_what_the_policy_denies(
        self, start: Callable[..., Node], denial: Literal[401, 403] | None, status: int
    ) -> None:
        asked = []

        def authorize(
            namespace: str, name: str, headers: Mapping[bytes, bytes]
        ) -> Literal[401, 403] | None:
            asked.append((namespace, name, headers.get(b"authorization")))
            return denial

        node = start(authorize=authorize)
        answer = node.ask(request(headers={**BINARY, "authorization": "Bearer abc"}))
        assert answer.status == status
        assert asked == [("default", "main", b"Bearer abc")]
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert bool(node.store.kept) == (status == 202)


class TestTooLarge:
    def test_the_limit_itself_is_allowed(self, node: Node) -> None:
        assert node.ask(request(body=b"x" * LIMIT)).status == 202

    def test_a_longer_content_length_is_refused_before_the_body_is_sent(self, node: Node) -> None:
        client = node.client()
        client.send(request(body=b"x" * (LIMIT + 1)).removesuffix(b"x" * (LIMIT + 1)))
        answer = client.answer()
        assert answer.status == 413
        assert str(LIMIT) in answer.error
        client.close()

    def test_a_client_that_asks_first_is_not_told_to_continue(self, node: Node) -> None:
        client = node.client()
        raw = request(headers={**BINARY, "expect": "100-continue"}, body=b"x" * (LIMIT + 1))
        client.send(raw.removesuffix(b"x" * (LIMIT + 1)))
        assert client.answer().status == 413
        client.close()

    def test_a_client_that_asks_first_for_less_is_told_to_continue(self, node: Node) -> None:
        client = node.client()
        raw = request(headers={**BINARY, "expect": "100-continue"}, body=b"x" * 10)
        client.send(raw.removesuffix(b"x" * 10))
        assert client.answer().status == 100
        client.send(b"x" * 10)
        assert client.answer().status == 202
        client.close()

    def test_a_client_that_sends_it_all_before_it_reads_gets_the_answer(self, node: Node) -> None:
        assert node.ask(request(body=b"x" * 100 * LIMIT)).status == 413
        assert node.store.kept == []

    def test_a_chunked_body_without_end_is_refused_at_the_limit(self, node: Node) -> None:
        client = node.client()
        headers = "".join(f"{name}: {value}\r\n" for name, value in BINARY.items())
        client.send(
            b"POST /default/main HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
            + headers.encode()
            + b"\r\n"
        )
        for _ in range(LIMIT // 1_000 + 1):
            client.send(b"3e8\r\n" + b"x" * 1_000 + b"\r\n")
        answer = client.answer()
        assert answer.status == 413
        assert answer.headers["connection"] == "close"
        client.send(b"0\r\n\r\n")
        assert client.closed()
        client.close()

    def test_a_batch_may_be_four_times_as_large(self, node: Node) -> None:
        event = {**LEAST, "datacontenttype": "text/plain", "data": "x" * (LIMIT // 2)}
        body = json.dumps([event] * 7).encode()
        assert 3 * LIMIT < len(body) < 4 * LIMIT
        assert node.ask(request(headers=BATCHED, body=body)).status == 202
        assert len(node.store.kept) == 7
        body = json.dumps([event] * 8).encode()
        assert len(body) > 4 * LIMIT
        assert node.ask(request(headers=BATCHED, body=body)).status == 413
        assert len(node.store.kept) == 7

    def test_each_event_of_a_batch_is_held_to_the_limit(self, node: Node) -> None:
        large = {**LEAST, "datacontenttype": "text/plain", "data": "x" * LIMIT}
        body = json.dumps([LEAST, large]).encode()
        answer = node.ask(request(headers=BATCHED, body=body))
        assert answer.status == 413
        assert "event [1] of the batch" in answer.error
        assert node.store.kept == []

    def test_a_broker_may_take_less(self, node: Node) -> None:
        node.store.failure = EventTooLarge("the topic takes 1 MiB")
        answer = node.ask(request())
        assert (answer.status, answer.error) == (413, "the topic takes 1 MiB")


class TestBrokerFails:
    @pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (2.1, "3")])
    def test_a_full_broker_says_when_to_come_again(
        self, node: Node, seconds: float, header: str
    ) -> None:
        node.store.failure = BrokerFull("the backlog limit is reached", retry_after=seconds)
        answer = node.ask(request())
        assert (answer.status, answer.error) == (429, "the backlog limit is reached")
        assert answer.headers["retry-after"] == header

    def test_failed_storage_is_503(self, node: Node) -> None:
        node.store.failure = StorageError("no space left on device")
        answer = node.ask(request())
        assert (answer.status, answer.error) == (503, "no space left on device")

    def test_an_unforeseen_error_is_logged_and_the_node_goes_on(
        self, node: Node, caplog: pytest.LogCaptureFixture
    ) -> None:
        node.store.failure = RuntimeError("secret detail")
        client = node.client()
        with caplog.at_level(logging.ERROR):
            client.send(request())
            answer = client.answer()
        assert answer.status == 500
        assert "secret" not in answer.error
        assert "secret detail" in caplog.text
        assert "Traceback" in caplog.text
        node.store.failure = None
        client.send(request())
        assert client.answer().status == 202
        client.close()


class TestConnections:
    def test_a_client_that_leaves_within_its_body_leaves_nothing(self, node: Node) -> None:
        for at in (10, 150, 300):
            client = node.client()
            client.send(request(body=b"x" * 1_000)[:at])
            client.close()
        assert node.ask(request()).status == 202
        assert len(node.store.kept) == 1

    def test_a_body_that_stops_coming_is_given_up(self, start: Callable[..., Node]) -> None:
        node = start(body_timeout=0.05)
        client = node.client()
        client.send(request(body=b"x" * 1_000)[:-500])
        answer = client.answer()
        assert answer.status == 408
        assert answer.error
        assert client.closed()
        client.close()
        assert node.store.kept == []

    def test_a_draining_node_refuses_and_closes_but_ends_what_it_began(self, node: Node) -> None:
        node.store.hold = True
        begun = node.client()
        begun.send(request())
        assert node.store.published.wait(20)
        node.ingress.draining = True
        client = node.client()
        client.send(request())
        answer = client.answer()
        assert answer.status == 503
        assert answer.headers["connection"] == "close"
        assert answer.error
        assert client.closed()
        client.close()
        node.store.release()
        assert begun.answer().status == 202
        begun.close()


def exchange(scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the app sends for what it receives, without a server."""
    incoming = list(messages)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Ingress(lambda namespace, name: None)(scope, receive, send))
    return sent


class TestOtherScopes:
    def test_lifespan_is_answered(self) -> None:
        assert exchange(
            {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
        ) == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]

    def test_a_web_socket_is_refused(self) -> None:
        sent = exchange({"type": "websocket"}, {"type": "websocket.connect"})
        assert [message["type"] for message in sent] == ["websocket.close"]

    def test_any_other_protocol_is_an_error_of_the_server_s_making(self) -> None:
        with pytest.raises(ValueError, match="speaks HTTP"):
            exchange({"type": "carrier-pigeon"})


methods = st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "DELETE", "PATCH", "LOCK"])
segments = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#?"))
paths = st.one_of(
    st.just("/default/main"),
    st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(parts)),
)
header_names = st.one_of(
    st.sampled_from([*BINARY, "content-type", "ce-time", "ce-data", "ce-", "traceparent"]),
    st.from_regex(r"ce-[!#$%&'*+.^_`|~0-9A-Za-z-]{0,8}", fullmatch=True),
    st.from_regex(r"x[!#$%&'*+.^_`|~0-9A-Za-z-]{0,8}", fullmatch=True),
)
header_values = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")),
    st.sampled_from(["1.0", "%ff", '"', *STRUCTURED.values(), *BATCHED.values()]),
)
bodies = st.binary(max_size=50) | st.sampled_from(
    [b"{}", b"[]", b"[{}]", json.dumps(LEAST).encode()]
)


class TestArbitraryRequests:
    """Whatever is sent, the answer is 202 or 4xx with a JSON error, and the next event is taken."""

    @settings(deadline=None)
    @given(
        method=methods,
        path=paths,
        complete=st.booleans(),
        headers=st.dictionaries(header_names, header_values, max_size=6),
        body=bodies,
    )
    def test_well_formed_http(
        self,
        served: Node,
        method: str,
        path: str,
        complete: bool,
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        if complete:
            headers = {**BINARY, **headers}
        lines = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        client = served.client()
        try:
            client.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            answer = client.answer()
            if answer.headers.get("content-type", "").startswith("text/plain"):
                # uvicorn's own answer to a target it can't parse, before any app is asked.
                assert (answer.status, answer.body) == (400, b"Invalid HTTP request received.")
            elif answer.status != 202:
                assert 400 <= answer.status < 500
                assert answer.error
        finally:
            client.close()
        assert served.ask(request()).status == 202

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_bytes_that_are_no_http(self, served: Node, raw: bytes) -> None:
        client = served.client()
        client.send(raw)
        client.close()
        assert served.ask(request()).status == 202
