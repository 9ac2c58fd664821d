"""The RedisStreamSource at work: its stream's entries, each an event at the sink at least once.

It works on one node at a time, under a lease. All nodes are one consumer of the group, so what one
of them left unacknowledged is the first that the next one reads.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from redis import exceptions

from brokers.base import Fault
from eventing.errors import InvalidEvent, StorageError
from eventing.event import Event
from eventing.sources.entry_event import Entry, entry_event, unreadable_event
from eventing.sources.leased import FindLease, Leased
from eventing.sources.outlet import End, Outlet, Sending
from eventing.sources.settings import RedisStreamSourceSettings
from triggers.redis_connection import FAULTS, connect, redis_error

log = logging.getLogger("eventing.sources")

CONSUMER = "eventing"
"""The one consumer of the group that all nodes are, one after the other."""
READ_AT_ONCE = 100
BLOCK_SECONDS = 1.0
AGAIN_SECONDS = 2.0
"""Between two tries at what Redis does not let it do."""
CLAIM_EVERY = 15.0
CLAIM_IDLE = 60.0
"""Seconds an entry is out to another consumer of the group before it counts as given up by it."""
MEASURE_EVERY = 5.0
CLOSE_SECONDS = 5.0


class RedisStreamSource:
    """See eventing/sources/source.py. `name` is that of the source for people, `lease` that of
    its lease, `client_id` that of the connection in Redis."""

    def __init__(
        self,
        name: str,
        settings: RedisStreamSourceSettings,
        outlet: Outlet,
        *,
        find_lease: FindLease,
        lease: str,
        client_id: str,
    ) -> None:
        self._name = name
        self._settings = settings
        self._outlet = outlet
        self._client_id = client_id
        self._source = f"{settings.redis.address}/{settings.stream}"
        self._fault: Fault | None = None
        self._lag: int | None = None
        self._unreadable = 0
        self._acknowledging: dict[str, None] = {}
        self._seen = ""
        self._stopping = False
        self._leased = Leased(lease, find_lease, self._work) if settings.at_once else None

    @property
    def fault(self) -> Fault | None:
        """See the contract."""
        return self._fault

    def status(self) -> dict[str, Any]:
        """See the contract."""
        held = self._leased is not None and self._leased.held
        paused = "paused" if self._leased is None else "standing by"
        return {
            "from": self._settings.stream,
            "group": self._settings.group,
            "state": "running" if held else paused,
            "lag": self._lag if held else None,
            "unreadable": self._unreadable,
        }

    def renew_lease(self) -> None:
        """See the contract."""
        if self._leased is not None:
            self._leased.renew()

    async def stop(self, grace: float) -> bool:
        """See the contract."""
        ended = True

        async def ending() -> None:
            nonlocal ended
            ended = await self._outlet.drain(grace)
            if self._acknowledging:
                client = connect(self._settings.redis, self._client_id)
                with suppress(*FAULTS):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await self._acknowledge(client)
                await _close(client)

        if self._leased is None:
            return True
        self._stopping = True
        await self._leased.stop(ending)
        return ended

    # Under the lease

    async def _work(self) -> None:
        while True:
            client = connect(self._settings.redis, self._client_id)
            try:
                await self._read(client)
            except FAULTS as error:
                what = f"stream {self._settings.stream!r} can't be read"
                self._failed(redis_error(error, what, self._settings.redis))
            finally:
                await _close(client)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _read(self, client: Any) -> None:
        client.set_response_callback("XREADGROUP", _as_it_is)
        client.set_response_callback("XAUTOCLAIM", _as_it_is)
        await self._make_group(client)
        self._recovered()
        # First what this consumer, on whichever node, took and did not acknowledge.
        after = "0"
        loop = asyncio.get_running_loop()
        claim_at = measure_at = 0.0
        while True:
            entries, last = await self._next(client, after)
            if after != ">":
                after = last or ">"
            if last:
                await self._bring(client, entries)
            if after == ">" and loop.time() >= claim_at:
                claim_at = loop.time() + CLAIM_EVERY
                await self._claim(client)
            if loop.time() >= measure_at:
                measure_at = loop.time() + MEASURE_EVERY
                self._lag = await self._measure(client)

    async def _make_group(self, client: Any) -> None:
        """A new group begins with the next entry; one that was lost while this node used it goes on
        behind what this node has read."""
        settings = self._settings
        try:
            await client.xgroup_create(
                settings.stream, settings.group, id=self._seen or "$", mkstream=True
            )
        except exceptions.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _next(self, client: Any, after: str) -> tuple[list[Entry], str]:
        """Entries behind `after`, and the id of the last one, gone or not ("" = none)."""
        settings = self._settings
        answer = await client.execute_command(
            "XREADGROUP",
            *("GROUP", settings.group, CONSUMER, "COUNT", READ_AT_ONCE),
            *("BLOCK", int(BLOCK_SECONDS * 1000)),
            *("STREAMS", settings.stream, after),
        )
        found = answer[0][1] if answer else []
        if not found:
            return [], ""
        # What was deleted from the stream before it was acknowledged is over.
        self._acknowledging.update((id.decode(), None) for id, fields in found if fields is None)
        last: str = found[-1][0].decode()
        if after == ">":
            self._seen = last
        return _entries(found), last

    async def _claim(self, client: Any) -> None:
        """Take over what other consumers of the group have given up."""
        settings = self._settings
        cursor: Any = "0-0"
        while True:
            answer = await client.execute_command(
                "XAUTOCLAIM",
                *(settings.stream, settings.group, CONSUMER, int(CLAIM_IDLE * 1000), cursor),
                *("COUNT", READ_AT_ONCE),
            )
            cursor = answer[0]
            entries = _entries(answer[1])
            if entries:
                await self._bring(client, entries)
            if cursor in (b"0-0", "0-0"):
                return

    async def _measure(self, client: Any) -> int | None:
        for group in await client.xinfo_groups(self._settings.stream):
            if group["name"] in (self._settings.group, self._settings.group.encode()):
                lag = group.get("lag")
                return None if lag is None else int(lag) + int(group["pending"])
        return None

    # The way out

    async def _bring(self, client: Any, entries: list[Entry]) -> None:
        """All of them to the sink, and acknowledged; those that are not come again."""
        route = self._outlet.route
        at_once = self._settings.at_once
        batch = route is not None and route.broker is not None
        events: list[Event] = []
        taken: list[Entry] = []
        sendings: dict[Sending, None] = {}
        try:
            for entry in entries:
                try:
                    event = entry_event(entry, self._source)
                except InvalidEvent as error:
                    await self._publish(events, taken)
                    events, taken = [], []
                    await self._refuse(entry, str(error))
                    continue
                if batch:
                    events.append(event)
                    taken.append(entry)
                    continue
                await self._outlet.room(at_once)
                if self._acknowledging:
                    await self._acknowledge(client)
                self._submit(entry, event, sendings)
            await self._publish(events, taken)
            await self._outlet.room(1)
            await self._acknowledge(client)
        finally:
            # Not at its end: the stream is another node's now, or is read anew.
            if not self._stopping:
                self._outlet.let_go(tuple(sendings))

    def _submit(self, entry: Entry, event: Event, sendings: dict[Sending, None]) -> None:
        def done(end: End) -> None:
            sendings.pop(sending, None)
            if end.settled:
                self._acknowledging[entry.id] = None

        sending = self._outlet.submit(event, done)
        sendings[sending] = None

    async def _publish(self, events: list[Event], entries: list[Entry]) -> None:
        if events and await self._outlet.publish(events):
            self._acknowledging.update(dict.fromkeys(entry.id for entry in entries))

    async def _refuse(self, entry: Entry, reason: str) -> None:
        self._unreadable += 1
        stream = self._settings.stream
        told = f"the entry {entry.id} of stream {stream!r} is no event: {reason}"
        log.warning("source %s: %s", self._name, told)
        event = unreadable_event(entry, self._source, stream, reason)
        if (await self._outlet.refuse(event, told)).settled:
            self._acknowledging[entry.id] = None

    async def _acknowledge(self, client: Any) -> None:
        ids = tuple(self._acknowledging)
        if ids:
            await client.xack(self._settings.stream, self._settings.group, *ids)
            for id in ids:
                self._acknowledging.pop(id, None)

    # Telling

    def _failed(self, error: StorageError) -> None:
        """Once, however often it is tried, and whatever its words are the next time."""
        if self._fault is None or self._fault.reason != error.reason:
            log.error("source %s: %s; it is tried again", self._name, error)
        self._fault = Fault.of(error)

    def _recovered(self) -> None:
        if self._fault is not None:
            log.info("source %s takes entries now", self._name)
        self._fault = None


def _as_it_is(answer: Any, **_: Any) -> Any:
    return answer


def _entries(answer: Any) -> list[Entry]:
    """Entries as Redis answers them; one whose fields are gone was deleted, and is passed over."""
    return [Entry(id.decode(), fields) for id, fields in answer if fields is not None]


async def _close(client: Any) -> None:
    with suppress(*FAULTS):
        await client.aclose()
