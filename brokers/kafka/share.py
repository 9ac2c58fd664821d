"""One partition of a trigger while this node has it: what was read, handed out, and waits."""

from collections import deque
from dataclasses import dataclass, field

from brokers.base import Delivery, Order
from brokers.kafka.follower import Followed
from brokers.kafka.progress import Progress
from brokers.kafka.waiting import Entry, Waiting
from brokers.key_order import KeyOrder
from eventing.event import Event


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is no CloudEvent, and why."""

    reason: str
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None
    timestamp: float


Item = tuple[int, Event | Unreadable | None]
"""An offset and what is there; None = what was handed out once, and its filter now refuses."""


class Share:
    """State of the event loop, but for `alive`, which the consumer's thread takes away under its
    lock: what is settled after that is another node's.

    `touched`: something of it is to be stored, so its offset goes along, changed or not.
    `end_of_waiting`: where the deliveries topic ended when it came; `loaded` once that is read.
    `resumes_at`: offsets below it were handed out before this node had the partition; those of them
    that were open then are in `recovered` until they are read again.
    """

    __slots__ = (
        "alive",
        "committed",
        "end_of_waiting",
        "followed",
        "in_flight",
        "loaded",
        "order",
        "partition",
        "progress",
        "queue",
        "read_to",
        "recovered",
        "resumes_at",
        "touched",
        "waiting",
    )

    def __init__(self, partition: int, progress: Progress, order: Order) -> None:
        self.partition = partition
        self.alive = True
        self.progress = progress
        self.read_to = progress.low
        self.resumes_at = progress.next
        self.recovered = set(progress.open)
        self.queue: deque[Item] = deque()
        self.in_flight = 0
        self.waiting = Waiting()
        self.end_of_waiting = 0
        self.followed: Followed | None = None
        self.loaded = False
        self.order: KeyOrder | None = KeyOrder() if order == "ordered" else None
        self.committed: tuple[int, str] | None = None
        self.touched = False

    def arrived(self, items: list[Item], read_to: int) -> None:
        """Records were read, up to `read_to`."""
        self.queue.extend(items)
        self.read_to = read_to
        if self.recovered:
            self.recovered.difference_update(offset for offset, _ in items)
            if read_to >= self.resumes_at:
                # They are not there any more: retention took them.
                self.progress.open -= self.recovered
                self.recovered.clear()

    @property
    def caught_up(self) -> bool:
        """Whether all that was known of it before this node had it is at hand: in order, nothing
        overtakes what was outstanding then."""
        again = bool(self.queue) and self.queue[0][0] < self.resumes_at
        return self.loaded and not self.recovered and not again

    @property
    def weight(self) -> tuple[int, int]:
        """How many items wait in the queue, and their size."""
        return len(self.queue), sum(item_size(item) for _, item in self.queue)

    def now(self) -> Progress:
        """The progress as of this moment."""
        reached = self.queue[0][0] if self.queue else self.read_to
        self.progress.next = max(self.progress.next, reached)
        self.progress.waiting = len(self.waiting)
        return self.progress


def item_size(item: Event | Unreadable | None) -> int:
    """About what it takes in memory."""
    return len(item.data or b"") + 256 if type(item) is Event else 256


@dataclass(slots=True, eq=False)
class Handed(Delivery):
    """A delivery as a subscription hands it out. `entry` is None for one straight from the log, at
    `offset`; `out` until it is settled; `released` once the next of its key may go out."""

    share: Share = field(kw_only=True)
    offset: int = field(kw_only=True, default=-1)
    entry: Entry | None = field(kw_only=True, default=None)
    out: bool = field(kw_only=True, default=False)
    released: bool = field(kw_only=True, default=False)
