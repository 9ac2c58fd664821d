"""A router among scripted revisions, on a clock the tests turn: no process, no waiting."""

from collections import Counter
from itertools import count
from random import Random

import pytest
from still_clock import Clock

from eventing.event import Event
from functions.base import Call, Response
from functions.traffic.policy import Weighted
from functions.traffic.router import TrafficRouter


class Revision:
    """A service that answers as it is told: `status` (or what a function of the call says) after
    `after` seconds, at once where that is None, never where `silent`, and `times` times."""

    def __init__(self, clock, status=200, after=0.01, *, silent=False, times=1):
        self.clock = clock
        self.status = status
        self.after = after
        self.silent = silent
        self.times = times
        self.calls = []
        self.out = 0
        self.most_out = 0
        self.dones = []

    def submit(self, call, done):
        self.calls.append(call)
        self.out += 1
        self.most_out = max(self.out, self.most_out)
        if self.silent:
            self.dones.append(done)
            return
        status = self.status(call) if callable(self.status) else self.status

        def answer():
            self.out -= 1
            for _ in range(self.times):
                done(Response(status, reason="" if status == 200 else "scripted"))

        if self.after is None:
            answer()
        else:
            self.clock.call_at(self.clock.now + self.after, answer)

    @property
    def ids(self):
        return [call.event.attributes["id"] for call in self.calls]


class Scene:
    """`revisions` by name: options of Revision. The weights are those of `split`, else equal."""

    def __init__(self, revisions, split=None, policy=None, *, seed=1):
        self.clock = Clock()
        self.revisions = {
            name: Revision(self.clock, **options) for name, options in revisions.items()
        }
        split = dict.fromkeys(revisions, 1.0) if split is None else split
        self.split = tuple(Weighted(name, weight) for name, weight in split.items())
        self.policy = policy
        self.router = TrafficRouter(
            self.revisions, self.split, policy, clock=self.clock, random=Random(seed).random
        )
        self.answers = {}
        self._ids = count()

    def send(self, *, ordered=False, timeout=None, **attributes):
        id = str(next(self._ids))
        event = Event({"specversion": "1.0", "id": id, "source": "/s", "type": "t"} | attributes)
        answers = self.answers.setdefault(id, [])
        service = self.router.ordered if ordered else self.router
        service.submit(Call(event, 1, "trigger", timeout), answers.append)
        return id

    def send_many(self, calls, pause=0.0, **options):
        for _ in range(calls):
            self.send(**options)
            if pause:
                self.clock.advance(pause)

    def answer(self, id):
        [response] = self.answers[id]
        return response

    def finish(self, within=1000.0):
        """Until every call has its one answer."""
        self.clock.advance(within)
        assert all(len(answers) == 1 for answers in self.answers.values())

    @property
    def statuses(self):
        return Counter(each.status for answers in self.answers.values() for each in answers)

    @property
    def met(self):
        """Calls by revision."""
        return {name: len(revision.calls) for name, revision in self.revisions.items()}

    def stats(self, name):
        return self.router.stats().revisions[name]


@pytest.fixture(scope="session")
def scene():
    """`scene({"old": {}, "new": {"status": 500}}, split, policy)` makes a Scene."""
    return Scene
