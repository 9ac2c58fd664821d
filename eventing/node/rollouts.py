"""Moves the calls of functions to their new revisions step by step, and back where these do worse.

functions/rollout.py decides; this measures, acts on it, and keeps where each one is. Of the nodes
of an engine one steps a rollout, by what all of them measure; each goes back by what it measures
itself; the others follow (eventing/node/shared_revisions.py).
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Set
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from brokers.cluster import ANNOUNCE_EVERY
from eventing.errors import EventingError, StorageError, UserError
from eventing.node.revisions import (
    Key,
    Revisions,
    Rollout,
    Split,
    UnknownRevision,
    document_digest,
    is_ready,
    judged,
    split,
)
from eventing.node.rollout_leases import RolloutLeases
from eventing.node.rollout_reports import (
    NOTHING,
    Measuring,
    Moment,
    Report,
    decide,
    read_report,
    report_document,
)
from eventing.resources import WORKLOADS, Identity, Workload
from eventing.resources import RolloutPlan as WrittenPlan
from functions.rollout import Advance, Complete, Hold, RollBack, RolloutPlan
from functions.traffic.figures import Figures

if TYPE_CHECKING:
    from eventing.node.node import Node

log = logging.getLogger("eventing.node")

EVERY = 0.5
"""Seconds between two looks at how the new revisions do."""


@dataclass(slots=True)
class _Underway:
    """A rollout that this node takes part in: of which revisions, by which plan, what it has
    measured of it; `elsewhere` is what each of the other nodes told of theirs last."""

    pair: tuple[str, str]
    plan: RolloutPlan
    measuring: Measuring
    report: Report = NOTHING
    elsewhere: tuple[Any, ...] = ()


class Rollouts:
    """Those of a node; `run` and `listen` are to be tasks of it."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._underway: dict[Key, _Underway] = {}
        self._leases = RolloutLeases(lambda name: node.membership.lease(name))
        self._held_since: dict[str, float] = {}
        self._changed = asyncio.Event()

    def revision_ready(self, key: Key, name: str) -> None:
        """An instance of it takes calls now."""
        revisions = self._node.revisions.revisions.get(key)
        found = revisions.find(name) if revisions is not None else None
        if revisions is None or found is None or found.ready:
            return
        after = is_ready(revisions, name)
        self._node.revisions.put(key, after)
        self._node.shared.changed()
        if self._spread(key, after) != self._spread(key, revisions):
            self._changed.set()

    def follow(self, key: Key, after: Revisions) -> None:
        """Take what was learned from other nodes: names, what is ready there, how far a rollout
        is."""
        before = self._node.revisions.revisions[key]
        self._node.revisions.put(key, after)
        if _runs(before) == _runs(after):
            return
        self._changed.set()
        rollout, spread = after.rollout, self._spread(key, after)
        if rollout is None or _stands_at(rollout) == _stands_at(before.rollout):
            return
        if spread is not None:
            self._redirect(key, spread)
        _log(key, rollout, "; so another node says")

    async def run(self) -> None:
        """Until it is cancelled. What fails is tried again."""
        while True:
            try:
                async with asyncio.timeout(EVERY):
                    await self._changed.wait()
            except TimeoutError:
                pass
            try:
                if self._changed.is_set():
                    self._changed.clear()
                    await self._node.respread()
                for key in tuple(self._node.revisions.revisions):
                    self._step(key)
                if self._node.shared.told:
                    # Not before: the next one goes on from what it can read.
                    self._keep_leases({self._lease_name(key) for key in self._underway})
            except EventingError as error:
                log.error("the calls of functions could not be spread anew: %s", error)
            except Exception:  # A mistake of ours must not end it.
                log.exception("the calls of functions could not be spread anew")

    async def listen(self) -> None:
        """Until it is cancelled: hear what the other nodes have measured of what this one steps."""
        while True:
            await asyncio.sleep(ANNOUNCE_EVERY)
            if not self._underway or not self._node.membership.shared:
                continue
            try:
                members = await self._node.membership.members()
            except StorageError:
                continue  # the membership tells of it
            own = self._node.runtime.name
            told = [each.document.get("rollouts") for each in members if each.name != own]
            reports = [each.get("measured") for each in told if isinstance(each, dict)]
            for key, underway in self._underway.items():
                found = [each.get(key) for each in reports if isinstance(each, dict)]
                underway.elsewhere = tuple(each for each in found if each is not None)

    def announcement(self) -> dict[str, Any]:
        """What this node tells the others: which documents it has, and what it has measured."""
        measured = {
            key: report_document(underway.measuring.moment, underway.report)
            for key, underway in self._underway.items()
        }
        documents = dict(self._node.shared.announcement())
        return {"documents": documents, "measured": measured}

    def renew_leases(self) -> None:
        """The nodes are those of another engine from now on."""
        self._keep_leases(frozenset())

    async def close(self) -> None:
        """Leave what is on its way to other nodes."""
        await self._leases.close()

    # By hand

    def find(self, key: Key) -> Rollout | None:
        """How the function's last rollout goes, or ended; None where it had none since its document
        changed."""
        revisions = self._node.revisions.revisions.get(key)
        return revisions.rollout if revisions is not None else None

    async def begin(self, key: Key, to: str | None, plan: Mapping[str, Any]) -> Rollout:
        """Begin one, to the revision `to` (None = the latest). `plan` holds what differs from the
        document's. Raises UserError."""
        await self._node.shared.refresh()
        workload, revisions = self._known(key)
        new = self._revision(revisions, to or revisions.latest)
        self._plan(workload, plan)
        now = time.time()
        serving = revisions.latest_shares()
        old = max(serving, key=lambda share: share.weight).revision
        if revisions.rollout is not None and revisions.rollout.state == "rolling" and old == new:
            old = revisions.rollout.old
        if old == new:
            raise UserError(f"{new} has all calls of {key} already")
        rollout = Rollout(
            key,
            document_digest(workload),
            old,
            new,
            0.0,
            "rolling",
            since=now,
            plan=dict(plan) or None,
            begun=_after(revisions.rollout, now),
        )
        await self._put(key, replace(revisions, rollout=rollout))
        return rollout

    async def roll_back(self, key: Key, to: str | None) -> Rollout:
        """To the revision `to` at once; None = the one that served before. Raises UserError."""
        await self._node.shared.refresh()
        workload, revisions = self._known(key)
        before = revisions.rollout
        now = time.time()
        serving = max(revisions.latest_shares(), key=lambda share: share.weight).revision
        if to is not None:
            old, new = self._revision(revisions, to), revisions.latest
            if old == new:
                new = serving
        elif before is not None and before.state != "rolled back":
            old, new = before.old, before.new
        else:
            old, new = _before(revisions, serving), serving
        if not old or old == new:
            raise UserError(
                f"there is no older revision of {key} that was ever ready; name one with --to "
                "(eventing get revisions)"
            )
        rollout = Rollout(
            key,
            document_digest(workload),
            old,
            new,
            0.0,
            "rolled back",
            since=now,
            reason="rolled back by hand",
            begun=_after(before, now),
        )
        after = judged(replace(revisions, rollout=rollout), new, good=False, now=now)
        await self._put(key, after)
        return rollout

    def _known(self, key: Key) -> tuple[Workload, Revisions]:
        workload = self._workload(key)
        revisions = self._node.revisions.revisions.get(key)
        if workload is None or revisions is None:
            raise UserError(
                f"there is no function {key} with revisions; 'eventing get functions' lists them"
            )
        if workload.traffic and not any(
            target.latest and target.percent for target in workload.traffic
        ):
            raise UserError(
                f"the traffic of {key} is pinned to revisions in {workload.source}; change it there"
            )
        return workload, revisions

    def _revision(self, revisions: Revisions, name: str) -> str:
        if revisions.find(name) is None:
            known = ", ".join(reversed(revisions.names))
            raise UserError(f"there is no revision {name}; there are: {known}")
        return name

    async def _put(self, key: Key, revisions: Revisions) -> None:
        self._underway.pop(key, None)
        self._node.revisions.put(key, revisions)
        self._node.revisions.save()
        await self._node.respread()
        self._tell(key, revisions.rollout)
        await self._node.shared.share()

    # Step by step

    def _step(self, key: Key) -> None:
        revisions = self._node.revisions.revisions[key]
        rollout = revisions.rollout
        workload = self._workload(key)
        if rollout is None or rollout.state != "rolling" or workload is None:
            self._underway.pop(key, None)
            return
        new = revisions.find(rollout.new)
        router = self._node.runtime.functions.router(key)
        if new is None or not new.ready or router is None:
            return
        now = time.monotonic()
        figures = router.figures(rollout.old), router.figures(rollout.new)
        underway = self._at(key, workload, rollout, now, *figures)
        plan, measuring, index = underway.plan, underway.measuring, underway.measuring.moment.step
        underway.report = report = measuring.report(now, *figures)
        steps = self._steps(key)
        if steps and rollout.percent != plan.steps[index]:
            measuring.begin(measuring.moment, now, *figures)
            self._move(key, revisions, replace(rollout, percent=plan.steps[index], step=index))
            return
        decision = decide(plan, index, measuring.since, now, report)
        if steps and underway.elsewhere and not isinstance(decision, RollBack):
            for told in underway.elsewhere:
                report += read_report(told, measuring.moment)
            decision = decide(plan, index, measuring.since, now, report)
        match decision:
            case Advance(percent) if steps:
                measuring.begin(Moment(rollout.begun, index + 1), now, *figures)
                self._move(key, revisions, replace(rollout, percent=percent, step=index + 1))
            case Complete() if steps:
                self._move(key, revisions, replace(rollout, percent=100.0, state="complete"))
            case RollBack(reason):
                told = f"{rollout.new}: {reason}"
                back = replace(rollout, percent=0.0, state="rolled back", reason=told)
                self._move(key, revisions, back)
            case Hold() | Advance() | Complete():
                pass

    def _at(
        self,
        key: Key,
        workload: Workload,
        rollout: Rollout,
        now: float,
        old: Figures,
        new: Figures,
    ) -> _Underway:
        """What is measured of it, from when this node came to this step."""
        pair = rollout.old, rollout.new
        underway = self._underway.get(key)
        known = underway is not None and underway.measuring.moment.begun == rollout.begun
        if underway is None or not known or underway.pair != pair:
            plan = self._plan(workload, rollout.plan or {})
            measuring = Measuring(Moment(rollout.begun, -1), now, old, new)
            underway = self._underway[key] = _Underway(pair, plan, measuring)
        moment = Moment(rollout.begun, min(rollout.step, len(underway.plan.steps) - 1))
        if underway.measuring.moment != moment:
            underway.measuring.begin(moment, now, old, new)
            underway.elsewhere = ()
        return underway

    def _steps(self, key: Key) -> bool:
        """Whether this node does, and knows how far another one that did has come."""
        if not self._node.membership.shared:
            return True
        name = self._lease_name(key)
        if not self._leases.held(name):
            self._held_since.pop(name, None)
            return False
        if name not in self._held_since:
            self._held_since[name] = time.monotonic()
            self._node.shared.changed()
        return self._node.shared.read_at > self._held_since[name]

    def _keep_leases(self, names: Set[str]) -> None:
        self._leases.keep(names)
        for name in self._held_since.keys() - names:
            del self._held_since[name]

    def _lease_name(self, key: Key) -> str:
        rollout = self._node.revisions.revisions[key].rollout
        return f"rollout/{key}/{rollout.of if rollout is not None else ''}"

    def _move(self, key: Key, revisions: Revisions, rollout: Rollout) -> None:
        now = time.time()
        after = replace(revisions, rollout=replace(rollout, since=now))
        if rollout.state != "rolling":
            good = rollout.state == "complete"
            after = judged(after, rollout.new, good=good, now=now)
        spread = self._spread(key, after)
        assert spread is not None, "its revisions were there in this turn of the loop"
        # At once; what then runs no more is seen to with the next wiring.
        self._redirect(key, spread)
        self._node.revisions.put(key, after)
        self._node.revisions.save()
        self._node.shared.changed()
        if rollout.state != "rolling":
            self._underway.pop(key, None)
            self._changed.set()
        self._tell(key, after.rollout)

    def _redirect(self, key: Key, spread: Split) -> None:
        functions = self._node.runtime.functions
        if key in functions and all(e.revision in functions.pools(key) for e in spread.shares):
            functions.redirect(key, spread.shares)

    def _spread(self, key: Key, revisions: Revisions) -> Split | None:
        """How the calls are split; None where that can't be told."""
        workload = self._workload(key)
        try:
            return split(workload.traffic, revisions) if workload is not None else None
        except UnknownRevision:
            return None

    def _tell(self, key: Key, rollout: Rollout | None) -> None:
        if rollout is None:
            return
        _log(key, rollout)
        self._node.activity.publish(
            {
                "record": "rollout",
                "at": time.time(),
                "function": key,
                "from": rollout.old,
                "to": rollout.new,
                "percent": rollout.percent,
                "state": rollout.state,
                "reason": rollout.reason,
            }
        )

    def _plan(self, workload: Workload, given: Mapping[str, Any]) -> RolloutPlan:
        """The document's plan, or the usual one, with what was given by hand. Raises UserError."""
        written = workload.rollout or WrittenPlan()
        known = [each.name for each in fields(RolloutPlan)]
        for name in given:
            if name not in known:
                raise UserError(f"the plan of the rollout has no {name}; it has {', '.join(known)}")
        try:
            chosen = {name: given.get(name, getattr(written, name)) for name in known}
            return RolloutPlan(**chosen | {"steps": tuple(chosen["steps"])})
        except TypeError as error:
            raise UserError(f"the plan of the rollout is not valid: {error}") from None

    def _workload(self, key: Key) -> Workload | None:
        namespace, _, name = key.partition("/")
        for kind in WORKLOADS:
            resource = self._node.resources().get(Identity(kind, namespace, name))
            if isinstance(resource, Workload):
                return resource
        return None


def _before(revisions: Revisions, name: str) -> str:
    """The newest ready revision older than this one, on this node rather than on another; "" where
    there is none."""
    found = revisions.find(name)
    number = found.number if found is not None else 0
    older = [
        each
        for each in revisions.known
        if each.ready_anywhere and not each.rejected and each.number < number
    ]
    here = [each for each in older if each.ready]
    return (here or older)[-1].name if older else ""


def _after(rollout: Rollout | None, now: float) -> float:
    """When a rollout begins that is to count instead of this one, whoever's clock is behind."""
    return now if rollout is None else max(now, rollout.begun + 0.001)


def _runs(revisions: Revisions) -> Revisions:
    """What of it says what runs, and takes which calls."""
    known = (replace(each, created=0.0, judged=0.0, used=0.0) for each in revisions.known)
    return replace(revisions, known=tuple(known), rollout=_stands_at(revisions.rollout))


def _stands_at(rollout: Rollout | None) -> Rollout | None:
    """The same, whoever moved it there."""
    return replace(rollout, since=0.0, reason="") if rollout is not None else None


def _log(key: Key, rollout: Rollout, source: str = "") -> None:
    level = logging.WARNING if rollout.state == "rolled back" else logging.INFO
    log.log(
        level,
        "rollout of %s from %s to %s: %s, %g %% of the calls%s%s",
        key,
        rollout.old,
        rollout.new,
        rollout.state,
        rollout.percent,
        f"; {rollout.reason}" if rollout.reason else "",
        source,
    )
