"""What happens after an attempt: done, again later, to the dead-letter sink, or given up.

Pure functions over a policy; the dispatcher acts on what they return. Rules: Knative's delivery
spec (retry, backoffPolicy, backoffDelay, retryAfterMax) and its table of answers.
"""

from dataclasses import dataclass
from typing import Literal

from brokers.base import Dead, Delivery, Done, Failure, Outcome, Retry
from eventing.event import Event
from functions.base import Response

TTL_ATTRIBUTE = "knativebrokerttl"
DEFAULT_TTL = 255
_FRESH = str(DEFAULT_TTL)
MAX_ERROR_DATA = 768
"""Bytes of an answer's body that are kept: 1,024 characters once encoded in base64."""
MAX_BACKOFF = 30 * 24 * 3600.0
"""Seconds; an exponential backoff stops growing here instead of overflowing."""


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How a trigger's deliveries are tried.

    retry: tries after the first attempt. backoff_delay: seconds, before the k-th retry k times
    (linear) or 2^(k-1) times (exponential). timeout: seconds an attempt may take, None = the
    subscriber's own. retry_after_max: seconds up to which a subscriber's `Retry-After` is
    honoured; None = without bound, 0 = never. speed: how many times shorter every wait is than all
    this says, so that tests of a wiring need not wait it out.
    """

    retry: int = 0
    backoff_policy: Literal["linear", "exponential"] = "exponential"
    backoff_delay: float = 1.0
    timeout: float | None = None
    retry_after_max: float | None = None
    speed: float = 1.0


def backoff(policy: DeliveryPolicy, retry: int) -> float:
    """Seconds to wait before the `retry`-th retry (1, 2, …)."""
    if policy.backoff_policy == "linear":
        return min(policy.backoff_delay * retry, MAX_BACKOFF)
    # 2^64 seconds are beyond any bound; larger exponents would only overflow the float.
    return min(policy.backoff_delay * 2.0 ** min(retry - 1, 64), MAX_BACKOFF)


def succeeded(status: int) -> bool:
    return 200 <= status < 300


def retryable(status: int) -> bool:
    """Whether an answer of this status is worth another try; 0 = there was no answer."""
    return status == 0 or status in (404, 408, 409, 429) or status >= 500


def wait(policy: DeliveryPolicy, attempt: int, response: Response) -> float:
    """Seconds until the attempt after `attempt`: the larger of backoff and `Retry-After`."""
    seconds = backoff(policy, attempt)
    after = response.retry_after
    if after is not None and response.status in (429, 503):
        if policy.retry_after_max is not None:
            after = min(after, policy.retry_after_max)
        seconds = max(seconds, after)
    return seconds / policy.speed


def decide(
    delivery: Delivery,
    response: Response,
    policy: DeliveryPolicy,
    *,
    destination: str,
    has_sink: bool,
    now: float,
) -> Outcome:
    """The outcome of one attempt at Unix time `now`.

    The subscriber's attempts spent, the delivery turns to the dead-letter sink where there is
    one; where there is none, or the sink's attempts are spent too, the event becomes a dead
    letter of the broker. Nothing is ever dropped.
    """
    if succeeded(response.status):
        if delivery.stage == "dead_letter":
            return Done(delivery)
        return Done(delivery, response.replies)
    again = retryable(response.status) and delivery.attempt <= policy.retry
    if delivery.stage == "dead_letter" and delivery.failure is not None:
        failure = delivery.failure
        if again:
            at = now + wait(policy, delivery.attempt, response)
            return Retry(delivery, at, failure, "dead_letter")
        return Dead(delivery, _with_sink_failure(failure, response))
    failure = Failure(destination, response.status, response.reason, response.body[:MAX_ERROR_DATA])
    if again:
        return Retry(delivery, now + wait(policy, delivery.attempt, response), failure)
    if has_sink:
        return Retry(delivery, now, failure, "dead_letter")
    return Dead(delivery, failure)


def _with_sink_failure(failure: Failure, response: Response) -> Failure:
    reason = response.reason or f"status {response.status}"
    return Failure(
        failure.destination,
        failure.code,
        f"{failure.reason}; the dead-letter sink failed too: {reason}",
        failure.data,
    )


def time_to_live(event: Event) -> int:
    """Brokers an event of the log may still pass through."""
    ttl = event.attributes.get(TTL_ATTRIBUTE)
    if ttl is None or ttl == _FRESH:
        return DEFAULT_TTL
    try:
        return int(ttl)
    except ValueError:
        return DEFAULT_TTL


def outgoing(event: Event) -> Event:
    """The event as a subscriber sees it: without the broker's own attribute."""
    if TTL_ATTRIBUTE not in event.attributes:
        return event
    attributes = event.attributes.copy()
    del attributes[TTL_ATTRIBUTE]
    return Event(attributes, event.data)


def incoming_reply(reply: Event, cause: Event, ttl: int) -> Event:
    """The reply as it enters the broker: one hop less to live, in the trace of its cause.

    `ttl` is the cause's; the caller has seen to it that a hop is left.
    """
    attributes = reply.attributes.copy()
    attributes[TTL_ATTRIBUTE] = str(ttl - 1)
    if "traceparent" not in attributes and "traceparent" in cause.attributes:
        attributes["traceparent"] = cause.attributes["traceparent"]
        if "tracestate" in cause.attributes:
            attributes["tracestate"] = cause.attributes["tracestate"]
    return Event(attributes, reply.data)
