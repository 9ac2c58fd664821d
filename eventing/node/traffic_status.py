"""The figures of a function's traffic, as `get` and `describe` show them. Pure."""

from typing import Any

from functions.traffic.figures import Latency, MirrorStats, RevisionStats, TrafficStats

Figures = dict[str, Any]


def traffic_figures(stats: TrafficStats) -> Figures:
    """Of a function: faults made on purpose, calls no revision was healthy for, and the figures of
    each revision by name. They count since there was something to spread or a policy."""
    return {
        "delayed": stats.delayed,
        "aborted": stats.aborted,
        "unhealthy": stats.unhealthy,
        "revisions": {name: revision_figures(each) for name, each in stats.revisions.items()},
    }


def revision_figures(stats: RevisionStats) -> Figures:
    """Of one revision (functions.traffic.figures.RevisionStats tells what each is); all times in
    seconds."""
    return {
        "calls": stats.calls,
        "errors": stats.errors,
        "refused": stats.refused,
        **_latency(stats.latency),
        "inFlight": stats.in_flight,
        "waiting": stats.waiting,
        "ejectedForSeconds": round(stats.ejected_for, 3),
        "ejections": stats.ejections,
        "retried": stats.retried,
        "retriesOverflowed": stats.retries_overflowed,
        "timedOut": stats.timed_out,
        "late": stats.late,
        "overflowed": stats.overflowed,
        "mirror": _mirror(stats.mirror),
    }


def _mirror(stats: MirrorStats) -> Figures:
    return {
        "calls": stats.calls,
        "errors": stats.errors,
        "refused": stats.refused,
        **_latency(stats.latency),
        "inFlight": stats.in_flight,
        "dropped": stats.dropped,
    }


def _latency(latency: Latency) -> Figures:
    return {
        "meanSeconds": round(latency.mean, 6),
        "p50Seconds": round(latency.p50, 6),
        "p99Seconds": round(latency.p99, 6),
    }
