"""How events are delivered, as a cluster takes it said."""

import math
import re

from eventing.node.knative.manifest import Document, Notes
from eventing.node.knative.scope import Scope
from eventing.resources import Path, Resource, format_duration, parse_duration
from eventing.resources.delivery import DeliverySpec

_DELIVERY: Path = ("spec", "delivery")
_BELOW_TENTHS = re.compile(r"[.,]\d\d")


def delivery(
    owner: Resource, spec: DeliverySpec, written: Document, scope: Scope, notes: Notes
) -> Document:
    """`spec.delivery` of `owner`, which it wrote as `written`."""
    document = dict(written)
    if spec.dead_letter_sink is not None:
        path = (*_DELIVERY, "deadLetterSink")
        document["deadLetterSink"] = scope.destination(owner, spec.dead_letter_sink, path, notes)
    for name in ("backoffDelay", "timeout"):
        text = document.get(name)
        if text is not None and _BELOW_TENTHS.search(text):
            document[name] = _in_tenths(owner, name, text, notes)
    if document.pop("retryAfterMax", None) is not None:
        notes.add(
            owner,
            (*_DELIVERY, "retryAfterMax"),
            "retryAfterMax is left out: a cluster refuses it, and heeds no Retry-After, unless its "
            "feature delivery-retryafter is on",
            "switch that on in the ConfigMap config-features and add the field there",
        )
    return document


def _in_tenths(owner: Resource, name: str, text: str, notes: Notes) -> str:
    """Knative drops all digits of a number but the first behind the point."""
    seconds = parse_duration(text)
    tenths = math.ceil(round(seconds * 10, 6)) / 10
    found = format_duration(tenths)
    if tenths != seconds:
        notes.add(
            owner,
            (*_DELIVERY, name),
            f"a cluster counts tenths of seconds: {name} {text} becomes {found}",
            "choose another, where that is too long",
        )
    return found
