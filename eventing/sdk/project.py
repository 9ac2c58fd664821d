"""A user's project in this process: its modules imported, its functions found, its errors told."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from eventing.errors import UserError
from eventing.sdk import discovery
from eventing.sdk.failure import one_line, place, user_traceback
from eventing.sdk.function import Function, plain, position
from eventing.sdk.options import name_of
from eventing.sdk.signature import read_signature

_THREAD_GRACE = 0.2
_SDKS = frozenset(sys.modules)
"""What was imported before any project."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One thing that takes calls: a Function, or the entry of a Knative func.py.

    `handler` is its address, "module:name".
    """

    handler: str
    name: str
    target: Function[..., Any] | Callable[..., Any]

    @property
    def sync(self) -> bool:
        return isinstance(self.target, Function) and self.target.sync

    def report(self) -> dict[str, Any]:
        """What the node is told of it, in plain values."""
        file, line = position(self.target)
        told: dict[str, Any] = {
            "handler": self.handler,
            "name": self.name,
            "sync": self.sync,
            "file": file,
            "line": line,
            "doc": inspect.getdoc(self.target) or "",
        }
        if isinstance(self.target, Function):
            options = self.target.options
            told |= {
                "file": self.target.file,
                "line": self.target.line,
                "doc": inspect.getdoc(self.target.handler) or "",
                "timeout": options.timeout,
                "concurrency": options.concurrency,
                "scale": options.scale,
                "memory": options.memory,
                "env": dict(options.env),
            }
        return told


@dataclass(slots=True)
class Project:
    """What `load` found. `modules` are the third-party modules the project imported, in order;
    `missing` says of addresses that were asked for and lead nowhere why."""

    roots: list[str] = field(default_factory=list)
    handlers: dict[str, Handler] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)

    def handler(self, address: str) -> Handler:
        """The handler at "module:name", imported now where `load` did not. Raises UserError."""
        if address not in self.handlers:
            self.handlers[address] = _resolve(address)
        return self.handlers[address]


def load(paths: Iterable[str], addresses: Iterable[str] = ()) -> Project:
    """Import what `paths` hold (see eventing.sdk.discovery) and the handlers named by `addresses`.

    The project's folders go to the front of sys.path, so its packages win over everything
    installed. Raises UserError, for everything the user's code can do wrong when imported; what is
    wrong with an address is told in `missing`.
    """
    given = [Path(path) for path in paths]
    files = discovery.source_files(given)
    project = Project(roots=[str(root) for root in discovery.roots(given, files)])
    put_first(project.roots)
    # A module saved twice within a second with the same size would else be served from its
    # bytecode: stale code after a hot reload.
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        for file in files:
            module = _import(file.module, str(file.path))
            _require_own(module, file)
            for handler in _handlers_in(module, file):
                _add(project, handler)
        for address in addresses:
            try:
                project.handler(address)
            except UserError as error:
                # One wrong address must not take the other functions along.
                project.missing[address] = str(error)
    finally:
        sys.dont_write_bytecode = keep
    project.modules = _third_party()
    return project


def put_first(folders: Iterable[str]) -> None:
    """Put `folders` at the front of sys.path, in their order."""
    folders = list(folders)
    sys.path[:] = [*folders, *(entry for entry in sys.path if entry not in folders)]


def preload(modules: Iterable[str]) -> None:
    """Import third-party modules ahead of a project that will want them; failures are its own."""
    for name in modules:
        try:
            import_module(name)
        except BaseException:  # noqa: S112 - some names are made at run time; some exit
            continue


def lasting_threads() -> list[str]:
    """The names of this process's threads beside the main one, empty where there are none.

    Counts those the kernel knows of, for native libraries start threads Python has not heard of.
    A thread that is just ending gets a moment for it.
    """
    end = time.monotonic() + _THREAD_GRACE
    while names := _threads():
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    return names


def _threads() -> list[str]:
    tasks = [task.name for task in Path("/proc/self/task").iterdir()]
    known = {str(t.native_id): t.name for t in threading.enumerate()}
    names = []
    for task in tasks:
        if task == str(os.getpid()):
            continue
        name = known.get(task)
        if name is None:
            try:
                name = Path(f"/proc/self/task/{task}/comm").read_text().strip()
            except OSError:
                continue  # it has ended since
        names.append(name)
    return names


def _import(module: str, where: str) -> ModuleType:
    try:
        __import__(module)  # which, unlike import_module, leaves its own frames out of tracebacks
        return sys.modules[module]
    except UserError:
        raise
    except SyntaxError as error:
        text = "".join(traceback.format_exception_only(error)).rstrip()
        spot = f"{error.filename}:{error.lineno}:{error.offset}"
        raise UserError(f"{spot}: {one_line(error)}\n{text}") from None
    except SystemExit as error:
        raise UserError(
            f"{place(error) or where}: sys.exit({error.code!r}) when imported; keep what is meant"
            " for a script under `if __name__ == '__main__':`"
        ) from None
    except BaseException as error:
        remedy = ""
        if isinstance(error, ModuleNotFoundError):
            remedy = f"; install it for {sys.executable}, or mend the name"
        spot = place(error) or where
        raise UserError(
            f"{spot}: {one_line(error)}{remedy}\n{user_traceback(error).rstrip()}"
        ) from None


def _require_own(module: ModuleType, file: discovery.SourceFile) -> None:
    origin = getattr(module, "__file__", None)
    if origin is None or not file.path.samefile(origin):
        raise UserError(
            f"{file.path}: {file.module!r} is the name of a module that is imported already"
            f" ({origin or 'built in'}); rename the file"
        )


def _handlers_in(module: ModuleType, file: discovery.SourceFile) -> Iterable[Handler]:
    seen = set()
    for name, value in list(vars(module).items()):
        own = isinstance(value, Function) and value.__module__ == module.__name__
        if own and id(value) not in seen:
            seen.add(id(value))
            yield _checked(f"{module.__name__}:{name}", value)
    if file.path.name == "func.py" and not seen and _is_knative(module):
        entry = "new" if callable(getattr(module, "new", None)) else "handle"
        yield Handler(
            f"{module.__name__}:{entry}", _knative_name(file.path), getattr(module, entry)
        )


def _checked(address: str, function: Function[..., Any]) -> Handler:
    read_signature(function.handler, (function.file, function.line))
    return Handler(address, function.name, function)


def _add(project: Project, handler: Handler) -> None:
    for other in project.handlers.values():
        if other.name == handler.name:
            here, there = handler.report(), other.report()
            raise UserError(
                f"{here['file']}:{here['line']}: a function {handler.name!r} is at"
                f" {there['file']}:{there['line']} already; give one @function(name=…)"
            )
    project.handlers[handler.handler] = handler


def _is_knative(module: ModuleType) -> bool:
    """Whether a func.py is of Knative's shape: it has `new()`, or an async `handle`."""
    return callable(getattr(module, "new", None)) or inspect.iscoroutinefunction(
        getattr(module, "handle", None)
    )


def _knative_name(path: Path) -> str:
    """The `name` of its func.yaml, else its folder's (above `function/`, as upstream lays it)."""
    folder = path.parent.parent if path.parent.name == "function" else path.parent
    for yaml in (folder / "func.yaml", path.parent / "func.yaml"):
        if yaml.is_file():
            for line in yaml.read_text(errors="replace").splitlines():
                if line.startswith("name:"):
                    return line[5:].split(" #")[0].strip().strip("\"'")
    return name_of(folder.name) or "func"


def _resolve(address: str) -> Handler:
    module_name, colon, path = address.partition(":")
    if not colon or not module_name or not path:
        raise UserError(f"handler {address!r}: write it as module:name, like app:thumbnail")
    module = _import(module_name, f"handler {address!r}")
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part, None)
    if isinstance(value, Function):
        return _checked(address, value)
    last = module_name.rpartition(".")[2]
    if last == "func" and path in ("new", "handle") and _is_knative(module):
        return Handler(address, _knative_name(Path(module.__file__ or "func.py")), value)
    if value is None:
        known = [n for n, v in vars(module).items() if isinstance(v, Function)]
        has = f"it has {', '.join(known)}" if known else "it has no @function"
        raise UserError(f"handler {address!r}: {module.__file__} has no {path!r}; {has}")
    if not callable(value) or isinstance(value, type):
        raise UserError(f"handler {address!r}: {path!r} is a {type(value).__name__}, no function")
    return _checked(address, plain(value))


def _third_party() -> list[str]:
    """The modules imported from installed packages; what is edited in place is not among them."""
    names = []
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if name in _SDKS or top in sys.stdlib_module_names or top in ("eventing", "__main__"):
            continue
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and ("/site-packages/" in file or "/dist-packages/" in file):
            names.append(name)
    return names
