"""Reads the log for all triggers of a broker: what they want in one round trip, then waits.

A connection of its own waits for the next entry, one for all triggers. It is not asked for while
there is more to read, so the busier the log the fewer the round trips.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from redis.exceptions import ConnectionError

from brokers.redis.faults import has_moved
from brokers.redis.keys import id_of, place_of
from brokers.redis.link import ANSWER_WITHIN, Answered, Argument, Link, packed
from brokers.redis.settling import is_gone
from brokers.redis.subscription import RedisSubscription
from eventing.event import Event

READ_EVENTS: Final = 250
READ_BYTES: Final = 4 << 20
"""About what one read may bring: how many entries are asked for follows from their size."""
BLOCK: Final = 5.0
"""Seconds that one wait for the next entry takes at most."""
TRY_AGAIN: Final = 0.5

_log = logging.getLogger("brokers.redis")


class Reader:
    """Use from the event loop. `link` is asked, `watch` waits."""

    def __init__(
        self,
        stream: str,
        link: Link,
        watch: Link,
        subscriptions: Mapping[str, RedisSubscription],
    ) -> None:
        self._stream = stream
        self._link = link
        self._watch = watch
        self._subscriptions = subscriptions
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._scheduled = False
        self._unanswered = 0
        self._watched = False
        self._last = b"0-0"
        self._arrivals = 0
        self._entry_size = 4096.0
        self._told = False
        self._pause: asyncio.TimerHandle | None = None

    def poke(self) -> None:
        """There may be something to be read."""
        if not self._scheduled and not self._unanswered and self._open:
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def close(self) -> None:
        """Read no more."""
        self._open = False
        if self._pause is not None:
            self._pause.cancel()

    def measure(self, events: Iterable[Event]) -> None:
        """Events that are in the log now: the next reads allow for their size."""
        count = size = 0
        for event in events:
            count += 1
            size += len(event.data or b"")
        if count:
            self._entry_size = max(self._entry_size, size / count)

    def connected(self) -> None:
        """There is a connection again: what was asked for before is lost."""
        self.poke()

    def _pump(self) -> None:
        self._scheduled = False
        if not self._open or not self._link.connected or not self._subscriptions:
            return
        if not self._watched:
            # Before the reads: whatever comes after this one wakes the watch.
            self._unanswered += 1
            self._link.script("last", 0, b"", self._took_last)
        for subscription in self._subscriptions.values():
            if subscription.wants:
                self._read(subscription)

    def _read(self, subscription: RedisSubscription) -> None:
        for key, positions in subscription.to_fetch.items():
            self._fetch(subscription, key, positions)
        subscription.to_fetch = {}
        if not subscription.has_room:
            return
        count = int(min(READ_EVENTS, max(1.0, READ_BYTES / self._entry_size)))
        if subscription.recover_after is not None:
            self._read_held(subscription, count, subscription.recover_after)
            return
        if subscription.due:
            self._unanswered += 1
            arguments = packed((subscription.name, subscription.token, count))
            token = subscription.token
            take = partial(self._took_due, subscription, token)
            self._link.script("due", 3, arguments, take)
        if subscription.wants_new:
            take = partial(self._took_new, subscription, subscription.token, count, self._arrivals)
            self._read_group(subscription, count, b">", take)

    def _read_held(self, subscription: RedisSubscription, count: int, after: int) -> None:
        round = subscription.recovery
        take = partial(self._took_held, subscription, subscription.token, count, round)
        self._read_group(subscription, count, id_of(after), take)

    def _read_group(
        self, subscription: RedisSubscription, count: int, after: bytes, take: Answered
    ) -> None:
        self._unanswered += 1
        self._link.command(
            "XREADGROUP",
            "GROUP",
            subscription.name,
            subscription.token,
            "COUNT",
            count,
            "STREAMS",
            self._stream,
            after,
            answered=take,
        )

    def _fetch(self, subscription: RedisSubscription, key: str, positions: list[int]) -> None:
        self._unanswered += 1
        arguments: list[Argument] = [subscription.name, *map(place_of, positions)]
        take = partial(self._took_fetched, subscription, subscription.token, key, positions)
        self._link.script("fetch", len(arguments), packed(arguments), take)

    # Answers.

    def _took_last(self, answer: Any) -> None:
        if isinstance(answer, bytes) and answer != self._last:
            # What came since the last look, while nothing watched, the next wait is not woken by.
            self._last = answer
            self._mark_behind()
        self._answered(answer)

    def _took_new(
        self, subscription: RedisSubscription, token: str, count: int, arrivals: int, answer: Any
    ) -> None:
        entries = self._entries(subscription, token, answer)
        if entries is not None:
            # What woke the watch meanwhile may have come after this read.
            full = len(entries) == count or arrivals != self._arrivals
            subscription.take_new(entries, full=full)
        self._answered(answer)

    def _took_held(
        self, subscription: RedisSubscription, token: str, count: int, round: int, answer: Any
    ) -> None:
        entries = self._entries(subscription, token, answer)
        # Where it has begun from the first again meanwhile, this page comes once more.
        if entries is not None and round == subscription.recovery:
            subscription.take_held(entries, full=len(entries) == count)
        self._answered(answer)

    def _entries(
        self, subscription: RedisSubscription, token: str, answer: Any
    ) -> list[list[Any]] | None:
        if isinstance(answer, BaseException):
            if str(answer).startswith("NOGROUP"):
                subscription.fenced(token)
            return None
        if token != subscription.token or subscription.closed:
            return None
        self._told = False
        entries: list[list[Any]] = answer[0][1] if answer else []
        self._weigh(entries)
        return entries

    def _took_due(self, subscription: RedisSubscription, token: str, answer: Any) -> None:
        if isinstance(answer, BaseException):
            pass
        elif is_gone(answer):
            subscription.fenced(token)
        elif token == subscription.token and not subscription.closed:
            subscription.take_due(answer[1::2], answer[2::2], answer[0])
        self._answered(answer)

    def _took_fetched(
        self,
        subscription: RedisSubscription,
        token: str,
        key: str,
        positions: list[int],
        answer: Any,
    ) -> None:
        if token == subscription.token and not subscription.closed:
            if isinstance(answer, BaseException):
                subscription.to_fetch[key] = positions
            else:
                subscription.take_fetched(key, positions, answer)
        self._answered(answer)

    def _weigh(self, entries: list[list[Any]]) -> None:
        if entries:
            last = entries[-1][1] or ()
            size = sum(map(len, last))
            self._entry_size = max(size, self._entry_size * 0.75, 64.0)

    def _answered(self, answer: Any) -> None:
        self._unanswered -= 1
        if isinstance(answer, BaseException):
            self._failed(answer)
        elif not self._unanswered and self._pause is None:
            self._go_on()

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, ConnectionError) or self._pause is not None:
            return  # a new connection begins anew
        self._link.suspect(error)
        if not (self._told or has_moved(error) or str(error).startswith("NOGROUP")):
            self._told = True
            _log.warning("stream %s can't be read now: %s", self._stream, error)
        self._pause = self._loop.call_later(TRY_AGAIN, self._paused)

    def _paused(self) -> None:
        self._pause = None
        self.poke()

    def _go_on(self) -> None:
        if any(each.wants for each in self._subscriptions.values()):
            self.poke()
        elif not self._watched:
            self._wait()

    # Waiting for the next entry.

    def _wait(self) -> None:
        if not self._open or not self._watch.connected or not self._subscriptions:
            return
        self._watched = True
        milliseconds = int(BLOCK * 1000)
        request = packed(
            ("XREAD", "COUNT", 1, "BLOCK", milliseconds, "STREAMS", self._stream, self._last)
        )
        self._watch.send(8, request, self._woken, BLOCK + ANSWER_WITHIN)

    def _mark_behind(self) -> None:
        for subscription in self._subscriptions.values():
            subscription.behind = True

    def _woken(self, answer: Any) -> None:
        self._watched = False
        if answer:
            # An error as well: what would have woken it may have come.
            self._arrivals += 1
            self._mark_behind()
        if isinstance(answer, ConnectionError):
            return  # a new connection begins anew
        if isinstance(answer, BaseException):
            self._failed(answer)
        elif answer:
            self.poke()
        elif not self._unanswered and not self._scheduled:
            self._wait()
