"""The names of kinds: this version's own, and those of Knative and Kubernetes it does not have."""

API_VERSIONS = {
    "Broker": "eventing.knative.dev/v1",
    "Trigger": "eventing.knative.dev/v1",
    "EventTransform": "eventing.knative.dev/v1alpha1",
    "Function": "functions/v1",
    "ConfigMap": "v1",
    "Secret": "v1",
    "Namespace": "v1",
}
"""Every kind of this version with the one apiVersion it has."""

_UNSUPPORTED = """
EventType EventPolicy RequestReply
ApiServerSource ContainerSource IntegrationSource KafkaSource PingSource SinkBinding
GitHubSource GitLabSource RabbitmqSource RedisStreamSource
IntegrationSink JobSink KafkaSink
Channel InMemoryChannel KafkaChannel Parallel Sequence Subscription
Configuration DomainMapping Revision Route Service
KnativeEventing KnativeServing RabbitmqBrokerConfig
ClusterRole ClusterRoleBinding CronJob CustomResourceDefinition DaemonSet Deployment Endpoints
Ingress Job NetworkPolicy PersistentVolume PersistentVolumeClaim Pod ReplicaSet Role RoleBinding
ServiceAccount StatefulSet
"""
UNSUPPORTED_KINDS = frozenset(_UNSUPPORTED.split())
"""Kinds of Knative and Kubernetes that stand in documents made for them."""
