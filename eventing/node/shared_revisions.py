"""Has the nodes of an engine agree on the revisions of their functions, and on the rollouts.

Each node keeps its own view in its data folder, which goes on counting while the engine is away;
here it learns what the others know, and tells them what they don't.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from brokers.cluster import ANNOUNCE_EVERY, Document, Member
from eventing.errors import EventingError, StorageError
from eventing.node.agreed_revisions import agreed, following, joined, unknown
from eventing.node.revision_records import (
    TABLE,
    Records,
    RolloutRecord,
    read_records,
    revision_document,
    revision_key,
    rollout_document,
    rollout_key,
)
from eventing.node.revision_store import RevisionStore
from eventing.node.revisions import (
    Elsewhere,
    Key,
    Revision,
    Revisions,
    Rollout,
    UnknownRevision,
    document_digest,
    newest,
    pruned,
    split,
)
from eventing.resources import Workload

log = logging.getLogger("eventing.node")

SAY_USED_EVERY = 3600.0
"""Seconds after which it is said anew that something is sent to a revision."""


class Tables(Protocol):
    """What of the membership is needed here; see eventing/node/membership.py."""

    @property
    def shared(self) -> bool: ...

    @property
    def reached(self) -> bool: ...

    async def members(self) -> list[Member]: ...

    async def documents(self, table: str) -> Mapping[str, Document]: ...

    async def store(self, table: str, changes: Mapping[str, Document | None]) -> None: ...


class SharedRevisions:
    """Of one node: `run` is to be a task of it. A node on its own shares nothing, and pays nothing.

    `follow` takes a function's revisions where they are others than before by what was learned.
    """

    def __init__(
        self,
        store: RevisionStore,
        tables: Tables,
        follow: Callable[[Key, Revisions], None],
    ) -> None:
        self.name = ""
        """Of this node among them."""
        self.reached = False
        """Whether what the others know has been read since the node was started."""
        self.read_at = 0.0
        """What they had stored by then is known; by the monotonic clock."""
        self._store = store
        self._tables = tables
        self._follow = follow
        self._documents: Mapping[str, Document] = {}
        self._records = Records()
        self._in_force_elsewhere: Mapping[Key, frozenset[str]] = {}
        self._workloads: Mapping[Key, Workload] = {}
        self._coming: Mapping[Key, Workload] = {}
        self._in_force: dict[Key, str] = {}
        self._left: dict[tuple[Key, str], float] = {}
        self._to_remove: dict[tuple[Key, str], float] = {}
        self._met: set[Key] = set()
        self._fitting: dict[tuple[str, str], bool] = {}
        self._announced: Mapping[Key, str] = {}
        self._news = self._told = 0
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._fault = ""

    # For who settles what the documents come to

    def note(self, workloads: Mapping[Key, Workload]) -> None:
        """These documents are in force from now on. To be called before what they come to is put
        into the store."""
        self._workloads, self._coming = workloads, {}
        self._documents = {}  # of other functions it may be understood now
        for key, workload in workloads.items():
            before = self._in_force.get(key) or self._kept_document(key)
            now = self._in_force[key] = document_digest(workload)
            if before and before != now:
                self._left[key, before] = time.time()
                self._to_remove[key, before] = time.monotonic()
            self._to_remove.pop((key, now), None)
        self.changed()

    def before(self, workloads: Mapping[Key, Workload]) -> dict[Key, Revisions]:
        """What is known of these functions: by this node, or else by others alone. Revisions that
        the document could not be of, such as a Function's where a Service has its name by now, are
        none of it."""
        found = {}
        for key, workload in workloads.items():
            told = Revisions(agreed(self._records.revisions.get(key, ())), "")
            own = self._store.revisions.get(key, told)
            known = tuple(each for each in own.known if self._fits(workload, each))
            if known:
                found[key] = replace(own, known=known)
        return found

    def elsewhere(self, before: Mapping[Key, Revisions]) -> dict[Key, Elsewhere]:
        """What is so of them on other nodes, as it was read last."""
        found = {}
        for key, own in before.items():
            records = [each for each in self._records.rollouts.get(key, ()) if self._counts(each)]
            rollouts = (each.among(own.known) for each in records)
            found[key] = Elsewhere(
                tuple(each for each in rollouts if each is not None),
                self._in_force_elsewhere.get(key, frozenset()),
            )
        return found

    def changed(self) -> None:
        """This node knows something that the others don't, or has to know what they do."""
        self._news += 1
        self._changed.set()

    @property
    def told(self) -> bool:
        """Whether the others could have read all that this node knows."""
        return self._told == self._news

    def announcement(self) -> Mapping[Key, str]:
        """Which document that asks for a rollout is in force here, by function: those of which the
        others could have read how far the rollout is."""
        return self._announced

    # With the others

    async def run(self) -> None:
        """Until it is cancelled. What fails is tried again."""
        while True:
            if self._askable:
                try:
                    await self.refresh()
                    await self.share()
                except Exception:  # A mistake of ours must not end it.
                    log.exception("revisions are not shared with the other nodes")
            with suppress(TimeoutError):
                async with asyncio.timeout(ANNOUNCE_EVERY):
                    await self._changed.wait()
            self._changed.clear()

    async def catch_up(self, workloads: Mapping[Key, Workload]) -> None:
        """Before documents are to change to these: learn which are in force elsewhere, and how far
        they are there. Nothing is learned while the engine is away."""
        if not self._askable or not workloads:
            return
        self._coming = workloads
        self._documents = {}  # more of it may be understood now
        try:
            # In this order: what one announces, it has stored before.
            members = await self._tables.members()
        except StorageError as error:
            self._failed(error)
            return
        self._in_force_elsewhere = _in_force(each for each in members if each.name != self.name)
        await self.refresh()

    async def refresh(self) -> None:
        """Learn what the others have stored. Nothing is learned while the engine is away."""
        if not self._askable:
            return
        async with self._one_at_a_time:
            began = time.monotonic()
            try:
                documents = await self._tables.documents(TABLE)
            except StorageError as error:
                self._failed(error)
                return
            self._worked()
            self.reached, self.read_at = True, began
            if documents is not self._documents:
                self._documents = documents
                self._records = self._understood(read_records(documents))
            for key, own in tuple(self._store.revisions.items()):
                after = self._merged(key, own)
                if after != own:
                    self._follow(key, after)

    async def share(self) -> None:
        """Tell the others what this node knows and they don't. What can't be stored now is told
        later."""
        if not self._askable or not self.reached:
            return
        async with self._one_at_a_time:
            documents = dict(self._in_force)
            changes, news = self._untold(), self._news
            try:
                if changes:
                    await self._tables.store(TABLE, changes)
            except StorageError as error:
                self._failed(error)
                return
            self._told = news
            self._to_remove = {
                each: since for each, since in self._to_remove.items() if since > self.read_at
            }
            self._announced = {
                key: document
                for key, document in documents.items()
                if key in self._workloads and self._workloads[key].rollout is not None
            }
            if changes:
                # Read again before it is compared again.
                self._documents = {}

    def forget(self) -> None:
        """The other nodes are those of another engine from now on."""
        self.reached = False
        self._documents, self._records = {}, Records()
        self._in_force_elsewhere, self._announced = {}, {}

    async def close(self) -> None:
        """Tell what is not told yet, where the engine answers."""
        if not self._fault:
            await self.share()

    # Inside

    @property
    def _askable(self) -> bool:
        """Not before the engine has been reached for the first time: the membership tells of it."""
        return self._tables.shared and self._tables.reached

    def _understood(self, records: Records) -> Records:
        """Without the revisions of functions that this node has not, and those whose template it
        can't read: a newer node's, or one of another kind of function. They are left alone."""
        found = {}
        for key, revisions in records.revisions.items():
            workload = self._coming.get(key) or self._workloads.get(key)
            if workload is not None:
                found[key] = tuple(each for each in revisions if self._fits(workload, each))
        return replace(records, revisions=found)

    def _fits(self, workload: Workload, revision: Revision) -> bool:
        what = workload.kind, revision.digest
        if what not in self._fitting:
            self._fitting[what] = _can_read(workload, revision)
        return self._fitting[what]

    def _kept_document(self, key: Key) -> str:
        kept = self._store.revisions.get(key)
        return kept.rollout.of if kept is not None and kept.rollout is not None else ""

    def _counts(self, record: RolloutRecord) -> bool:
        """Not one of a document that this node had, and no node has had since: it begins anew."""
        rollout = record.rollout
        if rollout.of in self._in_force_elsewhere.get(rollout.function, ()):
            return True
        return rollout.begun > self._left.get((rollout.function, rollout.of), 0.0)

    def _merged(self, key: Key, own: Revisions) -> Revisions:
        """A function's revisions with what the table says of them."""
        after = joined(own, self._records.revisions.get(key, ()))
        records = [each for each in self._records.rollouts.get(key, ()) if self._counts(each)]
        found = (each.among(after.known) for each in records)
        rollouts = [each for each in found if each is not None]
        after = self._without_outdated(key, after, rollouts)
        workload = self._workloads.get(key)
        if workload is None:
            return after  # not yet, or no more: then it stays as it was
        after = following(after, rollouts, self._in_force[key])
        try:
            in_use = split(workload.traffic, after).running
        except UnknownRevision:
            return after  # the function's condition tells of it
        now = time.time()
        known = tuple(_said(each, in_use, now) for each in after.known)
        return pruned(replace(after, known=known), in_use, now)

    def _without_outdated(self, key: Key, own: Revisions, rollouts: Iterable[Rollout]) -> Revisions:
        """At first what the table says of a rollout counts, not how this node left it when it was
        stopped: the others may have gone on for days."""
        if key in self._met:
            return own
        self._met.add(key)
        kept = self._store.loaded.get(key)
        if own.rollout is None or kept is None or own.rollout != kept.rollout:
            return own
        there = newest(rollouts, own.rollout.of)
        if there is None or there.begun < own.rollout.begun:
            return own
        return replace(own, rollout=there)

    def _untold(self) -> dict[str, Document | None]:
        """What the table has to be changed by."""
        changes: dict[str, Document | None] = {}
        for key in self._workloads.keys() & self._store.revisions.keys():
            own = self._store.revisions[key]
            there = {revision_key(each): each for each in self._records.revisions.get(key, ())}
            missing = unknown(own, there)
            changes |= {name: revision_document(each) for name, each in missing.items()}
            kept = {revision_key(each) for each in own.known}
            changes |= dict.fromkeys(there.keys() - kept)
            changes |= self._untold_rollout(key, own)
        for key, document in self._to_remove:
            if any(e.rollout.of == document for e in self._records.rollouts.get(key, ())):
                changes[rollout_key(key, document)] = None
        return changes

    def _untold_rollout(self, key: Key, own: Revisions) -> dict[str, Document]:
        rollout = own.rollout
        if rollout is None or own.find(rollout.old) is None or own.find(rollout.new) is None:
            return {}
        name = rollout_key(key, rollout.of)
        records = self._records.rollouts.get(key, ())
        there = next((each.rollout for each in records if each.rollout.of == rollout.of), None)
        if there is not None and there.progress >= rollout.progress:
            return {}
        return {name: rollout_document(rollout, own)}

    def _failed(self, error: StorageError) -> None:
        if not self._fault:
            log.warning(
                "what the other nodes know of revisions and rollouts can't be read: %s; this node "
                "goes on as it is, and it is tried again",
                error,
            )
        self._fault = str(error)

    def _worked(self) -> None:
        if self._fault:
            log.info("revisions and rollouts are shared with the other nodes again")
        self._fault = ""


def _in_force(members: Iterable[Member]) -> dict[Key, frozenset[str]]:
    """The documents that these nodes have announced, by function."""
    found: dict[Key, set[str]] = defaultdict(set)
    for member in members:
        told = member.document.get("rollouts")
        documents = told.get("documents") if isinstance(told, dict) else None
        for key, document in documents.items() if isinstance(documents, dict) else ():
            if isinstance(document, str):
                found[key].add(document)
    return {key: frozenset(documents) for key, documents in found.items()}


def _said(revision: Revision, in_use: frozenset[str], now: float) -> Revision:
    """It, said to be in use where it is and that was long ago."""
    if revision.name in in_use and now - revision.used > SAY_USED_EVERY:
        return replace(revision, used=now)
    return revision


def _can_read(workload: Workload, revision: Revision) -> bool:
    try:
        workload.with_template(dict(revision.template))
    except (EventingError, ValueError, KeyError, TypeError) as error:
        log.debug("revision %s can't be read here: %s", revision.name, error)
        return False
    return True
