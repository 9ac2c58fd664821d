"""Finding and reading the files that hold resources."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath

from eventing.resources.place import Problem

SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 16 << 20
_SKIPPED_FOLDERS = ("node_modules", "__pycache__")


@dataclass(frozen=True, slots=True)
class File:
    """A file to read. `named` = the user named it, rather than a folder it lies in."""

    path: FilePath
    named: bool


def find_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[File | Problem]:
    """The files to read, each once: those named, whatever their suffix, and every .yaml and .yml
    of the folders named, in name order, folders below where their name stands.

    Left out are hidden files and folders, node_modules, __pycache__, virtual environments, and
    linked folders.
    """
    seen: set[str] = set()
    for given in paths:
        path = FilePath(given)
        if path.is_dir():
            files: Iterable[File | Problem] = _in_folder(path)
        elif path.exists():
            files = [File(path, named=True)]
        else:
            files = [Problem(str(path), 0, 0, "there is no such file or folder")]
        for file in files:
            if isinstance(file, Problem):
                yield file
                continue
            real = os.path.realpath(file.path)
            if real not in seen:
                seen.add(real)
                yield file


def _in_folder(folder: FilePath) -> Iterator[File | Problem]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Problem(str(folder), 0, 0, f"can't be read: {error.strerror}")
        return
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED_FOLDERS:
            continue
        path = folder / entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _in_folder(path)
        elif entry.name.endswith(SUFFIXES) and entry.is_file():
            yield File(path, named=False)


def read_file(path: FilePath) -> str | Problem:
    """Its text, or why there is none to be had."""
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return Problem(str(path), 0, 0, f"can't be read: {error.strerror}")
    return decode(content, str(path))


def decode(content: bytes, name: str) -> str | Problem:
    """UTF-8 bytes as text, or the place of the first that is none."""
    if len(content) > MAX_BYTES:
        return Problem(name, 0, 0, f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        line = before.count("\n") + 1
        column = len(before) - before.rfind("\n")
        byte = content[error.start]
        return Problem(name, line, column, f"not UTF-8: 0x{byte:02x}; save the file as UTF-8")
