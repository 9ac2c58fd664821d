"""Whether a broker may take more: backlog, storage and disk, sampled, never on the hot path."""

from collections.abc import Callable
from dataclasses import dataclass

from brokers.base import Limits
from brokers.embedded.retention import Space
from brokers.embedded.storage import Storage
from eventing.errors import BrokerFull

LARGEST_PENDING = 64 << 20
SAMPLE_BYTES = 4 << 20
SAMPLE_SECONDS = 1.0
BACKLOG_SECONDS = 0.05


@dataclass(slots=True)
class Load:
    """What a broker holds: `space` and `backlog` as last sampled, and what was accepted since.

    `pending` are bytes accepted and not stored yet.
    """

    space: Space
    backlog: int = 0
    added_bytes: int = 0
    added_events: int = 0
    pending: int = 0


def refusal(broker: str, limits: Limits, load: Load) -> BrokerFull | None:
    """Why nothing more is taken now, if so."""
    space = load.space
    if limits.max_bytes is not None and space.used + load.added_bytes >= limits.max_bytes:
        return BrokerFull(f"broker {broker!r} holds its {limits.max_bytes} bytes (max_bytes)", 5.0)
    # Each byte is written twice before its page of the write-ahead log can be used again.
    if space.disk + space.reusable - 2 * load.added_bytes < limits.min_free_bytes:
        return BrokerFull(
            f"broker {broker!r}: the disk has less than {limits.min_free_bytes} bytes free"
            " (min_free_bytes)",
            5.0,
        )
    if limits.max_backlog is not None and load.backlog + load.added_events >= limits.max_backlog:
        return BrokerFull(
            f"broker {broker!r}: {limits.max_backlog} events wait for its slowest trigger"
            " (max_backlog)",
            1.0,
        )
    if load.pending >= LARGEST_PENDING:
        return BrokerFull(f"broker {broker!r}: {load.pending} bytes wait for the disk", 1.0)
    return None


class Room:
    """Keeps the load, measured anew every second or SAMPLE_BYTES at most, while events come.

    `backlog` counts the events that wait for the slowest subscription; it is asked only while
    that limit is about reached.
    """

    def __init__(
        self,
        limits: Limits,
        storage: Storage,
        space: Space,
        clock: Callable[[], float],
        backlog: Callable[[], int],
    ) -> None:
        self.load = Load(space)
        self._storage = storage
        self._clock = clock
        self._count_backlog = backlog
        self._sampled = clock()
        self.change(limits)

    def change(self, limits: Limits) -> None:
        """Hold these limits from now on."""
        self.limits = limits
        # The next look counts: nothing is known of the backlog before it.
        self._counted = float("-inf")
        self.load.backlog = limits.max_backlog or 0

    def refusal(self) -> BrokerFull | None:
        """Why nothing more is taken now, if so."""
        refused = refusal(self._storage.broker, self.limits, self.load)
        if refused is None or self.limits.max_backlog is None:
            return refused
        now = self._clock()
        if now - self._counted >= BACKLOG_SECONDS:
            self._counted = now
            self.load.backlog = self._count_backlog()
            self.load.added_events = 0
        return refusal(self._storage.broker, self.limits, self.load)

    def accept(self, size: int, events: int) -> None:
        """Events of `size` bytes are to be stored."""
        self.load.pending += size
        self.load.added_bytes += size
        self.load.added_events += events

    def answered(self, size: int) -> None:
        """They are stored, or failed."""
        self.load.pending -= size

    def sample_if_due(self) -> None:
        """Measure where the last time is long ago. Only while no commit is under way."""
        now = self._clock()
        if self.load.added_bytes >= SAMPLE_BYTES or now - self._sampled >= SAMPLE_SECONDS:
            self.sample()

    def sample(self) -> None:
        """Measure now. Only while no commit is under way. Raises sqlite3.Error or OSError."""
        used, reusable = self._storage.used_bytes()
        self.load.space = Space(used, reusable, self._storage.free_disk())
        self.load.added_bytes = self.load.pending
        self._sampled = self._clock()

    @property
    def used(self) -> int:
        """Bytes in use: as last sampled, and about what was stored since."""
        return self.load.space.used + self.load.added_bytes - self.load.pending

    @property
    def moved(self) -> bool:
        """Whether events were stored since the last sample."""
        return self.load.added_bytes > self.load.pending
