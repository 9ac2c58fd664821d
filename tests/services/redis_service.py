"""A Redis or a Valkey for tests. In a test:

    def test_shared(redis_url: str) -> None: ...        # redis://… of one for all tests
    def test_own(start_redis: StartRedis) -> None:
        server = start_redis(appendfsync="always")      # a RedisServer, closed after the test

A test that asks for `redis_url` runs once over Redis and, where there is one, once over Valkey.
Who shares one needs keys of names of their own. A server for a whole module is a fixture around
`own_redis(...)`. The shared one is EVENTING_TEST_REDIS or EVENTING_TEST_VALKEY (redis://host:port)
where that is set, else a container, else a local process; servers of one's own are always local
processes. The class and its options: module redis_server of compose/local_servers.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import redis
from docker_engine import container
from redis_server import RedisServer
from server_process import ServerUnavailable
from service_rule import needed, unavailable

IMAGES = {"redis": "redis:7.4-alpine", "valkey": "valkey/valkey:8.1-alpine"}
PROGRAMS = {"redis": "redis-server", "valkey": "valkey-server"}
ADDRESSES = {"redis": "EVENTING_TEST_REDIS", "valkey": "EVENTING_TEST_VALKEY"}


class StartRedis(Protocol):
    def __call__(self, **options: Any) -> RedisServer: ...


def engines() -> list[str]:
    """Those that tests run over: Redis always, Valkey where it is given or installed."""
    valkey = os.environ.get(ADDRESSES["valkey"]) or shutil.which(PROGRAMS["valkey"])
    return ["redis", "valkey"] if valkey else ["redis"]


@contextmanager
def shared_redis(engine: str = "redis") -> Iterator[str]:
    """The URL of a Redis, or of a Valkey, that may be shared."""
    variable = ADDRESSES[engine]
    given = os.environ.get(variable)
    if given:
        if not _serves(given):
            unavailable(f"{variable} is set, and no Redis lets us in there")
        yield given
        return
    with ExitStack() as servers:
        try:
            in_container = container(IMAGES[engine], 6379, serves=lambda at: _serves(_url(at)))
            url = _url(servers.enter_context(in_container))
        except ServerUnavailable:
            local = own_redis(program=PROGRAMS[engine], appendfsync="everysec")
            url = servers.enter_context(local).url
        yield url


@contextmanager
def own_redis(**options: Any) -> Iterator[RedisServer]:
    """A server of one's own, started, with the options of RedisServer; skips or fails the test
    where that cannot be."""
    with needed():
        server = RedisServer(**options)
    with server:
        yield server


def break_off_a_transaction(folder: Path) -> None:
    """Leave in the append-only file of a Redis what a kill in the middle of a write may leave."""
    (file,) = folder.glob("appendonlydir/*.incr.aof")
    with file.open("ab") as appended:
        appended.write(
            b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$3\r\nyes\r\n*3\r\n$3"
        )


def _url(address: str) -> str:
    return f"redis://{address}"


def _serves(url: str) -> bool:
    try:
        client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
        with client:
            return bool(client.ping())
    except redis.RedisError:
        return False
