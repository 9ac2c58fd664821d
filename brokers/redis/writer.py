"""What is to be stored: the requests of one turn of the loop travel together.

A publish fails with its connection. What is settled is kept until it is stored: it may be asked
again after a lost answer, since what was settled before is passed over.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from redis.exceptions import ConnectionError, ResponseError

from brokers.base import Fault, Limits
from brokers.redis.entry import encode_entry, weight
from brokers.redis.faults import TOO_FEW_REPLICAS, UNREACHABLE, is_out_of_memory, storage_error
from brokers.redis.keys import position_of
from brokers.redis.link import ANSWER_WITHIN, Argument, Link, packed
from eventing.errors import BrokerFull, EventTooLarge, InvalidEvent, StorageError
from eventing.event import Event

GROUP_BYTES: Final = 4 << 20
GROUP_EVENTS: Final = 1000
LARGEST_REQUEST: Final = 256 << 20
"""Bytes of one publish: Redis refuses a query of 1 GiB, and an argument of 512 MiB."""
LARGEST_ENTRY: Final = 4000
"""Fields and values: a script passes at most some 8,000 arguments on to a command."""
LARGEST_PENDING: Final = 64 << 20
"""Bytes on their way to Redis above which nothing more is taken."""
TRY_AGAIN: Final = 0.5
REPLICATED_WITHIN: Final = 2.0
"""Seconds that replicas have to say that they have a write."""

_SHORT: Final = ResponseError("NOREPLICAS not enough of them have it")

_log = logging.getLogger("brokers.redis")


class Kept(Protocol):
    """Something that is tried until it is stored."""

    def pack(self) -> tuple[int, bytes]:
        """The arguments of the settle script, and how many."""

    def stored(self, answer: list[Any]) -> None:
        """What the script answered."""

    def failed(self, error: Exception) -> None:
        """The broker closes: given up."""


class Publish:
    """Events for the log, all or none."""

    __slots__ = ("arguments", "count", "events", "future", "size")

    def __init__(self, events: Sequence[Event], future: "asyncio.Future[list[int]]") -> None:
        """Raises InvalidEvent or EventTooLarge where they can't be stored."""
        self.events = events
        self.future = future
        self.count, self.arguments = encode_events(events)
        self.size = len(self.arguments)


def encode_events(events: Sequence[Event]) -> tuple[int, bytes]:
    """How many arguments, and those: each event's fields after their number. Raises InvalidEvent or
    EventTooLarge where one can't be stored."""
    size = sum(map(weight, events))
    if size > LARGEST_REQUEST:
        raise EventTooLarge(
            f"{size} bytes are more than Redis takes at once ({LARGEST_REQUEST}); send less"
        )
    arguments: list[Argument] = []
    for event in events:
        fields = encode_entry(event)
        if len(fields) > LARGEST_ENTRY:
            raise EventTooLarge(
                f"the event has {len(event.attributes)} attributes; no more than "
                f"{LARGEST_ENTRY // 2 - 1} can be stored"
            )
        arguments.append(len(fields))
        arguments += fields
    return len(arguments), pack_or_refuse(arguments)


def pack_or_refuse(arguments: Sequence[Argument]) -> bytes:
    """The arguments, packed. Raises InvalidEvent for text that can't be encoded."""
    try:
        return packed(arguments) if arguments else b""
    except (UnicodeEncodeError, TypeError) as error:
        raise InvalidEvent(f"the event can't be stored: {error}") from None


class Writer:
    """The only one that stores events and outcomes. `stored` hears of each group of events that
    is in the log, before who published them."""

    def __init__(
        self,
        broker: str,
        link: Link,
        where: str,
        replicas: int,
        stored: Callable[[Sequence[Event], list[int]], None],
    ) -> None:
        self.limits = Limits()
        self.fault: Fault | None = None
        """Why there is no connection."""
        self.trouble: Fault | None = None
        """Why Redis does not take writes, or has too few replicas for them."""
        self._broker = broker
        self._link = link
        self._where = where
        self._replicas = replicas
        self._stored = stored
        self._loop = asyncio.get_running_loop()
        self._publishes: list[Publish] = []
        self._settles: list[Kept] = []
        self._held: list[Kept] = []
        self._again: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._pending = 0
        self._unanswered = 0
        self._closed = False
        self._idle: asyncio.Future[None] | None = None

    def publish(self, request: Publish) -> None:
        """Store it with the next group."""
        if self._closed:
            request.future.set_exception(StorageError(f"broker {self._broker!r} is closed"))
        elif not self._link.connected:
            request.future.set_exception(self._away())
        elif self._pending >= LARGEST_PENDING:
            full = f"broker {self._broker!r}: {self._pending} bytes wait for Redis"
            request.future.set_exception(BrokerFull(full, 1.0))
        else:
            self._pending += request.size
            self._publishes.append(request)
            self._schedule()

    def settle(self, request: Kept) -> None:
        """Store it, however long it takes."""
        if self._closed:
            request.failed(StorageError(f"broker {self._broker!r} is closed"))
            return
        self._settles.append(request)
        self._schedule()

    def resume(self) -> None:
        """There is a connection again: what was held goes first."""
        self._settles[:0] = self._held
        self._held.clear()
        self._schedule()

    async def look_again(self) -> None:
        """A write has just been taken: see whether what was the trouble is over."""
        if self.trouble is not None:
            await self.replicated()
            self.trouble = None

    async def replicated(self) -> None:
        """Until the replicas that are asked for have all that was written before. Raises
        StorageError where too few have it within REPLICATED_WITHIN seconds."""
        if not self._replicas:
            return
        milliseconds = int(REPLICATED_WITHIN * 1000)
        having = await self._link.ask("WAIT", self._replicas, milliseconds)
        if having < self._replicas:
            raise self._too_few(having).error()

    async def close(self, within: float) -> None:
        """Store what was asked for; what can't be stored within so many seconds fails."""
        self._closed = True
        self._flush()
        end = self._loop.time() + within
        while self._busy() and self._link.connected and self._loop.time() < end:
            self._idle = self._loop.create_future()
            await asyncio.wait([self._idle], timeout=max(0.0, end - self._loop.time()))
        if self._again is not None:
            self._again.cancel()
        held, self._held = self._held + self._settles, []
        self._settles = []
        for request in held:
            request.failed(StorageError(f"broker {self._broker!r} was closed before it was stored"))

    def _busy(self) -> bool:
        return bool(self._unanswered or self._publishes or self._settles or self._held)

    def _away(self) -> StorageError:
        fault = self.fault or Fault(UNREACHABLE, "there is no connection to Redis")
        return fault.error()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        publishes, self._publishes = self._publishes, []
        settles, self._settles = self._settles, []
        if not self._link.connected:
            for publish in publishes:
                self._fail(publish, self._away())
            self._held += settles
            return
        written = _Written()
        for group in _groups(publishes):
            self._send_publish(group, written)
        for settle in settles:
            self._send_settle(settle, written)
        if self._replicas and (publishes or settles):
            self._await_replicas(written)

    # Publishing.

    def _send_publish(self, group: list[Publish], written: "_Written") -> None:
        limits = self.limits
        ceilings = packed(
            (
                -1 if limits.max_backlog is None else limits.max_backlog,
                -1 if limits.max_bytes is None else limits.max_bytes,
            )
        )
        body = b"".join([ceilings, *(request.arguments for request in group)])
        count = 2 + sum(request.count for request in group)
        self._unanswered += 1
        self._link.script("publish", count, body, partial(self._published, group, written))

    def _published(self, group: list[Publish], written: "_Written", answer: Any) -> None:
        if isinstance(answer, BaseException) or not answer[0][:1].isdigit():
            self._answered()
            error = self._refused(answer)
            for request in group:
                self._fail(request, error)
        elif self._replicas:
            self._add(written, group, answer)
        else:
            self._are_stored(group, answer)

    def _are_stored(self, group: list[Publish], ids: list[bytes]) -> None:
        self._answered()
        self.trouble = None
        positions = [position_of(id) for id in ids]
        first = 0
        for request in group:
            self._pending -= request.size
            last = first + len(request.events)
            own = positions[first:last]
            first = last
            self._stored(request.events, own)
            if not request.future.done():
                request.future.set_result(own)

    def _refused(self, answer: Any) -> Exception:
        if not isinstance(answer, BaseException):
            if answer[0] == b"backlog":
                return BrokerFull(
                    f"broker {self._broker!r}: {self.limits.max_backlog} events wait for its "
                    "slowest trigger (max.backlog)",
                    1.0,
                )
            return self.holds_its_bytes()
        if is_out_of_memory(answer):
            return BrokerFull(
                f"broker {self._broker!r}: Redis at {self._where} is at its maxmemory; raise it, "
                "or lower retention.bytes",
                5.0,
            )
        self._link.suspect(answer)
        if isinstance(answer, ConnectionError):
            return StorageError(
                f"{answer} before it answered; the events may be stored or not", UNREACHABLE
            )
        error = storage_error(answer, "the events were not stored", self._where)
        self.trouble = Fault.of(error)
        return error

    def holds_its_bytes(self) -> BrokerFull:
        """The error of a request for which `max_bytes` leaves no room."""
        return BrokerFull(
            f"broker {self._broker!r} holds its {self.limits.max_bytes} bytes (max.bytes)", 5.0
        )

    def _fail(self, request: Publish, error: Exception) -> None:
        self._pending -= request.size
        if not request.future.done():
            request.future.set_exception(error)

    # Settling.

    def _send_settle(self, request: Kept, written: "_Written") -> None:
        count, body = request.pack()
        self._unanswered += 1
        self._link.script("settle", count, body, partial(self._settled, request, written))

    def _settled(self, request: Kept, written: "_Written", answer: Any) -> None:
        if isinstance(answer, BaseException):
            self._hold(request, answer)
            self._answered()
        elif self._replicas:
            self._add(written, request, answer)
        else:
            self._answered()
            request.stored(answer)

    def _hold(self, request: Kept, error: BaseException) -> None:
        self._held.append(request)
        if isinstance(error, ConnectionError):
            return
        self._link.suspect(error)
        if self._again is None:
            if self.trouble is None and error is not _SHORT:
                told = storage_error(error, "outcomes were not stored", self._where)
                self.trouble = Fault.of(told)
                _log.warning("broker %s: %s; it is tried again", self._broker, told)
            self._again = self._loop.call_later(TRY_AGAIN, self._resume_later)

    def _resume_later(self) -> None:
        self._again = None
        if self._link.connected:
            self.resume()

    # Replicas.

    def _add(self, written: "_Written", request: "list[Publish] | Kept", answer: Any) -> None:
        if written.waited:
            # A script that had to be loaded again was run after WAIT.
            written = _Written()
            self._await_replicas(written)
        written.requests.append((request, answer))

    def _await_replicas(self, written: "_Written") -> None:
        """Ask how many have all that was written before: the answer comes after those to the
        writes, which by then are in `written`."""
        request = packed(("WAIT", self._replicas, int(REPLICATED_WITHIN * 1000)))
        take = partial(self._replicated, written)
        self._link.send(3, request, take, REPLICATED_WITHIN + ANSWER_WITHIN)

    def _replicated(self, written: "_Written", answer: Any) -> None:
        written.waited = True
        enough = isinstance(answer, int) and answer >= self._replicas
        if enough:
            self.trouble = None
        elif isinstance(answer, int):
            self.trouble = self._too_few(answer)
        for request, own in written.requests:
            if enough and isinstance(request, list):
                self._are_stored(request, own)
            elif enough and not isinstance(request, list):
                self._answered()
                request.stored(own)
            elif isinstance(request, list):
                self._answered()
                unclear = f"{answer} before its replicas had it; the events may be kept"
                error = (self.trouble or Fault(TOO_FEW_REPLICAS, unclear)).error()
                for publish in request:
                    self._fail(publish, error)
            else:
                # Asked once more it changes nothing, and waits for the replicas again.
                self._answered()
                self._hold(request, answer if isinstance(answer, BaseException) else _SHORT)

    def _too_few(self, having: int) -> Fault:
        return Fault(
            TOO_FEW_REPLICAS,
            f"{having} of {self._replicas} replicas of Redis at {self._where} have what was "
            "written; bring the others back, or lower replicas in the address",
        )

    def _answered(self) -> None:
        self._unanswered -= 1
        if self._idle is not None and not self._idle.done() and not self._unanswered:
            self._idle.set_result(None)


class _Written:
    """What the server has, with its answers, and its replicas may not yet: until they `waited`."""

    __slots__ = ("requests", "waited")

    def __init__(self) -> None:
        self.requests: list[tuple[list[Publish] | Kept, Any]] = []
        self.waited = False


def _groups(publishes: list[Publish]) -> list[list[Publish]]:
    """Those that share a call: atomic together, so not too many."""
    groups: list[list[Publish]] = []
    size = events = 0
    for request in publishes:
        size += request.size
        events += len(request.events)
        if not groups or size > GROUP_BYTES or events > GROUP_EVENTS:
            groups.append([])
            size, events = request.size, len(request.events)
        groups[-1].append(request)
    return groups


def milliseconds_until(at: float) -> int:
    """From now to a moment of this machine's clock, not below 0."""
    seconds = at - time.time()
    return int(min(max(0.0, seconds), 1e10) * 1000 + 0.999)
