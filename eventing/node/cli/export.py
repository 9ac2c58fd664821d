"""`eventing export`: what runs here, in the words of other systems."""

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import click

from eventing.errors import OperationError, UserError
from eventing.node.checks import check
from eventing.node.cli import terminal
from eventing.node.cli.places import near
from eventing.node.knative.export import export
from eventing.node.knative.options import (
    BrokerClass,
    Options,
    check_namespace,
    check_registry,
    parse_images,
)
from eventing.node.knative.text import files, is_ours, note_text, one_text
from eventing.node.projects import Projects
from eventing.node.wiring import Discovered
from eventing.resources import Resource, load

STDOUT = "-"


@dataclass(slots=True)
class _Read:
    """What stands in files, and what is wrong with them."""

    resources: list[Resource] = field(default_factory=list)
    code: list[Discovered] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@click.group("export")
def command() -> None:
    """Write what runs here for another system."""


@command.command("knative")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    default=STDOUT,
    show_default=True,
    metavar="DIR",
    help="A folder that gets a file for each kind; - writes all to stdout.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="FUNCTION=IMAGE",
    help="The image of a function, as 'eventing build' made it. May be repeated.",
)
@click.option(
    "--registry",
    metavar="NAME",
    help="Where the images of all other functions are: a function's is NAME/function.",
)
@click.option(
    "--broker-class",
    type=click.Choice(get_args(BrokerClass)),
    default="MTChannelBasedBroker",
    show_default=True,
    help="Of brokers that name none which a cluster has.",
)
@click.option("--namespace", metavar="NAME", help="Of what stands in the namespace default here.")
@click.option("--with-secrets", is_flag=True, help="Write the values of Secrets out.")
@click.option(
    "--strict", is_flag=True, help="Exit status 1 where there is no counterpart for something."
)
def knative(
    paths: tuple[Path, ...],
    output: str,
    images: tuple[str, ...],
    registry: str | None,
    broker_class: BrokerClass,
    namespace: str | None,
    with_secrets: bool,
    strict: bool,
) -> int:
    """Write PATHS, YAML files, Python files or folders of both, as manifests of a Knative cluster.

    What a cluster has no counterpart for is told on stderr, with its place and what to do, and
    stands in comments at the head.
    """
    options = Options(
        parse_images(images),
        None if registry is None else check_registry(registry),
        broker_class,
        None if namespace is None else check_namespace(namespace),
        with_secrets,
    )
    # The project loader logs what it meets; here it is told once, with the rest.
    logging.getLogger("eventing").setLevel(logging.CRITICAL)
    read = asyncio.run(_read(paths))
    for text in read.errors:
        terminal.note(("error: ", "bold red"), near(text))
    if read.errors:
        return 2
    made = export(read.resources, read.code, options)
    if not made.manifests:
        raise UserError("there is nothing to export: no resource and no function")
    if output == STDOUT:
        click.echo(one_text(made, near), nl=False)
    else:
        _write(files(made, near), Path(output))
    for note in made.notes:
        terminal.note(("no counterpart: ", "yellow"), note_text(note, near))
    return 1 if strict and made.notes else 0


async def _read(paths: tuple[Path, ...]) -> _Read:
    loaded = load(path for path in paths if path.suffix != ".py")
    problems = [*loaded.errors, *check(loaded.resources).errors]
    missing = {problem.file for problem in loaded.errors if not problem.line}
    read = _Read(loaded.resources, errors=[str(problem) for problem in problems])
    projects = Projects(lambda line: None, spare=False)
    try:
        await projects.load([path for path in paths if str(path) not in missing], loaded.resources)
        read.code = projects.discovered
        read.errors += [*projects.failures.values(), *projects.missing.values()]
    except UserError as error:
        read.errors.append(str(error))
    finally:
        await projects.close()
    return read


def _write(texts: dict[str, str], folder: Path) -> None:
    """The files of an export before this one are replaced, and removed where nothing takes their
    place; nothing else is touched."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {path.name: path for path in folder.glob("*.yaml")}
        before = {name for name, path in there.items() if is_ours(path.read_text("utf-8"))}
        for name in texts:
            if name in there and name not in before:
                raise UserError(f"{there[name]} is not of an export; choose another folder")
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
            terminal.line(("wrote ", "green"), str(folder / name))
        for name in sorted(before - texts.keys()):
            there[name].unlink()
            terminal.line(("removed ", "yellow"), str(there[name]))
    except UnicodeDecodeError:
        raise UserError(f"{folder} holds YAML that is not UTF-8; choose another folder") from None
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder} is a file; -o takes a folder, or - for stdout") from None
    except OSError as error:
        raise OperationError(f"{error.filename} can't be written: {error.strerror}") from None
