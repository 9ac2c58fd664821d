"""The workers of one pool by stage: which takes the next call, and which goes first."""

from functions.member import NEVER, Member, Stage


class Roster:
    """All workers of a pool. Those that may take calls are `starting` or `ready`, in that order of
    their lives; the rest are on their way out.

    A worker has room up to `share` calls; where none of the ready ones has, up to `limit`, in the
    least loaded. The ready ones are filled in the order they became ready, so that a light load
    keeps few of them busy and leaves the others idle, to be drained. `first` is the earliest ready
    one that may have room: all before it are full.
    """

    __slots__ = ("_orders", "everyone", "first", "limit", "ready", "share", "starting")

    def __init__(self, share: int, limit: int) -> None:
        self.share = share
        self.limit = limit
        self.everyone: list[Member] = []
        self.starting: list[Member] = []
        self.ready: list[Member] = []
        self.first: Member | None = None
        self._orders = 0

    @property
    def live(self) -> int:
        """How many take calls, or will once they are ready."""
        return len(self.starting) + len(self.ready)

    def add(self, member: Member) -> None:
        """A worker has been launched."""
        self.everyone.append(member)
        self.starting.append(member)

    def promote(self, member: Member, now: float) -> None:
        """A starting worker has become ready."""
        self.starting.remove(member)
        self.ready.append(member)
        self._orders += 1
        member.order = self._orders
        member.stage = Stage.READY
        member.due = NEVER
        member.idle_since = now
        self.has_room(member)

    def withdraw(self, member: Member) -> None:
        """It takes no more calls."""
        if member.stage is Stage.STARTING:
            self.starting.remove(member)
        elif member.stage is Stage.READY:
            self.ready.remove(member)
            self.first = self.ready[0] if self.ready else None

    def remove(self, member: Member) -> None:
        """It is gone."""
        self.withdraw(member)
        self.everyone.remove(member)

    def has_room(self, member: Member) -> None:
        """A ready worker has come to have room."""
        if self.first is None or member.order < self.first.order:
            self.first = member

    def find_room(self) -> Member | None:
        """The worker for the next call.

        One that is still starting only where none is ready: a call sent to it waits for it, while
        any worker can take one that waits in the pool.
        """
        for member in self.ready:
            if len(member.calls) < self.share:
                self.first = member
                return member
        self.first = None
        if not self.ready:
            return next((each for each in self.starting if len(each.calls) < self.share), None)
        if self.share == self.limit:
            return None
        least = min(self.ready, key=_load)
        return least if len(least.calls) < self.limit else None

    def longest_idle(self) -> Member | None:
        """The ready worker that has been without a call for the longest time."""
        idle = [member for member in self.ready if not member.calls]
        return min(idle, key=_idle_since, default=None)

    def most_dispensable(self) -> Member | None:
        """Who is to go first: who is idle longest, then who is starting for nobody, then the least
        loaded. None where all that is left is starting, with calls."""
        idle = self.longest_idle()
        if idle is not None:
            return idle
        for member in reversed(self.starting):
            if not member.calls:
                return member
        return min(self.ready, key=_load, default=None)


def _load(member: Member) -> int:
    return len(member.calls)


def _idle_since(member: Member) -> float:
    return member.idle_since
