"""Where the container engine is: the first that is given or found, and why none is."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from functions.containers.engine_error import EngineAway

DOCKER_SOCKET = "/var/run/docker.sock"
PODMAN_SOCKET = "/run/podman/podman.sock"


@dataclass(frozen=True, slots=True)
class EnginePlace:
    """`url` as the Docker SDK takes it; `tls` is its TLSConfig, None without TLS. `said` tells
    people where this place was named."""

    url: str
    said: str
    tls: Any = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        return f"{self.url} ({self.said})"

    @property
    def socket(self) -> str | None:
        """The path of its socket, where it has one."""
        scheme, _, path = self.url.partition("://")
        return path if scheme in ("unix", "http+unix") else None


Usable = Callable[[str], bool | None]
"""Whether there is a socket that this process may use at a path: None = there is none at all."""


def find_engine(
    url: str | None,
    environment: Mapping[str, str],
    usable: Usable,
    context: Callable[[], EnginePlace | None] = lambda: None,
) -> EnginePlace:
    """The engine's place: `url` where it is given, then DOCKER_HOST, then Docker's current
    `context`, then the sockets of Docker and Podman.

    Raises EngineAway where there is none, or none whose containers could be called.
    """
    if url:
        return _reachable(EnginePlace(url, "as the node was told"))
    host = environment.get("DOCKER_HOST")
    if host:
        return _reachable(EnginePlace(host, "DOCKER_HOST"))
    chosen = context()
    if chosen is not None:
        return _reachable(chosen)
    forbidden = []
    for path in socket_paths(environment):
        allowed = usable(path)
        if allowed:
            return EnginePlace(f"unix://{path}", "found there")
        if allowed is False:
            forbidden.append(path)
    if forbidden:
        raise EngineAway(
            f"this process may not use the container engine's socket {forbidden[0]}: add its user"
            " to the group the socket belongs to (for Docker: `docker`), or name another engine in"
            " DOCKER_HOST"
        )
    raise EngineAway(
        f"no container engine was found at {' or '.join(socket_paths(environment))}: install"
        " Docker, or start Podman's service (`systemctl --user enable --now podman.socket`), or"
        " name the engine in DOCKER_HOST"
    )


def socket_paths(environment: Mapping[str, str]) -> list[str]:
    """Where sockets are looked for, in this order."""
    own = environment.get("XDG_RUNTIME_DIR")
    paths = [DOCKER_SOCKET]
    if own:
        paths += [f"{own}/podman/podman.sock", f"{own}/docker.sock"]
    return [*paths, PODMAN_SOCKET]


def usable_socket(path: str) -> bool | None:
    """`Usable`, of this machine."""
    try:
        Path(path).stat()
    except PermissionError:
        return False
    except OSError:
        return None
    return os.access(path, os.R_OK | os.W_OK)


def _reachable(place: EnginePlace) -> EnginePlace:
    """Containers are published on the loopback of the engine's machine, so that nobody else can
    reach them: the engine has to be on this one."""
    try:
        parts = urlsplit(place.url)
        host = parts.hostname
    except ValueError as error:
        raise EngineAway(f"the container engine's address {place.shown} is none: {error}") from None
    if parts.scheme in ("unix", "http+unix"):
        if not place.socket or not place.socket.startswith("/"):
            raise EngineAway(
                f"the container engine's address {place.shown} names no socket: write"
                " unix:///path/to/the.sock"
            )
        return place
    if parts.scheme not in ("tcp", "http", "https"):
        raise EngineAway(
            f"the container engine's address {place.shown} is none this node can use: write"
            " unix:///path/to/the.sock or tcp://127.0.0.1:port"
        )
    if not _is_loopback(host):
        raise EngineAway(
            f"the container engine at {place.shown} is on another machine: its containers are"
            " published on that machine's loopback, where this node can't call them; run the node"
            " there, or name an engine of this machine"
        )
    return place


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False
