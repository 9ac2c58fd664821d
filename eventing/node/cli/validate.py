"""`eventing validate`: every problem of files, without running them."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from eventing.errors import UserError
from eventing.node.checks import check
from eventing.node.cli import terminal
from eventing.node.cli.places import near
from eventing.node.cli.shared_options import with_output
from eventing.node.projects import Projects
from eventing.node.wiring import HANDLER_NOT_FOUND, SETTINGS_NOT_VALID, Condition, Wiring, resolve
from eventing.resources import Problem, Resource, Trigger, load, loaded_place
from eventing.resources.place import Path as FieldPath

_WHERE = {
    "BrokerNotFound": ("spec", "broker"),
    "SubscriberNotResolved": ("spec", "subscriber"),
    "DeadLetterSinkNotResolved": ("spec", "delivery", "deadLetterSink"),
    "SinkNotResolved": ("spec", "sink"),
    "HandlerNotFound": ("spec", "handler"),
    "ConfigMapNotFound": ("spec",),
}
"""Where a resource names what is not there, by its condition's reason."""

_SETTINGS = {
    "KafkaSource": ("spec", "net"),
    "KafkaSink": ("spec", "auth"),
    "RedisStreamSource": ("spec", "address"),
    "RedisStreamSink": ("spec", "address"),
}
"""Where the settings of an engine's client stand, by kind."""
_OF_ENTRIES = ("SecretNotFound", "ConfigMapNotFound", "KeyNotFound", "KeyNotText")
"""Reasons that name the Secret or ConfigMap."""


@dataclass(slots=True)
class Findings:
    """What is wrong with files; `code` tells of projects that can't be imported."""

    errors: list[Problem] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    resources: int = 0
    functions: int = 0

    @property
    def valid(self) -> bool:
        return not self.errors and not self.code


@click.command("validate")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@with_output("json")
def command(paths: tuple[Path, ...], output: str | None) -> int:
    """Check PATHS, YAML files, Python files or folders of both, as 'eventing up' would.

    Every problem is told with file, line and column. What loads but will not be ready, because
    something it names is not there, is a warning: it may come later. Python files are imported, in
    a process of their own. Exit status 2 for errors; 0 with warnings alone.
    """
    # The project loader logs what it meets; here it is told once, with the rest.
    logging.getLogger("eventing").setLevel(logging.CRITICAL)
    findings = asyncio.run(_find(paths))
    if output:
        terminal.write_json({"valid": findings.valid, **asdict(findings)})
    else:
        _tell(findings)
    return 0 if findings.valid else 2


async def _find(paths: tuple[Path, ...]) -> Findings:
    loaded = load(path for path in paths if path.suffix != ".py")
    checked = check(loaded.resources)
    findings = Findings(
        errors=[*loaded.errors, *checked.errors],
        warnings=[*loaded.warnings, *checked.warnings],
        resources=len(loaded.resources),
    )
    missing = {problem.file for problem in loaded.errors if not problem.line}
    projects = Projects(lambda line: None, spare=False)
    try:
        await projects.load([path for path in paths if str(path) not in missing], loaded.resources)
    except UserError as error:
        findings.code.append(str(error))
    finally:
        discovered = projects.discovered
        await projects.close()
    findings.code += projects.failures.values()
    findings.functions = len(discovered)
    if not findings.errors:
        wiring = resolve(loaded.resources, discovered, projects.failures, projects.missing)
        findings.warnings += _not_ready(wiring, findings.code)
        findings.errors += _missing_handlers(wiring)
    return findings


def _not_ready(wiring: Wiring, failures: list[str]) -> Iterator[Problem]:
    for identity, condition in wiring.conditions.items():
        # Code that does not load is an error; that its functions are missing follows from it.
        if (
            condition.ready
            or condition.reason == HANDLER_NOT_FOUND
            or any(failure.partition("\n")[0] in condition.message for failure in failures)
        ):
            continue
        resource = wiring.resources[identity]
        if condition.reason == "DeadLetterSinkNotResolved":
            resource = _owner_of_sink(resource, wiring)
        path = wiring.places.get(identity) or _where(resource, condition)
        place = loaded_place(resource, path)
        yield Problem.at(place, f"{identity} will not be ready: {condition.message}")


def _where(resource: Resource, condition: Condition) -> FieldPath:
    """Where it names what is missing."""
    if condition.reason in _OF_ENTRIES:
        for reference in resource.references():
            if reference.kind in ("Secret", "ConfigMap") and str(reference) in condition.message:
                return reference.path
    if condition.reason == SETTINGS_NOT_VALID:
        return _SETTINGS.get(resource.kind, ())
    return _WHERE.get(condition.reason, ())


def _missing_handlers(wiring: Wiring) -> Iterator[Problem]:
    for identity, condition in wiring.conditions.items():
        if condition.reason == HANDLER_NOT_FOUND:
            place = loaded_place(wiring.resources[identity], ("spec", "handler"))
            yield Problem.at(place, condition.message)


def _owner_of_sink(resource: Resource, wiring: Wiring) -> Resource:
    """The broker, where a trigger has its dead-letter sink from there."""
    if isinstance(resource, Trigger) and resource.dead_letter_sink is None:
        return wiring.resources.get(resource.broker.identity, resource)
    return resource


def _tell(findings: Findings) -> None:
    for failure in findings.code:
        terminal.line(("error: ", "bold red"), near(failure))
    for problem in findings.errors:
        terminal.line(
            (near(str(problem.place)), "bold"), (": error: ", "bold red"), problem.message
        )
    for problem in findings.warnings:
        terminal.line(
            (near(str(problem.place)), "bold"), (": warning: ", "yellow"), problem.message
        )
    errors = len(findings.errors) + len(findings.code)
    counted = (
        f"{_many(findings.resources, 'resource')} and {_many(findings.functions, 'function')}, "
        f"{_many(len(findings.warnings), 'warning')}"
    )
    if errors:
        terminal.note((f"{_many(errors, 'error')}", "bold red"), f" ({counted} beside)")
    else:
        terminal.note(("valid", "bold green"), f": {counted}")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
