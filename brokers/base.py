"""The contract of every broker: what it promises, and the words it is spoken in.

A broker keeps events in a log and hands them to subscriptions, at least once each. Every
implementation passes the one suite in tests/brokers/broker_contract.py.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from eventing.errors import StorageError
from eventing.event import Event

Order = Literal["ordered", "unordered"]
Stage = Literal["subscriber", "dead_letter"]
"""Where a delivery is to go next: to the subscriber, or, its attempts spent, to the sink."""


@dataclass(frozen=True, slots=True)
class At:
    """A moment of the log, in Unix seconds: before the first event stored at or after it."""

    seconds: float


Place = int | At
"""Where to begin or end in the log: at a position, or at a moment.

Positions are integers from 1 up that rise in the order of storing: over the whole log, or, where
an engine divides the log into partitions, within each. A place to begin with is inclusive, and so
is a position to end with; a moment to end with is not."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last attempt failed, as the dead-letter attributes tell it.

    `destination` is the subscriber's address (`knativeerrordest`), `code` the last HTTP status or
    its like (`knativeerrorcode`), `data` the last answer's first bytes (`knativeerrordata`, kept
    unencoded here), `reason` one line for people.
    """

    destination: str
    code: int
    reason: str
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Fault:
    """What keeps something from its work for as long as it lasts: one CamelCase word for programs,
    such as "EngineUnreachable", and a sentence for people with the remedy."""

    reason: str
    message: str

    @classmethod
    def of(cls, error: StorageError) -> "Fault":
        """The fault that an error tells of."""
        return cls(error.reason, str(error))

    def error(self) -> StorageError:
        """The error of a request that it does not let through."""
        return StorageError(self.message, self.reason)


@dataclass(slots=True)
class Delivery:
    """One event on its way to one trigger.

    `position` is the event's place in the broker's log, `attempt` counts from 1 within the
    `stage`. `failure` is that of the attempt before, and in the stage "dead_letter" the one that
    spent the subscriber's attempts.
    """

    event: Event
    position: int
    attempt: int = 1
    stage: Stage = "subscriber"
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The delivery is over; `replies` enter the broker's log in the same transaction."""

    delivery: Delivery
    replies: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again at `at` (Unix seconds). A change of `stage` starts its attempts from 1 again."""

    delivery: Delivery
    at: float
    failure: Failure
    stage: Stage = "subscriber"


@dataclass(frozen=True, slots=True)
class Dead:
    """Given up: the event is kept among the broker's dead letters."""

    delivery: Delivery
    failure: Failure


Outcome = Done | Retry | Dead


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event given up by a trigger, whole: it outlives its place in the log.

    `attempts` are those of the stage it was given up in, `at` is Unix seconds. One of the trigger
    "" is the broker's own: it never was an event of the log, and its position is that of the record
    that is no event, or 0.
    """

    id: int
    trigger: str
    event: Event
    failure: Failure
    attempts: int
    at: float
    position: int


@dataclass(frozen=True, slots=True)
class Stored:
    """An event in the log: its `position` and when it was stored (Unix seconds)."""

    position: int
    at: float
    event: Event


@dataclass(frozen=True, slots=True)
class Limits:
    """What a broker may keep. Retention never removes what a subscription still needs.

    Kafka's topics are the exception: there the topic's own retention counts (docs/kafka.md).

    retention_age: seconds an event stays for replay after everyone has settled it.
    retention_bytes: bytes of log above which the oldest settled events go.
    max_bytes: bytes of storage above which `publish` raises BrokerFull; None = no limit.
    max_backlog: events waiting for the slowest subscription above which it does; None = no limit.
    min_free_bytes: free bytes the file system must keep; below, `publish` raises BrokerFull;
    without effect where an engine stores.
    """

    retention_age: float = 7 * 24 * 3600.0
    retention_bytes: int = 1 << 30
    max_bytes: int | None = None
    max_backlog: int | None = None
    min_free_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """`lag` = events of the log not yet settled by it (an upper bound: events that its filter
    will refuse count until they are read, and so do an engine's own records), `in_flight` handed
    out by this node, `retrying` waiting for their time, `dead` letters kept; `share` = those of
    the lag that fall to this node, all of them where it is alone."""

    lag: int
    in_flight: int
    retrying: int
    dead: int
    share: int


@dataclass(frozen=True, slots=True)
class BrokerStats:
    """`head` is the newest event's position, 0 for an empty log; `events` how many the log holds;
    `bytes` what it takes, 0 where the engine does not tell. Where an engine counts records of its
    own, the first two are upper bounds."""

    head: int
    events: int
    bytes: int
    subscriptions: dict[str, SubscriptionStats] = field(default_factory=dict)


class Router(Protocol):
    """Which subscriptions want an event. Given by the triggers; must not raise."""

    @property
    def observed(self) -> bool:
        """Whether somebody watches: then `route` is to be called for each event that this node has
        stored, also by a broker that asks `accepts` alone when it reads its log."""

    def route(self, event: Event) -> Iterable[str]:
        """Names of all subscriptions that want it: one pass serves all of a broker's."""

    def accepts(self, subscription: str, event: Event) -> bool:
        """Whether this one does: for a subscription that reads behind the others."""


class Subscription(Protocol):
    """One trigger's view of the log."""

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait until there is something to deliver; at least one, at most `limit`.

        Raises asyncio.CancelledError only, also once the subscription is detached or removed or
        the broker closed; a storage fault is waited out. What was received and not settled is
        handed out again after a restart.
        """

    def settle(self, outcomes: Sequence[Outcome]) -> "asyncio.Future[list[tuple[int, ...]]]":
        """Settle all or none, replies and acknowledgements in one transaction, in any order.

        Resolves once durable, to the positions of each outcome's replies. A storage fault does
        not lose them: the broker holds them and tries again until it is closed. An outcome of a
        delivery that is not in flight here any more (settled before, forgotten by `detach`, taken
        over by another node) is passed over with its replies. Raises (through the future)
        UserError, and then settles nothing, where a reply can't be stored whatever happens.
        """

    async def replay(self, start: Place, end: Place | None = None) -> int:
        """Hand out again the events from `start` to `end` (None = the head) that its filter
        accepts, as fresh deliveries; durable before it returns. What it has not settled
        yet is on its way anyway: neither doubled nor counted. Returns how many. Raises UserError,
        and hands out none, where they are more than the engine can keep waiting; StorageError."""


class Broker(Protocol):
    """Where events live. All methods are called on the event loop of the node.

    Where an engine keeps them, several nodes have a broker of this name open at once, and share
    its subscriptions: a delivery is handed out on one node at a time, and those of a node that
    vanished are handed out on another within seconds.
    """

    name: str

    @property
    def fault(self) -> Fault | None:
        """Why events can't be stored now; None while they can."""

    async def start(self) -> None:
        """Open storage and recover. Raises StorageError with the reason and the remedy, and leaves
        nothing open then, nor where it is cancelled."""

    async def close(self) -> None:
        """Settle what was asked for, then close. What is in flight is handed out again later.
        Nothing happens where it is not open."""

    def set_router(self, router: Router) -> None:
        """Replace the router; events stored from now on are routed by it."""

    def set_limits(self, limits: Limits) -> None:
        """Replace the limits; they count from now on."""

    def publish(self, events: Sequence[Event]) -> "asyncio.Future[list[int]]":
        """Store all or none; resolves to their positions once they are durable.

        Raises (through the future) BrokerFull, StorageError, or UserError for an event that can't
        be stored whatever happens, and then nothing is kept.
        """

    async def subscribe(
        self, name: str, *, order: Order = "unordered", start: Place | None = None
    ) -> Subscription:
        """Open the subscription `name`, made if new: from the next event, or from `start` (1 = the
        beginning of the log). An existing one goes on where it was. Ordered:
        one delivery at a time for each `partitionkey`, through all its retries; events without
        the attribute have no order. Raises RuntimeError before the first `set_router`, or where
        it is open already; StorageError."""

    async def detach(self, name: str) -> None:
        """Stop handing out to this subscription and forget what was in flight; it stays, and a
        later `subscribe` goes on where it was. Settles asked for before count, and are waited
        for. Nothing happens where it is not open."""

    async def unsubscribe(self, name: str) -> int:
        """Remove it for good; returns how many deliveries it still had before it. Its dead
        letters stay. Raises LookupError where there is none of this name, SubscriptionInUse where
        another node has it open, StorageError."""

    def known_subscriptions(self) -> list[str]:
        """Names of all subscriptions in storage, open or not; of those that other nodes made or
        removed it may learn a few seconds later."""

    async def dead_letters(
        self, trigger: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """Dead letters with an id above `after`, oldest first."""

    async def dead_letter(self, id: int) -> DeadLetter | None: ...

    async def keep(self, event: Event, failure: Failure) -> None:
        """Store it as a dead letter of the broker's own (trigger "", one attempt), durable on
        return: what a source can't bring in. Raises BrokerFull, UserError for an event that can't
        be stored whatever happens, or StorageError; where its answer was lost the letter may be
        there all the same, and asked again once more."""

    async def redrive(self, id: int, event: Event | None = None) -> bool:
        """Deliver it to its trigger again as a fresh delivery, with `event` in its place where
        given; one of the broker's own is published. It leaves the dead letters in the same
        transaction. False: no such dead letter. Raises LookupError where its subscription is
        gone."""

    async def drop(self, ids: Sequence[int]) -> int:
        """Remove dead letters; returns how many there were."""

    def read(self, start: Place = 1, end: Place | None = None) -> AsyncIterator[Stored]:
        """The log's events in order of their storing, from `start` to `end`."""

    async def stats(self) -> BrokerStats: ...
