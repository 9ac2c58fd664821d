"""The Redis that tests, the demo and benchmarks start: what it keeps, whom it lets in."""

from collections.abc import Callable

import pytest
import redis
from certificates import Authority
from redis_server import RedisServer
from redis_service import StartRedis, break_off_a_transaction
from server_process import ServerFailed


def client(server: RedisServer, **options: str) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True, **options)


def test_what_it_answered_outlives_a_kill(start_redis: StartRedis) -> None:
    server = start_redis()
    client(server).set("kept", "yes")
    server.kill()
    server.start()
    assert client(server).get("kept") == "yes"


def test_killed_in_the_middle_of_a_transaction_it_keeps_what_it_answered_later(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    client(server).set("before", "yes")
    server.kill()
    break_off_a_transaction(server.output.parent)
    for key in ("once", "twice"):
        server.start()
        client(server).set(key, "yes")
        server.kill()
    server.start()
    assert set(client(server).keys()) == {"before", "once", "twice"}


@pytest.mark.parametrize("end", [RedisServer.kill, RedisServer.stop])
def test_without_its_file_it_keeps_nothing(
    start_redis: StartRedis, end: Callable[[RedisServer], None]
) -> None:
    server = start_redis(appendfsync=None)
    client(server).set("kept", "yes")
    end(server)
    server.start()
    assert client(server).get("kept") is None


def test_a_paused_one_answers_nothing_until_it_goes_on(start_redis: StartRedis) -> None:
    server = start_redis()
    server.pause()
    hasty = redis.Redis.from_url(server.url, socket_timeout=0.2)
    with pytest.raises(redis.TimeoutError):
        hasty.ping()
    server.resume()
    assert client(server).ping()


def test_its_password_is_asked_for(start_redis: StartRedis) -> None:
    server = start_redis(password="secret")
    assert client(server).ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=server.port).ping()


def test_it_speaks_tls_alone_where_it_has_a_certificate(start_redis: StartRedis) -> None:
    authority = Authority()
    server = start_redis(pem=authority.issue().both)
    assert client(server, ssl_ca_data=authority.ca).ping()
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=server.port, socket_timeout=2).ping()


def test_a_cluster_of_one_node_has_all_slots(start_redis: StartRedis) -> None:
    server = start_redis(cluster=True)
    with redis.RedisCluster.from_url(server.url) as cluster:
        cluster.set("{a}x", "1")
        assert cluster.get("{a}x") == b"1"


def test_a_replica_has_what_its_primary_has(start_redis: StartRedis) -> None:
    primary = start_redis(password="secret")
    replica = start_redis(password="secret", replica_of=primary)
    with client(primary) as writing:
        writing.set("kept", "yes")
        assert writing.wait(1, 10_000) == 1
    assert client(replica).get("kept") == "yes"


def test_a_wrong_option_is_told_with_the_server_s_own_words(start_redis: StartRedis) -> None:
    with pytest.raises(ServerFailed, match="no-such-option"):
        start_redis(options={"no-such-option": "1"})
