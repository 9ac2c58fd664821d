"""Redis breaks, refuses or forgets: what is promised holds, and what is said says what to do."""

import asyncio
import contextlib
import logging
import time
from collections import Counter

import pytest
import redis
import redis.asyncio
import trustme
from broker_contract import (
    ALL,
    REFUSED,
    TypeRouter,
    awaited,
    event,
    ids,
    opened,
    publish,
    receive,
    receives_nothing,
    settle_all,
    until,
)
from redis.asyncio.connection import AbstractConnection
from redis_harness import RedisHarness, documented_rights, join_the_others
from redis_proxy import wire
from redis_server import RedisServer
from redis_service import StartRedis

from brokers.base import Delivery, Done, Limits, Retry, Subscription
from brokers.redis.broker import RedisBroker
from brokers.redis.connecting import Connector
from brokers.redis.settings import parse_redis_url
from eventing.errors import BrokerFull, EventTooLarge, StorageError


async def with_one_in_flight(server: RedisServer) -> tuple[RedisBroker, Subscription, Delivery]:
    """A broker of this server's, a subscription, and what that has in flight."""
    broker = await RedisHarness(server.url).open()
    broker.set_router(ALL)
    subscription = await broker.subscribe("a")
    await publish(broker, 1)
    (got,) = await receive(subscription, 1)
    return broker, subscription, got


async def consume(subscription: Subscription, seen: Counter[str], reply: bool) -> None:
    while True:
        got = await subscription.receive(256)
        seen.update(ids(got))
        outcomes = []
        for delivery in got:
            name = f"of-{delivery.event.attributes['id']}"
            outcomes.append(Done(delivery, (event(name, "reply"),) if reply else ()))
        subscription.settle(outcomes)


# At the start.


async def refusal(url: str, secret: dict[str, bytes] | None = None) -> StorageError:
    broker = RedisBroker("test/refused", parse_redis_url(url, secret), node="node")
    with pytest.raises(StorageError) as refused:
        await broker.start()
    return refused.value


@awaited
async def test_a_server_that_is_away_is_unreachable() -> None:
    error = await refusal("redis://127.0.0.1:1")
    assert error.reason == "EngineUnreachable"
    assert "127.0.0.1:1" in str(error)


@awaited
async def test_a_wrong_password_is_told_and_not_shown(start_redis: StartRedis) -> None:
    server = await asyncio.to_thread(start_redis, password="right")
    error = await refusal(f"redis://:mistaken@127.0.0.1:{server.port}")
    assert error.reason == "AuthenticationFailed"
    assert "mistaken" not in str(error)
    missing = await refusal(f"redis://127.0.0.1:{server.port}")
    assert missing.reason == "AuthenticationFailed"
    secret = {"password": b"right"}
    broker = RedisBroker(
        "test/let-in", parse_redis_url(f"redis://127.0.0.1:{server.port}", secret), node="node"
    )
    await broker.start()
    await broker.close()


@awaited
async def test_a_user_without_the_right_is_told_and_one_with_the_documented_ones_does_all(
    start_redis: StartRedis,
) -> None:
    server = await asyncio.to_thread(start_redis)
    with redis.Redis(port=server.port) as client:
        client.execute_command("ACL SETUSER ann on >password ~eventing:* +@connection")
        client.execute_command(*documented_rights())
    error = await refusal(f"redis://ann:password@127.0.0.1:{server.port}")
    assert error.reason == "NotAuthorized"
    harness = RedisHarness(f"redis://eventing:password@127.0.0.1:{server.port}")
    broker = await opened(harness)
    a = await broker.subscribe("a")
    ordered = await broker.subscribe("b", order="ordered")
    await publish(broker, 1, 2, partitionkey="k")
    got = await receive(a, 2)
    await a.settle([Done(got[0], (event("r"),)), Retry(got[1], 0.0, REFUSED)])
    await settle_all(a, await receive(a, 2))
    await settle_all(ordered, await receive(ordered, 1))
    assert await a.replay(1) == 3
    await receive(a, 3)
    assert (await broker.stats()).subscriptions["a"].in_flight == 3
    assert await broker.dead_letters() == []
    await broker._upkeep.trim()
    await broker.detach("b")
    assert await broker.unsubscribe("b") == 2
    await broker.close()
    await join_the_others(harness)


@awaited
async def test_tls_with_an_authority_of_its_own(start_redis: StartRedis) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    server = await asyncio.to_thread(
        start_redis, pem=certificate.private_key_and_cert_chain_pem.bytes().decode()
    )
    address = f"rediss://127.0.0.1:{server.port}"
    assert (await refusal(address)).reason == "EngineUnreachable"
    secret = {"ca.crt": authority.cert_pem.bytes()}
    broker = RedisBroker("test/tls", parse_redis_url(address, secret), node="node")
    await broker.start()
    assert len(await publish(broker, 1)) == 1
    await broker.close()


# Later.


@awaited
async def test_a_restart_under_load_loses_nothing_and_doubles_no_reply(
    start_redis: StartRedis,
) -> None:
    server = await asyncio.to_thread(start_redis, appendfsync="always")
    harness = RedisHarness(server.url)
    router = TypeRouter(a={"order"}, b={"reply"})
    seen: dict[str, Counter[str]] = {"a": Counter(), "b": Counter()}
    brokers = [await harness.open(node=name) for name in ("x", "y")]
    consuming = []
    for broker in brokers:
        broker.set_router(router)
        for name in "ab":
            subscription = await broker.subscribe(name)
            consuming.append(asyncio.ensure_future(consume(subscription, seen[name], name == "a")))
    stored: set[str] = set()
    ended = False

    async def load(broker: RedisBroker, prefix: str) -> None:
        number = 0
        while not ended:
            batch = [f"{prefix}-{number + each}" for each in range(5)]
            number += 5
            try:
                await publish(broker, *batch)
                stored.update(batch)
            except StorageError:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.002)

    loads = [
        asyncio.ensure_future(load(broker, f"{number}")) for number, broker in enumerate(brokers)
    ]
    for _ in range(2):
        await asyncio.sleep(0.4)
        await asyncio.to_thread(server.kill)
        await until(lambda: all(broker.fault for broker in brokers))
        with pytest.raises(StorageError):
            await publish(brokers[0], "refused")
        await asyncio.to_thread(server.start)
        await until(lambda: not any(broker.fault for broker in brokers))
    await asyncio.sleep(0.3)
    ended = True
    await asyncio.gather(*loads)
    await until(
        lambda: stored <= set(seen["a"]) and {f"of-{id}" for id in stored} <= set(seen["b"])
    )
    async with asyncio.timeout(20):
        while any(each.lag for each in (await brokers[0].stats()).subscriptions.values()):
            await asyncio.sleep(0.05)
    log = Counter([each.event.attributes["id"] async for each in brokers[0].read()])
    assert {id for id, count in log.items() if count > 1 and id.startswith("of-")} == set()
    assert "refused" not in log
    for task in consuming:
        task.cancel()
    await asyncio.gather(*consuming, return_exceptions=True)
    for broker in brokers:
        await broker.close()


@awaited
async def test_a_settle_whose_answer_is_lost_stores_its_replies_once(redis_url: str) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    async with wire(port) as line:
        harness = RedisHarness(f"redis://127.0.0.1:{line.port}")
        broker = await opened(harness, TypeRouter(a={"order"}, b={"reply"}))
        a, b = await broker.subscribe("a"), await broker.subscribe("b")
        await publish(broker, 1, 2, 3)
        first, second, third = await receive(a, 3)
        line.mute = True
        settled = a.settle(
            [
                Done(first, (event("r", "reply"),)),
                Retry(second, time.time() + 0.5, REFUSED),
                Done(third),
            ]
        )
        async with redis.asyncio.Redis(port=port) as client:
            async with asyncio.timeout(10):
                while await client.xlen(broker.stream) < 4:
                    await asyncio.sleep(0.01)
        assert not settled.done()
        line.mute = False
        await line.cut()
        assert await asyncio.wait_for(settled, 10) == [(), (), ()]
        assert ids(await receive(b, 1)) == ["r"]
        assert await receives_nothing(b)
        (again,) = await receive(a, 1)
        assert (again.event, again.attempt) == (second.event, 2)
        await settle_all(a, [again])
        assert await receives_nothing(a)
        await broker.close()


@awaited
async def test_reads_whose_answers_are_lost_are_read_again(redis_url: str) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    async with wire(port) as line:
        broker = await opened(RedisHarness(f"redis://127.0.0.1:{line.port}"))
        a = await broker.subscribe("a")
        await publish(broker, "retried")
        (got,) = await receive(a, 1)
        await a.settle([Retry(got, time.time() + 0.5, REFUSED)])
        # One that is out already would be waited for, and no other asked for.
        await until(lambda: not (a.behind or broker._reader._unanswered))
        line.mute = True
        async with redis.asyncio.Redis(port=port) as client:
            fields = {"ce_specversion": "1.0", "ce_id": "x", "ce_source": "/x", "ce_type": "order"}
            await client.xadd(broker.stream, fields)
            a.behind = True
            async with asyncio.timeout(10):
                # Handed out to this consumer, and the retry as well, without its knowing.
                base = broker.stream.removesuffix(":events")
                while (
                    await client.hlen(f"{base}:handed-out:a") < 1
                    or (await client.xpending(broker.stream, "a"))["pending"] < 1
                ):
                    await asyncio.sleep(0.01)
        await line.cut()
        line.mute = False
        assert sorted(ids(await receive(a, 2))) == ["retried", "x"]
        assert await receives_nothing(a)
        await broker.close()


class LateConnector:
    """Connects when it may."""

    def __init__(self, connector: Connector) -> None:
        self.where = connector.where
        self.asked = asyncio.Event()
        self.may = asyncio.Event()
        self._connector = connector

    async def connect(self) -> AbstractConnection:
        self.asked.set()
        await self.may.wait()
        return await self._connector.connect()


@awaited
async def test_what_comes_while_only_one_of_two_connections_is_back_is_handed_out(
    redis_url: str,
) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    async with wire(port) as line:
        broker = await opened(RedisHarness(f"redis://127.0.0.1:{line.port}"))
        a = await broker.subscribe("a")
        await publish(broker, 1)
        await settle_all(a, await receive(a, 1))
        link, watch = (LateConnector(each._connector) for each in (broker._link, broker._watch))
        broker._link._connector = link  # type: ignore[assignment]
        broker._watch._connector = watch  # type: ignore[assignment]
        await line.cut()
        await link.asked.wait()
        await watch.asked.wait()
        link.may.set()
        await until(lambda: broker._link.connected and not a.behind)
        await publish(broker, 2)
        watch.may.set()
        assert ids(await receive(a, 1)) == ["2"]
        await broker.close()


class ForgetfulConnector(LateConnector):
    """As redis-py in Python 3.11: a cancellation at the wrong moment is lost."""

    async def connect(self) -> AbstractConnection:
        try:
            return await super().connect()
        except asyncio.CancelledError:
            self.may.set()
            return await super().connect()


@awaited
async def test_a_broker_that_is_closed_while_it_connects_again_is_closed(redis_url: str) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    async with wire(port) as line:
        broker = await opened(RedisHarness(f"redis://127.0.0.1:{line.port}"))
        forgetful = ForgetfulConnector(broker._link._connector)
        broker._link._connector = forgetful  # type: ignore[assignment]
        await line.cut()
        await forgetful.asked.wait()
        async with asyncio.timeout(20):
            await broker.close()


@awaited
async def test_a_server_that_hangs_is_given_up_and_outcomes_are_held(
    start_redis: StartRedis,
) -> None:
    server = await asyncio.to_thread(start_redis)
    broker, a, got = await with_one_in_flight(server)
    server.pause()
    settled = a.settle([Done(got, (event("r"),))])
    stored = broker.publish([event("unsure")])
    await until(lambda: broker.fault)
    with pytest.raises(StorageError):
        await stored
    assert not settled.done()
    server.resume()
    await asyncio.wait_for(settled, 20)
    assert not broker.fault
    found = Counter([each.event.attributes["id"] async for each in broker.read()])
    assert found["r"] == 1
    await broker.close()


@pytest.mark.parametrize("replicas", [0, 1])
@awaited
async def test_scripts_that_redis_forgot_are_loaded_again(
    start_redis: StartRedis, replicas: int
) -> None:
    server = await asyncio.to_thread(start_redis)
    for _ in range(replicas):
        await asyncio.to_thread(start_redis, replica_of=server)
    broker = await opened(RedisHarness(f"{server.url}?replicas={replicas}"))
    a = await broker.subscribe("a")
    with redis.Redis(port=server.port) as client:
        client.script_flush()
        await publish(broker, 1)
        got = await receive(a, 1)
        client.script_flush()
        await settle_all(a, got)
    await broker.close()


@awaited
async def test_what_was_deleted_behind_its_back_is_made_again_and_told_once(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "brokers.redis")
    server = await asyncio.to_thread(start_redis)
    broker = await opened(RedisHarness(server.url))
    a = await broker.subscribe("a")
    await publish(broker, "lost")
    (lost,) = await receive(a, 1)
    with redis.Redis(port=server.port) as client:
        client.flushall()
        await publish(broker, "next")
        assert ids(await receive(a, 1)) == ["next"]
        assert await a.settle([Done(lost, (event("late"),))]) == [()]
        assert broker.known_subscriptions() == ["a"]
        client.xgroup_destroy(broker.stream, "a")
        await publish(broker, "last")
        # "next" was not settled: it comes again.
        assert ids(await receive(a, 2)) == ["next", "last"]
    told = [record.message for record in caplog.records if "deleted" in record.message]
    assert len(told) == 2, told
    await broker.close()


@awaited
async def test_at_maxmemory_events_are_refused_and_work_goes_on(start_redis: StartRedis) -> None:
    server = await asyncio.to_thread(
        start_redis, options={"maxmemory": "8mb", "maxmemory-policy": "noeviction"}
    )
    broker = await opened(RedisHarness(server.url))
    a = await broker.subscribe("a")
    stored = 0
    with pytest.raises(BrokerFull) as full:
        while True:
            await broker.publish([event(stored, data=bytes(100_000))])
            stored += 1
    assert "maxmemory" in str(full.value) and full.value.retry_after > 0
    assert not broker.fault
    assert stored > 10
    got = await receive(a, 1)
    # This node lives on, as others see it, and its replies are stored, or the chain could never be
    # worked off.
    await broker._beat(6000)
    assert not a.lost
    assert await a.settle([Done(got[0], (event("r"),))]) != [()]
    await settle_all(a, await receive(a, stored))
    broker.set_limits(Limits(retention_bytes=1))
    await broker._upkeep.trim()
    await publish(broker, "fits")
    await broker.close()


@awaited
async def test_a_server_that_takes_no_writes_is_a_fault_until_it_does(
    start_redis: StartRedis,
) -> None:
    server = await asyncio.to_thread(start_redis)
    broker, a, got = await with_one_in_flight(server)
    with redis.Redis(port=server.port) as client:
        client.config_set("min-replicas-to-write", 1)
        with pytest.raises(StorageError):
            await publish(broker, 2)
        assert broker.fault is not None and "NOREPLICAS" in broker.fault.message
        settled = a.settle([Done(got, (event("r"),))])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(settled), 1)
        client.config_set("min-replicas-to-write", 0)
    await asyncio.wait_for(settled, 5)
    await until(lambda: not broker.fault)
    assert ids(await receive(a, 1)) == ["r"]
    await broker.close()


@awaited
async def test_a_publish_beyond_what_redis_takes_is_too_large(redis_url: str) -> None:
    broker = await opened(RedisHarness(redis_url))
    data = bytes(64 << 20)
    with pytest.raises(EventTooLarge):
        await broker.publish([event(n, data=data) for n in range(5)])
    assert [each async for each in broker.read()] == []
    await broker.close()


@awaited
async def test_max_bytes_refuses(redis_url: str) -> None:
    harness = RedisHarness(redis_url)
    broker = await opened(harness, limits=Limits(max_bytes=200_000))
    with pytest.raises(BrokerFull) as full:
        for n in range(1000):
            await broker.publish([event(n, data=bytes(10_000))])
    assert "max.bytes" in str(full.value)
    assert 10 < (await broker.stats()).events < 40
    await broker.close()


# Replicas.


@contextlib.contextmanager
def replica_of(server: RedisServer, start_redis: StartRedis):
    replica = start_redis(replica_of=server)
    try:
        yield replica
    finally:
        replica.resume()


@awaited
async def test_a_write_counts_once_the_replicas_have_it(start_redis: StartRedis) -> None:
    server = await asyncio.to_thread(start_redis)
    with replica_of(server, start_redis) as replica:
        broker = await opened(RedisHarness(f"{server.url}?replicas=1"))
        a = await broker.subscribe("a")
        await publish(broker, 1, 2)
        got = await receive(a, 2)
        await settle_all(a, got[:1])
        with redis.Redis(port=replica.port) as client:
            assert client.xlen(broker.stream) == 2
            assert client.xpending(broker.stream, "a")["pending"] == 1
        replica.pause()
        with pytest.raises(StorageError) as few:
            await publish(broker, 3)
        assert few.value.reason == "TooFewReplicas"
        assert broker.fault is not None and "0 of 1" in broker.fault.message
        settled = a.settle([Done(got[1], (event("r"),))])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(settled), 2.5)
        replica.resume()
        await asyncio.wait_for(settled, 20)
        await publish(broker, 4)
        assert not broker.fault
        found = Counter([each.event.attributes["id"] async for each in broker.read()])
        assert found["r"] == 1
        await broker.close()


@awaited
async def test_a_replica_is_no_place_to_write_and_its_promotion_is_noticed(
    start_redis: StartRedis,
) -> None:
    server = await asyncio.to_thread(start_redis)
    broker, a, got = await with_one_in_flight(server)
    with redis.Redis(port=server.port) as client:
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(StorageError):
            await publish(broker, 2)
        settled = a.settle([Done(got, (event("r"),))])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(settled), 0.5)
        client.replicaof("NO", "ONE")
    await asyncio.wait_for(settled, 20)
    async with asyncio.timeout(20):
        while True:
            try:
                await publish(broker, 3)
                break
            except StorageError:
                await asyncio.sleep(0.05)
    found = Counter([each.event.attributes["id"] async for each in broker.read()])
    assert found["r"] == 1
    await broker.close()
