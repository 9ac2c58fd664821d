"""The expressions of resources, compiled: what YAML holds as text, the triggers want as code."""

from eventing.resources import Trigger
from triggers.filters import Filter, compile_filter


def trigger_filter(trigger: Trigger) -> Filter:
    """The trigger's filter. Raises InvalidFilter, its path seen from the trigger's spec."""
    spec = trigger.spec
    attributes = spec.filter.attributes if spec.filter is not None else None
    filters = [each.model_dump(by_alias=True, exclude_none=True) for each in spec.filters or ()]
    return compile_filter(attributes, filters)
