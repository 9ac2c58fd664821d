"""Transforms: a JSONata expression from one event to another, over the CloudEvents JSON format.

The expression sees the event as an object: every attribute, and `data` (JSON, or a text) or
`data_base64` (all else). What it gives has to be such an object again, with everything that a
CloudEvent needs: as in Knative's EventTransform, nothing is carried over that it does not name.
`$merge([$, {"type": "other"}])` keeps the rest.
"""

import re
import sys
from functools import cache
from importlib import import_module
from math import isfinite
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from eventing.errors import InvalidEvent, InvalidExpression, UserError
from eventing.event import Event
from eventing.json_format import decode_object, encode_object
from triggers.transform_limits import Budget, LimitExceeded, Limits, Watchdog, check_length

_STACK: Final = 10_000
_RESERVED: Final = "__evaluate_"


class TransformError(UserError):
    """An expression that failed on an event, or whose result is no CloudEvent. The attempt failed;
    the event stays what it was."""


class Transform:
    """A compiled expression. It keeps nothing between events; not to be used by two threads at
    the same time."""

    def __init__(self, expression: str, limits: Limits) -> None:
        self.expression = expression
        self._limits = limits
        self._jsonata = _compile(expression, limits)

    def apply(self, event: Event) -> Event:
        """The event it makes of `event`. Raises TransformError."""
        result = self.evaluate(encode_object(event))
        if not isinstance(result, dict):
            raise TransformError(
                f"the transform has to give an event, but it gives {_kind(result)}; "
                'give an object such as $merge([$, {"type": "other"}])'
            )
        try:
            return decode_object(result)
        except InvalidEvent as error:
            raise TransformError(f"the transform gives no valid event: {error}") from None

    def evaluate(self, document: Any) -> Any:
        """What it makes of any JSON value; None is both null and nothing. Raises TransformError.

        `document` is the evaluator's from here on: it may change it.
        """
        budget = Budget(self._limits)
        # The evaluator asks the instance that its thread made last for the time and for $eval.
        _engine().Jsonata.CURRENT.jsonata = self._jsonata
        # With bindings of its own, no variable of the expression outlives the evaluation.
        bindings = {"__evaluate_entry": budget.enter, "__evaluate_exit": budget.leave}
        stack = sys.getrecursionlimit()
        sys.setrecursionlimit(max(stack, _STACK))
        watched = _watchdog.start(budget)
        try:
            try:
                return _plain(self._jsonata.evaluate(document, bindings), budget)
            finally:
                if watched:
                    _watchdog.stop()
        except LimitExceeded as exceeded:
            if watched:
                _watchdog.stop()
            raise TransformError(f"the transform was stopped: {exceeded}") from None
        except TransformError:
            raise
        except Exception as error:
            raise TransformError(f"the transform failed{_reason(error)}") from None
        finally:
            sys.setrecursionlimit(stack)


def compile_transform(expression: str, limits: Limits | None = None) -> Transform:
    """Raises InvalidExpression, with the offset where known, if it is no JSONata."""
    return Transform(expression, limits or Limits())


_watchdog = Watchdog()


@cache
def _engine() -> ModuleType:
    """The evaluator, imported by need: it costs some 30 ms."""
    stack = sys.getrecursionlimit()
    engine = import_module("jsonata")
    # Importing it raises the limit for the whole process; here it is raised by evaluations.
    sys.setrecursionlimit(stack)
    return engine


def _compile(expression: str, limits: Limits) -> Any:
    reserved = expression.find(_RESERVED)
    if reserved >= 0:
        raise InvalidExpression(f"names that contain {_RESERVED} are the evaluator's own", reserved)
    engine = _engine()
    try:
        compiled = engine.Jsonata(expression)
    except engine.JException as error:
        position = error.location if 0 <= error.location <= len(expression) else None
        raise InvalidExpression(f"not a JSONata expression: {error}", position) from None
    except RecursionError:
        raise InvalidExpression("the expression is nested too deep") from None
    except re.error as error:
        raise InvalidExpression(
            f"bad regular expression /{error.pattern!s}/: {error.msg}"
        ) from None
    except Exception as error:
        # The parser trips over some malformed input instead of refusing it.
        raise InvalidExpression(f"not a JSONata expression: {_of_python(error)}") from None
    # Nulls are told from nothing by the evaluator's own mark; _plain ends that.
    compiled.set_output_convert_nulls(False)
    # The document is JSON already.
    compiled.set_validate_input(False)
    compiled.register_function("pad", _bounded_pad(limits))
    return compiled


def _bounded_pad(limits: Limits) -> Any:
    """$pad makes a string of any width at once, before its size could be checked."""
    engine = _engine()

    def pad(text: Any, width: Any, character: Any) -> Any:
        if isinstance(width, int | float):
            check_length(abs(width), limits)
        return engine.Functions.pad(text, width, character)

    return engine.Jsonata.function("pad", "<s-ns?:s>", SimpleNamespace(pad=pad), "pad")


def _plain(value: Any, budget: Budget) -> Any:
    """The result as plain JSON values. Each counts as a step: shared parts are copied, so a small
    result can be a large document."""
    budget.enter()
    try:
        if value is None or value is _engine().Utils.NULL_VALUE:
            return None
        if isinstance(value, str | bool):
            return value
        if isinstance(value, int | float):
            return _number(value)
        if isinstance(value, list):
            return [_plain(item, budget) for item in value]
        if isinstance(value, dict):
            return {str(name): _plain(item, budget) for name, item in value.items()}
    finally:
        budget.exit()
    raise TransformError("the transform gives a function; call it, or leave it out")


def _number(value: float) -> float:
    """JSONata's numbers are doubles; an integer is kept exact as far as JSON can be written so."""
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else float(value)
    if not isfinite(value):
        raise TransformError("the transform gives a number that is out of range")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, _engine().JException):
        place = f" at character {error.location}" if error.location > 0 else ""
        return f"{place}: {error}"
    if isinstance(error, RecursionError):
        return ": it goes too deep"
    # The evaluator lets Python's own errors through, such as a division by zero.
    return f": {_of_python(error)}"


def _of_python(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case _:
            return "an array"
