"""The revisions of functions, and how the calls are split among them. Pure: values and decisions.

A revision is what a Function's or Service's template said at one time: immutable, named, numbered.
eventing/node/revision_store.py keeps them, eventing/node/shared_revisions.py has all nodes of an
engine agree on them.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import orjson

from eventing.resources import Path, Resource, TrafficTarget, Workload
from functions.traffic.policy import Weighted

Key = str

KEPT = 20
"""Revisions of one function that are kept though nothing is sent to them, as in Knative."""
USED_FOR = 24 * 3600.0
"""Seconds for which a revision counts as in use after a node said last that something is sent to
it: another one may have been away for a while."""

State = Literal["rolling", "complete", "rolled back"]

_ALL_TO_LATEST = TrafficTarget(100, None, True, False, None)


@dataclass(frozen=True, slots=True)
class Revision:
    """One of them. `template` is what `Workload.with_template` makes a resource of again.

    ready: an instance of it has been ready once, on this node; until then the one before it goes
    on. ready_elsewhere: on any node of the engine. rejected: the last rollout to it was rolled
    back, so no other revision's calls fall to it; judged: when that was found, or that it is good.
    used: when another node, or this one, said last that something is sent to it; 0 on a node
    without others. All times are Unix seconds.
    """

    function: Key
    name: str
    number: int
    digest: str
    created: float
    template: Mapping[str, Any]
    ready: bool = False
    ready_elsewhere: bool = False
    rejected: bool = False
    judged: float = 0.0
    used: float = 0.0

    @property
    def ready_anywhere(self) -> bool:
        return self.ready or self.ready_elsewhere


@dataclass(frozen=True, slots=True)
class Rollout:
    """Where the share of the calls that goes to "the latest" goes for now: `percent` of it to the
    revision `new`, the rest to `old`.

    It counts for as long as the function's document says what it said when the rollout was made
    (`of`, a digest): a changed document begins anew. `step` indexes the plan's steps, `begun` and
    `since` are when it and the step began (Unix seconds), `reason` says why it was rolled back.
    `plan` are the fields of a plan that was given by hand, None = the document's.
    """

    function: Key
    of: str
    old: str
    new: str
    percent: float
    state: State
    step: int = 0
    since: float = 0.0
    reason: str = ""
    plan: Mapping[str, Any] | None = None
    begun: float = 0.0

    @property
    def progress(self) -> tuple[float, int, int, float, float]:
        """Of two nodes' views of what goes on, the one that is further counts: a newer rollout, and
        within one going back before all else. Of two that came as far, the one that was there
        first."""
        return self.begun, _STATES.index(self.state), self.step, self.percent, -self.since


_STATES: tuple[State, ...] = ("rolling", "complete", "rolled back")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the other nodes of the engine know of a function: their `rollouts`, of whichever
    documents, and which `documents` (digests) that ask for one they have in force."""

    rollouts: tuple[Rollout, ...] = ()
    documents: frozenset[str] = frozenset()


NOWHERE = Elsewhere()


@dataclass(frozen=True, slots=True)
class Revisions:
    """Those of one function, oldest first; `latest` is the one its document describes now, empty
    where this node has had none yet."""

    known: tuple[Revision, ...]
    latest: str
    rollout: Rollout | None = None

    def find(self, name: str) -> Revision | None:
        return next((each for each in self.known if each.name == name), None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.known)

    @property
    def serving(self) -> str:
        """The revision that "the latest" stands for: the latest where it is ready, else the newest
        that has been. What was ready on other nodes alone counts where nothing was on this one."""
        latest = self.find(self.latest)
        if latest is not None and latest.ready:
            return latest.name
        here = self._newest_ready(latest)
        if not here and latest is not None and latest.ready_elsewhere:
            return latest.name
        return here or self._newest_elsewhere(latest) or self.latest

    @property
    def previous(self) -> str:
        """The newest ready one before the latest; the latest where there is none."""
        latest = self.find(self.latest)
        return self._newest_ready(latest) or self._newest_elsewhere(latest) or self.latest

    def _newest_ready(self, latest: Revision | None) -> str:
        found = (each for each in self._others(latest) if each.ready)
        return next((each.name for each in found), "")

    def _newest_elsewhere(self, latest: Revision | None) -> str:
        """Older ones alone: a node with a newer document may be ahead of this one."""
        before = latest.number if latest is not None else math.inf
        found = (e for e in self._others(latest) if e.ready_elsewhere and e.number < before)
        return next((each.name for each in found), "")

    def _others(self, latest: Revision | None) -> Iterator[Revision]:
        """Newest first, without what did worse than the one before it."""
        known = reversed(self.known)
        return (each for each in known if each is not latest and not each.rejected)

    def latest_shares(self) -> tuple[Weighted, ...]:
        """What "the latest" stands for while a rollout is on its way, or was rolled back."""
        rollout = self.rollout
        old = self.find(rollout.old) if rollout is not None else None
        new = self.find(rollout.new) if rollout is not None else None
        if rollout is None or old is None or new is None:
            return (Weighted(self.serving, 100.0),)
        # What other nodes have gone over to, one that has never had either of them begins with.
        complete = rollout.state == "complete" and new.ready_elsewhere and not old.ready
        percent = rollout.percent if new.ready or complete else 0.0
        shares = (Weighted(rollout.old, 100.0 - percent), Weighted(rollout.new, percent))
        return tuple(share for share in shares if share.weight > 0)


@dataclass(frozen=True, slots=True)
class Split:
    """The calls of one function by revision, in percent; which revision each tag names; and the
    revisions that have to run: those with calls or a tag, and a latest one not ready yet."""

    shares: tuple[Weighted, ...]
    tags: Mapping[str, str]
    running: frozenset[str]


class RevisionNameTaken(Exception):
    """The template names a revision that is another's."""


class UnknownRevision(Exception):
    """`index` of the entry of spec.traffic that names it."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def split(targets: Iterable[TrafficTarget], revisions: Revisions) -> Split:
    """What the traffic block comes to; raises UnknownRevision. Without any entry all goes to the
    latest."""
    shares: dict[str, float] = {}
    tags: dict[str, str] = {}
    for index, target in enumerate(tuple(targets) or (_ALL_TO_LATEST,)):
        if target.revision is not None:
            if revisions.find(target.revision) is None:
                known = ", ".join(reversed(revisions.names))
                raise UnknownRevision(
                    index, f"there is no revision {target.revision}; there are: {known}"
                )
            resolved: tuple[Weighted, ...] = (Weighted(target.revision, 100.0),)
        elif target.previous:
            resolved = (Weighted(revisions.previous, 100.0),)
        else:
            resolved = revisions.latest_shares()
        for share in resolved:
            weight = share.weight * target.percent / 100
            shares[share.revision] = shares.get(share.revision, 0.0) + weight
        if target.tag is not None:
            tags[target.tag] = resolved[-1].revision
    running = {name for name, weight in shares.items() if weight > 0} | set(tags.values())
    latest = revisions.find(revisions.latest)
    rolled_back = revisions.rollout is not None and revisions.rollout.state == "rolled back"
    if latest is not None and not latest.ready and not rolled_back:
        running.add(latest.name)
    if revisions.rollout is not None and revisions.rollout.state == "rolling":
        # At 100 % as well: the calls may have to go back at once.
        running |= {revisions.rollout.old, revisions.rollout.new} & set(revisions.names)
    ordered = tuple(Weighted(name, weight) for name, weight in shares.items() if weight > 0)
    return Split(ordered, tags, frozenset(running))


def digest_of(value: Any) -> str:
    """Of a JSON value, the same for equal ones, in 16 letters and digits."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def document_digest(workload: Workload) -> str:
    """Of all that a rollout depends on: the template, the traffic and the rollout asked for."""
    traffic = [
        [target.percent, target.revision, target.latest, target.previous, target.tag]
        for target in workload.traffic
    ]
    return digest_of([workload.template, traffic, repr(workload.rollout)])


def with_latest(
    function: Key,
    workload: Workload,
    before: Revisions | None,
    now: float,
    elsewhere: Elsewhere = NOWHERE,
) -> Revisions:
    """The function's revisions once its document is as `workload`: a template not seen before is
    a new revision, one seen before is that one again. Where a rollout was asked for, it begins
    with the new revision at none of the calls; where another node has the same document, what is
    so there counts here. Raises RevisionNameTaken."""
    digest = digest_of(workload.template)
    document = document_digest(workload)
    if before is None:
        first = _revision(function, workload, 1, digest, now)
        return Revisions((first,), first.name)
    rollout = newest((before.rollout, *elsewhere.rollouts), document)
    found, known = _same(before, workload, digest), before.known
    if found is None:
        number = max((each.number for each in before.known), default=0) + 1
        found = _revision(function, workload, number, digest, now)
        if before.find(found.name) is not None:
            raise RevisionNameTaken(
                f"revision {found.name} is there already and says something else; a revision never "
                "changes: give this one another name"
            )
        known = (*before.known, found)
    old = _serving_now(before)
    wanted = workload.rollout is not None and document not in elsewhere.documents
    if wanted and rollout is None and old and old != found.name:
        rollout = Rollout(function, document, old, found.name, 0.0, "rolling", since=now, begun=now)
    return Revisions(known, found.name, rollout)


def newest(rollouts: Iterable[Rollout | None], document: str) -> Rollout | None:
    """Of those of this document the one that is furthest; None where there is none."""
    found = (each for each in rollouts if each is not None and each.of == document)
    return max(found, key=lambda each: each.progress, default=None)


def _same(before: Revisions, workload: Workload, digest: str) -> Revision | None:
    """The revision that the document describes, if there is one; the latest where it is as good as
    any."""
    chosen = workload.revision_name
    found = [e for e in before.known if e.digest == digest and chosen in (None, e.name)]
    latest = (each for each in found if each.name == before.latest)
    return next(latest, found[0] if found else None)


def _serving_now(before: Revisions) -> str:
    """The revision that has most of the latest's calls, if it has been ready."""
    shares = before.latest_shares()
    name = max(shares, key=lambda share: share.weight).revision
    found = before.find(name)
    return name if found is not None and found.ready_anywhere else ""


def numbered_name(function: Key, number: int) -> str:
    """What a revision is called that was given no name."""
    return f"{function.partition('/')[2]}-{number:05d}"


def _revision(function: Key, workload: Workload, number: int, digest: str, now: float) -> Revision:
    chosen = workload.revision_name or numbered_name(function, number)
    return Revision(function, chosen, number, digest, now, workload.template)


def settled(
    workloads: Iterable[tuple[Key, Workload]],
    before: Mapping[Key, Revisions],
    now: float,
    elsewhere: Mapping[Key, Elsewhere] = MappingProxyType({}),
) -> tuple[dict[Key, Revisions], list[tuple[Resource, Path, str]]]:
    """The revisions of each function as its document wants them, and what is wrong with those
    documents: a name that is taken, a revision that is not there; with its place."""
    after: dict[Key, Revisions] = {}
    problems: list[tuple[Resource, Path, str]] = []
    for key, workload in workloads:
        try:
            others = elsewhere.get(key, NOWHERE)
            after[key] = with_latest(key, workload, before.get(key), now, others)
            spread = split(workload.traffic, after[key])
        except RevisionNameTaken as error:
            problems.append((workload, ("spec", "template", "metadata", "name"), str(error)))
        except UnknownRevision as error:
            path: Path = ("spec", "traffic", error.index, "revisionName")
            problems.append((workload, path, str(error)))
        else:
            after[key] = pruned(after[key], spread.running, now)
    return after, problems


def is_ready(revisions: Revisions, name: str) -> Revisions:
    """The same, knowing that this one has been ready."""
    known = tuple(
        replace(each, ready=True) if each.name == name else each for each in revisions.known
    )
    return replace(revisions, known=known)


def judged(revisions: Revisions, name: str, *, good: bool, now: float) -> Revisions:
    """The same, knowing how a rollout to this one ended."""
    known = tuple(
        replace(each, rejected=not good, judged=now) if each.name == name else each
        for each in revisions.known
    )
    return replace(revisions, known=known)


def pruned(revisions: Revisions, in_use: frozenset[str], now: float) -> Revisions:
    """Without the oldest of those beyond KEPT that nothing is sent to, here or on other nodes."""
    used = {each.name for each in revisions.known if each.used and now - each.used < USED_FOR}
    spare = {revisions.latest, *in_use, *used}
    if revisions.rollout is not None:
        spare |= {revisions.rollout.old, revisions.rollout.new}
    unused = [each for each in revisions.known if each.name not in spare]
    over = {each.name for each in unused[: max(0, len(unused) - KEPT)]}
    return replace(
        revisions, known=tuple(each for each in revisions.known if each.name not in over)
    )
