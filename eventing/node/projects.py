"""The projects of a node: which folders hold code, what was found in it, and its reloading."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventing.errors import OperationError, UserError
from eventing.node.wiring import Code, Discovered
from eventing.resources import Resource, Workload
from eventing.sdk.discovery import source_files
from functions.output_lines import OnLog
from functions.process import Project, Spare
from functions.worker import Launcher

log = logging.getLogger("eventing.node")

NAMESPACE = "default"
"""Of functions that no YAML document names."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a project is loaded from: files and folders below `root`, and handlers YAML names."""

    root: Path
    paths: tuple[Path, ...]
    handlers: tuple[tuple[str, str], ...] = ()
    """(namespace, "module:name")"""


@dataclass(slots=True)
class _Loaded:
    origin: Origin
    project: Project
    code: Code
    discovered: tuple[Discovered, ...] = field(default=())


def find_projects(paths: Iterable[Path], resources: Iterable[Resource]) -> dict[Path, Origin]:
    """The projects among `paths`, by root: a folder, or the folder of a file. A folder without any
    function is none. Handlers belong to the innermost root above their YAML file; those that were
    applied, which have no file there, to the first. Raises UserError."""
    given: dict[Path, list[Path]] = {}
    yaml_roots: list[Path] = []
    for path in (path.absolute() for path in paths):
        if path.is_dir():
            given.setdefault(path, [])
            given[path] = [path]
        elif path.suffix == ".py":
            files = given.setdefault(path.parent, [])
            if files != [path.parent]:
                files.append(path)
        else:
            yaml_roots.append(path.parent)
    for root in yaml_roots:
        given.setdefault(root, [])
    handlers: dict[Path, list[tuple[str, str]]] = {root: [] for root in given}
    for resource in resources:
        if isinstance(resource, Workload) and resource.handler is not None and given:
            file = Path(resource.source.file).absolute()
            above = [root for root in given if file.is_relative_to(root)]
            root = max(above, key=lambda root: len(root.parts), default=next(iter(given)))
            handlers[root].append((resource.namespace, resource.handler))
    found = {}
    for root, files in given.items():
        if handlers[root] or (files and source_files(files)):
            code_paths = tuple(files) or (root,)
            found[root] = Origin(root, code_paths, tuple(dict.fromkeys(handlers[root])))
    return found


class Projects:
    """Loads and reloads; `discovered` and `failures` are what resolution needs of it.

    With `spare`, a warm process waits for each next reload, so that it costs only the import of
    the user's own modules.
    """

    def __init__(self, on_log: OnLog, *, spare: bool) -> None:
        self.failures: dict[Path, str] = {}
        self._on_log = on_log
        self._keeps_spares = spare
        self._loaded: dict[Path, _Loaded] = {}
        self._replaced: dict[Code, Project] = {}
        self._spares: dict[Path, Spare] = {}
        self._generation = 0

    @property
    def missing(self) -> dict[str, str]:
        """Why handlers that YAML names were not found, by "module:name"."""
        return {
            handler: why
            for loaded in self._loaded.values()
            for handler, why in loaded.project.missing.items()
        }

    @property
    def discovered(self) -> list[Discovered]:
        return [each for loaded in self._loaded.values() for each in loaded.discovered]

    def launcher(self, code: Code) -> Launcher:
        """Of the version that is live."""
        return self._loaded[code.project].project.launcher

    async def load(self, paths: Iterable[Path], resources: Iterable[Resource]) -> None:
        """Load what is new or asks for other handlers, forget what is gone. What fails is told in
        `failures`, and an older version of it goes on."""
        wanted = find_projects(paths, resources)
        new = [origin for origin in wanted.values() if not self._is_live(origin)]
        self._forget_all_but(wanted)
        await asyncio.gather(*(self._load(origin) for origin in new))

    async def reload(
        self, paths: Iterable[Path], resources: Iterable[Resource], changed: Iterable[Path]
    ) -> list[str]:
        """Load again the projects that `changed` files belong to, and any new one; returns why
        those that fail do, whose old versions go on."""
        python = [path for path in changed if path.suffix == ".py"]
        wanted = find_projects(paths, resources)
        for root, origin in wanted.items():
            touched = any(path.is_relative_to(root.resolve()) for path in python)
            if touched or root in self.failures or not self._is_live(origin):
                await self._load(origin, whole=True)
        self._forget_all_but(wanted)
        return list(self.failures.values())

    async def let_go(self, in_use: set[Code]) -> None:
        """End the processes of replaced code that no pool has calls on any more."""
        over = [code for code in self._replaced if code not in in_use]
        await _close_all(self._replaced.pop(code) for code in over)

    async def close(self) -> None:
        """End every process."""
        everything: list[Project | Spare] = [each.project for each in self._loaded.values()]
        everything += self._replaced.values()
        everything += self._spares.values()
        self._loaded.clear()
        self._replaced.clear()
        self._spares.clear()
        await _close_all(everything)

    def _is_live(self, origin: Origin) -> bool:
        loaded = self._loaded.get(origin.root)
        return loaded is not None and loaded.origin == origin

    async def _load(self, origin: Origin, *, whole: bool = False) -> None:
        """`whole`: a version that lacks a handler must not replace one that has it."""
        try:
            project = await Project.start(
                origin.paths,
                handlers=[handler for _, handler in origin.handlers],
                on_log=self._on_log,
                spare=self._spares.pop(origin.root, None),
            )
        except (UserError, OperationError) as error:
            self.failures[origin.root] = str(error)
            self._keep_spare(origin.root)
            return
        if whole and project.missing and origin.root in self._loaded:
            self.failures[origin.root] = "\n".join(project.missing.values())
            await project.close()
            self._keep_spare(origin.root)
            return
        self.failures.pop(origin.root, None)
        self._generation += 1
        code = Code(origin.root, self._generation)
        self._retire(origin.root)
        discovered = _discovered(origin, project, code)
        self._loaded[origin.root] = _Loaded(origin, project, code, discovered)
        self._keep_spare(origin.root)

    def _keep_spare(self, root: Path) -> None:
        if self._keeps_spares:
            loaded = self._loaded.get(root)
            modules = loaded.project.modules if loaded is not None else ()
            self._spares[root] = Spare(modules, on_log=self._on_log)

    def _forget_all_but(self, wanted: Mapping[Path, Origin]) -> None:
        for root in [root for root in self._loaded if root not in wanted]:
            self._retire(root)
        for root in [root for root in self.failures if root not in wanted]:
            del self.failures[root]

    def _retire(self, root: Path) -> None:
        loaded = self._loaded.pop(root, None)
        if loaded is not None:
            self._replaced[loaded.code] = loaded.project


async def _close_all(over: Iterable[Project | Spare]) -> None:
    """A process that the kernel does not end holds up neither a change nor the shutdown."""
    closing = (each.close() for each in over)
    for outcome in await asyncio.gather(*closing, return_exceptions=True):
        if isinstance(outcome, OperationError):
            log.error("%s", outcome)
        elif outcome is not None:
            raise outcome


def _discovered(origin: Origin, project: Project, code: Code) -> tuple[Discovered, ...]:
    """Each function in the namespaces of the YAML that names it, else in the default one."""
    namespaces: dict[str, list[str]] = {}
    for namespace, handler in origin.handlers:
        namespaces.setdefault(handler, []).append(namespace)
    return tuple(
        Discovered(
            found.name,
            namespace,
            found.handler,
            code,
            found.sync,
            found.file,
            found.line,
            found.timeout,
            found.concurrency,
            found.scale,
            found.memory,
            found.env,
        )
        for found in project.functions
        for namespace in namespaces.get(found.handler, [NAMESPACE])
    )
