"""What is done with the calls of a route: timeouts, retries, faults made on purpose.

Istio's names and meaning. A TrafficPolicy has these fields; a VirtualService those of Istio beside
them, which are told as being without effect or refused.
"""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from eventing.resources.fields import Count
from eventing.resources.istio_fields import Percent, TrafficDuration, Unread, given
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path

CONDITIONS = (
    *("5xx", "gateway-error", "connect-failure", "refused-stream", "reset"),
    "retriable-4xx",
)
"""What `retryOn` can name beside statuses."""
_NEVER = frozenset(
    (
        *("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"),
        *("http3-post-connect-failure", "retriable-status-codes"),
    )
)
"""Conditions of gRPC and HTTP/3, which no answer to an event meets; and one that only says that
statuses are listed, too."""
_STATUSES = range(300, 600)


def parse_retry_on(text: str) -> frozenset[str]:
    """The conditions and statuses of a `retryOn` that an answer to an event can meet. Raises
    ValueError for what is unknown, and where none is left."""
    named = [word.strip() for word in text.split(",") if word.strip()]
    for word in named:
        if word.isascii() and word.isdecimal():
            if int(word[:9]) not in _STATUSES:
                raise ValueError(f'"{word[:9]}" is no status of a failed call: 300 to 599')
        elif word not in CONDITIONS and word not in _NEVER:
            known = ", ".join(CONDITIONS)
            raise ValueError(
                f'"{word[:40]}" is not supported; supported are {known}, and statuses such as 503'
            )
    kept = frozenset(named) - _NEVER
    if named and not kept:
        raise ValueError(
            f'"{text[:80]}" never happens to an event; name one of {", ".join(CONDITIONS)}, or a '
            "status such as 503"
        )
    return kept


def _retry_on(text: str) -> str:
    parse_retry_on(text)
    return text


class HttpRetry(Model):
    """Istio's HTTPRetry."""

    attempts: Annotated[Count, Field(le=100)] | None = Field(
        default=None, description="Retries after the first try; 0 = none."
    )
    per_try_timeout: TrafficDuration | None = Field(
        default=None, description="Of each try; the route's `timeout` where left out."
    )
    retry_on: Annotated[str, AfterValidator(_retry_on)] | None = Field(
        default=None,
        description="Conditions and statuses with commas between them; "
        "connect-failure,refused-stream,503 where left out.",
    )
    backoff: TrafficDuration | None = Field(
        default=None, description="Before the first retry, doubled for each more; 25ms."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.attempts is None:
            yield (), 'needs "attempts": how many retries there are at the most'
        elif self.attempts == 0:
            for name in ("perTryTimeout", "retryOn", "backoff"):
                if getattr(self, _NAMES[name]) is not None:
                    yield (name,), 'stands beside "attempts: 0", which asks for no retries'

    @property
    def conditions(self) -> frozenset[str] | None:
        """None = the usual ones."""
        return parse_retry_on(self.retry_on or "") or None

    def without_effect(self, path: Path) -> Iterator[Fault]:
        never = [word for word in _words(self.retry_on) if word in _NEVER]
        if never:
            reason = "has parts without effect, since no answer to an event meets them"
            yield (*path, "retryOn"), f"{reason}: {', '.join(never)}"


_NAMES = {"perTryTimeout": "per_try_timeout", "retryOn": "retry_on", "backoff": "backoff"}


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",")]


class FaultDelay(Model):
    percentage: Percent | None = Field(default=None, description="Of the calls; none without it.")
    fixed_delay: TrafficDuration | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.fixed_delay is None:
            yield (), 'needs "fixedDelay": how long the calls are held back'

    def without_effect(self, path: Path) -> Iterator[Fault]:
        if self.percentage is None:
            yield path, 'has no effect without "percentage": no call is held back'


class FaultAbort(Model):
    percentage: Percent | None = Field(default=None, description="Of the calls; none without it.")
    http_status: Annotated[Count, Field(ge=200, le=599)] | None = Field(
        default=None, description="The answer in place of the function's, 200 to 599."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.http_status is None:
            yield (), 'needs "httpStatus": the answer in place of the function\'s'

    def without_effect(self, path: Path) -> Iterator[Fault]:
        if self.percentage is None:
            yield path, 'has no effect without "percentage": no call is aborted'


class FaultInjection(Model):
    """Istio's HTTPFaultInjection."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.delay is None and self.abort is None:
            yield (), 'needs a "delay" or an "abort"'

    def without_effect(self, path: Path) -> Iterator[Fault]:
        for name, fault in (("delay", self.delay), ("abort", self.abort)):
            if fault is not None:
                yield from fault.without_effect((*path, name))


_ONE_PLACE = "has no effect: a revision is one destination, whichever of its instances answers"


class IstioRetry(HttpRetry):
    """With the fields that choose among hosts."""

    retry_remote_localities: Unread = None
    retry_ignore_previous_hosts: Unread = None

    def without_effect(self, path: Path) -> Iterator[Fault]:
        yield from super().without_effect(path)
        reasons = {
            "retry_remote_localities": _ONE_PLACE,
            "retry_ignore_previous_hosts": _ONE_PLACE,
        }
        yield from given(self, reasons, path)


class IstioFaultDelay(FaultDelay):
    percent: Annotated[Count, Field(le=100)] | None = None
    exponential_delay: Unread = None

    def _faults(self) -> Iterator[Fault]:
        if self.exponential_delay is not None:
            yield ("exponentialDelay",), 'is not supported, by Istio neither; write "fixedDelay"'
        else:
            yield from super()._faults()
        if self.percent is not None and self.percentage is not None:
            yield ("percent",), 'stands beside "percentage"; keep one of them'

    def without_effect(self, path: Path) -> Iterator[Fault]:
        if self.percent is None:
            yield from super().without_effect(path)


class IstioFaultAbort(FaultAbort):
    grpc_status: Unread = None
    http2_error: Unread = Field(default=None, alias="http2Error")

    def _faults(self) -> Iterator[Fault]:
        for name, value in (("grpcStatus", self.grpc_status), ("http2Error", self.http2_error)):
            if value is not None:
                yield (name,), 'is no answer to an event; write "httpStatus", as in 503'
                return
        yield from super()._faults()


class IstioFaultInjection(FaultInjection):
    delay: IstioFaultDelay | None = None
    abort: IstioFaultAbort | None = None
