"""Faults made on purpose, to see what a wiring does about them. Pure functions of a draw.

As in Envoy they come before everything else of a route: its timeout and its retries don't see them.
"""

from functions.base import Response
from functions.traffic.policy import Fault


def delay(fault: Fault, draw: float) -> float:
    """Seconds to hold this call back; `draw` is at least 0 and below 1."""
    return fault.delay if draw * 100 < fault.delay_percentage else 0.0


def abort(fault: Fault, draw: float) -> Response | None:
    """What to answer in the place of a revision, or None."""
    status = fault.abort_status
    if not status or draw * 100 >= fault.abort_percentage:
        return None
    if 200 <= status < 300:
        return Response(status)
    return Response(status, reason=f"TrafficPolicy: fault: answered {status} on purpose")
