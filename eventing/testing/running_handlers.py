"""Calls one handler in the test's own process, exactly as a worker would."""

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cloudevents.core.v1.event import CloudEvent

from eventing.errors import UserError
from eventing.sdk import hooks
from eventing.sdk.answer import Answer, answer_to_error
from eventing.sdk.cloudevents import to_cloudevent
from eventing.sdk.frames import CallFrame, FrameReader, decode_result
from eventing.sdk.function import Function, plain
from eventing.sdk.handling import AsyncHandling, Identity, SyncHandling, settled
from eventing.testing.making_events import event, to_event


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one call.

    `status`: 200 where the handler returned, 503 for Retry, 400 for Reject and for data that does
    not fit its annotation, 413 where the replies are too large, 500 for any other exception.
    `replies` are the events it answered with, as the next handler would get them. `reason` is one
    line, empty on success; `retry_after` the seconds a Retry asked for; `error` what was raised.
    """

    status: int
    replies: tuple[CloudEvent, ...] = ()
    reason: str = ""
    retry_after: float | None = None
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        return self.status == 200

    @property
    def rejected(self) -> bool:
        """Whether the event would become a dead letter at once, without a retry."""
        return 400 <= self.status < 500

    @property
    def reply(self) -> CloudEvent:
        """The only reply. Raises AssertionError where there is none, or more than one."""
        self.raise_for_error()
        if len(self.replies) != 1:
            types = ", ".join(reply.get_type() for reply in self.replies)
            raise AssertionError(f"one reply expected, not {len(self.replies)} ({types})")
        return self.replies[0]

    def raise_for_error(self) -> "Result":
        """Raise what the handler raised, traceback and all; else return this result."""
        if self.error is not None:
            raise self.error
        if not self.ok:
            raise UserError(self.reason)
        return self


def run(
    handler: Callable[..., Any],
    event_or_data: Any = None,
    *,
    attempt: int = 1,
    trigger: str = "test",
    namespace: str = "default",
    timeout: float | None = None,
    start_hooks: bool = False,
) -> Result:
    """Call a handler once, in this process, as a worker would.

    `handler` is a `@function`, sync or async, or a plain function. It gets `event_or_data` by its
    annotations: a CloudEvent as it is, anything else as the data of an event of type "test". What
    it returns or raises ends up in the Result; no exception of its own gets out, but Ctrl-C and
    pytest's fail and skip. Its `env` is set meanwhile.

    `attempt`, `trigger` and `namespace` are what its Context says; `timeout` (seconds, default the
    function's own) sets the Context's deadline and is not enforced. With `start_hooks` the
    start-up hooks of the function and its module run first, each once in this process; what one
    raises is raised here. Async handlers and hooks share one event loop for the whole process.

    Raises UserError for a handler that is none, InvalidEvent for an event that is none.
    """
    function = handler if isinstance(handler, Function) else plain(handler)
    given = event_or_data if isinstance(event_or_data, CloudEvent) else event("test", event_or_data)
    call = CallFrame(1, to_event(given), attempt, trigger, timeout)
    identity = Identity(function.name, namespace, function.options.timeout)
    with _one_at_a_time, _environment(function.options.env):
        answer = _answer(function, identity, call, start_hooks)
    if answer.error is not None and not isinstance(answer.error, (Exception, SystemExit)):
        raise answer.error
    return _result(answer)


def _answer(
    function: Function[..., Any], identity: Identity, call: CallFrame, start_hooks: bool
) -> Answer:
    if function.sync:
        handling = SyncHandling(function, identity)
        for hook in _hooks_to_run(function) if start_hooks else ():
            hook()
        return handling.run(call)
    return _loop().run(
        _concurrent_answer(AsyncHandling(function, identity), function, call, start_hooks)
    )


async def _concurrent_answer(
    handling: AsyncHandling, function: Function[..., Any], call: CallFrame, start_hooks: bool
) -> Answer:
    for hook in _hooks_to_run(function) if start_hooks else ():
        await settled(hook())
    # A task of its own, as in a worker: a handler that cancels itself fails its attempt alone.
    task = asyncio.ensure_future(handling.run(call))
    await asyncio.wait([task])
    if task.cancelled():
        return answer_to_error(RuntimeError("the handler was cancelled by its own code"))
    return task.result()


def _result(answer: Answer) -> Result:
    """By way of the frame a worker would send, so that what does not fit in one is told here."""
    (frame,) = FrameReader().feed(answer.encode(1))
    _, sent = decode_result(frame, Answer)
    replies = tuple(to_cloudevent(reply) for reply in sent.replies)
    return Result(sent.status, replies, sent.reason, sent.retry_after, answer.error)


_one_at_a_time = threading.RLock()
_started: set[Callable[[], Any]] = set()
_runner: asyncio.Runner | None = None


def _hooks_to_run(function: Function[..., Any]) -> Iterator[Callable[[], Any]]:
    """Each hook once in this process; one that fails is tried again the next time."""
    module = hooks.of_module(function.handler.__module__)
    for hook in (*module.start, *function.hooks.start):
        if hook not in _started:
            yield hook
            _started.add(hook)


def _loop() -> asyncio.Runner:
    """The event loop of all async handlers: what a start-up hook has opened belongs to it."""
    global _runner
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        if _runner is None:
            _runner = asyncio.Runner()
            atexit.register(_runner.close)
        return _runner
    raise UserError(
        "run() waits for an async handler and so can't be called inside an event loop; make the"
        " test a plain `def`, or write `await asyncio.to_thread(run, handler, event)`"
    )


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
