"""From a handler's signature to the arguments it is called with."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.v1.event import CloudEvent

from eventing.errors import UserError
from eventing.event import Event
from eventing.sdk.cloudevents import is_json, to_cloudevent
from eventing.sdk.context import Context

if TYPE_CHECKING:
    from collections.abc import Iterable

Read = Callable[[Event], Any]
"""From an event to the argument made of it. Raises BadData."""

_REMEDY = "write `def handler(event: CloudEvent)` or `def handler(event: CloudEvent, ctx: Context)`"


class BadData(ValueError):
    """The event's data is not what the handler's annotation asks for; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """How to call a handler: `call(handler, read(event), context)`."""

    read: Read
    call: Callable[[Callable[..., Any], Any, Context | None], Any]
    wants_context: bool


def check_shape(handler: Callable[..., Any], where: tuple[str, int]) -> None:
    """What can be told while annotations may not yet resolve. Raises UserError with file:line."""
    required = list(_required(handler, where))
    if not 1 <= len(required) <= 2:
        count = len(required)
        what = "takes no parameter" if count == 0 else f"takes {count} parameters"
        names = f" ({', '.join(p.name for p in required)})" if required else ""
        raise UserError(f"{where[0]}:{where[1]}: {_name(handler)} {what}{names}; {_REMEDY}")


def read_signature(handler: Callable[..., Any], where: tuple[str, int]) -> Signature:
    """How to call `handler`, its annotations resolved. Raises UserError with file:line."""
    check_shape(handler, where)
    parameters = list(_required(handler, where))
    hints = _hints(handler, where)
    contexts = [p for p in parameters if _is_context(hints.get(p.name))]
    events = [p for p in parameters if p not in contexts]
    if len(events) > 1 or len(contexts) > 1:
        raise UserError(
            f"{where[0]}:{where[1]}: {_name(handler)} has two parameters"
            f" ({', '.join(p.name for p in parameters)}), so one of them has to be annotated"
            f" `Context`; {_REMEDY}"
        )
    read: Read = _nothing
    if events:
        annotation = hints.get(events[0].name, CloudEvent)
        read = _reader(annotation, f"{where[0]}:{where[1]}: {_name(handler)}")
    return Signature(read, _caller(parameters, contexts), bool(contexts))


def _caller(
    parameters: list[inspect.Parameter], contexts: list[inspect.Parameter]
) -> Callable[[Callable[..., Any], Any, Context | None], Any]:
    if any(p.kind is p.KEYWORD_ONLY for p in parameters):
        by_position = [p in contexts for p in parameters if p.kind is not p.KEYWORD_ONLY]
        by_name = {p.name: p in contexts for p in parameters if p.kind is p.KEYWORD_ONLY}

        def call(handler: Callable[..., Any], value: Any, context: Context | None) -> Any:
            return handler(
                *(context if is_context else value for is_context in by_position),
                **{n: context if is_context else value for n, is_context in by_name.items()},
            )

        return call
    if not contexts:
        return lambda handler, value, context: handler(value)
    if len(parameters) == 1:
        return lambda handler, value, context: handler(context)
    if parameters[0] in contexts:
        return lambda handler, value, context: handler(context, value)
    return lambda handler, value, context: handler(value, context)


def _required(handler: Callable[..., Any], where: tuple[str, int]) -> Iterable[inspect.Parameter]:
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        raise UserError(
            f"{where[0]}:{where[1]}: {_name(handler)} has no signature to read; {_REMEDY}"
        ) from None
    for parameter in signature.parameters.values():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        wanted = parameter.default is parameter.empty or _looks_like_context(parameter)
        if wanted and not variadic:
            yield parameter


def _looks_like_context(parameter: inspect.Parameter) -> bool:
    """An optional `ctx: Context | None = None` is given one all the same."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        words = annotation.replace(".", " ").replace("|", " ").replace("[", " ").replace("]", " ")
        return "Context" in words.split()
    return _is_context(annotation)


def _is_context(annotation: object) -> bool:
    return annotation is Context or Context in typing.get_args(annotation)


def _hints(handler: Callable[..., Any], where: tuple[str, int]) -> dict[str, Any]:
    target: Any = inspect.unwrap(handler)
    if not inspect.isroutine(target) and not hasattr(target, "func"):
        target = type(target).__call__
    target = getattr(target, "func", target)
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError as error:
        raise UserError(
            f"{where[0]}:{where[1]}: {_name(handler)} has an annotation that names {error.name!r},"
            " which the module does not have when it runs; import it outside `if TYPE_CHECKING:`"
        ) from None
    except Exception as error:
        raise UserError(
            f"{where[0]}:{where[1]}: an annotation of {_name(handler)} can't be read:"
            f" {type(error).__name__}: {error}"
        ) from None


def _name(handler: Callable[..., Any]) -> str:
    return f"handler {getattr(handler, '__name__', type(handler).__name__)!r}"


def _reader(annotation: Any, where: str) -> Read:
    if annotation in (CloudEvent, BaseCloudEvent, Any):
        return to_cloudevent
    if annotation is bytes:
        return lambda event: event.data or b""
    if annotation is str:
        return _text
    if annotation in (dict, dict[str, Any], dict[str, object]):
        return _json_object
    parse = getattr(annotation, "model_validate_json", None)
    if parse is None:
        parse = _validator(annotation, where)
    return _validating(parse, getattr(annotation, "__name__", str(annotation)))


def _nothing(event: Event) -> None:
    return None


def _text(event: Event) -> str:
    try:
        return (event.data or b"").decode()
    except UnicodeDecodeError as error:
        raise BadData(f"the data is not UTF-8 text: {error}") from None


def _json_object(event: Event) -> dict[str, Any]:
    import orjson

    _require_json(event, "a JSON object")
    try:
        value = orjson.loads(event.data or b"")
    except orjson.JSONDecodeError as error:
        raise BadData(f"the data is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadData(f"the data is a JSON {_json_name(value)}, and the handler takes an object")
    return value


def _json_name(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _require_json(event: Event, wanted: str) -> None:
    content_type = event.attributes.get("datacontenttype")
    if content_type is not None and not is_json(content_type):
        raise BadData(f"the data is {content_type}, and the handler takes {wanted}")
    if not event.data:
        raise BadData(f"the event has no data, and the handler takes {wanted}")


def _validator(annotation: Any, where: str) -> Callable[[bytes], Any]:
    """pydantic is imported here, so only where a handler asks for a type that needs it."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(annotation).validate_json
    except PydanticUserError as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"{where} annotates its event with {annotation!r}, which data can't be read into:"
            f" {first}; use CloudEvent, bytes, str, dict, a pydantic model or a dataclass"
        ) from None


def _validating(parse: Callable[[bytes], Any], name: str) -> Read:
    def read(event: Event) -> Any:
        _require_json(event, f"JSON that makes a {name}")
        try:
            return parse(event.data or b"")
        except ValueError as error:
            raise BadData(f"the data does not make a {name}: {_why(error)}") from None

    return read


def _why(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    listed = errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}" if each["loc"] else each["msg"]
        for each in listed
    ]
    more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
    return "; ".join(lines[:5]) + more
