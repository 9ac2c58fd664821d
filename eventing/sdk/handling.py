"""A function made ready to take calls in this process: its hooks, its arguments, its answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Protocol

from eventing.errors import UserError
from eventing.sdk import hooks
from eventing.sdk.answer import Answer, answer_to_error
from eventing.sdk.context import Context
from eventing.sdk.replies import replies_of
from eventing.sdk.signature import read_signature

if TYPE_CHECKING:
    from eventing.event import Event
    from eventing.sdk.frames import CallFrame
    from eventing.sdk.function import Function


@dataclass(frozen=True, slots=True)
class Identity:
    """As what a handler runs: its function's name and namespace, and the timeout in seconds of a
    call that brings none (None = no limit)."""

    name: str
    namespace: str = "default"
    timeout: float | None = None


class Handling(Protocol):
    """Takes a function's calls on an event loop, several at a time."""

    async def start(self) -> None: ...

    async def run(self, call: CallFrame) -> Answer:
        """Never raises but asyncio.CancelledError."""

    async def stop(self) -> None: ...


class _Handling:
    def __init__(self, function: Function[..., Any], identity: Identity) -> None:
        self._handler: Callable[..., Any] = function.handler
        self._signature = read_signature(function.handler, (function.file, function.line))
        self._identity = identity
        self._reply_type = function.options.reply_type or f"{identity.name}.reply"
        module = hooks.of_module(function.handler.__module__)
        self._start_hooks = [*module.start, *function.hooks.start]
        self._stop_hooks = [*function.hooks.stop, *module.stop]

    def _context(self, call: CallFrame, started: int) -> Context | None:
        if not self._signature.wants_context:
            return None
        identity = self._identity
        limits = [each for each in (identity.timeout, call.timeout) if each is not None]
        timeout = min(limits, default=None)
        return Context(
            call.attempt,
            call.trigger,
            identity.name,
            identity.namespace,
            call.event.attributes,
            None if timeout is None else started / 1e9 + timeout,
        )

    def _answer(self, value: object, event: Event, started: int) -> Answer:
        if value is None:
            return Answer(200, started=started)
        identity = self._identity
        replies = replies_of(
            value,
            reply_type=self._reply_type,
            function=identity.name,
            namespace=identity.namespace,
            incoming=event.attributes,
        )
        return Answer(200, replies, started=started)


class SyncHandling(_Handling):
    """Takes calls one after the other, without an event loop."""

    def __init__(self, function: Function[..., Any], identity: Identity) -> None:
        super().__init__(function, identity)
        for hook in (*self._start_hooks, *self._stop_hooks):
            if inspect.iscoroutinefunction(hook):
                code = hook.__code__
                raise UserError(
                    f"{code.co_filename}:{code.co_firstlineno}: the hook {hook.__name__!r} is"
                    f" async and the function {identity.name!r} is not; make both `async def`,"
                    " or the hook a plain `def`"
                )

    def start(self) -> None:
        for hook in self._start_hooks:
            hook()

    def run(self, call: CallFrame) -> Answer:
        """Never raises."""
        signature = self._signature
        started = 0
        try:
            value = signature.read(call.event)
            started = monotonic_ns()
            returned = signature.call(self._handler, value, self._context(call, started))
            return self._answer(returned, call.event, started)
        except BaseException as error:
            return answer_to_error(error, started)

    def stop(self) -> None:
        for hook in self._stop_hooks:
            hook()


class AsyncHandling(_Handling):
    """Takes calls on an event loop, several at a time; hooks may be sync or async."""

    async def start(self) -> None:
        for hook in self._start_hooks:
            await settled(hook())

    async def run(self, call: CallFrame) -> Answer:
        """Never raises but asyncio.CancelledError."""
        signature = self._signature
        started = 0
        try:
            value = signature.read(call.event)
            started = monotonic_ns()
            returned = signature.call(self._handler, value, self._context(call, started))
            if hasattr(returned, "__aiter__"):
                returned = [item async for item in returned]
            else:
                returned = await returned
            return self._answer(returned, call.event, started)
        except BaseException as error:
            from asyncio import CancelledError  # imported long since, where this runs

            if isinstance(error, CancelledError):
                raise
            return answer_to_error(error, started)

    async def stop(self) -> None:
        for hook in self._stop_hooks:
            await settled(hook())


async def settled(value: Any) -> Any:
    """What a hook returned, awaited where that is needed."""
    return await value if inspect.isawaitable(value) else value
