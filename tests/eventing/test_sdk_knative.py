"""Knative's own function shape, both flavours, as func-python would serve it."""

import asyncio

import pytest
from cloudevents.core.v1.event import CloudEvent

from eventing.errors import UserError
from eventing.event import Event
from eventing.sdk.frames import CallFrame
from eventing.sdk.handling import Identity
from eventing.sdk.knative import KnativeHandling

EVENT = Event(
    {
        "specversion": "1.0",
        "id": "1",
        "source": "/grün",
        "type": "t",
        "datacontenttype": "application/json",
        "traceparent": "00-1",
    },
    b'{"a":1}',
)


def run(handle, event=EVENT):
    async def main():
        handling = KnativeHandling(handle, Identity("f"))
        await handling.start()
        answer = await handling.run(CallFrame(1, event, 1, "t", None))
        await handling.stop()
        return answer

    return asyncio.run(main())


def made(**attributes):
    return CloudEvent({"id": "r", "source": "/r", "type": "r", **attributes}, {"b": 2})


def test_a_cloudevent_function_finds_the_event_and_answers_with_one():
    async def handle(scope, receive, send):
        assert scope["event"].get_data() == {"a": 1}
        await send(made())

    (reply,) = run(handle).replies
    assert (reply.attributes["id"], reply.data) == ("r", b'{"b":2}')
    assert reply.attributes["traceparent"] == "00-1"


def test_each_way_of_sending_an_event_is_a_reply():
    async def handle(scope, receive, send):
        await send(made())
        await send.structured(made())
        await send.binary(made(), 201)

    assert len(run(handle).replies) == 3


def test_an_event_sent_with_a_failing_status_fails_the_attempt():
    async def handle(scope, receive, send):
        await send(made(), 500)

    answer = run(handle)
    assert (answer.status, answer.replies, answer.body) == (500, (), b'{"b":2}')


def test_sending_nothing_is_success_without_a_reply():
    async def handle(scope, receive, send): ...

    assert (run(handle).status, run(handle).replies) == (200, ())


def responding(status, headers=(), body=b""):
    async def handle(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body[:1], "more_body": True})
        await send({"type": "http.response.body", "body": body[1:]})

    return handle


def test_an_http_function_finds_the_event_in_binary_mode():
    async def handle(scope, receive, send):
        headers = dict(scope["headers"])
        assert (scope["type"], scope["method"], scope["path"]) == ("http", "POST", "/")
        assert headers[b"ce-id"] == b"1"
        assert headers[b"ce-source"] == b"/gr%C3%BCn"
        assert headers[b"content-type"] == b"application/json"
        assert headers[b"prefer"] == b"reply"
        message = await receive()
        assert (message["body"], message["more_body"]) == (b'{"a":1}', False)
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 204})

    answer = run(handle)
    assert (answer.status, answer.reason) == (204, "")


BINARY = [
    (b"Ce-Id", b"r"),
    (b"ce-source", b"/r%20s"),
    (b"ce-type", b"r"),
    (b"ce-specversion", b"1.0"),
    (b"content-type", b"image/png"),
]


def test_a_binary_response_is_a_reply():
    (reply,) = run(responding(200, BINARY, b"png")).replies
    assert reply.attributes["source"] == "/r s"
    assert reply.attributes["datacontenttype"] == "image/png"
    assert reply.data == b"png"


@pytest.mark.parametrize(
    ("rest", "data"),
    [
        ('"data": {"b": 2}', b'{"b":2}'),
        ('"data_base64": "/w==", "datacontenttype": "image/png"', b"\xff"),
        ('"data": "x", "datacontenttype": "text/plain"', b"x"),
        ('"data": "x"', b'"x"'),
        ('"data": 0', b"0"),
        ('"subject": "s"', None),
    ],
)
def test_a_structured_response_is_a_reply(rest, data):
    body = f'{{"specversion": "1.0", "id": "r", "source": "/r", "type": "r", {rest}}}'
    headers = [(b"content-type", b"application/cloudevents+json; charset=utf-8")]
    (reply,) = run(responding(200, headers, body.encode())).replies
    assert reply.data == data


def test_a_plain_response_and_one_that_is_not_200_are_no_reply():
    assert run(responding(200, [(b"content-type", b"text/plain")], b"ok")).replies == ()
    assert run(responding(202, BINARY, b"png")).replies == ()


def test_a_failing_status_is_the_attempts():
    answer = run(responding(429, [(b"retry-after", b"7")], b"slow down"))
    assert (answer.status, answer.retry_after, answer.body) == (429, 7.0, b"slow down")
    assert run(responding(503, [(b"retry-after", b"soon")])).retry_after is None


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([(b"ce-id", b"r")], b""),
        ([*BINARY[1:]], b""),
        ([(b"content-type", b"application/cloudevents+json")], b"{"),
        ([(b"content-type", b"application/cloudevents+json")], b"[]"),
        ([(b"content-type", b"application/cloudevents+json")], b'{"specversion": "1.0"}'),
    ],
)
def test_a_malformed_reply_fails_the_attempt(headers, body):
    assert run(responding(200, headers, body)).status == 500


def test_what_is_no_message_fails_the_attempt():
    async def handle(scope, receive, send):
        await send("hello")

    assert run(handle).reason.startswith("TypeError: send() takes a CloudEvent")


def test_an_exception_fails_the_attempt():
    async def handle(scope, receive, send):
        raise ValueError("no")

    assert (run(handle).status, run(handle).reason) == (500, "ValueError: no")


def test_an_instance_is_made_started_asked_and_stopped():
    said = []

    class Instance:
        def start(self, config):
            said.append(("start", "PATH" in config))

        async def ready(self):
            said.append("ready")
            return said.count("ready") > 1, "warming up"

        async def handle(self, scope, receive, send):
            said.append("handle")

        async def stop(self):
            said.append("stop")

    def new():
        return Instance()

    assert run(new).status == 200
    assert said == [("start", True), "ready", "ready", "handle", "stop"]


def test_an_instance_without_handle_is_refused():
    def new():
        return object()

    with pytest.raises(UserError, match=r"test_sdk_knative\.py:\d+: new\(\) returned"):
        run(new)


@pytest.mark.parametrize(
    ("said", "alive"), [(True, True), (False, False), ((False, "why"), False), (None, True)]
)
def test_alive_says_a_bool_or_a_pair(said, alive):
    class Instance:
        async def handle(self, scope, receive, send): ...

        def alive(self):
            return said

    def new():
        return Instance()

    async def main():
        handling = KnativeHandling(new, Identity("f"))
        await handling.start()
        assert await handling.alive() is alive

    asyncio.run(main())
