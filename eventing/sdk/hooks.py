"""Start-up and shutdown hooks: what runs once per worker, around its calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from eventing.errors import UserError

Hook = TypeVar("Hook", bound=Callable[[], Any])


@dataclass(slots=True)
class Hooks:
    """The hooks of a function or of a module, in the order they were declared."""

    start: list[Callable[[], Any]] = field(default_factory=list)
    stop: list[Callable[[], Any]] = field(default_factory=list)


_of_modules: dict[str, Hooks] = {}


def on_start(hook: Hook) -> Hook:
    """Run `hook()` once in every worker of this module's functions, before its first call.

    The place to load a model or open a connection: a worker is ready when it has returned, and
    calls wait until then. Where it raises, the worker exits and the failure is told as its reason.
    For one function of several, use `@that_function.on_start`. It may be `async` where the
    function is. Raises UserError where `hook` takes parameters.
    """
    of_module(hook.__module__).start.append(checked(hook, "on_start"))
    return hook


def on_stop(hook: Hook) -> Hook:
    """Run `hook()` once in every worker of this module's functions, after its last call.

    Not run where the worker is killed; given 10 seconds. Otherwise as `on_start`. A worker ends
    without Python's `atexit`: what has to be closed is closed here.
    """
    of_module(hook.__module__).stop.append(checked(hook, "on_stop"))
    return hook


def of_module(name: str) -> Hooks:
    """The module-level hooks declared by the module `name`."""
    return _of_modules.setdefault(name, Hooks())


def checked(hook: Callable[[], Any], kind: str) -> Callable[[], Any]:
    """`hook` itself. Raises UserError, with its place, where it needs arguments."""
    if not callable(hook):
        raise UserError(f"@{kind} marks a function, not {hook!r}: write `@{kind}` without brackets")
    try:
        inspect.signature(hook).bind()
    except TypeError as error:
        code = getattr(hook, "__code__", None)
        where = f"{code.co_filename}:{code.co_firstlineno}: " if code is not None else ""
        raise UserError(
            f"{where}the {kind} hook {getattr(hook, '__name__', hook)!s} is called without"
            f" arguments, but: {error}; keep what it loads in a module variable"
        ) from None
    return hook
