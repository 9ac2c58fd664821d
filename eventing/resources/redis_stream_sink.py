"""The RedisStreamSink: a Redis stream that events can be sent to."""

from collections.abc import Iterator
from typing import Literal

from eventing.resources.fields import NonEmpty
from eventing.resources.model import Fault
from eventing.resources.redis_connection import RedisConnection
from eventing.resources.resource import Reference, Resource


class RedisStreamSinkSpec(RedisConnection):
    stream: NonEmpty


class RedisStreamSink(Resource):
    """Knative's v1alpha1 RedisStreamSink."""

    api_version: Literal["sinks.knative.dev/v1alpha1"] = "sinks.knative.dev/v1alpha1"
    kind: Literal["RedisStreamSink"] = "RedisStreamSink"
    spec: RedisStreamSinkSpec

    @property
    def secrets(self) -> dict[str, Reference]:
        """The entries of Secrets that let it in: `user`, `password`, `ca.crt`."""
        return self.spec.secrets(self.namespace, ("spec",))

    def references(self) -> Iterator[Reference]:
        yield from self.secrets.values()

    def without_effect(self) -> Iterator[Fault]:
        yield from self.metadata.unhonoured_annotations(())
        yield from self.spec.connection_without_effect(("spec",))
