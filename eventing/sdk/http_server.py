"""uvicorn with httptools as a container uses it: bound first, listening once ready, ended by its
owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from eventing.errors import OperationError

KEEP_ALIVE: Final = 120
"""Seconds an idle connection is kept: longer than the clients' 90, so that they close it first."""

_logger = logging.getLogger("uvicorn.error")


def bind(host: str, port: int) -> socket.socket:
    """A socket that does not listen yet. `host` "" = every address of the machine, of IPv4 and
    IPv6 alike. Raises OperationError."""
    try:
        if not host:
            return _bind_all(port)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        return _bound(socket.socket(family, socket.SOCK_STREAM), address)
    except OSError as error:
        where = f"{host or '*'}:{port}"
        raise OperationError(
            f"can't listen on {where}: {error.strerror}; set PORT, --port or --host to another"
        ) from None


def _bind_all(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        both = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return _bound(both, ("::", port))
    return _bound(socket.socket(socket.AF_INET, socket.SOCK_STREAM), ("0.0.0.0", port))  # noqa: S104


def _bound(sock: socket.socket, address: Any) -> socket.socket:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


class _Server(uvicorn.Server):
    """Leaves the process's signals to its owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves one ASGI app on a bound socket, on the running loop."""

    def __init__(self, app: Any, sock: socket.socket) -> None:
        self._sock = sock
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
        )
        config.load()
        # It tells of clients that go away while they are answered, at error level.
        _logger.setLevel(logging.CRITICAL)
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises what keeps it from that."""
        self._serving = asyncio.get_running_loop().create_task(
            self._server.serve(sockets=[self._sock])
        )
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
                raise OperationError("the HTTP server did not start")
            await asyncio.sleep(0.001)

    async def close(self, grace: float) -> None:
        """Accept no more, let the requests that have begun end within `grace` seconds, cancel the
        others."""
        if self._serving is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        await asyncio.wait({self._serving}, timeout=grace + 2)
