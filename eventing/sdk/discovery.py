"""Which Python files of a project hold functions, and what they are called when imported.

A file that is given is taken as it is. Of a folder that is given, these are taken: the `.py` files
at its top and in its packages (folders with an `__init__.py`), whose source imports `function`
from `eventing` (or `eventing` itself and uses `eventing.function`), and `func.py` files of
Knative's shape. Never taken: tests (`test_*.py`, `*_test.py`, `conftest.py`, a folder `tests`),
hidden folders, virtual environments and `node_modules`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from eventing.errors import UserError

_SKIPPED = frozenset({"__pycache__", "node_modules", "tests", "test", "venv", "env"})
_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to import: as `module`, with `root` on the import path."""

    path: Path
    root: Path
    module: str


def source_files(paths: Iterable[Path]) -> list[SourceFile]:
    """The files of `paths` to import, in name order, each once. Raises UserError."""
    found: dict[Path, SourceFile] = {}
    for given in paths:
        path = given.absolute()
        if path.is_dir():
            for file in sorted(_python_files(path)):
                if _holds_functions(file):
                    found.setdefault(file, _source_file(file))
        elif path.suffix == ".py" and path.is_file():
            found.setdefault(path, _source_file(path))
        else:
            raise UserError(f"{given}: no Python file and no folder")
    by_module: dict[str, Path] = {}
    for source in found.values():
        other = by_module.setdefault(source.module, source.path)
        if other != source.path:
            raise UserError(
                f"{source.path} and {other} would both be imported as {source.module!r};"
                " rename one, or put one into a package"
            )
    return list(found.values())


def roots(paths: Iterable[Path], files: Iterable[SourceFile]) -> list[Path]:
    """The folders that go on the import path, in the order given, each once."""
    given = [path.absolute() for path in paths]
    folders = [_root(path if path.is_dir() else path.parent) for path in given]
    return list(dict.fromkeys([*folders, *(file.root for file in files)]))


def _python_files(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if entry.is_dir():
            if (entry / "__init__.py").is_file() and not (entry / "pyvenv.cfg").exists():
                yield from _python_files(entry)
        elif entry.suffix == ".py" and not _is_test(entry.stem):
            yield entry


def _is_test(stem: str) -> bool:
    return stem.startswith("test_") or stem.endswith("_test") or stem == "conftest"


def _holds_functions(path: Path) -> bool:
    if path.stat().st_size > _LARGEST:
        return False
    source = path.read_bytes()
    if path.name == "func.py":
        wanted = b"def new" in source or b"def handle" in source
        return wanted or _uses_decorator(source)
    return _uses_decorator(source)


def _uses_decorator(source: bytes) -> bool:
    if b"eventing" not in source or b"function" not in source:
        return False
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return True  # importing it tells the user what is wrong, and where
    imported = False
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module="eventing", names=names, level=0):
                if any(name.name == "function" for name in names):
                    return True
            case ast.Import(names=names):
                imported = imported or any(name.name == "eventing" for name in names)
    return imported and b".function" in source


def _source_file(path: Path) -> SourceFile:
    root = _root(path.parent)
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    for part in parts:
        if not part.isidentifier():
            raise UserError(
                f"{path}: {part!r} can't be a module's name; use letters, digits and '_'"
            )
    return SourceFile(path, root, ".".join(parts))


def _root(folder: Path) -> Path:
    """The first folder upwards that is no package."""
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder
