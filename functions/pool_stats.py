"""What a pool tells of itself, for `eventing tail`, metrics and the dashboard."""

from dataclasses import dataclass

from functions.autoscaler import Rule


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool at one moment, and its counts since it was made.

    ready, starting, draining: workers by stage; `idle` of the ready ones have no call.
    in_flight: calls in workers; waiting: calls in none.
    wanted: workers by the autoscaler's last decision; rule: which of its rules settled that.
    depth: calls in one worker of a sync handler, the running one included; 1 for async ones.
    answered: calls in all, failed ones included.
    cold_starts: calls that woke the function, meeting no ready worker; cold_start_seconds: from
        acceptance to the handler's entry, of the last 1,000 of them, oldest first.
    restarts: ready workers that died by themselves; failed_starts: those that never became ready;
    kills: workers killed for being overdue.
    errors: the last ten reasons of these three and of timeouts, oldest first.
    """

    ready: int
    starting: int
    draining: int
    idle: int
    in_flight: int
    waiting: int
    wanted: int
    rule: Rule
    panicking: bool
    depth: int
    answered: int
    cold_starts: int
    cold_start_seconds: tuple[float, ...]
    restarts: int
    failed_starts: int
    kills: int
    errors: tuple[str, ...]
