"""The options of `@function`, checked where they are written."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*(k|K|M|G|T|Ki|Mi|Gi|Ti)?")
_UNITS: Final = {
    None: 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}
_LEAST_MEMORY = 1 << 20


class BadOption(ValueError):
    """An option's value is not one it can take; the message names it and what it takes."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a decorator says; None = not said, so a YAML document or the default decides.

    `timeout` in seconds, `memory` in bytes, `scale` the least and the most workers (0 = no limit).
    """

    name: str
    timeout: float | None = None
    concurrency: int | None = None
    scale: tuple[int, int] | None = None
    memory: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    reply_type: str | None = None


def options(
    name: str,
    *,
    timeout: float | timedelta | None = None,
    concurrency: int | None = None,
    scale: tuple[int, int] | None = None,
    memory: int | str | None = None,
    env: Mapping[str, str] | None = None,
    reply_type: str | None = None,
) -> Options:
    """Checked options. Raises BadOption."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadOption(
            f"name={name!r}: a function's name is 1 to 63 lower-case letters, digits and '-',"
            " with a letter or digit at both ends"
        )
    if concurrency is not None and (not _whole(concurrency) or concurrency < 0):
        raise BadOption(f"concurrency={concurrency!r}: takes a whole number from 0 on (0 = 100)")
    if reply_type is not None and (not isinstance(reply_type, str) or not reply_type):
        raise BadOption(f"reply_type={reply_type!r}: takes the type of the reply events, a str")
    return Options(
        name,
        timeout=_seconds(timeout),
        concurrency=concurrency,
        scale=_scale(scale),
        memory=_bytes(memory),
        env=_environment(env),
        reply_type=reply_type,
    )


def name_of(handler: str) -> str:
    """The function name a handler's own name gives: `make_thumbnail` is "make-thumbnail"."""
    return re.sub(r"[^a-z0-9]+", "-", handler.lower()).strip("-")[:63].strip("-")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _seconds(timeout: float | timedelta | None) -> float | None:
    if timeout is None:
        return None
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, (int, float))
        or not math.isfinite(seconds)
        or seconds <= 0
    ):
        raise BadOption(f"timeout={timeout!r}: takes seconds above 0, or a timedelta")
    return float(seconds)


def _scale(scale: tuple[int, int] | None) -> tuple[int, int] | None:
    if scale is None:
        return None
    if not isinstance(scale, (tuple, list)) or len(scale) != 2 or not all(map(_whole, scale)):
        raise BadOption(f"scale={scale!r}: takes a pair of whole numbers, (least, most) workers")
    least, most = scale
    if least < 0 or most < 0 or (most and least > most):
        raise BadOption(f"scale={scale!r}: 0 ≤ least ≤ most, where most 0 is no limit")
    return (least, most)


def _bytes(memory: int | str | None) -> int | None:
    if memory is None:
        return None
    amount: float = -1
    if _whole(memory):
        amount = int(memory)
    elif isinstance(memory, str) and (match := _QUANTITY.fullmatch(memory.strip())):
        amount = float(match[1]) * _UNITS[match[2]]
    if amount < _LEAST_MEMORY:
        raise BadOption(f"memory={memory!r}: takes bytes or a quantity like '256Mi', 1Mi at least")
    return int(amount)


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise BadOption(f"env={env!r}: takes a mapping of variable names to strings")
    for name, value in env.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise BadOption(f"env: {name!r} is no name of an environment variable")
        if not isinstance(value, str) or "\0" in value:
            raise BadOption(
                f"env: {name} is {value!r}; it has to be a str without a null character"
            )
    return dict(env)
