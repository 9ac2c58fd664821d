"""What the functions of a node use: counted by pools, kept in the data folder, told on request."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventing.errors import UserError
from eventing.node.usage_query import (
    PERIODS,
    By,
    UsageQuery,
    lines_document,
    summed,
    together,
)
from eventing.node.usage_store import UsageStore
from functions.metering import Metering
from functions.usage import HOUR


class NodeUsage:
    """Of one node. `metering` makes the meters of its pools; start it once the data folder is
    there, close it once the pools are."""

    def __init__(self, data: Path) -> None:
        self._store = UsageStore(data)
        self.metering = Metering(self._store)

    async def report(self, query: UsageQuery) -> dict[str, Any]:
        """The answer in JSON values, up to this moment. `known`, where a function was asked for
        that nothing is to be told of: every function there is usage of. Raises StorageError."""
        stored, unsaved = await self.metering.read(lambda: self._store.read(query))
        lines = together([stored, summed(query, unsaved)])
        document: dict[str, Any] = {"items": lines_document(lines)}
        if query.function is not None and not lines:
            counted = {f"{key.namespace}/{key.function}" for key in unsaved}
            document["known"] = sorted({*await self._store.functions(), *counted})
        return document


def read_query(asked: Mapping[str, str]) -> UsageQuery:
    """The query of `since` and `until` (Unix seconds), `by`, `revisions` ("true") and `function`
    (namespace/name), all of them optional. Raises UserError."""
    by: By = "total"
    if "by" in asked:
        found = next((each for each in PERIODS if each == asked["by"]), None)
        if found is None:
            raise UserError(f"by is {asked['by'][:40]!r}; it must be one of {', '.join(PERIODS)}")
        by = found
    revisions = asked.get("revisions", "false")
    if revisions not in ("true", "false"):
        raise UserError(f"revisions is {revisions[:40]!r}; it must be true or false")
    function = asked.get("function")
    if function is not None and not all(function.partition("/")):
        raise UserError(f"function is {function[:80]!r}; it must be namespace/name")
    return UsageQuery(
        _time(asked, "since", 0.0),
        # The hour that goes on now is one of those asked for.
        _time(asked, "until", time.time() + HOUR),
        by,
        revisions == "true",
        function,
    )


def _time(asked: Mapping[str, str], name: str, default: float) -> float:
    if name not in asked:
        return default
    try:
        value = float(asked[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{name} is {asked[name][:40]!r}; it must be a time in Unix seconds")
    return value
