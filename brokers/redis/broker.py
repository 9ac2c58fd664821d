"""The contract of brokers/base.py over Redis or Valkey.

An event's way: `publish`, then writer.py (the requests of one turn together), a stream in Redis,
reader.py, subscription.py, and settling.py back to the writer. What has to happen whole or not at
all is a script in brokers/redis/scripts.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from brokers.base import (
    BrokerStats,
    DeadLetter,
    Failure,
    Fault,
    Limits,
    Order,
    Place,
    Router,
    Stored,
    SubscriptionStats,
)
from brokers.redis.connecting import Connector
from brokers.redis.dead_letters import DeadLetters
from brokers.redis.keys import (
    base_key,
    events_key,
    first_position,
    id_of,
    moment_of,
    waiting_key,
)
from brokers.redis.link import Argument, Link
from brokers.redis.log import known_position, log_pages
from brokers.redis.ordering import key_of
from brokers.redis.reader import Reader
from brokers.redis.recent import RecentEvents
from brokers.redis.settings import RedisSettings
from brokers.redis.settling import is_gone
from brokers.redis.subscription import RedisSubscription
from brokers.redis.upkeep import Upkeep
from brokers.redis.waiting import unpack_waiting
from brokers.redis.writer import Kept, Publish, Writer
from eventing.errors import StorageError, SubscriptionInUse, UserError
from eventing.event import Event

KEYS_PAGE: Final = 250
TAKE_OVER: Final = 2000
"""Entries of vanished nodes that are taken over at once."""
CLOSE_WITHIN: Final = 10.0
LEAVE_WITHIN: Final = 2.0
SETTLE_WITHIN: Final = 30.0

_log = logging.getLogger("brokers.redis")


class RedisBroker:
    """A broker in a Redis stream: at least once, as durable as Redis is set up to be.

    `publish` and `settle` resolve once Redis, and as many replicas as the settings ask for, have
    answered. Deliveries of a node that is not heard of for some seconds go to others; what it then
    settles is refused.
    """

    def __init__(
        self, name: str, settings: RedisSettings, limits: Limits | None = None, *, node: str
    ) -> None:
        """`node` is the node's name, which no other node of this Redis may have."""
        self.name = name
        self.stream = events_key(name)
        self.recent = RecentEvents()
        self._settings = settings
        self._limits = limits or Limits()
        self._node = node
        self._router: Router | None = None
        self._subscriptions: dict[str, RedisSubscription] = {}
        self._known: set[str] = set()
        self._head = 0
        self._fault: Fault | None = None
        self._started = False
        self._closed = False

    # Life.

    async def start(self) -> None:
        """See the contract. Former lives of the same node count no more from now on."""
        connector = Connector(self._settings, base_key(self.name))
        self._where = connector.where
        base = base_key(self.name)
        self._link = Link(connector, base, up=self._up, down=self._down)
        self._watch = Link(connector, base, up=self._watch_up, down=self._watch_down)
        try:
            await self._link.open()
            await self._watch.open()
            names, head = await self._link.run("join", self._node)
        except BaseException:
            await self._link.close()
            await self._watch.close()
            raise
        self._known = {name.decode() for name in names}
        self._head = known_position(head)
        replicas = self._settings.replicas
        self._writer = Writer(self.name, self._link, self._where, replicas, self.stored)
        self._reader = Reader(self.stream, self._link, self._watch, self._subscriptions)
        self._upkeep = Upkeep(self._link, self._beat)
        self._letters = DeadLetters(self.name, self._link)
        self._started = True
        self.set_limits(self._limits)
        self._upkeep.start()

    async def close(self) -> None:
        """See the contract. Receivers still waiting are cancelled; what is in flight here is handed
        out elsewhere at once."""
        if not self._started or self._closed:
            return
        self._closed = True
        for subscription in self._subscriptions.values():
            subscription.stop()
        self._reader.close()
        await self._upkeep.close()
        await self._writer.close(CLOSE_WITHIN)
        tokens = [each.token for each in self._subscriptions.values()]
        if tokens and self._link.connected:
            try:
                async with asyncio.timeout(LEAVE_WITHIN):
                    await self._link.run("leave", *tokens)
            except (StorageError, TimeoutError):
                pass  # the others miss it after a while
        await self._watch.close()
        await self._link.close()

    @property
    def fault(self) -> Fault | None:
        """See the contract."""
        if self._fault is not None:
            return self._fault
        return self._writer.trouble if self._started else None

    def _down(self, error: StorageError) -> None:
        if self._fault is None or self._fault.reason != error.reason:
            _log.error("broker %s: %s", self.name, error)
        self._fault = Fault.of(error)
        if self._started:
            self._writer.fault = self._fault

    def _up(self) -> None:
        self._fault = None
        if not self._started or self._closed:
            return
        _log.info("broker %s: Redis at %s is there again", self.name, self._where)
        # What was settled goes first, so that it is not read again as what is still held.
        self._writer.resume()
        self._upkeep.connected()
        for subscription in self._subscriptions.values():
            self._recover(subscription)
        self._reader.poke()

    def _watch_up(self) -> None:
        if self._started and not self._closed:
            self._reader.poke()

    def _watch_down(self, error: StorageError) -> None:
        """The other connection tells of it."""

    def _recover(self, subscription: RedisSubscription) -> None:
        """Answers may have been lost: have what Redis holds for it, and memory does not."""
        if subscription.closed or not subscription.owned:
            return
        places: list[Argument] = [b"%019d" % position for position in subscription.apart]
        token = subscription.token

        def given_back(answer: Any) -> None:
            if answer == -1:
                subscription.fenced(token)
            elif not isinstance(answer, BaseException):
                subscription.due = True
                self._reader.poke()

        arguments: list[Argument] = [subscription.name, token, *places]
        self._link.script_of("give_back", arguments, given_back)
        subscription.recover()

    def set_router(self, router: Router) -> None:
        """See the contract. For subscriptions open by now, events that this node knows to be in the
        log already are the former router's."""
        former, self._router = self._router, router
        if former is not None:
            for subscription in self._subscriptions.values():
                subscription.router_changes(max(self._head, subscription.read_to), former)

    def current_router(self) -> Router:
        """The router of now. Raises RuntimeError where none was set."""
        if self._router is None:
            raise RuntimeError(f"broker {self.name!r} has no router yet: set_router comes first")
        return self._router

    def set_limits(self, limits: Limits) -> None:
        """See the contract."""
        self._limits = limits
        if self._started:
            self._writer.limits = limits
            self._upkeep.limits = limits

    # Writing.

    def publish(self, events: Sequence[Event]) -> "asyncio.Future[list[int]]":
        """See the contract. Where the connection is lost before Redis has answered, StorageError
        does not tell whether the events were kept."""
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        if not self._started:
            future.set_exception(StorageError(f"broker {self.name!r} has not been started"))
        elif not events:
            future.set_result([])
        else:
            try:
                self._writer.publish(Publish(events, future))
            except UserError as error:
                future.set_exception(error)
        return future

    def stored(self, events: Sequence[Event], positions: list[int]) -> None:
        """They are in the stream now: published, or as replies."""
        self._head = max(self._head, positions[-1])
        router = self._router
        if router is not None and router.observed:
            for event in events:
                router.route(event)
        if self._subscriptions:
            self._reader.measure(events)
            for position, event in zip(positions, events, strict=True):
                self.recent.add(position, event)

    def store(self, request: Kept) -> None:
        """Settle it, however long it takes."""
        self._writer.settle(request)

    # Subscriptions.

    async def subscribe(
        self, name: str, *, order: Order = "unordered", start: Place | None = None
    ) -> RedisSubscription:
        """See the contract. A `start` past the newest event means the next one."""
        self.current_router()
        self._refuse_open(name)
        after = b"$" if start is None else id_of(first_position(start) - 1)
        token = self._new_token()
        answer = await self._link.run("open", name, token, order, after)
        read_to = known_position(answer[1])
        self._known.add(name)
        self._refuse_open(name)
        subscription = RedisSubscription(self, name, order, token, read_to)
        self._subscriptions[name] = subscription
        try:
            await self._tend(subscription)
        except StorageError:
            # It is open all the same: the next beat looks after it.
            self._upkeep.attend()
        self._reader.poke()
        return subscription

    def _refuse_open(self, name: str) -> None:
        if name in self._subscriptions:
            raise RuntimeError(f"subscription {name!r} of broker {self.name!r} is open already")

    def _new_token(self) -> str:
        return f"{self._node}/{secrets.token_hex(8)}"

    async def detach(self, name: str) -> None:
        """See the contract."""
        subscription = self._subscriptions.get(name)
        if subscription is None or subscription.closed:
            return
        subscription.stop()
        await subscription.all_settled(SETTLE_WITHIN)
        subscription.forget()
        del self._subscriptions[name]
        try:
            await self._link.run("leave", subscription.token)
        except StorageError:
            pass  # it counts as gone after a while

    async def unsubscribe(self, name: str) -> int:
        """See the contract."""
        subscription = self._subscriptions.get(name)
        token = subscription.token if subscription is not None else ""
        count = int(await self._link.run("unsubscribe", name, token))
        if count == -2:
            raise SubscriptionInUse(
                f"subscription {name!r} of broker {self.name!r} is open on another node"
            )
        self._known.discard(name)
        if subscription is not None:
            subscription.stop()
            subscription.forget()
            self._subscriptions.pop(name, None)
        if count == -1:
            raise LookupError(f"broker {self.name!r} has no subscription {name!r}")
        return count

    def known_subscriptions(self) -> list[str]:
        """See the contract."""
        return sorted(self._known)

    @property
    def has_several(self) -> bool:
        """Whether several subscriptions read the same events."""
        return len(self._subscriptions) > 1

    def hungry(self) -> None:
        """A subscription can be read for."""
        self._reader.poke()

    def attend(self) -> None:
        """A subscription has to be looked after."""
        self._upkeep.attend()

    # By the clock.

    async def _beat(self, patience: int) -> None:
        open_now = list(self._subscriptions.values())
        tokens = [each.token for each in open_now if not each.closed]
        names = await self._link.run("beat", patience, *tokens)
        self._known = {name.decode() for name in names} | set(self._subscriptions)
        await self._writer.look_again()
        tended = [self._tend(each) for each in open_now]
        failures = await asyncio.gather(*tended, return_exceptions=True)
        self._reader.poke()
        for failure in failures:
            if failure is not None:
                raise failure

    async def _tend(self, subscription: RedisSubscription) -> None:
        """Take over what belongs to nodes that are gone, or begin anew where this one was."""
        if subscription.closed:
            return
        name, token, order = subscription.name, subscription.token, subscription.mode
        if subscription.lost:
            await self._reopen(subscription)
            return
        # In order means all of it before anything new.
        room = TAKE_OVER if order == "unordered" else 1 << 30
        answer = await self._link.run("tend", name, token, order, room)
        if token != subscription.token or subscription.closed:
            return
        if is_gone(answer):
            await self._reopen(subscription)
            return
        moved, next_in, handing_out = answer
        if handing_out and not subscription.owned:
            keys = await self._retried_keys(name)
            if token == subscription.token and not subscription.closed:
                subscription.take_over(keys)
        elif moved:
            subscription.recover()
        if handing_out:
            subscription.arm(next_in)

    async def _reopen(self, subscription: RedisSubscription) -> None:
        token = self._new_token()
        after = subscription.resume_after()
        answer = await self._link.run(
            "open", subscription.name, token, subscription.mode, id_of(max(0, after))
        )
        if subscription.closed:
            return
        made, read_to = answer
        if made:
            _log.warning(
                "trigger %s: its consumer group was deleted in Redis; it is made again, and goes "
                "on after entry %s",
                subscription.name,
                id_of(max(0, after)).decode(),
            )
        else:
            _log.warning(
                "trigger %s: this node was not heard of for some seconds; what it had in flight is "
                "others' by now",
                subscription.name,
            )
        subscription.reopen(token, known_position(read_to))
        await self._tend(subscription)

    async def _retried_keys(self, trigger: str) -> list[str]:
        """The partition key of every delivery of the trigger that was tried before."""
        found: dict[bytes, str | None] = {}
        cursor = b"0"
        while True:
            cursor, page = await self._link.ask(
                "HSCAN", waiting_key(self.name, trigger), cursor, "COUNT", KEYS_PAGE
            )
            for place, body in zip(page[::2], page[1::2], strict=True):
                if body:
                    delivery = unpack_waiting(int(place), body)
                    found[place] = key_of(delivery) if delivery.failure is not None else None
            if cursor == b"0":
                return [key for key in found.values() if key is not None]

    # Looking back.

    async def replay(self, subscription: RedisSubscription, start: Place, end: Place | None) -> int:
        """`Subscription.replay`, page by page."""
        count = 0
        async for page in log_pages(self._link, self.stream, start, end):
            accepts = self.current_router().accepts
            ids = [id for id, _, event in page if accepts(subscription.name, event)]
            if not ids:
                continue
            added = await self._link.run("replay", subscription.name, *ids)
            if added < 0:
                break
            count += added
            subscription.arm(0)
        if count:
            await self._writer.replicated()
        return count

    async def read(self, start: Place = 1, end: Place | None = None) -> AsyncIterator[Stored]:
        """See the contract. Without `end` it ends at the newest event there was when it began.
        Entries that are no events are passed over."""
        async for page in log_pages(self._link, self.stream, start, end):
            for _, position, event in page:
                yield Stored(position, moment_of(position), event)

    # Dead letters.

    async def dead_letters(
        self, trigger: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """See the contract."""
        return await self._letters.list(trigger, after, limit)

    async def dead_letter(self, id: int) -> DeadLetter | None:
        """The dead letter of this id, or None."""
        return await self._letters.get(id)

    async def keep(self, event: Event, failure: Failure) -> None:
        """See the contract."""
        kept = await self._letters.keep(event, failure, self._limits.max_bytes)
        if not kept:
            raise self._writer.holds_its_bytes()
        await self._writer.replicated()

    async def redrive(self, id: int, event: Event | None = None) -> bool:
        """See the contract."""
        letter = await self._letters.get(id)
        if letter is None:
            return False
        wanted = event or letter.event
        if not await self._letters.redrive(letter, wanted):
            return False
        await self._writer.replicated()
        subscription = self._subscriptions.get(letter.trigger)
        if subscription is not None:
            subscription.arm(0)
        if letter.trigger == "" and self._router is not None and self._router.observed:
            self._router.route(wanted)
        return True

    async def drop(self, ids: Sequence[int]) -> int:
        """See the contract."""
        return await self._letters.drop(ids)

    # Looking in.

    async def stats(self) -> BrokerStats:
        """See the contract. `bytes` are what Redis says that the keys take in its memory."""
        tokens = [each.token for each in self._subscriptions.values()]
        head, length, size, *rows = await self._link.run("stats", *tokens)
        return BrokerStats(
            known_position(head),
            length,
            size,
            {row[0].decode(): self._stats_of(row) for row in rows},
        )

    def _stats_of(self, row: list[Any]) -> SubscriptionStats:
        name, unread, pending, beside, retrying, dead, nodes, elsewhere, owner = row
        lag = unread + pending + beside
        subscription = self._subscriptions.get(name.decode())
        share = lag
        if subscription is not None and subscription.mode == "ordered":
            share = lag if owner == subscription.token.encode() else 0
        elif nodes > 1 or subscription is None:
            # Entries that are handed out are where they are; the rest is spread.
            others = nodes if subscription is None else nodes - 1
            share = lag - elsewhere
            share -= (unread + retrying) * others // max(1, nodes)
        in_flight = len(subscription.in_flight) if subscription is not None else 0
        return SubscriptionStats(lag, in_flight, retrying, dead, max(0, share))
