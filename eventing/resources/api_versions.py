"""The names of kinds: this version's own, and those of others that documents may hold."""

API_VERSIONS = {
    "Broker": "eventing.knative.dev/v1",
    "Trigger": "eventing.knative.dev/v1",
    "EventTransform": "eventing.knative.dev/v1alpha1",
    "Function": "functions/v1",
    "Service": "serving.knative.dev/v1",
    "InferenceService": "serving.kserve.io/v1beta1",
    "TrafficPolicy": "functions/v1",
    "VirtualService": "networking.istio.io/v1",
    "DestinationRule": "networking.istio.io/v1",
    "KafkaSource": "sources.knative.dev/v1",
    "RedisStreamSource": "sources.knative.dev/v1alpha1",
    "PingSource": "sources.knative.dev/v1",
    "KafkaSink": "eventing.knative.dev/v1alpha1",
    "RedisStreamSink": "sinks.knative.dev/v1alpha1",
    "ConfigMap": "v1",
    "Secret": "v1",
    "Namespace": "v1",
}
"""Every kind of this version with its apiVersion."""

OLDER_API_VERSIONS = {
    "KafkaSource": ("sources.knative.dev/v1beta1",),
    "PingSource": ("sources.knative.dev/v1beta2",),
    "VirtualService": ("networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"),
    "DestinationRule": ("networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"),
}
"""Those that documents may still have, and that say the same."""

_UNSUPPORTED = """
EventType EventPolicy RequestReply
ApiServerSource ContainerSource IntegrationSource SinkBinding
GitHubSource GitLabSource RabbitmqSource
IntegrationSink JobSink
Channel InMemoryChannel KafkaChannel Parallel Sequence Subscription
Configuration DomainMapping Revision Route
KnativeEventing KnativeServing RabbitmqBrokerConfig
ClusterRole ClusterRoleBinding CronJob CustomResourceDefinition DaemonSet Deployment Endpoints
Ingress Job NetworkPolicy PersistentVolume PersistentVolumeClaim Pod ReplicaSet Role RoleBinding
ServiceAccount StatefulSet
AuthorizationPolicy EnvoyFilter Gateway PeerAuthentication RequestAuthentication ServiceEntry
Sidecar Telemetry WorkloadEntry WorkloadGroup
"""
UNSUPPORTED_KINDS = frozenset(_UNSUPPORTED.split())
"""Kinds of Knative, Kubernetes and Istio that stand in documents made for them."""
