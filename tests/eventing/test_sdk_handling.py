"""One attempt in a worker: what the handler gets, and what becomes of what it returns or raises."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pydantic
import pytest

from eventing import CloudEvent, Context, Reject, Retry
from eventing.errors import UserError
from eventing.event import Event
from eventing.sdk.frames import CallFrame
from eventing.sdk.function import function, plain
from eventing.sdk.handling import AsyncHandling, Identity, SyncHandling

IDENTITY = Identity("shop", "team", timeout=30.0)
TRACE = {"traceparent": "00-1-2-01", "tracestate": "a=b"}


def event(data=None, **attributes):
    required = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    return Event(required | attributes, data)


def run(handler, given=None, *, attempt=1, trigger="a-trigger", timeout=None):
    handled = handler if hasattr(handler, "options") else plain(handler, "shop")
    call = CallFrame(1, given or event(), attempt, trigger, timeout)
    if handled.sync:
        return SyncHandling(handled, IDENTITY).run(call)
    return asyncio.run(AsyncHandling(handled, IDENTITY).run(call))


def got(handler, given=None, **options):
    """What the handler has been called with; it keeps it in `handler.got`."""
    answer = run(handler, given, **options)
    assert answer.status == 200, answer.reason
    return answer


@dataclass
class Item:
    name: str
    price: float


@dataclass
class Order:
    id: int
    items: list[Item]


class Model(pydantic.BaseModel):
    id: int
    name: str = "unnamed"


ORDER = b'{"id": 7, "items": [{"name": "a", "price": 1.5}]}'


def keeper(annotation):
    kept: list[Any] = []

    def handler(value):
        kept.append(value)

    if annotation is not None:
        handler.__annotations__["value"] = annotation
    return handler, kept


@pytest.mark.parametrize(
    ("annotation", "data", "expected"),
    [
        (bytes, b"raw", b"raw"),
        (bytes, None, b""),
        (str, "grün".encode(), "grün"),
        (dict, b'{"a": 1}', {"a": 1}),
        (dict[str, Any], b'{"a": 1}', {"a": 1}),
        (dict[str, int], b'{"a": 1}', {"a": 1}),
        (list[int], b"[1, 2]", [1, 2]),
        (Order, ORDER, Order(7, [Item("a", 1.5)])),
        (Model, b'{"id": 7}', Model(id=7)),
        (int | None, b"5", 5),
    ],
)
def test_the_annotation_says_what_the_handler_gets(annotation, data, expected):
    handler, kept = keeper(annotation)
    got(handler, event(data))
    assert kept == [expected]
    assert type(kept[0]) is type(expected)


@pytest.mark.parametrize("annotation", [None, CloudEvent, Any])
def test_without_another_annotation_it_gets_the_event(annotation):
    handler, kept = keeper(annotation)
    got(
        handler, event(b'{"a": 1}', datacontenttype="application/json", time="2024-01-02T03:04:05Z")
    )
    (made,) = kept
    assert isinstance(made, CloudEvent)
    assert made.get_data() == {"a": 1}
    assert made.get_time() == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("annotation", "data", "attributes", "says"),
    [
        (Model, b'{"id": "x"}', {}, "id: Input should be a valid integer"),
        (Order, b'{"id": 1, "items": [{}]}', {}, "items.0.name: Field required"),
        (Model, None, {}, "no data"),
        (Model, b"{", {}, "Invalid JSON"),
        (Model, b"{}", {"datacontenttype": "image/png"}, "image/png"),
        (dict, b"[1]", {}, "a JSON array, and the handler takes an object"),
        (dict, b"nonsense", {}, "not valid JSON"),
        (str, b"\xff", {}, "not UTF-8"),
    ],
)
def test_data_that_does_not_fit_is_rejected_at_once(annotation, data, attributes, says):
    handler, kept = keeper(annotation)
    answer = run(handler, event(data, **attributes))
    assert answer.status == 400
    assert says in answer.reason
    assert answer.body.decode() == answer.reason
    assert kept == []


def test_an_annotation_nothing_can_be_read_into_is_refused():
    handler, _ = keeper(threading_lock := type("Lock", (), {}))
    assert threading_lock
    with pytest.raises(UserError, match=r"test_sdk_handling\.py:\d+: handler 'handler' annotates"):
        run(handler)


def event_first(event: CloudEvent, ctx: Context):
    return [event.get_id(), ctx.attempt]


def context_first(ctx: Context, event):
    return [event.get_id(), ctx.attempt]


def context_alone(ctx: Context):
    return [ctx.attributes["id"], ctx.attempt]


def by_keyword(event, *, ctx: Context):
    return [event.get_id(), ctx.attempt]


def optional_context(event, ctx: Context | None = None, other=5):
    return [event.get_id(), ctx and ctx.attempt]


async def awaited(event, ctx: Context):
    return [event.get_id(), ctx.attempt]


@pytest.mark.parametrize(
    "handler",
    [event_first, context_first, context_alone, by_keyword, optional_context, awaited],
)
def test_a_context_is_given_wherever_it_stands(handler):
    assert [reply.data for reply in run(handler, attempt=3).replies] == [b"1", b"3"]


def test_a_context_knows_the_attempt():
    kept: list[Context] = []

    def handler(ctx: Context):
        kept.append(ctx)

    run(handler, event(**TRACE), attempt=2, trigger="mine")
    run(handler, timeout=5.0)
    first, second = kept
    assert (first.attempt, first.trigger) == (2, "mine")
    assert (first.function, first.namespace) == ("shop", "team")
    assert first.trace == ("00-1-2-01", "a=b")
    assert first.remaining is not None and 25 < first.remaining <= 30
    assert second.remaining is not None and second.remaining <= 5
    assert first.deadline is not None
    assert first.logger.name == "shop"


def test_nothing_returned_is_no_reply():
    answer = run(lambda event: None)
    assert (answer.status, answer.replies) == (200, ())
    assert abs(answer.started - time.monotonic_ns()) < 10e9


def test_an_event_returned_is_the_reply():
    def handler(event):
        return CloudEvent(
            {
                "id": "r",
                "source": "/r",
                "type": "r",
                "time": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))),
                "flag": True,
                "count": 7,
            },
            {"a": 1},
        )

    (reply,) = run(handler).replies
    assert reply == Event(
        {
            "id": "r",
            "source": "/r",
            "type": "r",
            "specversion": "1.0",
            "time": "2024-01-01T00:00:00+01:00",
            "flag": "true",
            "count": "7",
            "datacontenttype": "application/json",
        },
        b'{"a":1}',
    )


@pytest.mark.parametrize(
    ("value", "data", "content_type"),
    [
        ({"a": 1}, b'{"a":1}', "application/json"),
        (5, b"5", "application/json"),
        ("grün", "grün".encode(), "text/plain; charset=utf-8"),
        (b"\xff", b"\xff", "application/octet-stream"),
        (
            Order(1, [Item("a", 2.0)]),
            b'{"id":1,"items":[{"name":"a","price":2.0}]}',
            "application/json",
        ),
        (Model(id=1), b'{"id":1,"name":"unnamed"}', "application/json"),
        ({"model": Model(id=1)}, b'{"model":{"id":1,"name":"unnamed"}}', "application/json"),
        ({"when": datetime(2024, 1, 1)}, b'{"when":"2024-01-01T00:00:00"}', "application/json"),
    ],
)
def test_data_returned_is_wrapped_into_an_event(value, data, content_type):
    (reply,) = run(lambda event: value).replies
    assert reply.data == data
    assert reply.attributes["datacontenttype"] == content_type
    assert reply.attributes["type"] == "shop.reply"
    assert reply.attributes["source"] == "/functions/team/shop"
    assert "time" not in reply.attributes


def test_the_reply_type_is_an_option():
    handled = function(reply_type="com.example.done")(lambda event: "x")
    handled.name = "shop"
    assert run(handled).replies[0].attributes["type"] == "com.example.done"


def several_list(event):
    return ["a", None, "b"]


def several_generator(event):
    yield "a"
    yield "b"


async def several_async(event):
    yield "a"
    yield "b"


@pytest.mark.parametrize("handler", [several_list, several_generator, several_async])
def test_several_items_are_several_replies(handler):
    replies = run(handler).replies
    assert [reply.data for reply in replies] == [b"a", b"b"]
    assert len({reply.attributes["id"] for reply in replies}) == 2


def test_a_repeated_attempt_gives_replies_of_the_same_ids():
    def handler(event, ctx: Context):
        return ["a", "b", ctx.event("made", "c", subject="s"), ctx.event("made", "d")]

    first, second = ([r.attributes["id"] for r in run(handler).replies] for _ in range(2))
    assert first == second
    assert len(set(first)) == 4
    other = [r.attributes["id"] for r in run(handler, event(id="2")).replies]
    assert not set(first) & set(other)


def test_replies_continue_the_trace_unless_they_have_their_own():
    def handler(event, ctx: Context):
        return ["a", ctx.event("made", traceparent="00-own")]

    first, second = run(handler, event(**TRACE)).replies
    assert TRACE.items() <= first.attributes.items()
    assert second.attributes["traceparent"] == "00-own"
    assert "tracestate" not in second.attributes


class Changed(CloudEvent):
    pass


def broken(**attributes):
    made = CloudEvent({"id": "1", "source": "/", "type": "t"})
    made.get_attributes().update(attributes)
    return made


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (broken(id=""), "'id' is missing or empty"),
        (broken(source=None), "'source' is missing or empty"),
        (broken(BadName="x"), "'BadName' is not allowed"),
        (broken(extension=object()), "'extension' is a object"),
        (broken(extension="a\nb"), "control character"),
        (broken(time=datetime(2024, 1, 1)), "without a time zone"),
        (broken(specversion="0.3"), "specversion '0.3'"),
        (object(), "makes no JSON"),
        (asyncio.sleep(0), "await it"),
    ],
)
def test_a_malformed_reply_fails_the_attempt_and_says_why(value, says):
    answer = run(lambda event: value)
    assert answer.status == 500
    assert says in answer.reason
    assert answer.replies == ()


def test_retry_and_reject():
    def handler(event):
        raise {"1": Retry(after=timedelta(minutes=1)), "2": Retry(), "3": Reject("no")}[
            event.get_id()
        ]

    first, second, third = (run(handler, event(id=id)) for id in "123")
    assert (first.status, first.retry_after) == (503, 60.0)
    assert (second.status, second.retry_after) == (503, None)
    assert (third.status, third.reason, third.body) == (400, "no", b"no")


@pytest.mark.parametrize("after", [-1, float("inf"), float("nan")])
def test_a_retry_takes_seconds_from_zero_on(after):
    with pytest.raises(ValueError, match="seconds from 0 on"):
        Retry(after=after)


def test_a_failure_brings_the_tracebacks_end_within_the_limit():
    def deep(n):
        return deep(n - 1) if n else json.loads("[" + "x" * 3000)

    def handler(event):
        deep(40)

    answer = run(handler)
    assert answer.status == 500
    assert answer.reason.startswith("JSONDecodeError: Expecting value")
    text = answer.body.decode()
    assert len(text) <= 1024
    assert text.splitlines()[-1].startswith("json.decoder.JSONDecodeError")
    assert answer.log.startswith("Traceback")


def test_an_exception_that_can_not_be_printed_is_told_by_its_name():
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    def handler(event):
        raise Silent

    answer = run(handler)
    assert (answer.status, answer.reason) == (500, "Silent")


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), MemoryError()])
def test_some_errors_end_the_worker(error):
    def handler(event):
        raise error

    answer = run(handler)
    assert answer.status == 500
    assert answer.ends_worker


def test_an_async_hook_of_a_sync_function_is_refused():
    handled = plain(lambda event: None, "shop")

    @handled.on_start
    async def load(): ...

    with pytest.raises(UserError, match="the hook 'load' is async"):
        SyncHandling(handled, IDENTITY)
