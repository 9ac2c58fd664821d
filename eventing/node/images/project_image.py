"""From a project to its image: the plan, the build context of it, the build."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eventing.errors import OperationError, UserError
from eventing.node.images.builders import Builder
from eventing.node.images.dependencies import dependencies
from eventing.node.images.dockerfile import BESIDE, Recipe, dockerfile
from eventing.node.images.handlers import named_handler, only_handler
from eventing.node.images.pip_settings import PipSettings
from eventing.node.images.runtime_package import RuntimePackage, put_wheel, runtime_package
from eventing.node.images.selection import (
    EPOCH,
    Selection,
    copy_file,
    copy_into,
    select,
    settle_folders,
)
from eventing.sdk.discovery import roots
from eventing.sdk.options import name_of

LEAST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Plan:
    """An image that can be built. `runtime` is how eventing itself comes into it."""

    recipe: Recipe
    selection: Selection
    runtime: RuntimePackage

    @property
    def name(self) -> str:
        """What the image is called where nobody says: as its handler's function is by default."""
        return name_of(self.recipe.handler.rpartition(":")[2].rpartition(".")[2]) or "function"


def plan(
    path: Path,
    *,
    handler: str | None,
    requirements: Path | None,
    base: str,
    build_base: str,
    check: bool,
) -> Plan:
    """What an image of the project at `path`, a folder or a Python file, would be. Raises
    UserError."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    root = roots([path], [])[0]
    selection = select(root)
    if not any(each.endswith(".py") for each in selection.files):
        raise UserError(f"{root} has no Python file that would go into the image")
    address = named_handler(handler, selection.files) if handler else only_handler(path)
    needs = dependencies(root, requirements)
    runtime = runtime_package()
    beside = any(file != root / below for file, below in needs.files)
    recipe = Recipe(
        address,
        base,
        build_base,
        needs,
        runtime.requirement,
        runtime.wheel,
        beside,
        check=check,
    )
    return Plan(recipe, selection, runtime)


def python_image(version: str | None) -> str:
    """The image to build on for a version of Python, None = the one that runs here. Raises
    UserError."""
    if version is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
    match = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?", version)
    if match is None:
        raise UserError(f"--python {version!r} is no version of Python; write it like 3.13")
    if (int(match[1]), int(match[2])) < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        raise UserError(f"--python {version} is too old: eventing needs {least} or newer")
    return f"docker.io/library/python:{version}-slim"


def write_context(plan: Plan, folder: Path) -> Plan:
    """Write all that the Dockerfile copies into the empty `folder`; the plan with what is known
    now. The same project gives the same files, to their times. Raises OperationError."""
    copy_into(plan.selection, folder)
    recipe = plan.recipe
    prefix = folder / BESIDE / "requirements" if recipe.requirements_beside else folder
    for file, below in recipe.dependencies.files:
        copy_file(file, prefix / below)
    if plan.runtime.wheel:
        wheel = put_wheel(plan.runtime, folder / BESIDE)
        os.utime(folder / BESIDE / wheel, (EPOCH, EPOCH))
        recipe = replace(recipe, wheel=wheel)
    settle_folders(folder)
    return replace(plan, recipe=recipe)


def build(
    plan: Plan,
    builder: Builder,
    pip: PipSettings,
    tags: Sequence[str],
    *,
    platform: str = "",
    on_line: Callable[[str], None],
) -> str:
    """Build the image, and return its id. `on_line` hears what the engine says. Raises
    BuildFailed."""
    with tempfile.TemporaryDirectory(prefix="eventing-build-") as temporary:
        beside = Path(temporary)
        secrets = pip.write_into(beside)
        context = beside / "context"
        context.mkdir()
        recipe = replace(write_context(plan, context).recipe, secrets=builder.secrets)
        file = beside / "Dockerfile"
        file.write_text(dockerfile(recipe))
        return builder.build(
            context, file, tags, secrets=secrets, platform=platform, on_line=on_line
        )


def write_out(plan: Plan, folder: Path) -> None:
    """Write the context and its Dockerfile into a new folder. Raises UserError where it is not
    empty, and OperationError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"{folder} is not empty; name a new folder")
    except OSError as error:
        raise OperationError(f"{folder} can't be made: {error.strerror}") from None
    if folder.resolve().is_relative_to(plan.selection.root.resolve()):
        raise UserError(f"{folder} is in the project, which it is a copy of; name one outside")
    written = write_context(plan, folder)
    (folder / "Dockerfile").write_text(dockerfile(written.recipe))
