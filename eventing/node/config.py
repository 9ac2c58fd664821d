"""What `eventing up` is told."""

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_DATA = Path(".eventing")
DEFAULT_PORT = 8080
DEFAULT_ADMIN_PORT = 8081


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """`paths` are files and folders with YAML and Python; `data` holds brokers and what was
    applied. Port 0 = any free one. `grace`: seconds that what is in flight has to end at shutdown.
    `max_event_bytes` bounds an event at the ingress. `scale_to_zero_grace`: seconds between the
    decision for zero workers and the end of the last one (Knative's scale-to-zero-grace-period).
    `tokens` is a file of who may send events (see tokens.py), None = whoever reaches the port.
    `broker` is where brokers live whose class says nothing else: "embedded", or the URL of an
    engine (see engines.py), which may hold a password. `name` tells this node from the others of
    its engine, None = one made up and kept in `data`. `isolated`: every
    broker is embedded, whatever its class, for tests of a wiring. `container_engine` is the URL of
    a Docker Engine API, None = found as the docker command finds it, or Podman's socket."""

    paths: tuple[Path, ...]
    data: Path = DEFAULT_DATA
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    admin_host: str = "127.0.0.1"
    admin_port: int = DEFAULT_ADMIN_PORT
    reload: bool = False
    grace: float = 30.0
    max_event_bytes: int = 16 << 20
    scale_to_zero_grace: float = 30.0
    tokens: Path | None = None
    broker: str = field(default="embedded", repr=False)
    name: str | None = None
    isolated: bool = False
    container_engine: str | None = None
