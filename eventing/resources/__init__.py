"""The YAML kinds as models, and the loader that names file, line and column."""

from eventing.resources.broker import Broker, Engine
from eventing.resources.broker_config import BrokerConfig, BrokerLimits, broker_config
from eventing.resources.core import ConfigMap, Namespace, Secret
from eventing.resources.delivery import Delivery
from eventing.resources.destination import Target
from eventing.resources.dump import to_document, to_json, to_yaml
from eventing.resources.durations import format_duration, parse_duration
from eventing.resources.event_transform import EventTransform
from eventing.resources.filters import AttributesFilter, Filter
from eventing.resources.function import Function
from eventing.resources.json_schema import schema
from eventing.resources.kafka_sink import KafkaSink
from eventing.resources.kafka_source import KafkaSource
from eventing.resources.kinds import KINDS
from eventing.resources.loader import Loaded, load, load_text
from eventing.resources.ping_source import PingSource
from eventing.resources.place import Path, Place, Problem
from eventing.resources.quantities import parse_quantity
from eventing.resources.redis_stream_sink import RedisStreamSink
from eventing.resources.redis_stream_source import RedisStreamSource
from eventing.resources.resource import Identity, Reference, Resource, loaded_place
from eventing.resources.scaling import Scaling
from eventing.resources.schedule import Schedule
from eventing.resources.source import Source
from eventing.resources.trigger import Trigger

__all__ = [
    "KINDS",
    "AttributesFilter",
    "Broker",
    "BrokerConfig",
    "BrokerLimits",
    "ConfigMap",
    "Delivery",
    "Engine",
    "EventTransform",
    "Filter",
    "Function",
    "Identity",
    "KafkaSink",
    "KafkaSource",
    "Loaded",
    "Namespace",
    "Path",
    "PingSource",
    "Place",
    "Problem",
    "RedisStreamSink",
    "RedisStreamSource",
    "Reference",
    "Resource",
    "Scaling",
    "Schedule",
    "Secret",
    "Source",
    "Target",
    "Trigger",
    "broker_config",
    "format_duration",
    "load",
    "load_text",
    "loaded_place",
    "parse_duration",
    "parse_quantity",
    "schema",
    "to_document",
    "to_json",
    "to_yaml",
]
