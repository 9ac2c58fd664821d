"""Brokers, with what of their ConfigMaps the classes of a cluster read."""

from collections.abc import Iterator

from eventing.node.knative.delivery import delivery
from eventing.node.knative.manifest import Document, Manifest, Note, Notes
from eventing.node.knative.options import DEFAULT_NAMESPACE
from eventing.node.knative.scope import Scope
from eventing.resources import Broker, ConfigMap, Identity, Trigger
from eventing.resources.api_versions import API_VERSIONS
from eventing.resources.broker import CLASS
from eventing.resources.broker_config import ENGINE_KEYS, TOPIC_OPTION
from eventing.resources.destination import KReference

DEFAULT_BROKER = Identity("Broker", DEFAULT_NAMESPACE, "default")
CHANNEL, KAFKA = "MTChannelBasedBroker", "Kafka"
_OURS = ("Embedded", "Redis")
_CHANNEL_KEYS = ("channel-template-spec", "channelTemplateSpec")
_CLUSTERS_OWN = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "name": "kafka-broker-config",
    "namespace": "knative-eventing",
}
"""There wherever the class Kafka is installed."""
_KAFKA_DEFAULTS = {"default.topic.partitions": "10", "default.topic.replication.factor": "1"}
"""What counts here where a ConfigMap does not say; a cluster asks for both."""
_NO_RETRIES = "Without a delivery of its own the cluster's default would count: ten retries."

KeptSettings = dict[Identity, dict[str, str]]
"""Of the ConfigMaps that brokers name, what their classes read."""


def brokers(scope: Scope, kept: KeptSettings, notes: Notes) -> Iterator[Manifest]:
    """Every broker, the one included that is there here without being declared. What their
    ConfigMaps have to hold goes into `kept`."""
    for broker in scope.each(Broker):
        yield _broker(broker, scope, kept, notes)
    if DEFAULT_BROKER not in scope.resources and scope.is_named(DEFAULT_BROKER):
        yield _implied(scope, notes)
    _tell_of_dead_letters(scope, notes)


def broker_class(identity: Identity, scope: Scope) -> str:
    """The class it has there."""
    broker = scope.resources.get(identity)
    written = broker.broker_class if isinstance(broker, Broker) else None
    return scope.options.broker_class if written is None or written in _OURS else written


def _broker(broker: Broker, scope: Scope, kept: KeptSettings, notes: Notes) -> Manifest:
    there = broker_class(broker.identity, scope)
    if broker.broker_class in _OURS:
        notes.add(
            broker,
            ("metadata", "annotations", CLASS),
            f'a cluster has no class "{broker.broker_class}"; it becomes {there}',
            "--broker-class chooses another",
        )
    document = scope.document(broker)
    metadata = document["metadata"]
    metadata["annotations"] = metadata.get("annotations", {}) | {CLASS: there}
    spec: Document = {}
    config = _config(broker, there, scope, kept, notes)
    if config is not None:
        spec["config"] = config
    elif there == CHANNEL and broker.broker_class != CHANNEL:
        notes.note(Note(broker.source, str(broker.identity), *_IN_MEMORY))
    comments: tuple[str, ...] = ()
    if broker.spec is not None and broker.spec.delivery is not None:
        written = document["spec"].get("delivery", {})
        spec["delivery"] = delivery(broker, broker.spec.delivery, written, scope, notes)
    else:
        spec["delivery"] = {"retry": 0}
        comments = (_NO_RETRIES,)
    return Manifest(document | {"spec": spec}, broker.source, comments)


def _implied(scope: Scope, notes: Notes) -> Manifest:
    there = scope.options.broker_class
    metadata = scope.metadata({"name": DEFAULT_BROKER.name}, DEFAULT_BROKER.namespace)
    spec: Document = {"delivery": {"retry": 0}}
    source = next(
        resource.source
        for resource in scope.resources.values()
        if DEFAULT_BROKER in (reference.identity for reference in resource.references())
    )
    if there == KAFKA:
        spec = {"config": dict(_CLUSTERS_OWN), **spec}
        notes.note(Note(source, str(DEFAULT_BROKER), *_CONFIG_OF_CLUSTER))
    else:
        notes.note(Note(source, str(DEFAULT_BROKER), *_IN_MEMORY))
    document = {
        "apiVersion": API_VERSIONS["Broker"],
        "kind": "Broker",
        "metadata": metadata | {"annotations": {CLASS: there}},
        "spec": spec,
    }
    return Manifest(document, source, ("It is there here without being declared.", _NO_RETRIES))


_IN_MEMORY = (
    "its events outlive a crash here; the channel that a cluster has by default keeps them in "
    "memory",
    "choose --broker-class Kafka, or name a ConfigMap whose channel-template-spec is of a channel "
    "that keeps them",
)
_CONFIG_OF_CLUSTER = (
    "no ConfigMap here says where Kafka is; it gets the cluster's own, "
    "knative-eventing/kafka-broker-config",
    "name one with bootstrap.servers in spec.config, where that is not the one you want",
)


def _config(
    broker: Broker, there: str, scope: Scope, kept: KeptSettings, notes: Notes
) -> Document | None:
    """The reference to its ConfigMap; None where it needs none."""
    reference: KReference | None = broker.spec.config if broker.spec else None
    config = scope.resources.get(broker.config.identity) if broker.config else None
    if isinstance(config, ConfigMap):
        data = _data(config, there, scope, notes)
        if there == KAFKA and "bootstrap.servers" in data:
            data = {**_KAFKA_DEFAULTS, **data}
        elif there == KAFKA or not data:
            reference = None
        if reference is not None:
            kept.setdefault(config.identity, {}).update(data)
    if reference is not None:
        return scope.reference(reference, broker, ("spec", "config"))
    if there == KAFKA:
        notes.add(broker, ("spec", "config"), *_CONFIG_OF_CLUSTER)
        return dict(_CLUSTERS_OWN)
    return None


def _data(config: ConfigMap, there: str, scope: Scope, notes: Notes) -> dict[str, str]:
    """What a broker of that class reads of it."""
    found = {}
    for key, text in (config.data or {}).items():
        if _is_read(key, there):
            found[key] = text
        else:
            notes.add(
                config,
                ("data", key),
                f"{key} is no setting of a broker of class {there}",
                _INSTEAD.get(key, "set on the cluster what comes nearest to it"),
            )
    return found


def _is_read(key: str, there: str) -> bool:
    if there == KAFKA:
        return key in ENGINE_KEYS["kafka"] or key.startswith(TOPIC_OPTION)
    return there != CHANNEL or key in _CHANNEL_KEYS


_INSTEAD = {
    "retention.age": f"where events are in Kafka, {TOPIC_OPTION}retention.ms says how long they "
    "stay",
    "retention.bytes": f"where events are in Kafka, {TOPIC_OPTION}retention.bytes says how many "
    "stay",
    "max.bytes": "give the cluster's channel or Kafka the room it needs",
    "max.backlog": "watch the consumers' lag on the cluster",
    "min.free.bytes": "watch the disks of the cluster",
    "redis.address": "no class of a cluster keeps events in Redis",
}


def _tell_of_dead_letters(scope: Scope, notes: Notes) -> None:
    without: dict[Identity, list[Trigger]] = {}
    for trigger in scope.each(Trigger):
        broker = scope.resources.get(trigger.broker.identity)
        of_broker = broker.dead_letter_sink if isinstance(broker, Broker) else None
        if (trigger.dead_letter_sink or of_broker) is None:
            without.setdefault(trigger.broker.identity, []).append(trigger)
    for identity, triggers in without.items():
        names = ", ".join(trigger.name for trigger in triggers)
        notes.note(
            Note(
                scope.resources.get(identity, triggers[0]).source,
                str(identity),
                f"what fails for good is kept here as a dead letter, and dropped on a cluster (by "
                f"{'triggers' if len(triggers) > 1 else 'the trigger'} {names})",
                'name a "deadLetterSink" in the delivery of the broker or of the trigger',
            )
        )
