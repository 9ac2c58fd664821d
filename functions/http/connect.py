"""From an address to an open connection: name, TCP and TLS, and why that failed."""

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from functions.http.address import Address

STAGGER = 0.25
"""Seconds an address of a host has before the next is tried beside it (RFC 8305, section 5)."""
TLS_GOODBYE = 2.0
"""Seconds a server has to answer the end of a TLS session before the connection is cut."""


async def connect(address: Address, protocol: Callable[[], asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    connected = await first_connected([(family, place) for family, _, _, _, place in found])
    tls: dict[str, Any] = {}
    if address.tls is not None:
        tls = {
            "ssl": address.tls,
            "server_hostname": address.host.partition("%")[0],
            "ssl_shutdown_timeout": TLS_GOODBYE,
        }
    await loop.create_connection(protocol, sock=connected, **tls)


async def first_connected(places: Iterable[tuple[int, Any]]) -> socket.socket:
    """A socket connected to the first that answers; the next is tried when one fails or dallies.

    Raises the first one's OSError where all fail.
    """
    left = deque(places)
    attempts: set[asyncio.Task[socket.socket]] = set()
    failure: OSError | None = None
    winner: socket.socket | None = None
    try:
        while winner is None:
            if left:
                attempts.add(asyncio.create_task(_connected(*left.popleft())))
            elif not attempts:
                raise failure or OSError("the name has no address")
            ended, attempts = await asyncio.wait(
                attempts,
                timeout=STAGGER if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in ended:
                error = attempt.exception()
                if error is None and winner is None:
                    winner = attempt.result()
                elif error is None:
                    attempt.result().close()
                elif isinstance(error, OSError):
                    failure = failure or error
                else:
                    raise error
        return winner
    finally:
        for attempt in attempts:
            attempt.cancel()
        for late in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()


async def _connected(family: int, place: Any) -> socket.socket:
    attempt = socket.socket(family, socket.SOCK_STREAM)
    try:
        attempt.setblocking(False)
        await asyncio.get_running_loop().sock_connect(attempt, place)
    except BaseException:
        attempt.close()
        raise
    return attempt


def why_not_connected(error: Exception, address: Address) -> str:
    place = f"{address.host}:{address.port}"
    match error:
        case ssl.SSLCertVerificationError():
            return f"the certificate of {place} was not accepted: {error.verify_message}"
        case ssl.SSLError():
            return f"no TLS session with {place}: {error.reason or error}"
        case socket.gaierror():
            return f"the host {address.host!r} was not found: {error.strerror}"
        case OSError():
            # What asyncio makes of `strerror` names the call that failed, not why it did.
            why = os.strerror(error.errno) if error.errno else error
            return f"no connection to {place}: {why}"
        case _:
            return f"no connection to {place}: {type(error).__name__}: {error}"
