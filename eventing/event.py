"""The event: one form from ingress to worker, and its HTTP and JSON encodings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent (CloudEvents 1.0).

    `attributes` holds every context attribute in its canonical string form, `specversion`,
    `datacontenttype` and extensions included; `data` the payload's bytes, or None where there is
    none. Never changed after it is made: to alter one, build another.
    """

    attributes: dict[str, str]
    data: bytes | None = None
