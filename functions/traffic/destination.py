"""One revision as traffic sees it: its service, and what is known and asked of the calls to it."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Protocol

from functions.base import Call, Response, Service
from functions.traffic.figures import RevisionStats, Tally
from functions.traffic.limits import Limits, overflow
from functions.traffic.mirror import Copies
from functions.traffic.outlier import Outlier
from functions.traffic.policy import DestinationPolicy, OutlierDetection

BAD_LISTENER = "a response could not be taken"

_log = logging.getLogger(__name__)

Done = Callable[[Response], None]


def answer(done: Done, response: Response) -> None:
    """Whoever asked may be at fault; that mustn't take the other calls with it."""
    try:
        done(response)
    except Exception:
        _log.exception(BAD_LISTENER)


class Passenger(Protocol):
    """A call that may have to wait for a place at a revision."""

    def go(self, destination: "Destination", now: float) -> None:
        """There is a place: submit it there."""

    def wait(self, destination: "Destination") -> None:
        """It has been put in the queue there."""

    def refuse(self, response: Response) -> None:
        """There is none, not even to wait in; or the node is shutting down."""

    def choose_again(self, now: float) -> None:
        """It waited for a revision that takes no more calls."""


class Passing:
    """A call that is out at a revision: answered once, whatever the service does."""

    __slots__ = ("_began", "_destination", "_done", "_late")

    def __init__(self, destination: "Destination", done: Done, began: float) -> None:
        self._destination = destination
        self._done: Done | None = done
        self._began = began
        self._late = False

    def answered(self, response: Response) -> None:
        done = self._done
        if done is None:
            if self._late:
                self._late = False
                self._destination.answered_late()
            return
        self._done = None
        # The destination's and the tally's work is done here, where no method need be called.
        destination = self._destination
        destination.in_flight -= 1
        seconds = destination.time() - (response.started * 1e-9 or self._began)
        tally = destination.tally
        tally.calls += 1
        tally.seconds += seconds
        tally.squares += seconds * seconds
        tally.buckets[int(seconds * 1e6).bit_length()] += 1
        status = response.status
        if not 200 <= status < 300:
            destination.failed(status)
        elif destination.suspected:
            destination.outlier.succeeded()
            destination.suspected = False
        if destination.waiting:
            destination.flow()
        try:
            done(response)
        except Exception:
            _log.exception(BAD_LISTENER)

    def give_up(self, now: float) -> None:
        """Nobody waits for its answer any more. The revision is at work on it all the same."""
        self._done = None
        self._late = True
        self._destination.timed_out(self._began, now)


class Destination:
    """A revision's place in a router. It outlives the router's updates, with all its counts.

    on_eject: called when its answers have earned it an ejection, for the router to decide.
    `suspected`: its outlier record has to be told of a success.
    """

    __slots__ = (
        "_flowing",
        "_on_eject",
        "copies",
        "detection",
        "in_flight",
        "late",
        "limits",
        "most",
        "outlier",
        "overflowed",
        "retried",
        "retries_out",
        "retries_overflowed",
        "revision",
        "service",
        "suspected",
        "tally",
        "time",
        "timeouts",
        "waiting",
    )

    def __init__(
        self,
        revision: str,
        service: Service,
        time: Callable[[], float],
        on_eject: Callable[["Destination"], None],
    ) -> None:
        self.revision = revision
        self.service = service
        self.tally = Tally()
        self.copies = Copies(self, time)
        self.detection: OutlierDetection | None = None
        self.outlier = Outlier()
        self.suspected = False
        self.limits = Limits()
        self.most = self.limits.in_flight
        self.in_flight = 0
        self.waiting: OrderedDict[Passenger, None] = OrderedDict()
        self.retries_out = 0
        self.retried = 0
        self.retries_overflowed = 0
        self.timeouts = 0
        self.late = 0
        self.overflowed = 0
        self._flowing = False
        self.time = time
        self._on_eject = on_eject

    def configure(self, policy: DestinationPolicy) -> None:
        self.detection = policy.outlier_detection
        self.limits = Limits.of(policy.connection_pool)
        self.most = self.limits.in_flight

    # -- Calls

    def send(self, call: Call, passing: Passing) -> None:
        """Hand the call over. There has to be a place."""
        self.in_flight += 1
        self.service.submit(call, passing.answered)

    def admit(self, passenger: Passenger, now: float) -> None:
        if self.in_flight < self.most:
            passenger.go(self, now)
        elif len(self.waiting) < self.limits.waiting:
            self.waiting[passenger] = None
            passenger.wait(self)
        else:
            self.overflowed += 1
            passenger.refuse(overflow(self.revision, self.limits))

    def failed(self, status: int) -> None:
        """It gave an answer that is not 2xx."""
        self.tally.failed(status)
        self._judge(status)

    def timed_out(self, began: float, now: float) -> None:
        """A call that is out is given up. It keeps its place until its answer comes."""
        self.timeouts += 1
        self.tally.count(504, now - began)
        self._judge(504)

    def answered_late(self) -> None:
        self.in_flight -= 1
        self.late += 1
        if self.waiting:
            self.flow()

    def flow(self) -> None:
        """Send on what waits, as far as there is room."""
        # A service that answers at once comes back here: this loop goes on, instead of another.
        if self._flowing:
            return
        self._flowing = True
        while self.waiting and self.in_flight < self.most:
            passenger, _ = self.waiting.popitem(last=False)
            passenger.go(self, self.time())
        self._flowing = False

    def _judge(self, status: int) -> None:
        detection = self.detection
        if detection is None or self.outlier.out:
            return
        self.suspected = True
        if self.outlier.failed(status, detection):
            self._on_eject(self)

    # -- What can be seen

    def stats(self, now: float) -> RevisionStats:
        back_at = self.outlier.back_at
        return RevisionStats(
            calls=self.tally.calls,
            errors=self.tally.errors,
            refused=self.tally.refused,
            latency=self.tally.latency(),
            in_flight=self.in_flight,
            waiting=len(self.waiting),
            ejected_for=0.0 if back_at == inf else max(0.0, back_at - now),
            ejections=self.outlier.ejections,
            retried=self.retried,
            retries_overflowed=self.retries_overflowed,
            timed_out=self.timeouts,
            late=self.late,
            overflowed=self.overflowed,
            mirror=self.copies.stats(),
        )
