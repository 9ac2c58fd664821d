"""Which moment of a schedule is due. Pure; all times are Unix seconds."""

from eventing.resources.schedule import Schedule

LATE = 300.0
"""Seconds for which a moment that was missed is made up for: the latest one, once."""


def due(schedule: Schedule, last: float, now: float) -> float | None:
    """The latest moment after `last` that has come and is at most LATE ago; None where there is
    none. Earlier ones that were missed with it are passed over: there is never a burst."""
    moment = schedule.after(max(last, now - LATE))
    if moment > now:
        return None
    while (following := schedule.after(moment)) <= now:
        moment = following
    return moment


def believed(last: float, now: float) -> float:
    """The last moment that was sent, for a clock that may have been set back: by up to LATE the
    schedule waits until it has caught up; by more, it begins again from now."""
    return now if last > now + LATE else last
