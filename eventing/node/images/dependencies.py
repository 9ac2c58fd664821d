"""What a project needs from the package index, by its requirements.txt or its pyproject.toml."""

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eventing.errors import UserError

_INCLUDES = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s*=\s*|\s*)(\S+)")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Either `files`, requirements files as (where it is, its path below the folder that holds
    them all), the first the one to install, or `inline` requirements.

    `hashed`: the files pin hashes, so pip takes nothing beside what they name. `origin` says where
    they were found, "" where there are none.
    """

    origin: str = ""
    inline: tuple[str, ...] = ()
    files: tuple[tuple[Path, str], ...] = ()
    hashed: bool = False


def dependencies(folder: Path, given: Path | None) -> Dependencies:
    """Of `given`, else of the folder's requirements.txt, else of its pyproject.toml. Raises
    UserError."""
    if given is not None:
        if not given.is_file():
            raise UserError(f"{given}: there is no such file; --requirements names one")
        return _pyproject(given) if given.suffix == ".toml" else _requirements(given, folder)
    if (folder / "requirements.txt").is_file():
        return _requirements(folder / "requirements.txt", folder)
    if (folder / "pyproject.toml").is_file():
        return _pyproject(folder / "pyproject.toml")
    return Dependencies()


def _pyproject(file: Path) -> Dependencies:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{file}: {error}") from None
    project = document.get("project", {})
    remedy = "write them into a requirements.txt"
    if not isinstance(project, dict):
        raise UserError(f"{file}: [project] is no table")
    if "dependencies" in project.get("dynamic", ()):
        raise UserError(
            f"{file}: the dependencies are dynamic, so only a build knows them; {remedy}"
        )
    if "dependencies" not in project and "poetry" in document.get("tool", {}):
        raise UserError(
            f"{file}: the dependencies are in a form of Poetry's own; {remedy} "
            "(`poetry export`), or move them to [project]"
        )
    listed = project.get("dependencies", [])
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise UserError(f"{file}: [project] dependencies is no list of strings")
    for each in listed:
        if not each.strip() or not each.isprintable():
            raise UserError(f"{file}: {each!r} is no requirement")
        if "file:" in each:
            raise _local(str(file), each)
    return Dependencies(str(file) if listed else "", inline=tuple(listed))


def _requirements(file: Path, folder: Path) -> Dependencies:
    files: dict[Path, None] = {}
    hashed = _read(Path(os.path.normpath(file.absolute())), files)
    within = all(each.is_relative_to(folder.absolute()) for each in files)
    above = folder.absolute() if within else Path(os.path.commonpath([f.parent for f in files]))
    below = tuple((each, each.relative_to(above).as_posix()) for each in files)
    return Dependencies(str(file), files=below, hashed=hashed)


def _read(file: Path, files: dict[Path, None]) -> bool:
    """Add the file and all it includes; whether there are hashes."""
    files[file] = None
    hashed = False
    for number, line in _lines(file):
        where = f"{file}:{number}"
        hashed = hashed or "--hash" in line
        included = _INCLUDES.match(line)
        if included is not None:
            if _URL.match(included[1]):
                continue
            other = Path(os.path.normpath(file.parent / included[1]))
            if not other.is_file():
                raise UserError(f"{where}: there is no file {other}")
            if other not in files:
                hashed = _read(other, files) or hashed
        elif line.startswith(("-e", "--editable", ".", "/", "~", "file:")) or "@ file:" in line:
            raise _local(where, line)
    return hashed


def _local(where: str, requirement: str) -> UserError:
    return UserError(
        f"{where}: {requirement!r} is a place on this machine, which the image does not have; name "
        "the package as the index has it. The project's own files are in the image anyway: leave "
        "it out here, or keep what the image needs in a file of its own, for --requirements"
    )


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, continued ones joined, without comments and blanks."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} can't be read: {error}") from None
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first or number
        if line.endswith("\\"):
            joined += line[:-1]
            continue
        whole = re.sub(r"(^|\s)#.*", "", joined + line).strip()
        if whole:
            yield first, whole
        joined, first = "", 0
