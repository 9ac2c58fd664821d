"""An HTTP subscriber: how an event reaches it, and what each of its answers means."""

import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal

import pytest
import uvicorn
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from waiting import PATIENCE, until

from eventing.event import Event
from eventing.http_encoding import (
    decode_http,
    encode_http_batch,
    encode_http_binary,
    encode_http_structured,
)
from functions.base import Call, Response
from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.exchange import Answer
from functions.http.target import HttpTarget, read_answer

Run = Callable[[Coroutine[Any, Any, None]], None]
Headers = list[tuple[bytes, bytes]]

EVENT = Event(
    {
        "specversion": "1.0",
        "id": "1",
        "source": "/tests",
        "type": "com.example.asked",
        "subject": "a ü%",
        "datacontenttype": "application/json",
    },
    b'{"n":1}',
)
REPLY = Event(
    {
        "specversion": "1.0",
        "id": "2",
        "source": "/subscriber",
        "type": "com.example.answered",
        "datacontenttype": "text/plain",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    },
    b"hello",
)
NOW = 1_500_000_000.0


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@dataclass
class Subscriber:
    """A uvicorn server in a thread that gives `answer` to everyone, or none while it is None."""

    listener: socket.socket
    answer: tuple[int, Headers, bytes] | None = (202, [], b"")
    requests: list[tuple[str, Headers, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            http="httptools",
            loop="asyncio",
            lifespan="off",
            log_level="error",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self.listener],), daemon=True
        )
        self._thread.start()
        wait_until(lambda: self._server.started)

    @property
    def address(self) -> Address:
        port = self.listener.getsockname()[1]
        return Address.parse(f"http://127.0.0.1:{port}/hook?a=b")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        path = f"{scope['path']}?{scope['query_string'].decode()}"
        self.requests.append((path, scope["headers"], body))
        if self.answer is None:
            await receive()
            return
        status, headers, body = self.answer
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def server() -> Iterator[Subscriber]:
    server = Subscriber(socket.create_server(("127.0.0.1", 0)))
    yield server
    server.stop()


@pytest.fixture
def subscriber(server: Subscriber) -> Subscriber:
    server.answer = (202, [], b"")
    server.requests.clear()
    return server


def respond(
    subscriber: Subscriber,
    *,
    format: Literal["binary", "json"] | None = None,
    event: Event = EVENT,
    timeout: float = 30.0,
) -> Response:
    """The response to one call of a target at `subscriber`."""
    responses: list[Response] = []

    async def main() -> None:
        client = HttpClient()
        target = HttpTarget(subscriber.address, client=client, format=format, timeout=timeout)
        target.submit(Call(event, 1, "trigger"), responses.append)
        await until(lambda: bool(responses))
        await client.close()

    uvloop.run(main())
    assert len(responses) == 1
    return responses[0]


def respond_to_silence(
    subscriber: Subscriber, *, timeout: float, call_timeout: float | None
) -> Response:
    """The response to a call that is never answered, on a connection that was used before: the
    time to connect is not part of it."""
    responses: list[Response] = []

    async def main() -> None:
        client = HttpClient()
        target = HttpTarget(subscriber.address, client=client, timeout=timeout)
        target.submit(Call(EVENT, 1, "trigger", PATIENCE), responses.append)
        await until(lambda: bool(responses))
        subscriber.answer = None
        target.submit(Call(EVENT, 1, "trigger", call_timeout), responses.append)
        await until(lambda: len(responses) == 2)
        # Else it could come in among the requests of the next test.
        await until(lambda: len(subscriber.requests) == 2)
        await client.close()

    uvloop.run(main())
    assert [response.status for response in responses] == [202, 0]
    return responses[1]


# The request


@pytest.mark.parametrize("format", [None, "binary"])
def test_an_event_goes_out_in_binary_mode(
    subscriber: Subscriber, format: Literal["binary"] | None
) -> None:
    respond(subscriber, format=format)
    ((path, headers, body),) = subscriber.requests
    assert path == "/hook?a=b"
    assert body == EVENT.data
    assert dict(headers) == {
        b"host": f"127.0.0.1:{subscriber.address.port}".encode(),
        b"ce-specversion": b"1.0",
        b"ce-id": b"1",
        b"ce-source": b"/tests",
        b"ce-type": b"com.example.asked",
        b"ce-subject": b"a%20%C3%BC%25",
        b"content-type": b"application/json",
        b"content-length": b"7",
        b"prefer": b"reply",
    }


def test_the_format_json_sends_a_structured_event(subscriber: Subscriber) -> None:
    respond(subscriber, format="json")
    ((_, headers, body),) = subscriber.requests
    assert dict(headers)[b"content-type"] == b"application/cloudevents+json"
    assert dict(headers)[b"prefer"] == b"reply"
    assert not any(name.startswith(b"ce-") for name, _ in headers)
    assert body == encode_http_structured(EVENT)[1]


def test_an_attribute_cannot_bring_a_header_of_its_own(subscriber: Subscriber) -> None:
    sly = Event(EVENT.attributes | {"subject": "a\r\nx-injected: b\r\n\r\nPOST / HTTP/1.1"})
    respond(subscriber, event=sly)
    ((_, headers, _),) = subscriber.requests
    assert b"x-injected" not in dict(headers)
    assert dict(headers)[b"ce-subject"].startswith(b"a%0D%0Ax-injected:%20b")


@given(st.text(st.characters(codec="utf-8")))
def test_no_attribute_value_breaks_a_line(value: str) -> None:
    headers, _ = encode_http_binary(Event(EVENT.attributes | {"x": value}))
    assert b"\r" not in dict(headers)[b"ce-x"]
    assert b"\n" not in dict(headers)[b"ce-x"]


@pytest.mark.parametrize("format", ["binary", "json"])
def test_the_events_trace_is_also_sent_as_http_headers(
    subscriber: Subscriber, format: Literal["binary", "json"]
) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = Event(EVENT.attributes | {"traceparent": parent, "tracestate": "a=1,b=2 c"})
    respond(subscriber, event=traced, format=format)
    ((_, headers, body),) = subscriber.requests
    assert dict(headers)[b"traceparent"] == parent.encode()
    assert dict(headers)[b"tracestate"] == b"a=1,b=2 c"
    assert decode_http(headers, body) == [traced]


def test_a_trace_that_is_invalid_is_no_http_header(subscriber: Subscriber) -> None:
    traced = Event(EVENT.attributes | {"traceparent": "mine", "tracestate": "a=1"})
    respond(subscriber, event=traced)
    ((_, headers, _),) = subscriber.requests
    assert not dict(headers).keys() & {b"traceparent", b"tracestate"}
    assert dict(headers)[b"ce-traceparent"] == b"mine"


@pytest.mark.parametrize("format", ["binary", "json"])
@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"subject": "\ud800"}, "'subject' holds a lone surrogate"),
        ({"x\udfff": "1"}, "attribute name"),
        ({"a: b\r\nc": "1"}, "attribute name"),
        ({"": "1"}, "attribute name"),
        ({"data": "1"}, "'data'"),
        ({"count": 5}, "'count' is of type int"),
        ({"id": ""}, "'id' is empty"),
        ({"time": "now"}, "'time' is 'now'"),
        ({"datacontenttype": "a\r\nb"}, "'datacontenttype'"),
    ],
)
def test_an_event_that_is_none_is_a_500_with_the_reason_and_is_not_sent(
    subscriber: Subscriber,
    format: Literal["binary", "json"],
    attributes: dict[str, Any],
    reason: str,
) -> None:
    response = respond(subscriber, event=Event(EVENT.attributes | attributes), format=format)
    assert response.status == 500
    assert response.reason.startswith("the event can't be sent: ")
    assert reason in response.reason
    assert response.reason.isprintable()
    assert subscriber.requests == []


# Its answer


def test_a_202_is_done(subscriber: Subscriber) -> None:
    assert respond(subscriber) == Response(202)


@pytest.mark.parametrize(
    "encode", [encode_http_binary, encode_http_structured], ids=["binary", "structured"]
)
def test_an_event_in_a_200_is_a_reply_as_it_came(
    subscriber: Subscriber, encode: Callable[[Event], tuple[Headers, bytes]]
) -> None:
    headers, body = encode(REPLY)
    subscriber.answer = (200, headers, body)
    assert respond(subscriber) == Response(200, (REPLY,))


def test_a_batch_in_a_200_is_several_replies(subscriber: Subscriber) -> None:
    headers, body = encode_http_batch([REPLY, EVENT])
    subscriber.answer = (200, headers, body)
    assert respond(subscriber) == Response(200, (REPLY, EVENT))


@pytest.mark.parametrize("status", [201, 202, 204, 299])
def test_an_event_in_any_other_2xx_is_no_reply(status: int) -> None:
    headers, body = encode_http_binary(REPLY)
    assert read_answer(Answer(status, headers, body), NOW) == Response(status)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([], b""),
        ([(b"content-type", b"application/json")], b'{"id": "1"}'),
        ([(b"content-type", b"text/html")], b"<p>thanks"),
        ([(b"content-encoding", b"gzip")], b"\x1f\x8b"),
    ],
)
def test_a_200_that_carries_no_event_is_done(headers: Headers, body: bytes) -> None:
    assert read_answer(Answer(200, headers, body), NOW) == Response(200)


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ([(b"ce-id", b"1"), (b"ce-type", b"t"), (b"ce-source", b"s")], b"", "ce-specversion"),
        ([(b"ce-specversion", b"1.0"), (b"ce-type", b"t"), (b"ce-source", b"s")], b"", "ce-id"),
        ([(b"ce-specversion", b"9"), *encode_http_binary(REPLY)[0][1:]], b"", "specversion"),
        ([(b"content-type", b"application/cloudevents+json")], b"{", ""),
        ([(b"content-type", b"application/cloudevents+json")], b"", ""),
        ([(b"content-type", b"application/cloudevents-batch+json")], b"{}", ""),
        ([(b"content-type", b"application/cloudevents+avro")], b"", "avro"),
        ([*encode_http_binary(REPLY)[0], (b"content-encoding", b"gzip")], b"\x1f", "gzip"),
    ],
)
def test_a_malformed_event_in_a_200_fails_the_attempt_with_502(
    headers: Headers, body: bytes, reason: str
) -> None:
    response = read_answer(Answer(200, headers, body), NOW)
    assert response.status == 502
    assert response.reason.startswith("malformed reply: ")
    assert reason in response.reason
    assert response.replies == ()
    assert response.body == body


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (101, "answered 101 Switching Protocols"),
        (302, "answered 302 Found (redirects are not followed)"),
        (404, "answered 404 Not Found"),
        (499, "answered 499"),
        (503, "answered 503 Service Unavailable"),
    ],
)
def test_a_refusal_keeps_its_status_and_the_start_of_its_body(status: int, reason: str) -> None:
    response = read_answer(Answer(status, [], b"why" * 1000), NOW)
    assert response == Response(status, body=(b"why" * 1000)[:1024], reason=reason)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0),
        (b"120", 120.0),
        (b" 7 ", 7.0),
        (formatdate(NOW + 90, usegmt=True).encode(), 90.0),
        (b"Friday, 14-Jul-17 02:41:30 GMT", 90.0),
        (b"Fri Jul 14 02:41:30 2017", 90.0),
        (formatdate(NOW - 90, usegmt=True).encode(), 0.0),
        (b"", None),
        (b"-1", None),
        (b"1.5", None),
        (b"soon", None),
        ("٣".encode(), None),
        (b"9" * 400, None),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", None),
        (b"Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        (b"Fri, 99 Jul 2017 02:41:30 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_is_read_in_both_of_its_forms(
    status: int, value: bytes, seconds: float | None
) -> None:
    answer = Answer(status, [(b"retry-after", value)])
    assert read_answer(answer, NOW).retry_after == seconds


def test_a_retry_after_counts_with_429_and_503_alone() -> None:
    answer = Answer(500, [(b"retry-after", b"5")])
    assert read_answer(answer, NOW).retry_after is None


@given(st.binary(max_size=60))
def test_no_retry_after_is_too_strange_to_read(value: bytes) -> None:
    seconds = read_answer(Answer(429, [(b"retry-after", value)]), NOW).retry_after
    assert seconds is None or seconds >= 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"ce-specversion", b"ce-id", b"ce-x", b"content-type", b"ce-"]),
            st.sampled_from([b"1.0", b"application/cloudevents+json", b"%", b'"'])
            | st.binary(max_size=9),
        ),
        max_size=6,
    ),
    st.sampled_from([b"{}", b"[]", b'{"specversion": "1.0"}']) | st.binary(max_size=40),
)
def test_no_200_is_too_strange_to_read(headers: Headers, body: bytes) -> None:
    assert read_answer(Answer(200, headers, body), NOW).status in (200, 502)


def test_no_answer_in_the_targets_time_is_status_0(subscriber: Subscriber) -> None:
    response = respond_to_silence(subscriber, timeout=0.1, call_timeout=None)
    assert response == Response(0, reason="no answer within 0.1 s")


def test_a_calls_own_timeout_counts_before_the_targets(subscriber: Subscriber) -> None:
    response = respond_to_silence(subscriber, timeout=30, call_timeout=0.1)
    assert response == Response(0, reason="no answer within 0.1 s")


def test_no_connection_is_status_0_with_the_reason() -> None:
    assert read_answer(Answer(0, reason="why not"), NOW) == Response(0, reason="why not")
