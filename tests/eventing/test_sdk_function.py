"""`@function`: what may be written, what is refused, and that a handler stays a handler."""

import inspect
import subprocess
import sys
from datetime import timedelta

import pytest

import eventing
from eventing import CloudEvent, Context, function, on_start
from eventing.errors import UserError
from eventing.sdk.function import Function, plain

HERE = __file__


@function
def make_thumbnail(event: CloudEvent, size: int = 3) -> int:
    """Make it small."""
    return size


def test_a_handler_is_called_as_if_it_were_undecorated():
    event = CloudEvent({"source": "/", "type": "t"})
    assert make_thumbnail(event) == 3
    assert make_thumbnail(event, size=5) == 5


def test_a_handler_keeps_what_it_is():
    assert isinstance(make_thumbnail, Function)
    assert make_thumbnail.__name__ == "make_thumbnail"
    assert make_thumbnail.__doc__ == "Make it small."
    assert make_thumbnail.__wrapped__ is make_thumbnail.handler
    assert list(inspect.signature(make_thumbnail).parameters) == ["event", "size"]
    assert make_thumbnail.sync
    assert make_thumbnail.file == HERE
    assert make_thumbnail.line == inspect.getsourcelines(make_thumbnail.handler)[1]


def test_the_name_is_the_handlers_own_in_the_form_of_a_resource():
    assert make_thumbnail.name == "make-thumbnail"

    @function
    def _Private2(event): ...

    assert _Private2.name == "private2"


def test_coroutine_functions_and_async_generators_are_async():
    @function
    async def one(event): ...

    @function
    async def many(event):
        yield event

    class Callable:
        async def __call__(self, event): ...

    assert not one.sync
    assert not many.sync
    assert not plain(Callable(), "callable").sync


def test_options_are_kept_in_their_units():
    @function(
        name="a",
        timeout=timedelta(minutes=2),
        concurrency=0,
        scale=(1, 0),
        memory="1.5Gi",
        env={"KEY": "value"},
        reply_type="com.example.done",
    )
    async def handler(event): ...

    options = handler.options
    assert (options.name, options.timeout, options.concurrency) == ("a", 120.0, 0)
    assert (options.scale, options.memory) == ((1, 0), 3 << 29)
    assert (options.env, options.reply_type) == ({"KEY": "value"}, "com.example.done")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", "Not_Allowed"),
        ("name", ""),
        ("name", "-a"),
        ("name", "a" * 64),
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", float("nan")),
        ("timeout", True),
        ("timeout", "PT1S"),
        ("concurrency", -1),
        ("concurrency", 1.5),
        ("scale", 3),
        ("scale", (2, 1)),
        ("scale", (-1, 1)),
        ("memory", "lots"),
        ("memory", 5),
        ("memory", True),
        ("env", ["A=b"]),
        ("env", {"A=": "b"}),
        ("env", {"A": 1}),
        ("reply_type", ""),
    ],
)
def test_a_wrong_option_is_refused_with_its_place(option, value):
    with pytest.raises(UserError) as refused:

        @function(**{option: value})
        def handler(event): ...

    assert str(refused.value).startswith(f"{HERE}:")
    assert option in str(refused.value)


def none(): ...
def three(a, b, c): ...
def variadic(*events): ...


@pytest.mark.parametrize("handler", [none, three, variadic])
def test_a_wrong_signature_is_refused_with_its_place_and_a_remedy(handler):
    with pytest.raises(UserError) as refused:
        function(handler)
    line = handler.__code__.co_firstlineno
    assert str(refused.value).startswith(f"{HERE}:{line}: handler '{handler.__name__}' takes")
    assert "def handler(event: CloudEvent, ctx: Context)" in str(refused.value)


def test_what_is_no_function_is_refused():
    for wrong in (CloudEvent, 5, make_thumbnail):
        with pytest.raises(UserError, match=f"{HERE}:"):
            function(wrong)


def test_a_hook_takes_no_arguments():
    with pytest.raises(UserError, match=rf"{HERE}:\d+: the on_start hook load"):

        @on_start
        def load(context): ...

    with pytest.raises(UserError, match="without brackets"):
        make_thumbnail.on_stop("load")


def test_a_hook_stays_what_it_is():
    def load(): ...

    assert make_thumbnail.on_start(load) is load
    assert make_thumbnail.hooks.start == [load]


def test_every_public_name_is_there():
    assert set(eventing.__all__) <= set(dir(eventing))
    for name in eventing.__all__:
        assert getattr(eventing, name) is not None
    with pytest.raises(AttributeError, match="no_such"):
        eventing.no_such  # noqa: B018


def test_importing_eventing_alone_imports_next_to_nothing():
    code = (
        "import sys; before = set(sys.modules); import eventing; print(*set(sys.modules) - before)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [name for name in out.stdout.split() if name.split(".")[0] != "eventing"] == []


def test_a_context_can_be_made_for_a_unit_test():
    context = Context()
    assert (context.attempt, context.remaining, context.deadline) == (1, None, None)
    assert context.trace == ("", "")
    assert Context(attributes={"traceparent": "00-a"}).trace.traceparent == "00-a"
    timed = Context(expires=0.0)
    assert timed.remaining == 0.0
    assert timed.deadline is not None
    assert timed.deadline.tzinfo is not None
