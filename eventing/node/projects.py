"""The projects of a node: which folders hold code, what was found in it, and its reloading."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eventing.errors import OperationError, UserError
from eventing.node.wiring import Discovered, FunctionPlan
from eventing.resources import Function, Resource
from eventing.sdk.discovery import source_files
from functions.output_lines import OnLog
from functions.process import Project, Spare
from functions.worker import Launcher

log = logging.getLogger("eventing.node")

NAMESPACE = "default"
"""Of functions that no YAML document names."""


@dataclass(frozen=True, slots=True)
class Code:
    """What a project is loaded from: files and folders below `root`, and handlers YAML names."""

    root: Path
    paths: tuple[Path, ...]
    handlers: tuple[tuple[str, str], ...] = ()
    """(namespace, "module:name")"""


@dataclass(slots=True)
class _Loaded:
    code: Code
    project: Project
    generation: int
    discovered: tuple[Discovered, ...] = field(default=())


def find_code(paths: Iterable[Path], resources: Iterable[Resource]) -> dict[Path, Code]:
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
        if isinstance(resource, Function) and resource.spec.handler is not None and given:
            file = Path(resource.source.file).absolute()
            above = [root for root in given if file.is_relative_to(root)]
            root = max(above, key=lambda root: len(root.parts), default=next(iter(given)))
            handlers[root].append((resource.namespace, resource.spec.handler))
    found = {}
    for root, files in given.items():
        if handlers[root] or (files and source_files(files)):
            code_paths = tuple(files) or (root,)
            found[root] = Code(root, code_paths, tuple(dict.fromkeys(handlers[root])))
    return found


class Projects:
    """Loads and reloads; `discovered` and `failures` are what resolution needs of it.

    With `spare`, a warm process waits for each next reload, so that it costs only the import of
    the user's own modules.
    """

    def __init__(self, on_log: OnLog, *, spare: bool) -> None:
        self.failures: dict[Path, str] = {}
        self._on_log = on_log
        self._keeps_spare = spare
        self._loaded: dict[Path, _Loaded] = {}
        self._replaced: dict[tuple[Path, int], Project] = {}
        self._spares: dict[Path, Spare] = {}
        self._generation = 0

    @property
    def discovered(self) -> list[Discovered]:
        return [each for loaded in self._loaded.values() for each in loaded.discovered]

    def launcher(self, plan: FunctionPlan) -> Launcher:
        return self._loaded[plan.project].project.launcher

    async def load(self, paths: Iterable[Path], resources: Iterable[Resource]) -> None:
        """Load what is new or asks for other handlers, forget what is gone. What fails is told in
        `failures`, and an older version of it goes on."""
        wanted = find_code(paths, resources)
        changed = [
            code
            for root, code in wanted.items()
            if root not in self._loaded or self._loaded[root].code != code
        ]
        for root in [root for root in self._loaded if root not in wanted]:
            self._retire(self._loaded.pop(root))
        for root in [root for root in self.failures if root not in wanted]:
            del self.failures[root]
        await asyncio.gather(*(self._load(code) for code in changed))

    async def reload(
        self, paths: Iterable[Path], resources: Iterable[Resource], changed: Sequence[Path]
    ) -> list[str]:
        """Load again the projects that `changed` files belong to, and any new one; returns why
        those that fail do. Where one fails, none is replaced."""
        python = [path for path in changed if path.suffix == ".py"]
        wanted = find_code(paths, resources)
        for root, code in wanted.items():
            loaded = self._loaded.get(root)
            touched = any(path.is_relative_to(root.resolve()) for path in python)
            if loaded is None or loaded.code != code or touched or root in self.failures:
                await self._load(code)
        if self.failures:
            return list(self.failures.values())
        for root in [root for root in self._loaded if root not in wanted]:
            self._retire(self._loaded.pop(root))
        return []

    async def retire_replaced(self) -> None:
        """End the processes of replaced code; only once no call on it is left."""
        replaced, self._replaced = self._replaced, {}
        await asyncio.gather(*(project.close() for project in replaced.values()))

    async def close(self) -> None:
        """End every process."""
        projects = [loaded.project for loaded in self._loaded.values()]
        spares = list(self._spares.values())
        self._loaded.clear()
        self._spares.clear()
        await asyncio.gather(
            self.retire_replaced(),
            *(project.close() for project in projects),
            *(spare.close() for spare in spares),
        )

    async def _load(self, code: Code) -> None:
        try:
            project = await Project.start(
                code.paths,
                handlers=[handler for _, handler in code.handlers],
                on_log=self._on_log,
                spare=self._spares.pop(code.root, None),
            )
        except (UserError, OperationError) as error:
            self.failures[code.root] = str(error)
            log.error("%s does not load:\n%s", code.root, error)
            return
        self.failures.pop(code.root, None)
        self._generation += 1
        old = self._loaded.get(code.root)
        if old is not None:
            self._retire(old)
        self._loaded[code.root] = _Loaded(
            code, project, self._generation, _discovered(code, project, self._generation)
        )
        if self._keeps_spare:
            self._spares[code.root] = Spare(project.modules, on_log=self._on_log)

    def _retire(self, loaded: _Loaded) -> None:
        self._replaced[loaded.code.root, loaded.generation] = loaded.project


def _discovered(code: Code, project: Project, generation: int) -> tuple[Discovered, ...]:
    """Each function in the namespaces of the YAML that names it, else in the default one."""
    namespaces: dict[str, list[str]] = {}
    for namespace, handler in code.handlers:
        namespaces.setdefault(handler, []).append(namespace)
    return tuple(
        Discovered(
            found.name,
            namespace,
            found.handler,
            code.root,
            generation,
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
