"""`@function`: marks a handler, checks what is written, and stays callable as the handler."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import FrameType
from typing import Any, Generic, ParamSpec, TypeVar, overload

from eventing.errors import UserError
from eventing.sdk.hooks import Hook, Hooks, checked
from eventing.sdk.options import BadOption, Options, name_of, options
from eventing.sdk.signature import check_shape

P = ParamSpec("P")
R = TypeVar("R")


class Function(Generic[P, R]):
    """A handler with its options. Calling it calls the handler, so a unit test needs nothing else.

    `handler` (and `__wrapped__`) is the function that was decorated, `sync` whether it is no
    coroutine function, `file` and `line` where it stands. `on_start` and `on_stop` decorate hooks
    of this function alone; see eventing.on_start and eventing.on_stop.
    """

    def __init__(self, handler: Callable[P, R], given: Options) -> None:
        functools.update_wrapper(self, handler)
        self.handler = handler
        self.options = given
        self.name = given.name
        self.sync = not is_async(handler)
        self.file, self.line = position(handler)
        self.hooks = Hooks()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.handler(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<function {self.name!r} at {self.file}:{self.line}>"

    def on_start(self, hook: Hook) -> Hook:
        """Run `hook()` once in every worker of this function, before its first call."""
        self.hooks.start.append(checked(hook, "on_start"))
        return hook

    def on_stop(self, hook: Hook) -> Hook:
        """Run `hook()` once in every worker of this function, after its last call."""
        self.hooks.stop.append(checked(hook, "on_stop"))
        return hook


@overload
def function(handler: Callable[P, R], /) -> Function[P, R]: ...


@overload
def function(
    *,
    name: str | None = None,
    timeout: float | timedelta | None = None,
    concurrency: int | None = None,
    scale: tuple[int, int] | None = None,
    memory: int | str | None = None,
    env: Mapping[str, str] | None = None,
    reply_type: str | None = None,
) -> Callable[[Callable[P, R]], Function[P, R]]: ...


def function(
    handler: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | timedelta | None = None,
    concurrency: int | None = None,
    scale: tuple[int, int] | None = None,
    memory: int | str | None = None,
    env: Mapping[str, str] | None = None,
    reply_type: str | None = None,
) -> Any:
    """Make a handler, sync or async, a Function: `@function` or `@function(name=…, …)`.

    The handler takes one parameter for the event, and optionally one annotated `Context`. The
    event's annotation says what it gets: `CloudEvent` (or none) the event; `bytes`, `str` or
    `dict` its data; a pydantic model, dataclass or any other type its JSON data, validated.
    An event whose data does not fit can't get better, so it is rejected at once.

    It returns None (no reply), a CloudEvent, data, or a list, tuple or generator of these. Data is
    wrapped into an event of type `reply_type` (default `{name}.reply`), source
    `/functions/{namespace}/{name}` and an id made from the incoming event's source and id, so that
    a repeated attempt gives the same replies (the duplicates are told by `source` + `id`).

    It raises `Retry` to be tried again, `Reject` to give the event up at once; anything else is a
    failed attempt, retried as its trigger says.

    name: default the handler's own name, `make_thumbnail` as "make-thumbnail".
    timeout: seconds (or a timedelta) an attempt may take from the handler's start.
    concurrency: attempts one worker of an async handler serves at a time (0 = 100); a sync
        handler serves one.
    scale: the least and the most workers, most 0 = no limit.
    memory: bytes, or a quantity like "256Mi", a worker may take before it is killed.
    env: variables added to the worker's environment before its start-up hooks.

    What is left out is decided by the function's YAML document or the defaults. Raises UserError
    with file and line for a wrong option or signature.
    """

    def decorate(handler: Callable[..., Any]) -> Function[..., Any]:
        if isinstance(handler, Function):
            raise UserError(f"{handler.file}:{handler.line}: it is a @function already; remove one")
        if not callable(handler) or isinstance(handler, type):
            raise UserError(f"{_user_line()}: @function marks a function, not {handler!r}")
        try:
            given = options(
                name if name is not None else name_of(getattr(handler, "__name__", "")),
                timeout=timeout,
                concurrency=concurrency,
                scale=scale,
                memory=memory,
                env=env,
                reply_type=reply_type,
            )
        except BadOption as error:
            file, line = position(handler)
            raise UserError(f"{file}:{line}: @function({error}") from None
        check_shape(handler, position(handler))
        return Function(handler, given)

    return decorate if handler is None else decorate(handler)


def _user_line() -> str:
    """Where the code that called into this module stands."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def plain(handler: Callable[..., Any], name: str | None = None) -> Function[..., Any]:
    """An undecorated function as `@function` without options would make it. Raises UserError."""
    where = position(handler)
    check_shape(handler, where)
    try:
        return Function(handler, options(name or name_of(getattr(handler, "__name__", ""))))
    except BadOption as error:
        raise UserError(f"{where[0]}:{where[1]}: {error}") from None


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine or an async generator."""
    target = inspect.unwrap(handler)
    if not inspect.isroutine(target):
        target = getattr(target, "__call__", target)  # noqa: B004
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in (handler, target, getattr(target, "func", None))
    )


def position(handler: Callable[..., Any]) -> tuple[str, int]:
    """File and line of a handler, as well as they are known."""
    target = inspect.unwrap(handler)
    code = getattr(target, "__code__", None)
    if code is None:
        code = getattr(getattr(type(target), "__call__", None), "__code__", None)  # noqa: B004
    return (code.co_filename, code.co_firstlineno) if code is not None else ("<unknown>", 0)
