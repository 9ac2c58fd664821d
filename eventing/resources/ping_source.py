"""The PingSource: an event at every moment of a schedule."""

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from eventing.resources.model import Fault
from eventing.resources.schedule import Schedule, check_zone, parse_schedule, zone_of
from eventing.resources.source import Source, SourceSpec

EVERY_MINUTE = "* * * * *"


class PingSourceSpec(SourceSpec):
    schedule: str | None = Field(
        default=None,
        description="cron, with seconds first where it has six fields; or @hourly, @daily, "
        "@every 10s, …; every minute where left out.",
    )
    timezone: str | None = Field(
        default=None, description="An IANA name such as Europe/Berlin; UTC where left out."
    )
    content_type: str | None = Field(default=None, description="Of the data.")
    data: str | None = Field(default=None, description="The event's data, as text.")
    data_base64: str | None = Field(default=None, description="The same, as bytes in base64.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        zone_complaint = check_zone(self.timezone) if self.timezone else ""
        if zone_complaint:
            yield ("timezone",), zone_complaint
        elif self.timezone and zone_of(self.schedule or ""):
            yield ("timezone",), "stands beside the zone in the schedule; keep one of them"
        try:
            parse_schedule(self.schedule or EVERY_MINUTE, "")
        except ValueError as error:
            yield ("schedule",), str(error)
        if self.content_type and not (self.content_type.isascii() and self.content_type.strip()):
            yield ("contentType",), 'is no media type, such as "application/json"'
        yield from self._data_faults()

    def _data_faults(self) -> Iterator[Fault]:
        name = "dataBase64" if self.data_base64 else "data"
        if self.data and self.data_base64:
            yield (name,), 'stands beside "data"; keep one of them'
            return
        try:
            payload = self.payload
        except ValueError:
            yield (name,), "is no base64; plain text goes under data"
            return
        if payload is not None and self.content_type == "application/json":
            try:
                json.loads(payload)
            except ValueError as error:
                yield (name,), f'is no JSON, as "contentType" says it is: {error}'

    @property
    def payload(self) -> bytes | None:
        """The event's data; None = it has none. Raises ValueError for what is no base64."""
        if self.data_base64:
            try:
                return base64.b64decode(self.data_base64, validate=True)
            except binascii.Error as error:
                raise ValueError(str(error)) from None
        return self.data.encode() if self.data else None


class PingSource(Source):
    """Knative's PingSource."""

    api_version: Literal["sources.knative.dev/v1", "sources.knative.dev/v1beta2"] = (
        "sources.knative.dev/v1"
    )
    kind: Literal["PingSource"] = "PingSource"
    spec: PingSourceSpec

    @property
    def schedule(self) -> Schedule:
        return parse_schedule(self.spec.schedule or EVERY_MINUTE, self.spec.timezone or "")

    @property
    def content_type(self) -> str | None:
        return self.spec.content_type or None

    @property
    def payload(self) -> bytes | None:
        return self.spec.payload
