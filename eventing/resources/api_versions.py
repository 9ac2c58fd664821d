"""The names of kinds: this version's own, and those of Knative and Kubernetes it does not have."""

API_VERSIONS = {
    "Broker": "eventing.knative.dev/v1",
    "Trigger": "eventing.knative.dev/v1",
    "EventTransform": "eventing.knative.dev/v1alpha1",
    "Function": "functions/v1",
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
}
"""Those that documents may still have, and that say the same."""

_UNSUPPORTED = """
EventType EventPolicy RequestReply
ApiServerSource ContainerSource IntegrationSource SinkBinding
GitHubSource GitLabSource RabbitmqSource
IntegrationSink JobSink
Channel InMemoryChannel KafkaChannel Parallel Sequence Subscription
Configuration DomainMapping Revision Route Service
KnativeEventing KnativeServing RabbitmqBrokerConfig
ClusterRole ClusterRoleBinding CronJob CustomResourceDefinition DaemonSet Deployment Endpoints
Ingress Job NetworkPolicy PersistentVolume PersistentVolumeClaim Pod ReplicaSet Role RoleBinding
ServiceAccount StatefulSet
"""
UNSUPPORTED_KINDS = frozenset(_UNSUPPORTED.split())
"""Kinds of Knative and Kubernetes that stand in documents made for them."""
