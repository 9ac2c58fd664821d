"""Keeps web pages off the admin port: a browser on this machine reaches loopback for any of them.

A page of another site can send a request it may not read the answer of (the Origin header tells
it), or have its own name resolve to 127.0.0.1 (the Host header tells that).
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class AdminGuard:
    """An ASGI middleware: 403 for a request that a web page of another site makes.

    `loopback`: whether the port listens on this machine alone; then Host has to be an IP address
    or localhost, since no other name leads here.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else ""
        if refusal:
            await JSONResponse({"error": refusal}, 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str:
        host = headers.get("host", "")
        if self._loopback and not _is_local(host):
            return f"the Host is {host[:100]!r}; ask for localhost, or an address of this machine"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return f"web pages of {origin[:100]!r} may not use the admin API"
        return ""


def is_loopback(host: str) -> bool:
    """Whether a port on it is reached from this machine alone."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
