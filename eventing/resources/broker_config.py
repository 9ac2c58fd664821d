"""The settings of a broker, read from the ConfigMap its `spec.config` names: limits, and engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

from eventing.resources.broker import Engine
from eventing.resources.core import ConfigMap
from eventing.resources.durations import parse_duration
from eventing.resources.nearest import suggestion
from eventing.resources.place import Path, Problem
from eventing.resources.quantities import parse_quantity
from eventing.resources.resource import loaded_place


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What a ConfigMap says of a broker's limits; None = it does not say.

    retention_age: seconds an event stays for replay. retention_bytes: bytes of log above which the
    oldest settled events go. max_bytes, max_backlog: bytes stored, events waiting for the slowest
    trigger, above which events are refused. min_free_bytes: to be left free on the file system.
    """

    retention_age: float | None = None
    retention_bytes: int | None = None
    max_bytes: int | None = None
    max_backlog: int | None = None
    min_free_bytes: int | None = None

    def given(self) -> dict[str, float | int]:
        """Those that were given, by name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not None}


LIMITS: Mapping[str, tuple[str, Callable[[str], float]]] = {
    "retention.age": ("retention_age", parse_duration),
    "retention.bytes": ("retention_bytes", parse_quantity),
    "max.bytes": ("max_bytes", parse_quantity),
    "max.backlog": ("max_backlog", parse_quantity),
    "min.free.bytes": ("min_free_bytes", parse_quantity),
}
"""Keys of every broker."""

CREDENTIALS = "auth.secret.ref.name"
ENGINE_KEYS: Mapping[Engine, tuple[str, ...]] = {
    "embedded": (),
    "kafka": (
        "bootstrap.servers",
        "default.topic.partitions",
        "default.topic.replication.factor",
        CREDENTIALS,
    ),
    "redis": ("redis.address", CREDENTIALS),
}
"""Keys of the engines' own."""

TOPIC_OPTION = "default.topic.config."
"""Before the name of a Kafka topic's option, such as `retention.ms`."""

_COUNTS = {"default.topic.partitions": 9_999, "default.topic.replication.factor": 99}
_NO_EFFECT = ("channel-template-spec", "channelTemplateSpec")
_UNHONOURED: Mapping[Engine, tuple[str, ...]] = {
    "embedded": (),
    "kafka": ("retention.age", "retention.bytes", "max.bytes", "min.free.bytes"),
    "redis": ("min.free.bytes",),
}
"""Limits that are the engine's own to hold: a Kafka topic's by its options."""


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """What could be read: `limits`, and in `engine` the engine's keys and their texts. `errors` and
    `warnings` name places in the ConfigMap."""

    limits: BrokerLimits
    engine: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def broker_config(config: ConfigMap, engine: Engine = "embedded") -> BrokerConfig:
    """Read a ConfigMap for a broker of this engine: `retention.age` (ISO 8601), `retention.bytes`,
    `max.bytes`, `max.backlog`, `min.free.bytes` (quantities), and the engine's own keys. Keys of
    other engines get a warning, unknown ones an error."""
    given: dict[str, float] = {}
    own: dict[str, str] = {}
    errors: list[Problem] = []
    warnings: list[Problem] = []

    def problem(path: Path, message: str) -> Problem:
        return Problem.at(loaded_place(config, path), f"ConfigMap {config.name}: {message}")

    for key, text in (config.data or {}).items():
        path = ("data", key)
        if key in LIMITS:
            name, parse = LIMITS[key]
            try:
                given[name] = parse(text.strip())
            except ValueError as error:
                errors.append(problem(path, f"{key}: {error}"))
            if key in _UNHONOURED[engine]:
                warnings.append(problem(path, f"{key} has no effect on {_of(engine)}"))
        elif key in ENGINE_KEYS[engine] or (engine == "kafka" and key.startswith(TOPIC_OPTION)):
            fault = _fault(key, text.strip())
            if fault:
                errors.append(problem(path, f"{key}: {fault}"))
            own[key] = text.strip()
        elif key in _NO_EFFECT or _of_another(key):
            warnings.append(problem(path, f"{key} has no effect on {_of(engine)}"))
        else:
            known = (*LIMITS, *ENGINE_KEYS[engine])
            errors.append(
                problem(path, f'"{key}" is no setting of a broker; {suggestion(key, known)}')
            )
    limits = BrokerLimits(**given)  # type: ignore[arg-type]
    return BrokerConfig(limits, own, tuple(errors), tuple(warnings))


def _of_another(key: str) -> bool:
    return key.startswith((TOPIC_OPTION, "auth.secret.ref.")) or any(
        key in keys for keys in ENGINE_KEYS.values()
    )


def _of(engine: Engine) -> str:
    return "the embedded broker" if engine == "embedded" else f"a broker of class {engine.title()}"


def _fault(key: str, text: str) -> str:
    """What is wrong with the value of an engine's key; empty where nothing is."""
    if key in _COUNTS:
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _COUNTS[key]):
            return f'"{text}" is no number from 1 to {_COUNTS[key]}'
    elif not text:
        return "is empty"
    return ""
