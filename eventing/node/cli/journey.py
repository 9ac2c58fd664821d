"""One event's way through the node, and that of every reply it causes, until all has ended. Pure.

Read from the records of eventing.node.activity, in their order.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
EventKey = tuple[str, str]
"""CloudEvents' own: source and id."""


@dataclass(slots=True)
class Journey:
    """Give `take` every record; `ended` says when nothing of the event is on its way any more.

    Of an event that reaches another broker by a trigger the way goes on there, unless a
    transform has given it another source or id.
    """

    root: EventKey
    hops: list[Record] = field(default_factory=list)
    """Every record that belongs to it."""
    failed: list[Record] = field(default_factory=list)
    """The attempts that spent a delivery: it went to a dead-letter sink, or was given up."""
    seen: bool = False
    wanted: bool = False
    """Whether any trigger took the root event."""
    _depth: dict[EventKey, int] = field(default_factory=dict)
    _pending: Counter[tuple[str, EventKey]] = field(default_factory=Counter)
    _expected: Counter[EventKey] = field(default_factory=Counter)
    """Replies of which it is not yet known who wants them."""
    _latest: dict[tuple[str, EventKey], Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._depth[self.root] = 0

    def redriven(self, trigger: str) -> None:
        """The root is on its way to this trigger alone, as no record tells."""
        self.seen = self.wanted = True
        self._pending[trigger, self.root] += 1

    @property
    def ended(self) -> bool:
        return self.seen and not self._pending and not self._expected

    @property
    def succeeded(self) -> bool:
        return self.ended and self.wanted and not self.failed

    @property
    def outcome(self) -> str:
        """In one word: done, failed, unwanted, or pending."""
        if not self.ended:
            return "pending"
        if not self.wanted:
            return "unwanted"
        return "failed" if self.failed else "done"

    def depth(self, record: Record) -> int:
        """How many replies lie between the root and the record's event."""
        return self._depth.get(_key(record["event"]), 0)

    def pending(self) -> list[tuple[str, Record | None]]:
        """The triggers that have not ended, each with its latest attempt."""
        return [(slot[0], self._latest.get(slot)) for slot in self._pending]

    def take(self, record: Record) -> bool:
        """Note the record; True if it belongs to this event's way."""
        kind = record["record"]
        if kind not in ("accepted", "attempt"):
            return False
        key = _key(record["event"])
        if key not in self._depth:
            return False
        if kind == "accepted":
            self._accepted(key, record)
        else:
            self._attempted(key, record)
        self.hops.append(record)
        return True

    def _accepted(self, key: EventKey, record: Record) -> None:
        if self._expected[key] > 1:
            self._expected[key] -= 1
        else:
            del self._expected[key]
        if key == self.root:
            self.seen = True
            self.wanted = self.wanted or bool(record["triggers"])
        for trigger in record["triggers"]:
            self._pending[trigger, key] += 1

    def _attempted(self, key: EventKey, record: Record) -> None:
        slot = (record["trigger"], key)
        self._latest[slot] = record
        outcome = record["outcome"]
        if outcome == "dead_letter" or (outcome == "dead" and record["stage"] == "subscriber"):
            self.failed.append(record)
        if outcome not in ("done", "dead"):
            return
        if self._pending[slot] > 1:
            self._pending[slot] -= 1
        else:
            del self._pending[slot]
        for reply in record["replies"]:
            reply_key = _key(reply)
            self._depth.setdefault(reply_key, self._depth[key] + 1)
            self._expected[reply_key] += 1


def _key(event: dict[str, str]) -> EventKey:
    return event["source"], event["id"]
