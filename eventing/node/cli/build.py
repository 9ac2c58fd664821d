"""`eventing build`: an image of a project, that serves one of its functions."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eventing.errors import UserError
from eventing.node.cli import terminal

if TYPE_CHECKING:
    from eventing.node.images.project_image import Plan

ENGINES = ("docker", "podman", "buildah")


@click.command("build")
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option(
    "--handler",
    metavar="MODULE:NAME",
    help="What the image serves. Default: the only function of the project.",
)
@click.option(
    "-t",
    "--tag",
    "tags",
    metavar="NAME[:TAG]",
    multiple=True,
    help="What the image is called; may be given several times. Default: the handler's name.",
)
@click.option("--engine", type=click.Choice(ENGINES), help="Default: the first that answers.")
@click.option(
    "--python", metavar="VERSION", help="Python of the image. Default: that which runs this."
)
@click.option(
    "--base", metavar="IMAGE", help="What to build on. Default: python:VERSION-slim of Docker Hub."
)
@click.option(
    "--build-base",
    metavar="IMAGE",
    help="What to install the dependencies on, where that takes a compiler. Default: --base.",
)
@click.option(
    "--requirements",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A requirements.txt or a pyproject.toml. Default: the project's.",
)
@click.option("--platform", metavar="OS/ARCH", help="Such as linux/arm64. Default: this machine's.")
@click.option("--no-check", is_flag=True, help="Do not import the handler in the build.")
@click.option("--push", is_flag=True, help="Push it under every --tag, once it is built.")
@click.option("--print", "print_only", is_flag=True, help="Print the Dockerfile, build nothing.")
@click.option(
    "--context",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the Dockerfile and all it copies into DIR, build nothing.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show everything the engine says.")
def command(
    path: Path,
    handler: str | None,
    tags: tuple[str, ...],
    engine: str | None,
    python: str | None,
    base: str | None,
    build_base: str | None,
    requirements: Path | None,
    platform: str | None,
    no_check: bool,
    push: bool,
    print_only: bool,
    context: Path | None,
    verbose: bool,
) -> int:
    """Build a container image of the project at PATH, a folder or a Python file.

    It serves one function over HTTP as `python -m eventing.serve` does: in a node as a function
    with `image:`, or anywhere else that containers run, Knative included. The image's name goes to
    stdout. Exit status 1 where the build fails.
    """
    from eventing.node.images.dockerfile import dockerfile
    from eventing.node.images.project_image import plan, python_image, write_out

    if base and python:
        raise UserError("--base names the image with its Python; leave --python out")
    if print_only and context:
        raise UserError("--print and --context are two ways to build nothing; choose one")
    if push and not tags:
        raise UserError("--push needs --tag: the name of a place in a registry")
    planned = plan(
        path,
        handler=handler,
        requirements=requirements,
        base=base or python_image(python),
        build_base=build_base or "",
        check=not no_check,
    )
    if print_only:
        click.echo(dockerfile(planned.recipe), nl=False)
        return 0
    for secret in planned.selection.secrets:
        terminal.warning(
            f"{secret} looks like a secret and stays out; `!{secret}` in .dockerignore takes it in"
        )
    if context:
        write_out(planned, context)
        terminal.line(str(context))
        return 0
    return _build(planned, tags or (planned.name,), engine, platform or "", push, verbose)


def _build(
    planned: "Plan",
    tags: tuple[str, ...],
    engine: str | None,
    platform: str,
    push: bool,
    verbose: bool,
) -> int:
    from eventing.node.images.builders import BuildFailed, find_builder
    from eventing.node.images.pip_settings import pip_settings
    from eventing.node.images.project_image import build

    pip = pip_settings(os.environ, Path.home())
    builder = find_builder(engine, secrets=pip.values)
    for each in pip.not_passed:
        terminal.warning(f"pip's {each} is of this machine alone; the build does without")
    selection = planned.selection
    terminal.note(
        f"{planned.recipe.handler} of {selection.root}: {len(selection.files)} files, "
        f"{_bytes(selection.size)}; {builder.name} builds on {planned.recipe.base}"
    )
    try:
        with _progress(verbose) as on_line:
            id = build(planned, builder, pip, tags, platform=platform, on_line=on_line)
            for tag in tags if push else ():
                builder.push(tag, on_line)
    except BuildFailed as error:
        click.echo(f"eventing: {error}", err=True)
        return 1
    for tag in tags:
        terminal.line((tag, "bold"))
    terminal.note(f"{'pushed' if push else 'built'} {id.removeprefix('sha256:')[:12]}")
    if not push and builder.name != "buildah":
        terminal.note(f"try it: {builder.name} run --rm -p 8080:8080 {tags[0]}")
    return 0


@contextmanager
def _progress(verbose: bool) -> Iterator[Callable[[str], None]]:
    """What hears the engine's lines: all of them are shown, or on a terminal the last one."""
    if verbose:
        yield lambda line: terminal.note(line)
        return
    console = terminal.console(stderr=True)
    if not console.is_terminal:
        yield lambda line: None
        return
    from rich.text import Text

    with console.status("building") as status:
        yield lambda line: status.update(Text(terminal.printable(line)[: console.width - 4]))


def _bytes(size: int) -> str:
    return f"{size:,} bytes" if size < 10_000 else f"{size / 1000:,.0f} kB"
