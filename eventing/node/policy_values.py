"""From the fields of traffic policies, ours and Istio's, to the values that calls are handled by.

Names play no part here: what a route or a subset refers to is eventing/node/traffic_policies.py's.
"""

from collections.abc import Mapping

from eventing.resources.call_policy import FaultInjection, HttpRetry, IstioFaultDelay
from eventing.resources.destination_settings import (
    ConnectionPoolSettings,
    DestinationSettings,
    IstioOutlierDetectionSettings,
    OutlierDetectionSettings,
)
from eventing.resources.istio_fields import StringMatch as StringMatchField
from eventing.resources.istio_fields import parse_traffic_duration, percentage
from eventing.resources.linear_regex import Pattern
from eventing.resources.traffic_policy import AttributesMatch
from eventing.resources.virtual_service import HttpMatchRequest
from functions.traffic.policy import (
    ConnectionPool,
    DestinationPolicy,
    Fault,
    Match,
    OutlierDetection,
    Retries,
    StringMatch,
)


def seconds(duration: str | None, default: float) -> float:
    return default if duration is None else parse_traffic_duration(duration)


def timeout(duration: str | None) -> float | None:
    """Seconds; None where there is none, which `0s` says."""
    return seconds(duration, 0.0) or None


def match(said: AttributesMatch | HttpMatchRequest) -> Match:
    return Match(_strings(said.attributes), _strings(said.without_attributes))


def _strings(said: Mapping[str, StringMatchField] | None) -> dict[str, StringMatch]:
    return {name: string_match(each) for name, each in (said or {}).items()}


def string_match(said: StringMatchField) -> StringMatch:
    if said.exact is not None:
        return StringMatch("exact", said.exact)
    if said.regex is not None:
        return StringMatch("regex", said.regex, Pattern(said.regex))
    # Every text begins with none: the attribute has to be there, and no more.
    return StringMatch("prefix", said.prefix or "")


def retries(said: HttpRetry | None) -> Retries | None:
    """None where no retry is asked for."""
    if said is None or not said.attempts:
        return None
    usual = Retries()
    return Retries(
        attempts=said.attempts,
        per_try_timeout=timeout(said.per_try_timeout),
        retry_on=said.conditions or usual.retry_on,
        backoff=seconds(said.backoff, usual.backoff),
    )


def fault(said: FaultInjection | None) -> Fault | None:
    """None where no call meets one."""
    if said is None:
        return None
    delay, abort = said.delay, said.abort
    older = delay.percent if isinstance(delay, IstioFaultDelay) else None
    found = Fault(
        delay=seconds(delay.fixed_delay, 0.0) if delay else 0.0,
        delay_percentage=percentage(delay.percentage, older or 0.0) if delay else 0.0,
        abort_status=(abort.http_status or 0) if abort else 0,
        abort_percentage=percentage(abort.percentage, 0.0) if abort else 0.0,
    )
    return found if found.delay_percentage or found.abort_percentage else None


def destination_policy(
    said: DestinationSettings | None, over: DestinationPolicy | None = None
) -> DestinationPolicy:
    """Each of its two parts as a whole, in place of that of `over`."""
    policy = over or DestinationPolicy()
    if said is None:
        return policy
    detection, pool = said.outlier_detection, said.connection_pool
    return DestinationPolicy(
        policy.outlier_detection if detection is None else _outlier_detection(detection),
        policy.connection_pool if pool is None else _connection_pool(pool),
    )


def _outlier_detection(said: OutlierDetectionSettings) -> OutlierDetection:
    usual = OutlierDetection()
    gateway = said.consecutive_gateway_errors
    if gateway is None and isinstance(said, IstioOutlierDetectionSettings):
        gateway = said.consecutive_errors
    return OutlierDetection(
        consecutive_5xx=_number(said.consecutive_5xx_errors, usual.consecutive_5xx),
        consecutive_gateway=_number(gateway, usual.consecutive_gateway),
        interval=seconds(said.interval, usual.interval),
        base_ejection=seconds(said.base_ejection_time, usual.base_ejection),
        max_ejection_percent=float(_number(said.max_ejection_percent, 10)),
        min_health_percent=float(_number(said.min_health_percent, 0)),
    )


def _connection_pool(said: ConnectionPoolSettings) -> ConnectionPool:
    http = said.http
    return ConnectionPool(
        max_requests=said.max_requests,
        max_pending=_number(http.http1_max_pending_requests if http else None, 0),
        max_retries=_number(http.max_retries if http else None, 0),
    )


def _number(said: int | None, default: int) -> int:
    return default if said is None else said
