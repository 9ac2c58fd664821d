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

_KINDS_ELSEWHERE = {
    "eventing.knative.dev": "EventType EventPolicy RequestReply",
    "sources.knative.dev": (
        "ApiServerSource ContainerSource PingSource SinkBinding KafkaSource IntegrationSource "
        "RabbitmqSource RedisStreamSource GitHubSource GitLabSource"
    ),
    "sinks.knative.dev": "JobSink IntegrationSink",
    "messaging.knative.dev": "Channel InMemoryChannel KafkaChannel Subscription",
    "flows.knative.dev": "Sequence Parallel",
    "eventing.knative.dev/v1alpha1": "KafkaSink RabbitmqBrokerConfig",
    "serving.knative.dev": "Service Configuration Route Revision DomainMapping",
    "apps": "Deployment StatefulSet DaemonSet ReplicaSet",
    "batch": "Job CronJob",
    "core": "Pod ServiceAccount PersistentVolume PersistentVolumeClaim Endpoints Node",
    "rbac.authorization.k8s.io": "Role RoleBinding ClusterRole ClusterRoleBinding",
    "apiextensions.k8s.io": "CustomResourceDefinition",
    "networking.k8s.io": "Ingress NetworkPolicy",
    "operator.knative.dev": "KnativeEventing KnativeServing",
    "kafka.strimzi.io": "Kafka KafkaTopic KafkaUser",
}
UNSUPPORTED_KINDS = frozenset(kind for kinds in _KINDS_ELSEWHERE.values() for kind in kinds.split())
"""Kinds that a reader of Knative's documents may meet and that are not supported."""
