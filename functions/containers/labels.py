"""The labels by which a node knows its containers again, after it was killed as well."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from functions.containers.spec import ContainerSpec

NODE = "eventing.node"
NAMESPACE = "eventing.namespace"
SERVICE = "eventing.service"
REVISION = "eventing.revision"
DIGEST = "eventing.digest"


@dataclass(frozen=True, slots=True)
class Belonging:
    """To which revision of which function a container belongs. `digest` is of all that its
    container is made of: one of another digest is another container."""

    namespace: str
    service: str
    revision: str
    digest: str

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> "Belonging":
        return cls(*(labels.get(each, "") for each in (NAMESPACE, SERVICE, REVISION, DIGEST)))

    def labels(self, node: str) -> dict[str, str]:
        return {
            NODE: node,
            NAMESPACE: self.namespace,
            SERVICE: self.service,
            REVISION: self.revision,
            DIGEST: self.digest,
        }


def node_label(node: str) -> str:
    """What all containers of a node have, as a filter."""
    return f"{NODE}={node}"


def spec_digest(spec: ContainerSpec) -> str:
    """The same for equal specs, also of another process."""
    written = {**asdict(spec), "env": dict(spec.env)}
    # How it is pulled, probed and ended changes nothing of the container itself.
    for each in ("pull", "probe", "at_rest", "grace", "ready_timeout", "path", "http2"):
        del written[each]
    written["ports"] = sorted(published_ports(spec))
    text = json.dumps(written, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def published_ports(spec: ContainerSpec) -> set[int]:
    """The ports this node has to reach: the function's own, and the one that is probed."""
    probed = spec.probe.port if spec.probe.kind != "exec" else 0
    return {spec.port, probed or spec.port}
