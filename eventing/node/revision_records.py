"""Revisions and rollouts as documents of the table that the nodes of an engine share.

A key for every revision and its content, and for every document of a function that is rolled out:
so no node writes over what another one has found. What is none is passed over, also what a newer
version writes beside.
"""

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from brokers.cluster import Document
from eventing.node.revisions import Key, Revision, Revisions, Rollout

TABLE = "revisions"

_REVISION = "revision"
_ROLLOUT = "rollout"
_A_REVISION = TypeAdapter(Revision)
_A_ROLLOUT = TypeAdapter(Rollout)

log = logging.getLogger("eventing.node")


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """A rollout, and the digests of its two revisions: by these they are found where they go by
    other names."""

    rollout: Rollout
    old_digest: str
    new_digest: str

    def among(self, known: Iterable[Revision]) -> Rollout | None:
        """The rollout with the names that they have among these; None where one is not there."""
        known = tuple(known)
        old = name_among(known, self.rollout.old, self.old_digest)
        new = name_among(known, self.rollout.new, self.new_digest)
        return replace(self.rollout, old=old, new=new) if old and new else None


@dataclass(frozen=True, slots=True)
class Records:
    """What a table holds, by function."""

    revisions: Mapping[Key, tuple[Revision, ...]] = field(default_factory=dict)
    rollouts: Mapping[Key, tuple[RolloutRecord, ...]] = field(default_factory=dict)


def name_among(known: Iterable[Revision], name: str, digest: str) -> str:
    """The name that what was called so, and says this, has among these; empty where there is
    none."""
    same = [each.name for each in known if each.digest == digest]
    return name if name in same else next(iter(same), "")


def revision_key(revision: Revision) -> str:
    """Of the table."""
    return f"{_REVISION}/{revision.function}/{revision.name}/{revision.digest}"


def rollout_key(function: Key, document: str) -> str:
    """Of the table."""
    return f"{_ROLLOUT}/{function}/{document}"


def told(revision: Revision) -> Revision:
    """It as every node may know it: ready on some node."""
    return replace(revision, ready=False, ready_elsewhere=revision.ready_anywhere)


def revision_document(revision: Revision) -> Document:
    """What the table holds of it."""
    document = dataclasses.asdict(told(revision))
    del document["ready"]
    return document | {"record": _REVISION}


def rollout_document(rollout: Rollout, revisions: Revisions) -> Document:
    """What the table holds of it; its revisions are among these."""
    digests = {each.name: each.digest for each in revisions.known}
    return dataclasses.asdict(rollout) | {
        "record": _ROLLOUT,
        "old_digest": digests[rollout.old],
        "new_digest": digests[rollout.new],
    }


def read_records(documents: Mapping[str, Document]) -> Records:
    """All that a table holds."""
    revisions: dict[Key, list[Revision]] = defaultdict(list)
    rollouts: dict[Key, list[RolloutRecord]] = defaultdict(list)
    for key, document in documents.items():
        match _read(document):
            case Revision() as revision if key == revision_key(revision):
                revisions[revision.function].append(revision)
            case RolloutRecord(rollout) as record if key == rollout_key(
                rollout.function, rollout.of
            ):
                rollouts[rollout.function].append(record)
    return Records(
        {function: tuple(found) for function, found in revisions.items()},
        {function: tuple(records) for function, records in rollouts.items()},
    )


def _read(document: Document) -> Revision | RolloutRecord | None:
    try:
        match document.get("record"):
            case "revision":
                return _A_REVISION.validate_python(document)
            case "rollout":
                rollout = _A_ROLLOUT.validate_python(document)
                return RolloutRecord(rollout, document["old_digest"], document["new_digest"])
    except (KeyError, ValidationError) as error:
        log.debug("a record of revisions is none: %s", error)
    return None
