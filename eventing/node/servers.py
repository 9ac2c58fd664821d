"""The node's HTTP servers: uvicorn with httptools and uvloop, started and drained by the node."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from eventing.errors import UserError


class Server(uvicorn.Server):
    """A uvicorn server inside the node's loop: the node owns the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves one ASGI app on one socket until it is closed.

    `url` and `port` are known after `start`, port 0 resolved. `option` names the command line's
    option for the port, and so for the host, in errors. `protocol` makes each connection's.
    """

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        option: str,
        protocol: Callable[..., asyncio.Protocol] = HttpToolsProtocol,
    ) -> None:
        self.host = host
        self.port = port
        self._option = option
        config = uvicorn.Config(
            app,
            http=protocol,  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
        )
        config.load()
        self._server = Server(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((self.host, self.port))
        except OSError as error:
            sock.close()
            taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
            option = self._option if taken else self._option.replace("port", "host")
            raise UserError(
                f"can't listen on {self.host}:{self.port}: {error.strerror}; "
                f"choose another with {option}"
            ) from error
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        self._serving = asyncio.get_running_loop().create_task(
            self._server.serve(sockets=[sock]), name=f"http {self.port}"
        )
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
                raise UserError(f"the HTTP server on {self.host}:{self.port} did not start")
            await asyncio.sleep(0.001)

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"http://{host}:{self.port}"

    async def close(self, grace: float) -> None:
        """Stop accepting, let requests in flight end for `grace` seconds, then close."""
        if self._serving is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, int(grace))
        self._server.should_exit = True
        _, late = await asyncio.wait([self._serving], timeout=grace + 1)
        if late:
            self._server.force_exit = True
            await asyncio.wait([self._serving], timeout=1)
