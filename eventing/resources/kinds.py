"""The kinds of this version and their models, and what is said to documents of any other."""

from collections.abc import Mapping

from eventing.resources.api_versions import (
    API_VERSIONS,
    OLDER_API_VERSIONS,
    UNSUPPORTED_KINDS,
)
from eventing.resources.broker import Broker
from eventing.resources.core import ConfigMap, Namespace, Secret
from eventing.resources.destination_rule import DestinationRule
from eventing.resources.event_transform import EventTransform
from eventing.resources.function import Function
from eventing.resources.inference_service import InferenceService
from eventing.resources.kafka_sink import KafkaSink
from eventing.resources.kafka_source import KafkaSource
from eventing.resources.nearest import suggestion
from eventing.resources.ping_source import PingSource
from eventing.resources.redis_stream_sink import RedisStreamSink
from eventing.resources.redis_stream_source import RedisStreamSource
from eventing.resources.resource import Resource
from eventing.resources.service import Service
from eventing.resources.traffic_policy import TrafficPolicy
from eventing.resources.trigger import Trigger
from eventing.resources.virtual_service import VirtualService

KINDS: Mapping[str, type[Resource]] = {
    "Broker": Broker,
    "Trigger": Trigger,
    "EventTransform": EventTransform,
    "Function": Function,
    "Service": Service,
    "InferenceService": InferenceService,
    "TrafficPolicy": TrafficPolicy,
    "VirtualService": VirtualService,
    "DestinationRule": DestinationRule,
    "KafkaSource": KafkaSource,
    "RedisStreamSource": RedisStreamSource,
    "PingSource": PingSource,
    "KafkaSink": KafkaSink,
    "RedisStreamSink": RedisStreamSink,
    "ConfigMap": ConfigMap,
    "Secret": Secret,
    "Namespace": Namespace,
}


def kind_complaint(api_version: str, kind: str) -> str:
    """Why there is no model for a document of this kind; empty where there is one."""
    if kind not in KINDS:
        if kind in UNSUPPORTED_KINDS:
            return f"kind {kind} is not supported by this version"
        return f'unknown kind "{kind}"; {suggestion(kind, KINDS)}'
    if api_version not in (API_VERSIONS[kind], *OLDER_API_VERSIONS.get(kind, ())):
        return (
            f'apiVersion "{api_version}" of {kind} is not supported; '
            f'this version has "{API_VERSIONS[kind]}"'
        )
    return ""
