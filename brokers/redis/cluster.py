"""The nodes that share a Redis, what only one of them may do and what all know, by
brokers/cluster.py.

All times are the server's.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from brokers.cluster import FORGET_AFTER, Document, Member
from brokers.redis.connecting import make_client
from brokers.redis.faults import storage_error
from brokers.redis.settings import RedisSettings, shown_address
from eventing.errors import StorageError

MEMBERS: Final = "eventing:{nodes}:members"
"""A sorted set: nodes by when they announced themselves last, in milliseconds."""
DOCUMENTS: Final = "eventing:{nodes}:documents"
LEASE: Final = "eventing:lease:"
TABLE: Final = "eventing:{nodes}:table:"
"""Hashes of JSON documents, one a table."""
_VERSION: Final = ":version"
"""Beside a table: a word that is another one after each change of it, so that a table nobody has
changed is not read again."""

LEASE_SECONDS: Final = 6.0
RENEW_EVERY: Final = 1.5
ASK_EVERY: Final = 0.5

_NOW: Final = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
_ANNOUNCE: Final = (
    _NOW + "redis.call('ZADD', KEYS[1], now, ARGV[1]) return redis.call('HSET', KEYS[2], ARGV[1], "
    "ARGV[2])"
)
_LEAVE: Final = "redis.call('HDEL', KEYS[2], ARGV[1]) return redis.call('ZREM', KEYS[1], ARGV[1])"
_LIST: Final = (
    _NOW
    + """
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])) do
  redis.call('ZREM', KEYS[1], name)
  redis.call('HDEL', KEYS[2], name)
end
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local answer = {}
for i = 1, #found, 2 do
  answer[#answer + 1] = {found[i], found[i + 1], redis.call('HGET', KEYS[2], found[i])}
end
return answer
"""
)
_RENEW: Final = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) "
    "end return 0"
)
_RELEASE: Final = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
)
_READ: Final = """
local version = redis.call('GET', KEYS[2])
if version and version == ARGV[1] then return {version} end
return {version, redis.call('HGETALL', KEYS[1])}
"""
_STORE: Final = """
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i])
  else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return redis.call('SET', KEYS[2], ARGV[1])
"""

_log = logging.getLogger("brokers.redis")


class RedisCluster:
    """See the contract."""

    def __init__(self, settings: RedisSettings, node: str) -> None:
        self._settings = settings
        self._node = node
        self._client = make_client(settings)
        self._leases: set[RedisLease] = set()
        self._tables: dict[str, _Table] = {}
        self._closed = False

    async def start(self) -> None:
        """See the contract."""
        try:
            await self._run(_LIST, (MEMBERS, DOCUMENTS), int(FORGET_AFTER * 1000))
        except BaseException:
            await self._client.aclose()
            raise

    async def announce(self, document: Document) -> None:
        """See the contract."""
        await self._run(_ANNOUNCE, (MEMBERS, DOCUMENTS), self._node, json.dumps(document))

    async def members(self) -> list[Member]:
        """See the contract."""
        found = await self._run(_LIST, (MEMBERS, DOCUMENTS), int(FORGET_AFTER * 1000))
        members = [
            Member(name.decode(), float(at) / 1000, json.loads(document or b"{}"))
            for name, at, document in found
        ]
        return sorted(members, key=lambda member: member.name)

    def lease(self, name: str) -> "RedisLease":
        """See the contract."""
        lease = RedisLease(self, f"{LEASE}{name}")
        self._leases.add(lease)
        return lease

    async def documents(self, table: str) -> Mapping[str, Document]:
        """See the contract."""
        known = self._tables.get(table, _NOTHING)
        version, *read = await self._run(_READ, _keys(table), known.version)
        if read:
            found = _decoded(read[0])
            same = found == known.documents
            known = _Table((version or b"").decode(), known.documents if same else found)
            self._tables[table] = known
        return known.documents

    async def store(self, table: str, changes: Mapping[str, Document | None]) -> None:
        """See the contract."""
        if not changes:
            return
        fields = (
            word
            for key, document in changes.items()
            for word in (key, "" if document is None else json.dumps(dict(document)))
        )
        await self._run(_STORE, _keys(table), secrets.token_hex(8), *fields)

    async def close(self) -> None:
        """See the contract."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(lease.close() for lease in tuple(self._leases)))
        try:
            await self._run(_LEAVE, (MEMBERS, DOCUMENTS), self._node)
        finally:
            await self._client.aclose()

    async def take(self, key: str, token: str) -> bool:
        """Whether the lease is this token's now. Raises StorageError."""
        milliseconds = int(LEASE_SECONDS * 1000)
        taken = await self._ask("SET", key, token, "NX", "PX", milliseconds)
        return taken is not None and taken is not False

    async def renew(self, key: str, token: str) -> bool:
        """Whether the lease is this token's still. Raises StorageError."""
        return bool(await self._run(_RENEW, (key,), token, int(LEASE_SECONDS * 1000)))

    async def release(self, key: str, token: str) -> None:
        """Leave it to others. Raises StorageError."""
        await self._run(_RELEASE, (key,), token)

    def forget(self, lease: "RedisLease") -> None:
        """It is closed."""
        self._leases.discard(lease)

    async def _run(self, script: str, keys: tuple[str, ...], *arguments: str | int) -> Any:
        return await self._ask("EVAL", script, len(keys), *keys, *arguments)

    async def _ask(self, *arguments: str | int) -> Any:
        try:
            return await self._client.execute_command(*arguments)
        except (RedisError, OSError, TimeoutError) as error:
            where = shown_address(self._settings)
            raise storage_error(error, "it can't be asked", where) from None


@dataclass(frozen=True, slots=True)
class _Table:
    """As it was when it was read last."""

    version: str
    documents: Mapping[str, Document]


_NOTHING: Final = _Table("", {})


def _keys(table: str) -> tuple[str, str]:
    return f"{TABLE}{table}", f"{TABLE}{table}{_VERSION}"


def _decoded(found: list[bytes]) -> dict[str, Document]:
    """Without what is no document: others may write there as well."""
    decoded: dict[str, Document] = {}
    for key, value in zip(found[::2], found[1::2], strict=True):
        try:
            document = json.loads(value)
            name = key.decode()
        except ValueError:
            continue
        if isinstance(document, dict):
            decoded[name] = document
    return decoded


class RedisLease:
    """See the contract. Held while this node knows that its key is there: what Redis has not
    confirmed for LEASE_SECONDS is held no more."""

    def __init__(self, cluster: RedisCluster, key: str) -> None:
        self._cluster = cluster
        self._key = key
        self._token = secrets.token_hex(16)
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._lost.set_result(None)
        self._won: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._task = self._loop.create_task(self._keep(), name=f"lease {key}")

    @property
    def held(self) -> bool:
        """See the contract."""
        return not self._lost.done() and self._loop.time() < self._until

    async def wait(self) -> None:
        """See the contract."""
        while not self.held:
            await asyncio.shield(self._won)
            # One that is lost again by now is waited for anew.
            if not self.held:
                await asyncio.sleep(0)

    def lost(self) -> "asyncio.Future[None]":
        """See the contract."""
        if not self.held:
            self._lose()
        return self._lost

    async def close(self) -> None:
        """See the contract."""
        if self._closed:
            return
        self._closed = True
        self._task.cancel()
        await asyncio.wait([self._task])
        self._lose()
        try:
            await self._cluster.release(self._key, self._token)
        except StorageError:
            pass  # it runs out
        self._cluster.forget(self)

    async def _keep(self) -> None:
        # Not cancellation alone ends it: the client may forget one (asyncio.wait_for, Python 3.11).
        while not self._closed:
            try:
                await self._ask()
            except StorageError as error:
                _log.debug("%s: %s", self._key, error)
            await asyncio.sleep(RENEW_EVERY if self.held else ASK_EVERY)

    async def _ask(self) -> None:
        asked = self._loop.time()
        if self.held:
            if await self._cluster.renew(self._key, self._token):
                self._extend(asked)
            else:
                self._lose()
            return
        self._lose()
        # One whose answer was lost may be ours already.
        if await self._cluster.take(self._key, self._token) or await self._cluster.renew(
            self._key, self._token
        ):
            self._lost = self._loop.create_future()
            self._extend(asked)
            self._won.set_result(None)

    def _extend(self, asked: float) -> None:
        self._until = asked + LEASE_SECONDS
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._until, self._ran_out)

    def _ran_out(self) -> None:
        self._timer = None
        self._lose()

    def _lose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._lost.done():
            self._lost.set_result(None)
        if self._won.done():
            self._won = self._loop.create_future()
