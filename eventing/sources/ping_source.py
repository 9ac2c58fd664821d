"""The PingSource at work: an event at every moment of its schedule, on one node at a time."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from brokers.base import Fault
from eventing.event import Event
from eventing.sources.leased import FindLease, Leased
from eventing.sources.outlet import End, Outlet
from eventing.sources.settings import PingSourceSettings
from eventing.sources.ticks import believed, due

log = logging.getLogger("eventing.sources")

TYPE = "dev.knative.sources.ping"
LONGEST_SLEEP = 5.0
"""Seconds after which the clock is looked at again: it may have been set."""
MOST_OUT = 100
"""Events on their way to the sink above which a moment passes without one."""


class PingSource:
    """See eventing/sources/source.py. `source` is the attribute of its events, `memory` the file
    that holds the last moment whose event reached its end."""

    def __init__(
        self,
        name: str,
        settings: PingSourceSettings,
        outlet: Outlet,
        *,
        source: str,
        find_lease: FindLease,
        lease: str,
        memory: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._settings = settings
        self._outlet = outlet
        self._source = source
        self._memory = memory
        self._clock = clock
        self._skipped = 0
        self._settled = self._sent = _read(memory)
        self._leased = Leased(lease, find_lease, self._work)

    @property
    def fault(self) -> Fault | None:
        """See the contract. A clock is always there."""
        return None

    @property
    def settled(self) -> float:
        """The last moment whose event reached its end, here or on a node that told of it; 0 before
        the first."""
        return self._settled

    def learn(self, settled: float) -> None:
        """Another node tells of its last moment."""
        if not self._leased.held:
            self._settled = max(self._settled, settled)
            self._sent = max(self._sent, settled)

    def status(self) -> dict[str, Any]:
        """See the contract."""
        settings = self._settings
        following = settings.schedule.after(self._clock())
        return {
            "from": settings.text
            if not settings.timezone
            else f"{settings.text} {settings.timezone}",
            "state": "running" if self._leased.held else "standing by",
            "lastTick": _text(self._settled) if self._settled else None,
            "nextTick": _text(following) if following < 1e11 else None,
            "skipped": self._skipped,
        }

    def renew_lease(self) -> None:
        """See the contract."""
        self._leased.renew()

    async def stop(self, grace: float) -> bool:
        """See the contract. A moment whose event is not at its end is made up for after the next
        start, or by the next node, where that is soon."""
        ended = True

        async def ending() -> None:
            nonlocal ended
            ended = await self._outlet.drain(grace)

        await self._leased.stop(ending)
        return ended

    async def fire(self) -> tuple[str, End]:
        """Send an event now, whatever the schedule and whoever holds the lease; its id, and how it
        ended."""
        id = f"fired-{uuid.uuid4()}"
        return id, await self._outlet.deliver(self._event(id, self._clock()))

    async def _work(self) -> None:
        schedule = self._settings.schedule
        # A source that is new begins with the next moment. What is not known to have reached its
        # end is sent again, under the same id.
        self._sent = self._settled or self._clock()
        while True:
            now = self._clock()
            self._sent = believed(self._sent, now)
            moment = due(schedule, self._sent, now)
            if moment is not None:
                self._sent = moment
                self._send(moment)
            wait = schedule.after(max(self._sent, now)) - self._clock()
            await asyncio.sleep(min(max(wait, 0.001), LONGEST_SLEEP))

    def _send(self, moment: float) -> None:
        id = _text(moment)
        if self._outlet.in_flight >= MOST_OUT:
            self._skipped += 1
            log.error(
                "source %s sends nothing for %s: %d events wait for its sink",
                self._name,
                id,
                MOST_OUT,
            )
            return
        self._outlet.submit(self._event(id, moment), partial(self._sent_to_its_end, moment))

    def _sent_to_its_end(self, moment: float, end: End) -> None:
        if end.settled and moment > self._settled:
            self._settled = moment
            _write(self._memory, moment)

    def _event(self, id: str, moment: float) -> Event:
        settings = self._settings
        attributes = {
            "specversion": "1.0",
            "id": id,
            "source": self._source,
            "type": TYPE,
            "time": _text(moment),
        }
        if settings.content_type is not None:
            attributes["datacontenttype"] = settings.content_type
        return Event(attributes, settings.data)


def _text(moment: float) -> str:
    digits = "seconds" if moment == int(moment) else "milliseconds"
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec=digits).replace("+00:00", "Z")


def _read(memory: Path) -> float:
    try:
        return float(memory.read_text())
    except (OSError, ValueError):
        return 0.0


def _write(memory: Path, moment: float) -> None:
    # Where it can't be written, a moment may be sent twice after a restart: same id, no loss.
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        beside = memory.with_name(f".{memory.name}")
        beside.write_text(repr(moment))
        beside.replace(memory)
