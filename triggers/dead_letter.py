"""The event that a dead-letter sink receives (Knative delivery spec, error extensions)."""

from base64 import b64encode

from brokers.base import Failure
from eventing.event import Event


def dead_letter_event(event: Event, failure: Failure) -> Event:
    """The original event plus `knativeerrordest`, `knativeerrorcode`, `knativeerrordata`."""
    attributes = event.attributes.copy()
    attributes["knativeerrordest"] = failure.destination
    attributes["knativeerrorcode"] = str(failure.code)
    data = failure.data or failure.reason.encode()[:768]
    if data:
        attributes["knativeerrordata"] = b64encode(data).decode()
    return Event(attributes, event.data)
