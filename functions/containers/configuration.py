"""A container's configuration as the Engine API takes it. Pure: a spec in, JSON's values out.

Rules: Knative Serving's runtime contract, as far as an engine without Kubernetes can keep it.
"""

import secrets
from typing import Any, Final

from functions.containers.labels import Belonging, published_ports
from functions.containers.spec import ContainerSpec

LOOPBACK: Final = "127.0.0.1"

_CAPABILITIES: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
)
"""What ordinary images need that begin as root: to own their files, to listen on port 80, to become
another user. Gone are those for raw packets, device files and changing the root."""
_MOST_PROCESSES: Final = 4096
"""Above what any one server runs, below what takes the machine down."""
_LOG_KEPT: Final = {"max-size": "10m", "max-file": "2"}
"""Of output that the engine keeps: else a chatty function fills the disk."""


def configuration(
    spec: ContainerSpec, belonging: Belonging, *, node: str, image: str
) -> dict[str, Any]:
    """`image`: the id of the one that `spec.image` turned out to mean."""
    # The contract's own names come last: whatever a user has set, the function is reached.
    environment = {
        **spec.env,
        "PORT": str(spec.port),
        "K_SERVICE": belonging.service,
        "EVENTING_NAMESPACE": belonging.namespace,
        "K_REVISION": belonging.revision,
        "K_CONFIGURATION": belonging.service,
    }
    ports = [f"{port}/tcp" for port in sorted(published_ports(spec))]
    host: dict[str, Any] = {
        # The engine chooses the ports; nobody on another machine reaches them.
        "PortBindings": {port: [{"HostIp": LOOPBACK, "HostPort": ""}] for port in ports},
        "CapDrop": ["ALL"],
        "CapAdd": list(_CAPABILITIES),
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": _MOST_PROCESSES,
        "ReadonlyRootfs": spec.read_only,
        "LogConfig": {"Type": "json-file", "Config": dict(_LOG_KEPT)},
    }
    if spec.memory is not None:
        # Both the same: no swap beyond.
        host["Memory"] = host["MemorySwap"] = spec.memory
    if spec.cpu is not None:
        host["NanoCpus"] = round(spec.cpu * 1e9)
    config: dict[str, Any] = {
        "Image": image,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": belonging.labels(node),
        "ExposedPorts": {port: {} for port in ports},
        "HostConfig": host,
    }
    if spec.command is not None:
        config["Entrypoint"] = list(spec.command)
        # Kubernetes: a command of one's own leaves nothing of the image's CMD.
        config["Cmd"] = list(spec.args or ())
    elif spec.args is not None:
        config["Cmd"] = list(spec.args)
    if spec.working_dir is not None:
        config["WorkingDir"] = spec.working_dir
    if spec.user is not None:
        config["User"] = spec.user
    return config


def container_name(belonging: Belonging) -> str:
    """For people who list their engine's containers; no two are the same."""
    return f"eventing-{belonging.revision or belonging.service}-{secrets.token_hex(3)}"
