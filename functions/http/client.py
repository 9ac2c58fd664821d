"""A lean HTTP client for subscribers: kept connections, one callback a request. HTTP/1.1, and
HTTP/2 where the server offers it with TLS or the address asks for it.

No task, future or timer is made a request; `benchmarks/http_clients.py` has the figures that led
here. What it promises: `done` is called exactly once, whatever the server does; a request is sent
again by itself only where nothing of it had been sent, or the server says that it did not look at
it; memory and connections are bounded.
"""

from functions.http.address import Address
from functions.http.exchange import Answer, Done, Exchange, Limits, Request
from functions.http.pool import Pool


class HttpClient:
    """Sends requests, with a pool of connections an address: the whole URL, not its host, so that
    a slow path of a server uses up nobody else's connections.

    Redirects are not followed: a 3xx is an answer. Proxies of the environment are not used.
    A kept connection is looked at before it is used again; one that has ended, or on which the
    first write fails whole, is left for another. Where the end comes later, nobody can tell
    whether the server acted on the request: that is an answer with status 0, and whether to try
    again is for the delivery's policy to say.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._pools: dict[str, Pool] = {}
        self._closed = False

    def send(self, request: Request, done: Done) -> Exchange:
        """Send `request`; call `done` with its answer, exactly once, on the running event loop.

        Never raises and never blocks. `done` may be called before this returns. What is returned
        can be cancelled.
        """
        # With as many line ends as headers, no value can have brought one of its own.
        lines = b"".join([b"%b: %b\r\n" % header for header in request.headers])
        address = request.address
        length = b"content-length: %d\r\n\r\n" % len(request.body)
        exchange = Exchange(address.head + lines + length, request, done)
        count = len(request.headers)
        if lines.count(b"\r") != count or lines.count(b"\n") != count:
            reason = "a header of the request holds a line break; it was not sent"
            exchange.end(Answer(0, reason=reason))
            return exchange
        if self._closed:
            exchange.end(Answer(0, reason="the HTTP client is closed"))
            return exchange
        pool = self._pools.get(address.key)
        if pool is None:
            pool = Pool(address, self._limits, self._forget)
            self._pools[address.key] = pool
        pool.send(exchange)
        return exchange

    def connections(self, address: Address) -> int:
        """Connections open to an address, idle ones included."""
        pool = self._pools.get(address.key)
        return len(pool.open) if pool else 0

    async def close(self) -> None:
        """End every connection; what is under way or waiting gets an answer with status 0."""
        self._closed = True
        pools = list(self._pools.values())
        for pool in pools:
            pool.close()
        for pool in pools:
            await pool.emptied

    def _forget(self, pool: Pool) -> None:
        del self._pools[pool.address.key]
