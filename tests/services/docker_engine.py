"""Servers in containers, where a Docker engine answers and has the image or can pull it."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

from server_process import HOST, ServerUnavailable, free_port

_ANSWER_SECONDS = 3
_PULL_SECONDS = 180


@cache
def engine_answers() -> bool:
    """Whether a Docker engine is to be had where DOCKER_HOST or the well-known socket says."""
    try:
        import docker

        client = docker.from_env(timeout=_ANSWER_SECONDS)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except Exception:  # Whatever is wrong with it, there is no engine to use.
        return False


def _has_image(image: str) -> bool:
    import docker
    from docker.errors import DockerException

    client = docker.from_env(timeout=_PULL_SECONDS)
    try:
        client.images.get(image)
    except DockerException:
        try:
            client.images.pull(image)
        except (DockerException, OSError):
            return False
    finally:
        client.close()
    return True


@contextmanager
def container(
    image: str,
    port: int,
    *,
    environment: Callable[[str], Mapping[str, str]] = lambda address: {},
    command: Sequence[str] = (),
    serves: Callable[[str], bool],
    seconds: float = 90,
) -> Iterator[str]:
    """The host:port at which `port` of a container of that image is reached, once it `serves`.
    `environment` is told that address, since some servers have to know it. Raises
    ServerUnavailable where there is no engine or no image."""
    if not engine_answers() or not _has_image(image):
        raise ServerUnavailable(f"there is no Docker engine here that has or can pull {image}")
    from testcontainers.core.container import DockerContainer

    published = free_port()
    address = f"{HOST}:{published}"
    server = DockerContainer(image).with_bind_ports(port, (HOST, published))
    for name, value in environment(address).items():
        server.with_env(name, value)
    if command:
        server.with_command(list(command))
    with server:
        deadline = time.monotonic() + seconds
        while not _listens(published) or not serves(address):
            if time.monotonic() > deadline:
                output, errors = server.get_logs()
                said = (output + errors)[-4_000:].decode(errors="replace")
                raise AssertionError(f"{image} did not serve within {seconds:.0f} s:\n{said}")
            time.sleep(0.1)
        yield address


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True
