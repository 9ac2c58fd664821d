"""The KafkaSource: records of Kafka topics, each brought to a sink as an event."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from eventing.resources.delivery import Delivery, DeliverySpec, dead_letter_target, resolve_delivery
from eventing.resources.destination import Target
from eventing.resources.fields import Count, LabelValue, NonEmpty, QualifiedName
from eventing.resources.kafka_net import BootstrapServers, KafkaNet, TopicNames
from eventing.resources.metadata import Metadata
from eventing.resources.model import Fault, refusing
from eventing.resources.resource import Reference
from eventing.resources.source import Source, SourceSpec

Ordering = Literal["ordered", "unordered"]
InitialOffset = Literal["earliest", "latest"]
KeyType = Literal["string", "int", "float", "byte-array"]

KEY_TYPE = "kafkasources.sources.knative.dev/key-type"
_KEY_TYPES: dict[str, KeyType] = {
    "string": "string",
    "int": "int",
    "float": "float",
    "byte-array": "byte-array",
}
_NET = ("spec", "net")
_DEFAULT_DELIVERY = DeliverySpec(retry=10, backoff_delay="PT0.3S", timeout="PT600S")
"""Knative's, for a source that says nothing."""


def _label_faults(labels: dict[str, str]) -> Iterator[Fault]:
    value = labels.get(KEY_TYPE)
    if value and value not in _KEY_TYPES:
        yield (KEY_TYPE,), f'"{value}" is none of {", ".join(_KEY_TYPES)}'


class KafkaSourceMetadata(Metadata):
    labels: Annotated[dict[QualifiedName, LabelValue], refusing(_label_faults)] | None = None


class KafkaSourceSpec(SourceSpec):
    bootstrap_servers: BootstrapServers
    topics: TopicNames
    consumer_group: NonEmpty | None = Field(
        default=None, description="knative-kafka-source-NAMESPACE.NAME where left out."
    )
    consumers: Count | None = Field(
        default=None, description="0 = none; each node runs one, whatever the number."
    )
    initial_offset: InitialOffset | None = Field(
        default=None, description="Where a new consumer group begins; latest where left out."
    )
    ordering: Ordering | None = Field(default=None, description="ordered where left out.")
    net: KafkaNet | None = None
    delivery: DeliverySpec | None = Field(
        default=None, description="To a sink that is no broker; 10 retries where left out."
    )


class KafkaSource(Source):
    """Knative's KafkaSource."""

    api_version: Literal["sources.knative.dev/v1", "sources.knative.dev/v1beta1"] = (
        "sources.knative.dev/v1"
    )
    kind: Literal["KafkaSource"] = "KafkaSource"
    metadata: KafkaSourceMetadata
    spec: KafkaSourceSpec

    @property
    def bootstrap_servers(self) -> str:
        """As clients take them: separated by commas."""
        return ",".join(self.spec.bootstrap_servers)

    @property
    def group(self) -> str:
        """The consumer group. The default is made of namespace and name, so that every node finds
        the same one, and a source that was away goes on where it was."""
        # A namespace has no dot: no two sources share a group by chance.
        default = f"knative-kafka-source-{self.namespace}.{self.name}"
        return self.spec.consumer_group or default

    @property
    def paused(self) -> bool:
        return self.spec.consumers == 0

    @property
    def initial_offset(self) -> InitialOffset:
        return self.spec.initial_offset or "latest"

    @property
    def ordered(self) -> bool:
        return self.spec.ordering != "unordered"

    @property
    def key_type(self) -> KeyType:
        """How the bytes of a record's key are read."""
        return _KEY_TYPES.get((self.metadata.labels or {}).get(KEY_TYPE, ""), "string")

    @property
    def protocol(self) -> str:
        """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        return (self.spec.net or KafkaNet()).protocol

    @property
    def secrets(self) -> dict[str, Reference]:
        """The entries of Secrets that let it in, by the keys that a Secret for Knative's Kafka
        broker has: `user`, `password`, `sasl.mechanism`, `ca.crt`, `user.crt`, `user.key`."""
        return self.spec.net.secrets(self.namespace, _NET) if self.spec.net else {}

    @property
    def dead_letter_sink(self) -> Target | None:
        return dead_letter_target(self.spec.delivery, self.namespace)

    @property
    def delivery(self) -> Delivery:
        """Its own, with defaults; or Knative's default for sources: 10 retries from PT0.3S."""
        return resolve_delivery(self.spec.delivery or _DEFAULT_DELIVERY, self.dead_letter_sink)

    def references(self) -> Iterator[Reference]:
        yield from super().references()
        yield from self.secrets.values()

    def without_effect(self) -> Iterator[Fault]:
        yield from super().without_effect()
        for name in self.metadata.annotations or ():
            if "autoscaling.knative.dev/" in name:
                message = "has no effect: each node runs one consumer"
                yield ("metadata", "annotations", name), message
        if self.spec.consumers is not None and self.spec.consumers > 1:
            message = "has no effect above 1: each node runs one consumer for its partitions"
            yield ("spec", "consumers"), message
        if self.spec.net is not None:
            yield from self.spec.net.without_effect(_NET)
        if self.spec.delivery is not None:
            yield from self.spec.delivery.without_effect(("spec", "delivery"))
