"""The limits of a broker, read from the ConfigMap its `spec.config` names."""

from collections.abc import Callable
from dataclasses import dataclass, fields

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


_PARSERS: dict[str, tuple[str, Callable[[str], float]]] = {
    "retention.age": ("retention_age", parse_duration),
    "retention.bytes": ("retention_bytes", parse_quantity),
    "max.bytes": ("max_bytes", parse_quantity),
    "max.backlog": ("max_backlog", parse_quantity),
    "min.free.bytes": ("min_free_bytes", parse_quantity),
}
_KNATIVE_KEYS = ("channel-template-spec", "channelTemplateSpec", "bootstrap.servers")
_KNATIVE_PREFIXES = ("default.topic.", "auth.secret.ref.")


@dataclass(frozen=True, slots=True)
class ParsedLimits:
    """`limits` holds what could be read; `errors` and `warnings` name places in the ConfigMap."""

    limits: BrokerLimits
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def broker_limits(config: ConfigMap) -> ParsedLimits:
    """Read the keys `retention.age` (ISO 8601) and `retention.bytes`, `max.bytes`, `max.backlog`,
    `min.free.bytes` (quantities). Keys of Knative's own brokers get a warning, others an error."""
    given: dict[str, float] = {}
    errors: list[Problem] = []
    warnings: list[Problem] = []

    def problem(path: Path, message: str) -> Problem:
        return Problem.at(loaded_place(config, path), f"ConfigMap {config.name}: {message}")

    for key, text in (config.data or {}).items():
        path = ("data", key)
        if key in _PARSERS:
            name, parse = _PARSERS[key]
            try:
                given[name] = parse(text.strip())
            except ValueError as error:
                errors.append(problem(path, f"{key}: {error}"))
        elif key in _KNATIVE_KEYS or key.startswith(_KNATIVE_PREFIXES):
            warnings.append(problem(path, f"{key} has no effect on the embedded broker"))
        else:
            errors.append(
                problem(path, f'"{key}" is no limit of a broker; {suggestion(key, _PARSERS)}')
            )
    limits = BrokerLimits(**given)  # type: ignore[arg-type]
    return ParsedLimits(limits, tuple(errors), tuple(warnings))
