"""Outlier detection: when a revision is taken out, and when it comes back.

A record a revision; it decides, the router acts. Rules and names: Envoy's outlier detection.
"""

from math import ceil, floor, inf

from functions.traffic.policy import OutlierDetection

LONGEST_EJECTION = 300.0
"""Seconds out at the most, but never less than the base (Envoy's max_ejection_time)."""


class Outlier:
    """How one revision has answered lately, and until when it is out.

    `back_at`: the clock's time at which it comes back, infinite while it is in. `ejections` counts
    them all; the time out grows with those that came close upon each other: every interval spent
    in peace takes one of them off.
    """

    __slots__ = ("_gateway", "_multiplier", "_server", "_settled_at", "back_at", "ejections", "why")

    def __init__(self) -> None:
        self.back_at = inf
        self.ejections = 0
        self.why = ""
        self._server = 0
        self._gateway = 0
        self._multiplier = 0
        self._settled_at = 0.0

    @property
    def out(self) -> bool:
        return self.back_at != inf

    def succeeded(self) -> None:
        self._server = self._gateway = 0

    def failed(self, status: int, detection: OutlierDetection) -> bool:
        """Note an answer that is not 2xx; whether the row is now long enough for an ejection."""
        if 0 < status < 500:
            self.succeeded()
            return False
        self._server += 1
        self._gateway = self._gateway + 1 if status == 0 or 502 <= status <= 504 else 0
        if 0 < detection.consecutive_5xx <= self._server:
            self.why = f"{self._server} answers of 5xx, or none, in a row"
            return True
        if 0 < detection.consecutive_gateway <= self._gateway:
            self.why = f"{self._gateway} answers of 502, 503, 504, or none, in a row"
            return True
        return False

    def eject(self, now: float, detection: OutlierDetection) -> None:
        """It is out from now on, until the first look after its time."""
        interval = detection.interval
        peaceful = int((now - self._settled_at) / interval) if interval > 0 else 0
        self._multiplier = max(0, self._multiplier - peaceful) + 1
        longest = max(LONGEST_EJECTION, detection.base_ejection)
        end = now + min(detection.base_ejection * self._multiplier, longest)
        self.back_at = ceil(end / interval) * interval if interval > 0 else end
        self.ejections += 1

    def readmit(self, now: float) -> None:
        self.back_at = inf
        self._settled_at = now
        self._server = self._gateway = 0


def most_ejected(detection: OutlierDetection, revisions: int) -> int:
    """How many of so many revisions may be out at once."""
    percent = detection.max_ejection_percent
    return max(1, floor(revisions * percent / 100)) if percent > 0 else 0


def counts_as_out(detection: OutlierDetection, healthy: int, revisions: int) -> bool:
    """Whether an ejected revision really gets no calls: not where too few are healthy."""
    return not revisions or healthy * 100 >= detection.min_health_percent * revisions
