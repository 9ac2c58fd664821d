"""Which handler an image starts: the one that is named, or the only one a project has."""

import asyncio
import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from eventing.errors import UserError
from functions.process import Project

_ADDRESS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def named_handler(address: str, files: Collection[str]) -> str:
    """`address`, where the files that go into the image have its module. Raises UserError.

    Nothing is imported: what the code needs may be in the image alone.
    """
    if not _ADDRESS.fullmatch(address):
        raise UserError(f"handler {address!r}: write it as module:name, like app:thumbnail")
    path = address.partition(":")[0].replace(".", "/")
    if f"{path}.py" in files or f"{path}/__init__.py" in files:
        return address
    modules = sorted(filter(None, map(_module, files)))
    near = get_close_matches(address.partition(":")[0], modules, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(modules) or 'none'}"
    raise UserError(f"handler {address!r}: the image would have no {path}.py; {remedy}")


def only_handler(path: Path) -> str:
    """The address of the one function that `path` holds, found as a node does. Raises UserError."""
    handlers = asyncio.run(_handlers([path]))
    if len(handlers) == 1:
        return handlers[0]
    if not handlers:
        raise UserError(
            f"{path} holds no function: mark a handler with @function, or name one with --handler"
        )
    listed = "\n".join(f"  --handler {each}" for each in handlers)
    raise UserError(
        f"{path} holds {len(handlers)} functions, and the image starts one; name it:\n{listed}"
    )


async def _handlers(paths: Sequence[Path]) -> list[str]:
    try:
        project = await Project.start(paths, on_log=lambda line: None)
    except UserError as error:
        raise UserError(
            f"{error}\nThe project is imported to find its functions; --handler names one without"
        ) from None
    try:
        return [each.handler for each in project.functions]
    finally:
        await project.close()


def _module(file: str) -> str:
    path = PurePosixPath(file)
    if path.suffix != ".py":
        return ""
    whole = path.parent if path.name == "__init__.py" else path.with_suffix("")
    return ".".join(whole.parts) if all(part.isidentifier() for part in whole.parts) else ""
