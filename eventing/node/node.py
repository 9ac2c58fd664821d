"""A node: its files, its projects, what runs of them, and its two HTTP ports.

The composition root. It loads, checks, resolves and hands the wiring to the runtime; a change of
files, an `apply` and a `delete` go the same way, one at a time.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eventing.errors import EventingError, OperationError, StorageError, UserError
from eventing.node.activity import Activity
from eventing.node.applied import AppliedResources
from eventing.node.checks import check
from eventing.node.config import NodeConfig
from eventing.node.data_folder import DataFolder
from eventing.node.engines import EMBEDDED, engine_name, parse_engine_url, shared_engine
from eventing.node.ingress import Ingress
from eventing.node.ingress_protocol import IngressProtocol
from eventing.node.log_store import LogStore, line_document
from eventing.node.membership import Membership
from eventing.node.node_record import NodeRecord
from eventing.node.node_usage import NodeUsage
from eventing.node.projects import Projects
from eventing.node.revision_names import misnamed, running_revisions
from eventing.node.revision_store import RevisionStore
from eventing.node.revisions import Revisions, settled
from eventing.node.rollouts import Rollouts
from eventing.node.runtime import Relearned, Runtime
from eventing.node.servers import HttpServer
from eventing.node.shared_revisions import SharedRevisions
from eventing.node.tokens import read_tokens
from eventing.node.wiring import Condition, Key, RevisionPlan, Wiring, embedded, resolve
from eventing.resources import (
    WORKLOADS,
    Identity,
    Problem,
    Resource,
    Workload,
    load,
    load_text,
    loaded_place,
)
from functions.containers.containers import Containers
from functions.containers.launcher import ContainerLauncher
from functions.output_lines import LogLine
from functions.worker import Launcher

log = logging.getLogger("eventing.node")

CHANGE_GRACE = 5.0
"""Seconds that a change of resources has to end at shutdown."""
MEND_EVERY = 2.0
"""Seconds between two tries at what storage did not let the node do when it started."""
MEETING = 20.0
"""Seconds that an engine that is there has to be reached, and tell of revisions, before the node
goes on with those it knows."""


class InvalidResources(UserError):
    """Files that don't load, with every problem of all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What the files and the applied resources say, each by itself."""

    resources: tuple[Resource, ...]
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did to each resource: "created", "configured" or "unchanged"."""

    results: tuple[tuple[Identity, str], ...]
    warnings: tuple[Problem, ...]


class Node:
    """One node. `start` it, `stop` it; in between its resources may change.

    `reload_error` holds what keeps changed files from being live, empty where nothing does.
    """

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.engine = parse_engine_url(config.broker)
        self.logs = LogStore()
        self.reload_error = ""
        self.started_at = 0.0
        self.stopping = False
        self.activity = Activity(self._observe)
        self.projects = Projects(self._log_line, spare=config.reload)
        self.usage = NodeUsage(config.data)
        self.containers: Containers | None = None
        self.revisions = RevisionStore(config.data)
        self.rollouts = Rollouts(self)
        self.runtime = Runtime(
            config.data,
            self._find_launcher,
            self._let_go,
            self.rollouts.revision_ready,
            self.usage.metering,
            self.activity,
            scale_to_zero_grace=config.scale_to_zero_grace,
        )
        self._record = NodeRecord(self.runtime)
        self.membership = Membership(self._describe)
        self.shared = SharedRevisions(self.revisions, self.membership, self.rollouts.follow)
        self.runtime.meet = self._meet_late
        self.runtime.sources.find_lease = self.membership.lease
        self.runtime.sources.find_members = self.membership.members
        self.ingress = Ingress(
            self.runtime.find_broker,
            max_event_bytes=config.max_event_bytes,
            authorize=read_tokens(config.tokens).authorize if config.tokens else None,
        )
        self._folder = DataFolder(config.data)
        self._applied = AppliedResources(config.data / "applied")
        self._changing = asyncio.Lock()
        self._complaint = ""
        self._ingress_server: HttpServer | None = None
        self._admin_server: HttpServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # Life

    async def start(self, *, ports: bool = True) -> None:
        """Load and run everything, unless told to stop meanwhile. Raises InvalidResources,
        UserError (a port is taken) and StorageError; what can be mended while the node runs is a
        condition instead."""
        self._folder.take()
        self.runtime.name = self.config.name or self._folder.node_name()
        self.shared.name = self.runtime.name
        self.containers = Containers(
            self.runtime.name, self._log_line, self.config.container_engine
        )
        try:
            self.revisions.load()
            await self.usage.metering.start()
            self.containers.start()
            parsed = self._parse()
            if not parsed.errors:
                await self._meet(parsed.resources)
            resources = self._accept(parsed)
            async with self._changing:
                await self.projects.load(self.config.paths, self._with_revisions(resources))
                for root, failure in self.projects.failures.items():
                    log.error("%s does not load, its functions are not ready:\n%s", root, failure)
                await self._begin(resources)
            self._tell_found()
            if self.stopping:
                return
            if ports:
                await self._serve()
        except BaseException:
            await self._abandon()
            raise
        self.started_at = time.time()
        await self._join()
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._mend(), name="mend"))
        self._tasks.append(loop.create_task(self.shared.run(), name="shared revisions"))
        self._tasks.append(loop.create_task(self.rollouts.run(), name="rollouts"))
        self._tasks.append(loop.create_task(self.rollouts.listen(), name="rollouts elsewhere"))
        if self.config.reload:
            self._tasks.append(loop.create_task(self._watch(), name="reload"))

    async def _abandon(self) -> None:
        """Close what a start that failed, or was cancelled, has opened so far."""
        try:
            for server in (self._ingress_server, self._admin_server):
                if server is not None:
                    await server.close(0.0)
            await self.runtime.stop(0.0, self.membership.close)
            await self._end_functions()
        finally:
            self._folder.release()

    async def stop(self) -> bool:
        """Stop accepting, end what is in flight within the grace time, settle. True if all of it
        ended; nothing is lost either way."""
        self.stopping = True
        self.ingress.draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        grace = self.config.grace
        if self._ingress_server is not None:
            await self._ingress_server.close(min(grace, 5.0))
        await self._end_change()
        await self.rollouts.close()
        await self.shared.close()
        ended = await self.runtime.stop(grace, self.membership.close)
        await self._end_functions()
        self.activity.publish({"record": "closing", "at": time.time()})
        if self._admin_server is not None:
            await self._admin_server.close(1.0)
        self._folder.release()
        return ended

    async def _end_functions(self) -> None:
        """What ran the functions, and what was counted of them."""
        await self.projects.close()
        if self.containers is not None:
            await self.containers.close()
        await self.usage.metering.close()

    async def _end_change(self) -> None:
        """Let a change under way end, and begin no other. One that waits for storage to work again
        is made after the next start."""
        try:
            async with asyncio.timeout(CHANGE_GRACE):
                await self._changing.acquire()
        except TimeoutError:
            log.warning("a change of resources is not over; it is made after the next start")

    @property
    def ingress_url(self) -> str:
        return self._ingress_server.url if self._ingress_server is not None else ""

    @property
    def admin_url(self) -> str:
        return self._admin_server.url if self._admin_server is not None else ""

    # What is so

    def resources(self) -> Mapping[Identity, Resource]:
        return self.runtime.wiring.resources

    def condition(self, identity: Identity) -> Condition:
        key = f"{identity.namespace}/{identity.name}"
        if identity.kind == "Broker":
            fault = self.runtime.broker_condition(key)
            if fault is not None:
                return fault
        if identity.kind in WORKLOADS and self.runtime.condition(identity).ready:
            fault = self._function_fault(key)
            if fault is not None:
                return fault
        if identity.kind == "Trigger":
            plan = self.runtime.wiring.triggers.get(key)
            fault = self.runtime.faults.get(plan.broker) if plan is not None else None
            if fault is not None:
                return Condition(False, "BrokerNotReady", fault.message)
            if key in self.runtime.trigger_faults:
                return self.runtime.trigger_faults[key]
        return self.runtime.condition(identity)

    def _function_fault(self, key: Key) -> Condition | None:
        """Of a revision that calls go to, or that is to take over: no instance of it starts, or
        the engine of its containers is away."""
        plan = self.runtime.functions.plan(key)
        fault = self.containers.fault if self.containers is not None else None
        contained = plan is not None and any(each.container for each in plan.revisions.values())
        if fault is not None and contained:
            return Condition(False, fault.reason, fault.message)
        for name, pool in self.runtime.functions.pools(key).items():
            if pool.failing:
                several = plan is not None and len(plan.revisions) > 1
                which = f"revision {name}: " if several else ""
                return Condition(False, "StartFailed", f"{which}{pool.stats().errors[-1]}")
        return None

    def readiness(self) -> str:
        """Why the node takes no events; empty where it does."""
        if not self.started_at:
            return "the node is starting"
        if self.stopping:
            return "the node is shutting down"
        obstacles = self.runtime.obstacles()
        return "; ".join(f"broker {key}: {why}" for key, why in obstacles.items())

    def is_applied(self, identity: Identity) -> bool:
        """Whether it came by `apply`, and so may be deleted."""
        return self._applied.holds(identity)

    # Changes

    async def apply(self, text: str, file: str) -> Applied:
        """Add or replace the resources of a YAML text. Raises InvalidResources, and then nothing
        has changed."""
        loaded = load_text(text, file)
        if loaded.errors:
            raise InvalidResources(loaded.errors)
        async with self._changing:
            await self.shared.catch_up(_workloads(loaded.resources))
            current = dict(self.resources())
            results = []
            for resource in loaded.resources:
                identity = resource.identity
                old = current.get(identity)
                if old is not None and not self.is_applied(identity):
                    message = f"{identity} is defined in {old.source}; change it there"
                    raise InvalidResources([Problem.at(resource.source, message)])
                result = "created" if old is None else "configured"
                results.append((identity, "unchanged" if old == resource else result))
                current[identity] = resource
            findings = check(current.values(), self.resources(), engine_name(self.engine))
            errors = [*findings.errors, *self._settled(current.values())[1]]
            if errors:
                raise InvalidResources(errors)
            await self._load_code(loaded.resources, current.values())
            for resource in loaded.resources:
                self._applied.save(resource)
            await self._rewire(current.values())
        return Applied(tuple(results), (*loaded.warnings, *findings.warnings))

    async def delete(self, identity: Identity) -> bool:
        """Remove a resource that was applied; False where there is none. Raises UserError for one
        that stands in a file."""
        async with self._changing:
            resource = self.resources().get(identity)
            if resource is None:
                return False
            if not self.is_applied(identity):
                raise UserError(f"{identity} is defined in {resource.source}; remove it there")
            self._applied.delete(identity)
            left = [each for key, each in self.resources().items() if key != identity]
            trigger = identity.kind == "Trigger"
            deleted = f"{identity.namespace}/{identity.name}" if trigger else None
            await self._rewire(left, deleted)
        return True

    async def reload(self, changed: Iterable[Path]) -> None:
        """Make changed files live; where they don't load, the old version goes on serving and
        `reload_error` says why."""
        changed = tuple(changed)
        began = time.monotonic()
        async with self._changing:
            parsed = self._parse()
            await self.shared.catch_up(_workloads(parsed.resources))
            try:
                resources = self._accept(parsed)
            except InvalidResources as error:
                self._reload_failed(str(error))
                return
            failures = await self.projects.reload(
                self.config.paths, self._with_revisions(resources), changed
            )
            if failures:
                self._reload_failed("\n".join(failures))
                return
            await self._rewire(resources)
        self.reload_error = ""
        names = ", ".join(sorted(path.name for path in changed))
        log.info("reloaded in %.0f ms: %s", (time.monotonic() - began) * 1000, names)

    def _reload_failed(self, error: str) -> None:
        self.reload_error = error
        log.error("not reloaded, the old version goes on:\n%s", error)
        self.activity.publish({"record": "reload", "at": time.time(), "error": error})

    # Inside

    def _parse(self) -> "_Parsed":
        loaded = load(path for path in self.config.paths if path.suffix != ".py")
        applied = self._applied.load()
        problems = [*loaded.errors, *applied.errors]
        found = {resource.identity: resource for resource in loaded.resources}
        for resource in applied.resources:
            other = found.setdefault(resource.identity, resource)
            if other is not resource:
                log.warning("%s: %s counts, not what was applied", resource.identity, other.source)
        findings = check(found.values(), self.resources(), engine_name(self.engine))
        problems += findings.errors
        warnings = (*loaded.warnings, *findings.warnings)
        return _Parsed(tuple(found.values()), tuple(problems), warnings)

    def _accept(self, parsed: "_Parsed") -> list[Resource]:
        """Raises InvalidResources."""
        problems = [*parsed.errors, *self._settled(parsed.resources)[1]]
        if problems:
            raise InvalidResources(problems)
        for warning in parsed.warnings:
            log.warning("%s", warning)
        return list(parsed.resources)

    async def _meet(self, resources: Iterable[Resource]) -> None:
        """Learn from the other nodes which revisions there are, before this one makes its own.
        While the engine is away it starts with those it knows."""
        resources = tuple(resources)
        workloads = _workloads(resources)
        if self.config.isolated or not workloads:
            return
        brokers = resolve(resources, engine=self.engine).brokers
        engine = shared_engine(self.engine, {key: plan.engine for key, plan in brokers.items()})
        if engine == EMBEDDED:
            return
        await self.membership.use(self.runtime.name, engine)
        if await self.membership.joined(MEETING, once=True):
            await self.shared.catch_up(workloads)

    async def _meet_late(self, resources: Iterable[Resource]) -> bool:
        """Whether what the other nodes know of these is known only now."""
        workloads = _workloads(resources)
        if not workloads or not self.membership.shared or self.shared.reached:
            return False
        if await self.membership.joined(MEETING):
            await self.shared.catch_up(workloads)
        return self.shared.reached

    async def _rewire(self, resources: Iterable[Resource], deleted: Key | None = None) -> None:
        resources = list(resources)
        before = self.runtime.wiring.conditions
        refused: StorageError | None = None
        while True:
            wiring = self._resolved(resources)
            try:
                await self.runtime.rewire(wiring, deleted)
            except Relearned:
                continue  # once: what has been learned is not learned only now again
            except StorageError as error:
                refused = error  # the rest of it runs
            break
        if self.started_at:
            await self._join()
        await self._let_go()
        for identity, condition in wiring.conditions.items():
            if before.get(identity) == condition:
                continue
            if not condition.ready:
                log.warning("%s is not ready: %s", identity, condition.message)
            elif self.runtime.wiring is wiring:
                condition = self.condition(identity)
            self.activity.publish(
                {
                    "record": "condition",
                    "at": time.time(),
                    "resource": str(identity),
                    "ready": condition.ready,
                    "reason": condition.reason,
                    "message": condition.message,
                }
            )
        if refused is not None:
            raise refused

    def _resolved(self, resources: list[Resource]) -> Wiring:
        """The wiring that these come to, with the revisions that are known."""
        settled, _ = self._settled(resources)
        self.shared.note(_workloads(resources))
        for key, revisions in settled.items():
            self.revisions.put(key, revisions)
        self.revisions.save()
        projects = self.projects
        wiring = resolve(
            resources,
            projects.discovered,
            projects.failures,
            projects.missing,
            self.engine,
            self.revisions.revisions,
        )
        return embedded(wiring) if self.config.isolated else wiring

    def _settled(self, resources: Iterable[Resource]) -> tuple[dict[Key, Revisions], list[Problem]]:
        """The revisions of these workloads, and what is wrong with how they are named, by them or
        by policies."""
        resources = list(resources)
        workloads = _workloads(resources)
        before = self.shared.before(workloads)
        elsewhere = self.shared.elsewhere(before)
        after, problems = settled(workloads.items(), before, time.time(), elsewhere)
        told = problems or misnamed(resources, after)
        if not self.started_at and self.membership.shared and not self.shared.reached:
            # The others may know revisions that this node doesn't: the conditions tell, for now.
            told = [each for each in problems if each[1][:2] == ("spec", "template")]
        return after, [
            Problem.at(loaded_place(resource, path), message) for resource, path, message in told
        ]

    def _with_revisions(self, resources: Iterable[Resource]) -> list[Resource]:
        """These, and as documents of their own the older revisions that run beside them: what
        these need of the projects has to be there, what others needed may be gone."""
        found = list(resources)
        workloads = _workloads(found)
        settled, _ = self._settled(found)
        for key, names in running_revisions(found, settled).items():
            for revision in settled[key].known:
                if revision.name in names and revision.name != settled[key].latest:
                    found.append(workloads[key].with_template(dict(revision.template)))
        return found

    def _find_launcher(self, key: Key, plan: RevisionPlan) -> Launcher:
        if plan.container is not None:
            namespace, _, name = key.partition("/")
            assert self.containers is not None, "the node has been started"
            client = self.runtime.client
            return self.containers.launcher(namespace, name, plan.name, plan.container, client)
        assert plan.code is not None, "what is no container is code"
        return self.projects.launcher(plan.code)

    async def _let_go(self) -> None:
        """End what ran for revisions that are there no longer."""
        await self.projects.let_go(self.runtime.functions.code_in_use())
        if self.containers is not None:
            launchers = self.runtime.functions.launchers
            self.containers.retain(
                each for each in launchers if isinstance(each, ContainerLauncher)
            )

    async def respread(self) -> None:
        """Make what is known of the revisions by now so: which of them run, which take calls."""
        async with self._changing:
            await self._rewire(self.resources().values())

    async def _begin(self, resources: Iterable[Resource]) -> None:
        """The first wiring. What an engine does not allow of it is left to `_mend`."""
        try:
            await self._rewire(resources)
        except StorageError as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        """Once, however often it is tried again."""
        if repr(error) != self._complaint:
            self._complaint = repr(error)
            unforeseen = None if isinstance(error, OperationError) else error
            log.error("%s; it is tried again", error, exc_info=unforeseen)

    async def _join(self) -> None:
        """Be among the nodes of the engine that the brokers are on."""
        engines = {key: plan.engine for key, plan in self.runtime.wiring.brokers.items()}
        if await self.membership.use(self.runtime.name, shared_engine(self.engine, engines)):
            self.runtime.sources.renew_leases()
            self.rollouts.renew_leases()
            self.shared.forget()

    async def _describe(self) -> dict[str, Any]:
        document = await self._record.document(
            ingress=self.ingress_url,
            admin=self.admin_url,
            started_at=self.started_at,
            reason=self.readiness(),
        )
        return document | {"rollouts": self.rollouts.announcement()}

    def _tell_found(self) -> None:
        wiring = self.runtime.wiring
        paths = ", ".join(map(str, self.config.paths))
        if wiring.resources or wiring.functions:
            functions, triggers = len(wiring.functions), len(wiring.subscriptions)
            log.info(
                "%d function%s and %d trigger%s in %s",
                functions,
                "" if functions == 1 else "s",
                triggers,
                "" if triggers == 1 else "s",
                paths,
            )
        elif not self.projects.failures:
            log.warning(
                "nothing to run in %s: no YAML with resources, no Python file with a @function",
                paths,
            )

    async def _load_code(self, new: Iterable[Resource], resources: Iterable[Resource]) -> None:
        """Load what new Functions ask for. Raises InvalidResources where their project does not
        load with them: kept, it would not load after the next start either."""
        before = dict(self.projects.failures)
        await self.projects.load(self.config.paths, self._with_revisions(resources))
        asking = [each for each in new if isinstance(each, Workload) and each.handler]
        failed = [why for root, why in self.projects.failures.items() if before.get(root) != why]
        if asking and failed:
            self.projects.failures = before
            raise InvalidResources(Problem.at(asking[0].source, why) for why in failed)
        missing = self.projects.missing
        problems = [
            Problem.at(loaded_place(each, ("spec", "handler")), missing[each.handler or ""])
            for each in asking
            if each.handler in missing
        ]
        if problems:
            raise InvalidResources(problems)

    def _observe(self, on: bool) -> None:
        self.runtime.observe(on)

    def _log_line(self, line: LogLine) -> None:
        self.logs.add(line)
        if self.activity.listening:
            self.activity.publish({"record": "log"} | line_document(line))

    async def _serve(self) -> None:
        from eventing.node.admin import admin_app

        config = self.config
        self._admin_server = HttpServer(
            admin_app(self), config.admin_host, config.admin_port, option="--admin-port"
        )
        await self._admin_server.start()
        self._ingress_server = HttpServer(
            self.ingress,
            config.host,
            config.port,
            option="--port",
            protocol=partial(IngressProtocol, self.ingress),
        )
        await self._ingress_server.start()
        self._folder.announce(self.ingress_url, self.admin_url)

    async def _mend(self) -> None:
        """Do what storage did not allow, at the start or at a change, as soon as it works again,
        and what is to be done a while after a change."""
        while True:
            await asyncio.sleep(MEND_EVERY)
            if self._ingress_server is not None:
                self._folder.announce(self.ingress_url, self.admin_url)
            self.revisions.save()
            if not self.runtime.needs_mending:
                continue
            async with self._changing:
                try:
                    try:
                        await self.runtime.mend()
                    except Relearned:
                        await self._rewire(self.resources().values())
                    finally:
                        await self._join()
                    self._complaint = ""
                except Exception as error:  # A mistake of ours must not end the mending.
                    self._complain(error)

    async def _watch(self) -> None:
        from eventing.node.reload import changes

        try:
            async for changed in changes(self.config.paths, ignored=[self.config.data]):
                try:
                    await self.reload(changed)
                except EventingError as error:
                    self._reload_failed(str(error))
                except Exception as error:
                    log.exception("the reload failed")
                    self._reload_failed(f"an internal error: {error!r}")
        except Exception as error:
            self._reload_failed(f"changes are no longer noticed ({error}); start the node again")


def _workloads(resources: Iterable[Resource]) -> dict[Key, Workload]:
    """Those that have revisions, by function."""
    return {
        f"{each.namespace}/{each.name}": each
        for each in resources
        if isinstance(each, Workload) and each.uri is None
    }
