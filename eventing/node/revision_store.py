"""Keeps the revisions of every function in the data folder: they outlive the node.

One JSON file, replaced whole. What can't be written (a full disk) counts all the same, and is
written as soon as it can be. Over Kafka or Redis it is this node's view of what all nodes know
(eventing/node/shared_revisions.py), and what it starts with while the engine is away.
"""

import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from eventing.errors import StorageError
from eventing.node.revisions import Key, Revision, Revisions, Rollout

log = logging.getLogger("eventing.node")


class RevisionStore:
    """`revisions` by function; `put` changes one, `save` writes what is not written yet."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "revisions.json"
        self._revisions: dict[Key, Revisions] = {}
        self.loaded: Mapping[Key, Revisions] = {}
        """As they were in the file when this node was started."""
        self._unsaved = False
        self._complained = False

    def load(self) -> None:
        """Read what is there. A file that is none is set aside, and said: the functions then begin
        with a first revision again. Raises StorageError where it can't be read."""
        try:
            text = self._file.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"{self._file} can't be read: {error.strerror}") from error
        try:
            documents = orjson.loads(text)["functions"]
            self._revisions = {each["function"]: _revisions(each) for each in documents}
            self.loaded = dict(self._revisions)
        except (ValueError, KeyError, TypeError) as error:
            aside = self._file.with_suffix(f".broken-{time.time():.0f}")
            self._file.replace(aside)
            log.error(
                "%s does not hold what it should (%s); it is kept as %s, and every function begins "
                "with its first revision",
                self._file,
                error,
                aside.name,
            )

    @property
    def revisions(self) -> Mapping[Key, Revisions]:
        return self._revisions

    def put(self, function: Key, revisions: Revisions) -> None:
        if self._revisions.get(function) != revisions:
            self._revisions[function] = revisions
            self._unsaved = True

    @property
    def unsaved(self) -> bool:
        return self._unsaved

    def save(self) -> None:
        """Write what has changed; where that fails it is said once, and `unsaved` stays true."""
        if not self._unsaved:
            return
        documents = [_document(*each) for each in self._revisions.items()]
        new = self._file.with_suffix(".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(orjson.dumps({"functions": documents}, option=orjson.OPT_INDENT_2))
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self._file)
        except OSError as error:
            if not self._complained:
                log.error("%s can't be written: %s; it is tried again", self._file, error.strerror)
            self._complained = True
            return
        self._unsaved = self._complained = False


def _document(function: Key, revisions: Revisions) -> dict[str, Any]:
    return {
        "function": function,
        "latest": revisions.latest,
        "rollout": dataclasses.asdict(revisions.rollout) if revisions.rollout else None,
        "known": [dataclasses.asdict(each) for each in revisions.known],
    }


def _revisions(document: dict[str, Any]) -> Revisions:
    known = tuple(Revision(**each) for each in document["known"])
    rollout = Rollout(**document["rollout"]) if document["rollout"] else None
    if not known or all(each.name != document["latest"] for each in known):
        raise ValueError(f"{document['function']} has no revision {document['latest']}")
    return Revisions(known, document["latest"], rollout)
