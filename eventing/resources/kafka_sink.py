"""The KafkaSink: a Kafka topic that events can be sent to."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, StrictInt, model_validator

from eventing.resources.kafka_net import BootstrapServers, TopicName
from eventing.resources.model import Fault, Model
from eventing.resources.resource import Reference, Resource
from eventing.resources.secret_value import Auth

ContentMode = Literal["binary", "structured"]


class KafkaSinkSpec(Model):
    topic: TopicName
    bootstrap_servers: BootstrapServers
    content_mode: ContentMode | None = Field(default=None, description="binary where left out.")
    num_partitions: Annotated[StrictInt, Field(ge=1, le=9_999)] | None = Field(
        default=None, description="With replicationFactor: makes the topic where it is missing."
    )
    replication_factor: Annotated[StrictInt, Field(ge=1, le=99)] | None = None
    auth: Auth | None = Field(
        default=None, description="The Secret, in the keys of Knative's Kafka broker."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if (self.num_partitions is None) != (self.replication_factor is None):
            given = "numPartitions" if self.num_partitions is not None else "replicationFactor"
            other = "replicationFactor" if self.num_partitions is not None else "numPartitions"
            yield (given,), f'needs "{other}" too: with both, the topic is made'


class KafkaSink(Resource):
    """Knative's v1alpha1 KafkaSink."""

    api_version: Literal["eventing.knative.dev/v1alpha1"] = "eventing.knative.dev/v1alpha1"
    kind: Literal["KafkaSink"] = "KafkaSink"
    spec: KafkaSinkSpec

    @property
    def bootstrap_servers(self) -> str:
        """As clients take them: separated by commas."""
        return ",".join(self.spec.bootstrap_servers)

    @property
    def content_mode(self) -> ContentMode:
        return self.spec.content_mode or "binary"

    @property
    def makes_topic(self) -> bool:
        """Whether the topic is made where it is missing, as `numPartitions` and
        `replicationFactor` say."""
        return self.spec.num_partitions is not None

    @property
    def secret(self) -> Reference | None:
        """The Secret that lets it in."""
        name = self.spec.auth.name if self.spec.auth else None
        if name is None:
            return None
        path = ("spec", "auth", "secret", "ref", "name")
        return Reference("v1", "Secret", self.namespace, name, path)

    def references(self) -> Iterator[Reference]:
        if self.secret is not None:
            yield self.secret

    def without_effect(self) -> Iterator[Fault]:
        yield from self.metadata.unhonoured_annotations(())
