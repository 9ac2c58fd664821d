"""The YAML kinds as models, and the loader that names file, line and column."""

from eventing.resources.broker import Broker, Engine
from eventing.resources.broker_config import BrokerConfig, BrokerLimits, broker_config
from eventing.resources.container import Container
from eventing.resources.core import ConfigMap, Namespace, Secret
from eventing.resources.delivery import Delivery
from eventing.resources.destination import Target
from eventing.resources.destination_rule import DestinationRule
from eventing.resources.dump import to_document, to_json, to_yaml
from eventing.resources.durations import format_duration, parse_duration
from eventing.resources.env import Environment, EnvironmentFrom, expanded
from eventing.resources.event_transform import EventTransform
from eventing.resources.filters import AttributesFilter, Filter
from eventing.resources.function import Function
from eventing.resources.inference_service import InferenceService
from eventing.resources.json_schema import schema
from eventing.resources.kafka_sink import KafkaSink
from eventing.resources.kafka_source import KafkaSource
from eventing.resources.kinds import KINDS
from eventing.resources.loader import Loaded, load, load_text
from eventing.resources.ping_source import PingSource
from eventing.resources.place import Path, Place, Problem
from eventing.resources.probe import Probe
from eventing.resources.quantities import parse_quantity
from eventing.resources.redis_stream_sink import RedisStreamSink
from eventing.resources.redis_stream_source import RedisStreamSource
from eventing.resources.resource import Identity, Reference, Resource, loaded_place
from eventing.resources.rollout import RolloutPlan
from eventing.resources.scaling import Scaling
from eventing.resources.schedule import Schedule
from eventing.resources.service import Service
from eventing.resources.source import Source
from eventing.resources.traffic_policy import TrafficPolicy
from eventing.resources.traffic_target import TrafficTarget
from eventing.resources.trigger import Trigger
from eventing.resources.virtual_service import VirtualService
from eventing.resources.workload import WORKLOADS, Workload

__all__ = [
    "KINDS",
    "WORKLOADS",
    "AttributesFilter",
    "Broker",
    "BrokerConfig",
    "BrokerLimits",
    "ConfigMap",
    "Container",
    "Delivery",
    "DestinationRule",
    "Engine",
    "Environment",
    "EnvironmentFrom",
    "EventTransform",
    "Filter",
    "Function",
    "Identity",
    "InferenceService",
    "KafkaSink",
    "KafkaSource",
    "Loaded",
    "Namespace",
    "Path",
    "PingSource",
    "Place",
    "Probe",
    "Problem",
    "RedisStreamSink",
    "RedisStreamSource",
    "Reference",
    "Resource",
    "RolloutPlan",
    "Scaling",
    "Schedule",
    "Secret",
    "Service",
    "Source",
    "Target",
    "TrafficPolicy",
    "TrafficTarget",
    "Trigger",
    "VirtualService",
    "Workload",
    "broker_config",
    "expanded",
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
