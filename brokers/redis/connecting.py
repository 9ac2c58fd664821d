"""Opens connections to the server that holds a key: the only one there is, or a cluster's."""

from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ResponseError

from brokers.redis.faults import LEAST_VERSION, too_old
from brokers.redis.settings import RedisSettings, shown_address

CONNECT_WITHIN = 3.0
"""Seconds."""


class Connector:
    """Makes connections to the server that holds `key`, as these settings say."""

    def __init__(self, settings: RedisSettings, key: str) -> None:
        self._settings = settings
        self._key = key

    @property
    def where(self) -> str:
        """The address, for people."""
        return shown_address(self._settings)

    async def connect(self) -> AbstractConnection:
        """A connection that has been let in, speaking RESP 2 in bytes. Raises RedisError, OSError,
        or StorageError where the server is too old."""
        connection = await self._made()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await self._check_version(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _made(self) -> AbstractConnection:
        settings = self._settings
        options: dict[str, Any] = {
            "username": settings.user,
            "password": settings.password,
            "socket_connect_timeout": CONNECT_WITHIN,
            "socket_timeout": None,
            "socket_read_size": 1 << 18,
            "protocol": 2,
        }
        parts = urlsplit(settings.address)
        if parts.scheme == "unix":
            return UnixDomainSocketConnection(path=unquote(parts.path), **options)
        kind: type[Connection] = Connection
        if parts.scheme == "rediss":
            kind = SSLConnection
            options["ssl_ca_data"] = settings.ca
        host, port = _host_and_port(settings)
        if settings.cluster:
            host, port = await self._holder()
        return kind(host=host, port=port, db=_database(settings), socket_keepalive=True, **options)

    async def _holder(self) -> tuple[str, int]:
        """The cluster's server that has the key's slot."""
        client = make_client(self._settings)
        assert isinstance(client, RedisCluster)
        try:
            await client.initialize()
            node = client.get_node_from_key(self._key)
            if node is None:
                raise ConnectionError("no server of the cluster has the broker's slot")
            return str(node.host), int(node.port)
        finally:
            await client.aclose()

    async def _check_version(self, connection: AbstractConnection) -> None:
        await connection.send_command("HELLO", check_health=False)
        try:
            told = await connection.read_response()
        except ResponseError as error:
            # HELLO came with Redis 6.
            if "unknown command" in str(error).lower():
                raise too_old("5 or older", self.where) from None
            raise
        version = dict(zip(told[::2], told[1::2], strict=True)).get(b"version", b"").decode()
        if version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) < LEAST_VERSION:
            raise too_old(version, self.where)


def make_client(settings: RedisSettings) -> "Redis | RedisCluster":
    """A client with connections of its own, for what is asked seldom. Its answers are bytes."""
    options: dict[str, Any] = {
        "username": settings.user,
        "password": settings.password,
        "socket_connect_timeout": CONNECT_WITHIN,
        "socket_timeout": CONNECT_WITHIN,
    }
    parts = urlsplit(settings.address)
    if parts.scheme == "rediss":
        options |= {"ssl": True, "ssl_ca_data": settings.ca}
    if parts.scheme == "unix":
        return Redis(unix_socket_path=unquote(parts.path), retry=_ONCE, **options)
    host, port = _host_and_port(settings)
    if settings.cluster:
        return RedisCluster(host=host, port=port, **options)
    return Redis(host=host, port=port, db=_database(settings), retry=_ONCE, **options)


_ONCE = Retry(NoBackoff(), 1)
"""A connection that the server closed while it was idle is opened again."""


def _host_and_port(settings: RedisSettings) -> tuple[str, int]:
    parts = urlsplit(settings.address)
    return unquote(parts.hostname or ""), parts.port or 6379


def _database(settings: RedisSettings) -> int:
    return int(urlsplit(settings.address).path.strip("/") or 0)
