"""One worker as its pool sees it: its stage, the calls it has in hand, and when it is overdue."""

import math
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from functions.base import Call, Response
from functions.worker import Worker

NEVER = math.inf


class Job:
    """A call on its way through a pool. All times are seconds of the pool's clock.

    `accepted` is when it came in, `queued` when it last began to wait for a worker, `due` when its
    handler has to have ended (never, before it has begun). `cold`: it woke the function from zero.
    `cancelled`: it ran past its time, and its task has been asked to end.
    """

    __slots__ = ("accepted", "call", "cancelled", "cold", "done", "due", "queued")

    def __init__(self, call: Call, done: Callable[[Response], None], now: float) -> None:
        self.call = call
        self.done = done
        self.accepted = now
        self.queued = now
        self.due = NEVER
        self.cold = False
        self.cancelled = False


class Stage(Enum):
    STARTING = auto()
    READY = auto()
    DRAINING = auto()
    """Takes no more calls, and exits when those it has are answered."""
    KILLED = auto()
    """Has no calls any more; only its exit is still to come."""


class Owner(Protocol):
    """What a member tells its pool."""

    def member_ready(self, member: "Member") -> None: ...

    def member_answered(self, member: "Member", job: Job, response: Response) -> None: ...

    def member_exited(self, member: "Member", reason: str) -> None: ...


class Member:
    """A worker of a pool, and the listener of that worker alone, so that no result has to be
    looked up by worker.

    `calls` are those in its socket or its handlers, oldest first: a sync worker runs the first of
    them, an async one all. `started` tells whether it ever became ready, whatever its stage. `due`
    is when the pool has to look at it at the latest. `order` grows with the time of readiness.
    `last_entry` and `last_answer` are when the handler was last entered and when its answer came.
    `busy_since`: it has run calls ever since, and is not counted busy yet; 0 while it runs none.
    """

    __slots__ = (
        "_owner",
        "busy_since",
        "calls",
        "due",
        "idle_since",
        "last_answer",
        "last_entry",
        "order",
        "stage",
        "started",
        "worker",
    )

    worker: Worker

    def __init__(self, owner: Owner, due: float) -> None:
        self._owner = owner
        self.calls: dict[int, Job] = {}
        self.stage = Stage.STARTING
        self.started = False
        self.due = due
        self.order = 0
        self.idle_since = 0.0
        self.last_entry = 0.0
        self.last_answer = 0.0
        self.busy_since = 0.0

    def take_calls(self) -> list[Job]:
        """Its calls, oldest first, which it then has no longer."""
        jobs = list(self.calls.values())
        self.calls.clear()
        return jobs

    def ready(self, worker: Worker) -> None:
        self._owner.member_ready(self)

    def result(self, worker: Worker, id: int, response: Response) -> None:
        job = self.calls.pop(id, None)
        # What a killed worker still had to say comes too late: its calls have been answered.
        if job is not None:
            self._owner.member_answered(self, job, response)

    def exited(self, worker: Worker, reason: str) -> None:
        self._owner.member_exited(self, reason)
