"""Triggers and EventTransforms; a trigger's own transform becomes one of these."""

from collections.abc import Iterator

from eventing.node.knative.brokers import KAFKA, broker_class
from eventing.node.knative.delivery import delivery
from eventing.node.knative.manifest import Document, Manifest, Notes
from eventing.node.knative.scope import Scope
from eventing.resources import EventTransform, Identity, Trigger
from eventing.resources.api_versions import API_VERSIONS
from eventing.resources.trigger import ORDER, START

_SUBSCRIBER = ("spec", "subscriber")
_LONGEST_NAME = 52
"""Of an EventTransform: a cluster names a Deployment after it."""


def triggers(scope: Scope, notes: Notes) -> Iterator[Manifest]:
    taken = {transform.identity for transform in scope.each(EventTransform)}
    for trigger in scope.each(Trigger):
        document = scope.document(trigger)
        spec = document["spec"]
        _broker(trigger, spec, notes)
        scope.tell_if_missing(trigger, trigger.broker, notes)
        _tell_of_annotations(trigger, scope, notes)
        written = trigger.spec.subscriber
        if trigger.spec.transform is not None:
            transform = _in_between(trigger, spec.pop("transform"), taken, scope, notes)
            yield transform
            spec["subscriber"] = {"ref": _reference(transform)}
        else:
            spec["subscriber"] = scope.destination(trigger, written, _SUBSCRIBER, notes)
        if trigger.spec.delivery is not None:
            spec["delivery"] = delivery(
                trigger, trigger.spec.delivery, spec["delivery"], scope, notes
            )
        yield Manifest(document, trigger.source)


def transforms(scope: Scope, notes: Notes) -> Iterator[Manifest]:
    for transform in scope.each(EventTransform):
        document = scope.document(transform)
        if transform.spec.sink is not None:
            document["spec"]["sink"] = scope.destination(
                transform, transform.spec.sink, ("spec", "sink"), notes, with_ca=False
            )
        yield Manifest(document, transform.source)


def _broker(trigger: Trigger, spec: Document, notes: Notes) -> None:
    """A reference within the namespace is a name there; any other is refused by most clusters."""
    written = trigger.spec.broker_ref
    if written is None:
        return
    if trigger.broker.namespace == trigger.namespace:
        del spec["brokerRef"]
        document = {"broker": trigger.broker.name, **spec}
        spec.clear()
        spec.update(document)
        return
    notes.add(
        trigger,
        ("spec", "brokerRef", "namespace"),
        "a broker of another namespace is refused by a cluster whose feature "
        "cross-namespace-event-links is off",
        "put the trigger into the broker's namespace, or switch that feature on",
    )
    reference = {"apiVersion": API_VERSIONS["Broker"], "kind": "Broker"}
    reference |= {"name": trigger.broker.name, "namespace": trigger.broker.namespace}
    spec["brokerRef"] = reference


def _tell_of_annotations(trigger: Trigger, scope: Scope, notes: Notes) -> None:
    if trigger.metadata.annotation(START) is not None:
        notes.add(
            trigger,
            ("metadata", "annotations", START),
            "a trigger of a cluster begins with the next event, whatever this annotation says",
            "send again what it has to see of before",
        )
    there = broker_class(trigger.broker.identity, scope)
    if trigger.order == "ordered" and there != KAFKA:
        notes.add(
            trigger,
            ("metadata", "annotations", ORDER),
            f"order is kept by brokers of the class Kafka alone, and this one's is {there}",
            "choose --broker-class Kafka",
        )


def _in_between(
    trigger: Trigger, transform: Document, taken: set[Identity], scope: Scope, notes: Notes
) -> Manifest:
    """An EventTransform that changes the event, sends it to the subscriber, and gives back what
    that answers."""
    name = stem = f"{trigger.name[:_LONGEST_NAME]}-transform".replace(".", "-")
    number = 1
    while (identity := Identity("EventTransform", trigger.namespace, name)) in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(identity)
    written = {"name": name}
    if "namespace" in trigger.metadata.model_fields_set:
        written["namespace"] = trigger.namespace
    document = {
        "apiVersion": API_VERSIONS["EventTransform"],
        "kind": "EventTransform",
        "metadata": scope.metadata(written, trigger.namespace),
        "spec": {
            **transform,
            "sink": scope.destination(
                trigger, trigger.spec.subscriber, _SUBSCRIBER, notes, with_ca=False
            ),
        },
    }
    told = f"In the place of spec.transform of the Trigger {trigger.name}."
    return Manifest(document, trigger.source, (told,))


def _reference(manifest: Manifest) -> Document:
    document = manifest.document
    name = document["metadata"]["name"]
    return {"apiVersion": document["apiVersion"], "kind": manifest.kind, "name": name}
