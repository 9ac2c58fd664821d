"""eventing.testing.run and event: a handler called in the test's process as a worker would."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventing import CloudEvent, Context, Reject, Retry, function
from eventing.errors import InvalidEvent, UserError
from eventing.testing import event, run


@dataclass
class Order:
    id: int
    total: float = 0.0


@function
def total(order: Order) -> dict[str, float]:
    return {"total": order.total}


def test_data_is_bound_by_annotation_and_the_return_value_becomes_an_event() -> None:
    reply = run(total, {"id": 7, "total": 12.5}).reply
    assert (reply.get_type(), reply.get_source()) == ("total.reply", "/functions/default/total")
    assert reply.get_data() == {"total": 12.5}


def test_data_that_does_not_fit_is_rejected_with_the_reason() -> None:
    result = run(total, {"id": "no number"})
    assert (result.status, result.rejected, result.ok) == (400, True, False)
    assert "does not make a Order: id" in result.reason


def test_the_context_tells_what_the_test_says() -> None:
    seen = []

    @function(timeout=60)
    def look(event: CloudEvent, ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.trigger, ctx.namespace, ctx.function, ctx.remaining))

    assert run(look, event("t"), attempt=3, trigger="shop/charge", namespace="shop").ok
    assert run(look, event("t"), timeout=5).ok
    (attempt, trigger, namespace, name, remaining), (*_, shorter) = seen
    assert (attempt, trigger, namespace, name) == (3, "shop/charge", "shop", "look")
    assert 50 < remaining <= 60
    assert shorter <= 5


def test_an_async_handler_and_an_async_generator_are_awaited() -> None:
    @function
    async def double(data: dict) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"n": data["n"] * 2}

    @function
    async def count(event: CloudEvent, ctx: Context) -> AsyncIterator[CloudEvent]:
        for n in range(3):
            yield ctx.event("counted", {"n": n})

    assert run(double, {"n": 4}).reply.get_data() == {"n": 8}
    assert [reply.get_data()["n"] for reply in run(count, event("t")).replies] == [0, 1, 2]


def test_a_generator_replies_with_each_of_its_items() -> None:
    @function
    def count(event: CloudEvent) -> Iterator[dict[str, int]]:
        yield from ({"n": n} for n in range(2))

    result = run(count, event("t"))
    assert [reply.get_data() for reply in result.replies] == [{"n": 0}, {"n": 1}]
    with pytest.raises(AssertionError, match=r"one reply expected, not 2 \(count.reply, count"):
        _ = result.reply


def test_retry_tells_its_seconds() -> None:
    @function
    def later(event: CloudEvent) -> None:
        raise Retry(after=timedelta(seconds=90), reason="the till is down")

    result = run(later, event("t"))
    assert (result.status, result.retry_after, result.reason) == (503, 90, "the till is down")
    assert not result.rejected


def test_reject_is_final() -> None:
    @function
    async def never(event: CloudEvent) -> None:
        raise Reject("no such article")

    result = run(never, event("t"))
    assert (result.rejected, result.reason) == (True, "no such article")
    with pytest.raises(Reject, match="no such article"):
        result.raise_for_error()


def test_any_other_exception_is_a_failed_attempt_and_can_be_raised_as_it_was() -> None:
    @function
    def broken(event: CloudEvent) -> None:
        raise KeyError("total")

    result = run(broken, event("t"))
    assert (result.status, result.reason) == (500, "KeyError: 'total'")
    assert isinstance(result.error, KeyError)
    with pytest.raises(KeyError, match="total"):
        result.raise_for_error()


def test_a_return_value_that_makes_no_event_is_a_failed_attempt() -> None:
    @function
    def odd(event: CloudEvent) -> Any:
        return object()

    result = run(odd, event("t"))
    assert result.status == 500
    assert "the handler's return value makes no event" in result.reason


def test_replies_too_large_for_a_worker_are_too_large_here() -> None:
    @function
    def huge(event: CloudEvent) -> bytes:
        return bytes(65 << 20)

    result = run(huge, event("t"))
    assert result.status == 413
    with pytest.raises(UserError, match="the replies are too large"):
        result.raise_for_error()


def test_what_ends_a_worker_does_not_end_the_test() -> None:
    @function
    def leaves(event: CloudEvent) -> None:
        raise SystemExit(3)

    @function
    async def cancels(event: CloudEvent) -> None:
        raise asyncio.CancelledError

    assert run(leaves, event("t")).reason == "the handler called sys.exit(3)"
    assert "was cancelled by its own code" in run(cancels, event("t")).reason


@pytest.mark.parametrize("raised", [KeyboardInterrupt, pytest.fail.Exception])
def test_what_is_meant_for_the_test_reaches_it(raised: type[BaseException]) -> None:
    @function
    def stopped(event: CloudEvent) -> None:
        raise raised()

    with pytest.raises(raised):
        run(stopped, event("t"))


def test_start_up_hooks_run_once_and_only_where_asked_for() -> None:
    started = []

    @function
    async def ready(event: CloudEvent) -> int:
        return len(started)

    @ready.on_start
    async def load() -> None:
        started.append(asyncio.get_running_loop())

    assert run(ready, event("t")).reply.get_data() == 0
    assert [run(ready, event("t"), start_hooks=True).reply.get_data() for _ in "ab"] == [1, 1]


def test_what_a_hook_opens_lives_on_in_the_handlers_loop() -> None:
    opened = []

    @function
    async def uses(event: CloudEvent) -> bool:
        return opened[0] is asyncio.get_running_loop()

    @uses.on_start
    async def open_it() -> None:
        opened.append(asyncio.get_running_loop())

    assert [run(uses, event("t"), start_hooks=True).reply.get_data() for _ in "ab"] == [True, True]


def test_a_hook_that_fails_fails_the_test_and_is_tried_again() -> None:
    tries = []

    @function
    def needs(event: CloudEvent) -> None: ...

    @needs.on_start
    def load() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise FileNotFoundError("model.onnx")

    with pytest.raises(FileNotFoundError, match=r"model\.onnx"):
        run(needs, event("t"), start_hooks=True)
    assert run(needs, event("t"), start_hooks=True).ok


def test_the_functions_environment_is_set_for_the_call_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIZE", "outside")
    monkeypatch.delenv("COLOUR", raising=False)

    @function(env={"SIZE": "64", "COLOUR": "red"})
    def look(event: CloudEvent) -> list[str]:
        return [os.environ["SIZE"], os.environ["COLOUR"]]

    assert [each.get_data() for each in run(look, event("t")).replies] == ["64", "red"]
    assert (os.environ["SIZE"], os.environ.get("COLOUR")) == ("outside", None)


def test_a_plain_function_is_called_as_yaml_would_have_it() -> None:
    def shout(text: str) -> str:
        return text.upper()

    assert run(shout, "hello").reply.get_data() == "HELLO"


def test_a_handler_that_is_none_is_told_with_its_place() -> None:
    def three(a: CloudEvent, b: int, c: int) -> None: ...

    with pytest.raises(UserError, match=r"test_testing_handlers\.py:\d+: .*takes 3 parameters"):
        run(three, event("t"))


def test_within_an_event_loop_the_remedy_is_told_and_works() -> None:
    @function
    async def fine(event: CloudEvent) -> str:
        return "fine"

    async def test() -> None:
        with pytest.raises(UserError, match=r"await asyncio\.to_thread\(run"):
            run(fine, event("t"))
        result = await asyncio.to_thread(run, fine, event("t"))
        assert result.reply.get_data() == "fine"

    asyncio.run(test())


@pytest.mark.parametrize(
    ("data", "content_type", "seen"),
    [
        ({"a": [1]}, "application/json", {"a": [1]}),
        ([1, 2], "application/json", [1, 2]),
        (Order(1, 2.5), "application/json", {"id": 1, "total": 2.5}),
        ("text", "text/plain; charset=utf-8", "text"),
        (b"\x00\xff", "application/octet-stream", b"\x00\xff"),
        (None, None, None),
    ],
)
def test_an_event_has_its_data_as_a_handler_gets_it(
    data: Any, content_type: str | None, seen: Any
) -> None:
    made = event("t", data)
    assert (made.get_datacontenttype(), made.get_data()) == (content_type, seen)


def test_an_event_has_the_attributes_it_is_given_and_no_others() -> None:
    moment = datetime(2024, 2, 29, 12, tzinfo=UTC)
    made = event(
        "t", "{}", id="1", source="/s", subject="x", datacontenttype="application/json",
        time=moment, retries=3,
    )  # fmt: skip
    assert made.get_attributes() == {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "t",
        "subject": "x",
        "datacontenttype": "application/json",
        "time": moment,
        "retries": "3",
    }
    assert "time" not in event("t").get_attributes()
    assert event("t").get_id() != event("t").get_id()


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"type": ""}, "type"),
        ({"type": "t", "UPPER": "x"}, "'UPPER'"),
        ({"type": "t", "size": 1.5}, "'size' is a float"),
        ({"type": "t", "subject": ""}, "subject"),
        ({"type": "t", "data": object()}, "object"),
        ({"type": "t", "time": "yesterday"}, "time"),
    ],
)
def test_an_event_that_is_none_is_told_why(attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidEvent, match=reason):
        event(**attributes)
