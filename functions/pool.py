"""The workers of one function revision: which call goes to which, and what becomes of it.

Every call accepted is answered exactly once. A worker's death costs an attempt only the calls it
was running; those it had not begun are sent again, and don't know.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from math import ceil

from functions.autoscaler import Decision, Rule, ScaleConfig, ScaleState, step
from functions.base import Call, Response, Service
from functions.budget import WorkerBudget, available_cpus
from functions.clock import Alarm, Clock, LoopClock
from functions.load import Load
from functions.member import NEVER, Job, Member, Stage
from functions.meter import Meter
from functions.pipeline import Pipeline
from functions.pool_stats import PoolStats
from functions.roster import Roster
from functions.starts import Starts
from functions.worker import Launcher, Revision

PATIENCE = 0.02
"""Seconds a call may wait in the queue before the pool looks for another worker at once, without
waiting for the autoscaler's next turn: ten times what a forked worker needs to answer."""
MOST_CALLS = 100
"""Calls in flight in one worker whose revision sets no limit."""
CANCEL_GRACE = 1.0
"""Seconds a cancelled async handler has to end before its worker is killed."""
EXIT_GRACE = 1.0
"""Seconds to wait for killed workers to be gone when the pool is closed."""

_log = logging.getLogger(__name__)


class Pool:
    """Runs the calls of one revision in as many workers as its load asks for; a Service.

    Which worker: the earliest ready that has room, up to the share of its limit the autoscaler
    aims for; above that the least loaded (functions/roster.py). A sync worker's limit is what
    functions/pipeline.py finds worth sending ahead.

    How many: at zero the first call starts a worker and is sent to it at once. From then on the
    autoscaler decides every `scale.interval`. Between its turns a call that has waited for
    PATIENCE has it decide at once, on twice the workers there are (never more than the calls in
    hand can use): it then panics as it does in every surge, and so keeps what was started for as
    long as the surge may last. No more workers start at a time than there are CPUs.

    How long: a sync handler's time runs from its start in the worker. Past it the worker is
    killed; an async handler is cancelled first. The answer then has the status 0.

    A start that fails is tried again after a pause (functions/starts.py). Where no worker is ready,
    waiting calls fail once that has become hopeless, with its reason and the status 0.

    revision, launcher: what to run, and what runs it.
    scale: bounds and settings; with `max` 0 the workers count against `budget` instead.
    start_timeout: seconds until a worker has to be ready.
    drain_grace: seconds a drained worker has for its shutdown hooks once its calls are answered.
    max_waiting: calls in the queue above which new ones are answered 503.
    on_change: called after the workers or the wanted count changed; never per call.
    meter: is told what the revision uses.

    Made on the running event loop, unless it is given a clock.
    """

    def __init__(
        self,
        revision: Revision,
        launcher: Launcher,
        scale: ScaleConfig | None = None,
        *,
        budget: WorkerBudget | None = None,
        clock: Clock | None = None,
        start_timeout: float = 60.0,
        drain_grace: float = 10.0,
        max_waiting: int = 100_000,
        on_change: Callable[["Pool"], None] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.revision = revision
        self._launcher = launcher
        self._clock = clock or LoopClock()
        self._time = self._clock.time
        self._start_timeout = start_timeout
        self._drain_grace = drain_grace
        self._max_waiting = max_waiting
        self._on_change = on_change
        self._meter = meter
        if meter is not None:
            meter.follow(self._count_running)

        self._sync = revision.sync
        self._timeout = revision.timeout
        scale = scale or ScaleConfig()
        self._budget = (budget or WorkerBudget()) if scale.max == 0 else None
        self._scale = replace(
            scale,
            concurrency=1 if revision.sync else revision.concurrency,
            max=max(self._budget.limit, scale.min, 1) if self._budget else scale.max,
        )
        self._state = ScaleState()
        self._decision = Decision(0, Rule.STABLE)
        self._load = Load(scale.window, self._time(), min(1.0, self._scale.panic_window / 6))

        self._pipeline = Pipeline()
        # For a sync handler both become the pipeline's depth.
        limit = 1 if revision.sync else revision.concurrency or MOST_CALLS
        share = max(1, int(limit * scale.target_utilization_percentage / 100))
        self._roster = Roster(share, limit)
        self._waiting: deque[Job] = deque()
        self._ids = 0

        self._starts = Starts()
        self._most_starting = available_cpus()
        self._alarm: Alarm | None = None
        self._wake = NEVER
        self._evaluation = NEVER
        self._closing = False
        self._gone = asyncio.Event()

        self._answered = 0
        self._cold_starts = 0
        self._cold_seconds: deque[float] = deque(maxlen=1000)
        self._restarts = 0
        self._kills = 0
        self._errors: deque[str] = deque(maxlen=10)

    # -- Service

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        """Run the call. Answered 503 where the pool is closing or its queue is full."""
        if self._closing:
            done(Response(503, reason=f"{self.revision.name} is shutting down", retry_after=1.0))
            return
        waiting = self._waiting
        if len(waiting) >= self._max_waiting:
            done(Response(503, reason="queue full", retry_after=1.0))
            return
        now = self._time()
        job = Job(call, done, now)
        self._load.enter(now)
        if not waiting:
            roster = self._roster
            member = roster.first
            if member is None or len(member.calls) >= roster.share:
                if not roster.ready and self._load.level == 1:
                    job.cold = True
                member = self._find_room(now)
            if member is not None:
                self._send(member, job, now)
                return
        waiting.append(job)
        if now + PATIENCE < self._wake:
            self._arm(now + PATIENCE)

    # -- Life

    def start(self) -> None:
        """Bring up the initial scale or the minimum now; without it, the first call does."""
        if not self._closing:
            self._evaluation = self._time()
            self._tick()

    def drain(self, successor: Service | None = None) -> None:
        """Take no more calls, answer those there are, then let the workers go.

        Calls that no worker has yet go to `successor` where there is one: after a reload they run
        on the new code, while what is in flight ends on the old.
        """
        self._closing = True
        self._evaluation = NEVER
        if self._meter is not None:
            self._meter.retired(self._time())
        if successor is not None:
            jobs = list(self._waiting)
            self._waiting.clear()
            now = self._time()
            for job in jobs:
                self._load.leave(now)
                successor.submit(job.call, job.done)
        self._wind_down(self._time())

    async def close(self, grace: float) -> None:
        """Drain, for `grace` seconds at the most. What has not ended by then is killed, and
        answered with status 0 where it had begun, 503 where it had not. Returns when the workers
        are gone. May be called more than once, and while draining."""
        self.drain()
        if await self._is_gone(grace):
            return
        now = self._time()
        begun: list[Job] = []
        unbegun = list(self._waiting)
        self._waiting.clear()
        for member in tuple(self._roster.everyone):
            if member.stage is not Stage.KILLED:
                running, unstarted = self._by_start(member, now)
                begun += running
                unbegun += unstarted
                self._kill(member)
        for job in begun:
            self._fail(job, f"killed: still running {grace:g} s after shutdown began", now)
        for job in unbegun:
            self._load.leave(now)
            self._answered += 1
            reason = f"{self.revision.name} was shut down before it began"
            self._finish(job, Response(503, reason=reason, retry_after=1.0))
        self._wind_down(now)
        if not await self._is_gone(EXIT_GRACE):
            _log.error("%s: killed workers have not exited", self.revision.name)
        self._disarm()

    async def _is_gone(self, within: float) -> bool:
        if self._gone.is_set():
            return True
        try:
            await asyncio.wait_for(self._gone.wait(), within)
        except TimeoutError:
            return False
        return True

    # -- What can be seen

    @property
    def zero(self) -> bool:
        """Whether there is no worker at all, not even one on its way out."""
        return not self._roster.everyone

    @property
    def ready(self) -> int:
        """Workers that take calls."""
        return len(self._roster.ready)

    @property
    def failing(self) -> bool:
        """Whether no worker is ready and the last start failed."""
        return self._starts.in_a_row > 0 and not self._roster.ready

    def stats(self) -> PoolStats:
        return PoolStats(
            ready=len(self._roster.ready),
            starting=len(self._roster.starting),
            draining=sum(member.stage is Stage.DRAINING for member in self._roster.everyone),
            idle=sum(not member.calls for member in self._roster.ready),
            in_flight=self._load.level - len(self._waiting),
            waiting=len(self._waiting),
            wanted=self._decision.wanted,
            rule=self._decision.rule,
            panicking=self._decision.panicking,
            depth=self._pipeline.depth,
            answered=self._answered,
            cold_starts=self._cold_starts,
            cold_start_seconds=tuple(self._cold_seconds),
            restarts=self._restarts,
            failed_starts=self._starts.total,
            kills=self._kills,
            errors=tuple(self._errors),
        )

    # -- Borrower

    def idle_since(self) -> float | None:
        idle = self._roster.longest_idle()
        if idle is None or self._roster.live <= self._scale.min:
            return None
        return idle.idle_since

    def give_up_idle(self) -> None:
        idle = self._roster.longest_idle()
        if idle is not None:
            self._drain(idle, self._time())

    # -- Calls

    def _find_room(self, now: float) -> Member | None:
        """The worker for the next call; a new one where there is none at all."""
        member = self._roster.find_room()
        return self._launch(now) if member is None and not self._roster.live else member

    def _send(self, member: Member, job: Job, now: float) -> None:
        self._ids = id = self._ids + 1
        calls = member.calls
        if member.started and not (calls and self._sync):
            self._begin(member, job, now)
        calls[id] = job
        member.worker.call(id, job.call)

    def _begin(self, member: Member, job: Job, now: float) -> None:
        """The job's handler starts about now: its time runs."""
        if not member.busy_since:
            member.busy_since = now
        job.due = due = now + self._allowed(job)
        if self._sync or due < member.due:
            member.due = due
        if due < self._wake:
            self._arm(due)

    def member_answered(self, member: Member, job: Job, response: Response) -> None:
        now = self._time()
        self._load.leave(now)
        self._answered += 1
        calls = member.calls
        meter = self._meter
        if meter is not None:
            # Here and not in a method, nor one of the meter's: this is the hottest of the pool.
            began = response.started * 1e-9 or self._begun(job)
            if began:
                since = member.busy_since
                # Answers that come together are read one after the other: a sync handler had ended
                # when the next was entered. An async one ran alone since the last answer if none
                # is left.
                if since < began and (self._sync or not (calls and since)):
                    since = began
                meter.invocations += 1
                if not 200 <= response.status < 300:
                    meter.failed += 1
                meter.busy += now - since
                meter.execution += now - (since if self._sync else began)
                member.busy_since = now if calls else 0.0
        if self._sync:
            if response.started:
                self._learn(member, response.started * 1e-9, now)
            if calls:
                head = next(iter(calls.values()))
                if head.due == NEVER:
                    self._begin(member, head, now)
        if member.stage is Stage.READY:
            waiting = self._waiting
            if waiting:
                limit = self._roster.limit
                while waiting and len(calls) < limit:
                    self._send(member, waiting.popleft(), now)
            if not waiting:
                self._roster.has_room(member)
            if not calls:
                member.idle_since = now
                member.due = NEVER
        elif not calls:
            self._await_exit(member, now)
        if job.cold and response.started:
            self._cold_starts += 1
            seconds = response.started * 1e-9 - job.accepted
            self._cold_seconds.append(seconds)
            if self._meter is not None:
                self._meter.cold_start(seconds)
        if job.cancelled and not 200 <= response.status < 300:
            response = Response(0, reason=self._timed_out(job), started=response.started)
        self._finish(job, response)
        if self._closing:
            self._wind_down(now)

    def _learn(self, member: Member, entered: float, now: float) -> None:
        """The call before this one had ended when its answer came, and when this one began: the
        earlier of the two is the better measure of how long it took."""
        if member.last_entry:
            self._pipeline.observe(min(member.last_answer, entered) - member.last_entry)
            self._roster.share = self._roster.limit = self._pipeline.depth
        member.last_entry = entered
        member.last_answer = now

    def _begun(self, job: Job) -> float:
        """About when its handler was entered, 0 where it was not."""
        if job.due == NEVER:
            return 0.0
        return job.due - self._allowed(job) - (CANCEL_GRACE if job.cancelled else 0.0)

    def _count_running(self, now: float) -> None:
        """Have the meter told of what calls that still run have used up to now."""
        for member in self._roster.everyone:
            if member.busy_since:
                self._count_busy(member, now)
                member.busy_since = now

    def _count_busy(self, member: Member, now: float) -> None:
        if self._meter is not None:
            self._meter.busy += now - member.busy_since
            if self._sync:
                self._meter.execution += now - member.busy_since

    def _finish(self, job: Job, response: Response) -> None:
        try:
            job.done(response)
        except Exception:
            # Whoever asked is at fault, and mustn't take the other calls with it.
            _log.exception("%s: a response could not be taken", self.revision.name)

    def _fail(self, job: Job, reason: str, now: float) -> None:
        self._load.leave(now)
        self._answered += 1
        began = self._begun(job)
        if self._meter is not None and began:
            self._meter.invocations += 1
            self._meter.failed += 1
            if not self._sync:
                self._meter.execution += now - began
        self._finish(job, Response(0, reason=self._timed_out(job) if job.cancelled else reason))

    def _timed_out(self, job: Job) -> str:
        return f"timed out after {self._allowed(job):g} s"

    def _allowed(self, job: Job) -> float:
        """Seconds its handler may take: the function's own limit, or a shorter one of the call."""
        timeout = job.call.timeout
        return self._timeout if timeout is None or timeout > self._timeout else timeout

    def _by_start(self, member: Member, now: float) -> tuple[list[Job], list[Job]]:
        """Its calls, which it then has no longer: those it runs, those it has not begun."""
        jobs = member.take_calls()
        if member.busy_since:
            self._count_busy(member, now)
            member.busy_since = 0.0
        if not member.started or member.worker.between_calls:
            return [], jobs
        return (jobs[:1], jobs[1:]) if self._sync else (jobs, [])

    def _requeue(self, jobs: list[Job], now: float) -> None:
        for job in jobs:
            job.queued = now
            job.due = NEVER
        self._waiting.extendleft(reversed(jobs))

    def _dispatch(self, now: float) -> None:
        """Send on what waits, as far as there is room, and see to it that somebody looks again."""
        waiting = self._waiting
        while waiting:
            member = self._find_room(now)
            if member is None:
                break
            self._send(member, waiting.popleft(), now)
        if waiting and now + PATIENCE < self._wake:
            self._arm(now + PATIENCE)

    # -- Workers

    def _may_launch(self, now: float) -> bool:
        # While starts fail, one at a time shows whether they still do.
        most = 1 if self._starts.in_a_row else self._most_starting
        return (
            now >= self._starts.not_before
            and len(self._roster.starting) < most
            and self._roster.live < self._scale.max
        )

    def _launch(self, now: float) -> Member | None:
        if not self._may_launch(now):
            return None
        if self._budget is not None:
            entitled = self._roster.live < max(1, self._scale.min)
            if not self._budget.take(self, entitled=entitled):
                return None
        if self._evaluation == NEVER and not self._closing:
            self._load.restart(now)
            self._evaluation = now + self._scale.interval
        member = Member(self, now + self._start_timeout)
        self._roster.add(member)
        if self._meter is not None:
            self._meter.worker_launched(now)
        member.worker = self._launcher.launch(self.revision, member)
        wake = min(member.due, self._evaluation)
        if wake < self._wake:
            self._arm(wake)
        self._changed()
        # It may have failed already.
        return member if member in self._roster.starting else None

    def member_ready(self, member: Member) -> None:
        if member.stage is Stage.KILLED:
            return
        now = self._time()
        member.started = True
        if self._meter is not None:
            self._meter.worker_ready(now)
        self._starts.succeeded()
        if member.stage is Stage.STARTING:
            self._roster.promote(member, now)
        for job in member.calls.values():
            self._begin(member, job, now)
            if self._sync:
                break
        self._dispatch(now)
        if not self._closing:
            self._grow(self._decision.wanted, now)
        if self._closing:
            self._wind_down(now)
        self._changed()

    def member_exited(self, member: Member, reason: str) -> None:
        now = self._time()
        stage = member.stage
        self._roster.remove(member)
        if self._budget is not None:
            self._budget.give_back(self)
        if self._meter is not None:
            self._meter.worker_gone(member.started, now)
        begun, unbegun = self._by_start(member, now)
        self._requeue(unbegun, now)
        if stage is Stage.STARTING:
            begun += self._start_failed(reason, now)
            reason = f"no worker could start: {reason}"
        elif stage is Stage.READY or begun:
            self._restarts += 1
            self._errors.append(reason)
            reason = f"worker {reason}"
        for job in begun:
            self._fail(job, reason, now)
        self._dispatch(now)
        if self._closing:
            self._wind_down(now)
        self._changed()

    def _start_failed(self, reason: str, now: float, *, in_full: bool = False) -> list[Job]:
        """Note it; returns the waiting calls that must now fail, which then wait no longer."""
        self._starts.failed(now, in_full=in_full)
        self._errors.append(reason)
        if self._roster.ready or not self._starts.hopeless:
            return []
        jobs = list(self._waiting)
        self._waiting.clear()
        return jobs

    def _drain(self, member: Member, now: float) -> None:
        self._roster.withdraw(member)
        member.stage = Stage.DRAINING
        member.worker.drain()
        if not member.calls:
            self._await_exit(member, now)
        self._changed()

    def _await_exit(self, member: Member, now: float) -> None:
        if member.stage is Stage.DRAINING:
            member.due = now + self._drain_grace
            if member.due < self._wake:
                self._arm(member.due)

    def _kill(self, member: Member) -> None:
        """Its calls have to be taken from it before."""
        self._roster.withdraw(member)
        member.stage = Stage.KILLED
        member.due = NEVER
        self._kills += 1
        member.worker.kill()

    def _wind_down(self, now: float) -> None:
        """While closing: workers without calls go, and when all have, the pool is gone."""
        if self._waiting:
            self._dispatch(now)
            return
        for member in (*self._roster.ready, *self._roster.starting):
            if not member.calls:
                self._drain(member, now)
        if not self._roster.everyone:
            self._disarm()
            self._gone.set()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change(self)

    # -- Time

    def _arm(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._wake = when
        self._alarm = self._clock.call_at(when, self._tick)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None
        self._wake = NEVER

    def _tick(self) -> None:
        """Do all that is due, then sleep until something will be."""
        self._disarm()
        now = self._time()
        for member in tuple(self._roster.everyone):
            if member.due <= now:
                self._overdue(member, now)
        self._dispatch(now)
        if self._evaluation <= now:
            self._evaluation = now + self._scale.interval
            self._evaluate(now)
        elif self._is_pressed(now):
            self._hurry(now)
        wake = min((member.due for member in self._roster.everyone), default=NEVER)
        wake = min(wake, self._evaluation)
        if self._waiting:
            look = self._waiting[0].queued + PATIENCE
            wake = min(wake, max(look, now + PATIENCE, self._starts.not_before))
        if wake < self._wake:
            self._arm(wake)

    def _is_pressed(self, now: float) -> bool:
        return (
            bool(self._waiting)
            and not self._closing
            and self._waiting[0].queued + PATIENCE <= now
            and self._may_launch(now)
        )

    def _evaluate(self, now: float) -> None:
        """Ask the autoscaler, and do as it says."""
        scale, load = self._scale, self._load
        deserted = not self._roster.everyone and not self._waiting
        if deserted and self._starts.hopeless and not scale.min:
            # The next call will show whether starts still fail; until then nobody needs to know.
            self._evaluation = NEVER
            return
        measure = load.rate if scale.metric == "rps" else load.concurrency
        self._decide(measure(now, scale.window), measure(now, scale.panic_window), now)
        # Even where the figures are too young to show it: with a call in hand it isn't at zero.
        wanted = max(self._decision.wanted, 1 if load.level else 0)
        if deserted and not wanted:
            self._evaluation = NEVER
        self._grow(wanted, now)
        self._shrink(wanted, now)

    def _hurry(self, now: float) -> None:
        """A call has waited too long for the autoscaler's next turn: have it decide now, on a
        demand for twice the workers there are, or as many as the calls in hand can use."""
        useful = ceil(self._load.level / (1 if self._sync else self._roster.limit))
        demand = self._scale.aim * min(2 * max(1, self._roster.live), useful)
        self._decide(demand, demand, now)
        self._grow(self._decision.wanted, now)

    def _decide(self, stable: float, panic: float, now: float) -> None:
        before = self._decision
        self._decision, self._state = step(
            self._scale, self._state, now, len(self._roster.ready), stable, panic
        )
        if before != self._decision:
            self._changed()

    def _grow(self, wanted: int, now: float) -> None:
        while self._roster.live < wanted:
            if self._launch(now) is None:
                break

    def _shrink(self, wanted: int, now: float) -> None:
        while self._roster.live > wanted:
            member = self._roster.most_dispensable()
            if member is None:
                break
            self._drain(member, now)

    def _overdue(self, member: Member, now: float) -> None:
        if not member.started:
            self._start_overdue(member, now)
        elif not member.calls:
            if member.stage is Stage.DRAINING:
                self._errors.append(f"did not exit within {self._drain_grace:g} s of its drain")
                self._kill(member)
            else:
                member.due = NEVER
        elif self._sync:
            begun, unbegun = self._by_start(member, now)
            self._kill(member)
            self._requeue(unbegun, now)
            for job in begun:
                self._errors.append(self._timed_out(job))
                self._fail(job, self._timed_out(job), now)
        else:
            self._async_overdue(member, now)
        self._changed()

    def _start_overdue(self, member: Member, now: float) -> None:
        starting = member.stage is Stage.STARTING
        _, unbegun = self._by_start(member, now)
        self._kill(member)
        self._requeue(unbegun, now)
        if starting:
            reason = f"not ready within {self._start_timeout:g} s"
            for job in self._start_failed(reason, now, in_full=True):
                self._fail(job, f"no worker could start: {reason}", now)

    def _async_overdue(self, member: Member, now: float) -> None:
        stuck = False
        for id, job in member.calls.items():
            if job.due > now:
                continue
            if job.cancelled:
                stuck = True
            else:
                job.cancelled = True
                job.due = now + CANCEL_GRACE
                self._errors.append(self._timed_out(job))
                member.worker.cancel(id)
        if not stuck:
            member.due = min(job.due for job in member.calls.values())
            return
        jobs, _ = self._by_start(member, now)
        self._kill(member)
        for job in jobs:
            self._fail(job, "worker killed: another call in it did not end when cancelled", now)
