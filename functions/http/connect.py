"""From an address to an open connection: name, TCP and TLS, and why that failed."""

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

from functions.http.address import Address

STAGGER = 0.25
"""Seconds an address of a host has before the next is tried beside it (RFC 8305, section 5)."""
TLS_GOODBYE = 2.0
"""Seconds a server has to answer the end of a TLS session before the connection is cut."""


_CLIENT_CERTIFICATE_WANTED = (
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
)
_CLIENT_CERTIFICATE_REFUSED = (
    "TLSV1_ALERT_UNKNOWN_CA",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_REVOKED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
)

Choose = Callable[[str | None], asyncio.Protocol]
"""Makes what speaks on a connection, for the protocol agreed on with TLS; None = none was."""


class _Agreement(asyncio.Protocol):
    """Stands in until the handshake is over: only then it is known which protocol is spoken."""

    def __init__(self, choose: Choose) -> None:
        self._choose = choose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        session = transport.get_extra_info("ssl_object")
        chosen = self._choose(session.selected_alpn_protocol())
        cast(asyncio.Transport, transport).set_protocol(chosen)
        chosen.connection_made(transport)


async def connect(address: Address, choose: Choose) -> None:
    """Connect, and give the connection to what `choose` makes for it."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    connected = await first_connected([(family, place) for family, _, _, _, place in found])
    if address.tls is None:
        await loop.create_connection(lambda: choose(None), sock=connected)
    else:
        await loop.create_connection(
            lambda: _Agreement(choose),
            sock=connected,
            ssl=address.tls,
            server_hostname=address.server_name,
            ssl_shutdown_timeout=TLS_GOODBYE,
        )


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
    # With its protocol named, asyncio has it send small pieces at once (TCP_NODELAY).
    attempt = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
            return f"no TLS session with {place}: {_alert(error)}"
        case socket.gaierror():
            return f"the host {address.host!r} was not found: {error.strerror}"
        case OSError():
            # What asyncio makes of `strerror` names the call that failed, not why it did.
            why = os.strerror(error.errno) if error.errno else error
            return f"no connection to {place}: {why}"
        case _:
            return f"no connection to {place}: {type(error).__name__}: {error}"


def why_ended(error: Exception | None) -> str:
    """What to put behind the news that a connection has ended; empty where nothing is known."""
    if error is None:
        return ""
    return f": {_alert(error) if isinstance(error, ssl.SSLError) else error}"


def _alert(error: ssl.SSLError) -> str:
    """What the server, or OpenSSL, has said."""
    reason = error.reason or str(error)
    if reason in _CLIENT_CERTIFICATE_WANTED:
        return f"the server wants a client certificate ({reason})"
    if reason in _CLIENT_CERTIFICATE_REFUSED:
        return f"the server does not accept the client certificate ({reason})"
    return reason
