"""eventing: an event-driven serverless runtime.

What a user's code imports: `function` marks a handler, `CloudEvent` is the official SDK's event,
`Context` tells a handler about the attempt, `Retry` and `Reject` are its two special failures,
`on_start` and `on_stop` mark hooks. Names are imported at first use, so `import eventing` is free.
"""

TYPE_CHECKING = False  # type checkers take it for true; typing itself costs milliseconds
if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent as CloudEvent

    from eventing.sdk.context import Context as Context
    from eventing.sdk.failure import Reject as Reject
    from eventing.sdk.failure import Retry as Retry
    from eventing.sdk.function import function as function
    from eventing.sdk.hooks import on_start as on_start
    from eventing.sdk.hooks import on_stop as on_stop

_HOMES = {
    "CloudEvent": "cloudevents.core.v1.event",
    "Context": "eventing.sdk.context",
    "Reject": "eventing.sdk.failure",
    "Retry": "eventing.sdk.failure",
    "function": "eventing.sdk.function",
    "on_start": "eventing.sdk.hooks",
    "on_stop": "eventing.sdk.hooks",
}

__all__ = ["CloudEvent", "Context", "Reject", "Retry", "function", "on_start", "on_stop"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'eventing' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
