"""What counts for the calls to one destination: bounds, and when it is taken out for a while.

Istio's names and meaning. A TrafficPolicy has these fields; a DestinationRule those of Istio beside
them, which are told as being without effect or refused.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eventing.resources.fields import Count
from eventing.resources.istio_fields import TrafficDuration, Unread, given
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path

Percentage = Annotated[Count, Field(le=100)]


class TcpSettings(Model):
    max_connections: Count | None = Field(
        default=None, description="As http2MaxRequests; the smaller one counts. 0 = no bound."
    )

    def without_effect(self, path: Path) -> Iterator[Fault]:
        yield from ()


class HttpSettings(Model):
    http1_max_pending_requests: Count | None = Field(
        default=None,
        alias="http1MaxPendingRequests",
        description="Calls that wait for a place beyond those in flight; what is above is answered "
        "503 at once. 0 = no bound.",
    )
    http2_max_requests: Count | None = Field(
        default=None,
        alias="http2MaxRequests",
        description="Calls in flight at once. 0 = no bound.",
    )
    max_retries: Count | None = Field(
        default=None, description="Retries in flight at once. 0 = no bound."
    )

    def without_effect(self, path: Path) -> Iterator[Fault]:
        yield from ()


class ConnectionPoolSettings(Model):
    """Istio's ConnectionPoolSettings."""

    tcp: TcpSettings | None = None
    http: HttpSettings | None = None

    def without_effect(self, path: Path) -> Iterator[Fault]:
        for name, settings in (("tcp", self.tcp), ("http", self.http)):
            if settings is not None:
                yield from settings.without_effect((*path, name))
        if not self.bounds_requests and self.http and self.http.http1_max_pending_requests:
            reason = 'has no effect without "http2MaxRequests": no call ever waits for a place'
            yield (*path, "http", "http1MaxPendingRequests"), reason

    @property
    def max_requests(self) -> int:
        """In flight at once; 0 = no bound."""
        bounds = (
            self.tcp.max_connections if self.tcp else None,
            self.http.http2_max_requests if self.http else None,
        )
        return min((bound for bound in bounds if bound), default=0)

    @property
    def bounds_requests(self) -> bool:
        return self.max_requests > 0


class OutlierDetectionSettings(Model):
    """Istio's OutlierDetection."""

    consecutive_5xx_errors: Count | None = Field(
        default=None,
        alias="consecutive5xxErrors",
        description="Answers of 5xx, or none at all, in a row; 5 where left out, 0 = off.",
    )
    consecutive_gateway_errors: Count | None = Field(
        default=None,
        description="Answers of 502, 503 or 504, or none at all, in a row; off where left out.",
    )
    interval: TrafficDuration | None = Field(
        default=None, description="Between two looks at who comes back; 10s."
    )
    base_ejection_time: TrafficDuration | None = Field(
        default=None, description="How long it is out, times how often it was before; 30s."
    )
    max_ejection_percent: Percentage | None = Field(
        default=None,
        description="Of the revisions with traffic, at least one of them; 10. 0 = none is taken "
        "out.",
    )
    min_health_percent: Percentage | None = Field(
        default=None,
        description="Below this share of healthy revisions none is taken out; 0.",
    )

    def without_effect(self, path: Path) -> Iterator[Fault]:
        yield from ()


class DestinationSettings(Model):
    """What of Istio's TrafficPolicy counts for events."""

    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetectionSettings | None = None

    def without_effect(self, path: Path) -> Iterator[Fault]:
        if self.connection_pool is not None:
            yield from self.connection_pool.without_effect((*path, "connectionPool"))
        if self.outlier_detection is not None:
            yield from self.outlier_detection.without_effect((*path, "outlierDetection"))


_CONNECTIONS = "has no effect: connections to functions are the node's own affair"


class IstioTcpSettings(TcpSettings):
    connect_timeout: Unread = None
    tcp_keepalive: Unread = None
    max_connection_duration: Unread = None
    idle_timeout: Unread = None

    def without_effect(self, path: Path) -> Iterator[Fault]:
        names = ("connect_timeout", "tcp_keepalive", "max_connection_duration", "idle_timeout")
        yield from given(self, dict.fromkeys(names, _CONNECTIONS), path)


class IstioHttpSettings(HttpSettings):
    max_requests_per_connection: Unread = None
    idle_timeout: Unread = None
    h2_upgrade_policy: Unread = Field(default=None, alias="h2UpgradePolicy")
    use_client_protocol: Unread = None
    max_concurrent_streams: Unread = None
    http2_keep_alive: Unread = Field(default=None, alias="http2KeepAlive")

    def without_effect(self, path: Path) -> Iterator[Fault]:
        names = (
            *("max_requests_per_connection", "idle_timeout", "h2_upgrade_policy"),
            *("use_client_protocol", "max_concurrent_streams", "http2_keep_alive"),
        )
        yield from given(self, dict.fromkeys(names, _CONNECTIONS), path)


class IstioConnectionPoolSettings(ConnectionPoolSettings):
    tcp: IstioTcpSettings | None = None
    http: IstioHttpSettings | None = None


class IstioOutlierDetectionSettings(OutlierDetectionSettings):
    consecutive_errors: Count | None = Field(
        default=None, description="The older name of consecutiveGatewayErrors."
    )
    split_external_local_origin_errors: Unread = None
    consecutive_local_origin_failures: Unread = None
    failure_percentage_threshold: Unread = None
    outlier_detection_http_error_codes: Unread = Field(
        default=None, alias="outlierDetectionHttpErrorCodes"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.consecutive_errors is not None and self.consecutive_gateway_errors is not None:
            reason = 'is the older name of "consecutiveGatewayErrors"; keep one of them'
            yield ("consecutiveErrors",), reason
        if self.failure_percentage_threshold is not None:
            yield (
                ("failurePercentageThreshold",),
                'is not supported: failures in a row are what counts; write "consecutive5xxErrors"',
            )
        if self.outlier_detection_http_error_codes is not None:
            yield (
                ("outlierDetectionHttpErrorCodes",),
                "is not supported: 5xx and no answer at all are what counts; write "
                '"consecutiveGatewayErrors" where 502, 503 and 504 alone shall',
            )

    def without_effect(self, path: Path) -> Iterator[Fault]:
        reason = "has no effect: a call without an answer counts as one of 5xx"
        names = ("split_external_local_origin_errors", "consecutive_local_origin_failures")
        yield from given(self, dict.fromkeys(names, reason), path)


class ClientTlsSettings(Model):
    """Istio's ClientTLSSettings."""

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] | None = None
    client_certificate: Unread = None
    private_key: Unread = None
    ca_certificates: Unread = None
    credential_name: Unread = None
    ca_cert_credential_name: Unread = None
    subject_alt_names: Unread = None
    sni: Unread = None
    insecure_skip_verify: Unread = None
    ca_crl: Unread = None


class LoadBalancerSettings(Model):
    """Istio's LoadBalancerSettings."""

    simple: Unread = None
    consistent_hash: Unread = None
    backend_utilization: Unread = None
    locality_lb_setting: Unread = None
    zone_aware_lb_setting: Unread = None
    warmup_duration_secs: Unread = None
    warmup: Unread = None


class RetryBudget(Model):
    percent: Unread = None
    min_retry_concurrency: Unread = None
    budget_interval: Unread = None


class IstioDestinationSettings(DestinationSettings):
    """Istio's TrafficPolicy."""

    connection_pool: IstioConnectionPoolSettings | None = None
    outlier_detection: IstioOutlierDetectionSettings | None = None
    load_balancer: LoadBalancerSettings | None = None
    tls: ClientTlsSettings | None = None
    port_level_settings: Unread = None
    tunnel: Unread = None
    proxy_protocol: Unread = None
    retry_budget: RetryBudget | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.tls is not None and self.tls.mode in ("SIMPLE", "MUTUAL"):
            yield (
                ("tls", "mode"),
                "is not supported: TLS is set where the address is, at the Function with the "
                '"uri" (spec.tls); leave it out here',
            )
        if self.port_level_settings is not None:
            yield (
                ("portLevelSettings",),
                "is not supported: a function has one port; put the settings straight under "
                '"trafficPolicy"',
            )
        if self.tunnel is not None:
            yield ("tunnel",), "is not supported: calls go to functions directly; leave it out"

    def without_effect(self, path: Path) -> Iterator[Fault]:
        yield from super().without_effect(path)
        reasons = {
            "load_balancer": "has no effect: calls go to an instance with a free place, and to the "
            "revision of their partition key where the trigger asks for order",
            "tls": "has no effect: there is no mesh between the node and its functions",
            "proxy_protocol": _CONNECTIONS,
            "retry_budget": 'has no effect; "connectionPool.http.maxRetries" bounds retries here',
        }
        yield from given(self, reasons, path)
