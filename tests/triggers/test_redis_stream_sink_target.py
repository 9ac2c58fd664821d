"""A Redis stream as a target, over a real Redis: what is written, and what is answered."""

import asyncio
import uuid

import pytest
import redis

from brokers.redis.entry import decode_entry, encode_entry
from brokers.redis.settings import RedisSettings, parse_redis_url
from eventing.event import Event
from functions.base import Call, Response
from triggers.redis_stream_sink_target import RedisStreamSinkTarget, entry_fields
from triggers.sink import RedisStreamSinkSettings

EVENT = Event(
    {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": "x/y"},
    b"\x00\xff",
)


def with_data(data: bytes) -> Event:
    return Event({**EVENT.attributes, "datacontenttype": "application/json"}, data)


def sink(settings: RedisSettings, stream: str) -> RedisStreamSinkTarget:
    made = RedisStreamSinkSettings(settings, stream)
    return RedisStreamSinkTarget("RedisStreamSink/default/s", made, client_id="test")


async def answers(target: RedisStreamSinkTarget, *events: Event) -> list[int]:
    loop = asyncio.get_running_loop()
    answered: list[asyncio.Future[Response]] = []
    for event in events:
        answered.append(loop.create_future())
        target.submit(Call(event, 1, "default/t"), answered[-1].set_result)
    return [(await asyncio.wait_for(each, 30)).status for each in answered]


def test_data_that_is_an_array_of_texts_by_twos_is_the_fields() -> None:
    assert entry_fields(with_data(b' ["a", "1", "a", "2"]')) == ["a", "1", "a", "2"]


@pytest.mark.parametrize("data", [b"[]", b'["a"]', b'["a", 1]', b"[", b'{"a": "1"}', b"tea"])
def test_any_other_event_is_written_whole(data: bytes) -> None:
    assert entry_fields(with_data(data)) == encode_entry(with_data(data))


def test_events_are_entries_in_order(redis_url: str) -> None:
    stream = f"sink-{uuid.uuid4().hex[:8]}"

    async def main() -> None:
        target = sink(parse_redis_url(redis_url), stream)
        events = [with_data(b'["n", "%d"]' % n) for n in range(1200)]
        assert set(await answers(target, *events, EVENT)) == {202}
        assert target.status()["stored"] == 1201 and target.fault is None
        await target.close(5)
        assert await answers(target, EVENT) == [503]

    asyncio.run(main())
    client = redis.Redis.from_url(redis_url)
    entries = [fields for _, fields in client.xrange(stream)]
    assert [int(each[b"n"]) for each in entries[:-1]] == list(range(1200))
    flat = [text for pair in entries[-1].items() for text in pair]
    assert decode_entry(flat) == EVENT


def test_an_event_that_is_none_is_not_sent(redis_url: str) -> None:
    async def main() -> None:
        target = sink(parse_redis_url(redis_url), "never-written")
        assert await answers(target, Event({**EVENT.attributes, "name": "\ud800"})) == [500]
        await target.close(5)

    asyncio.run(main())
    assert not redis.Redis.from_url(redis_url).exists("never-written")


def test_a_key_that_is_no_stream_is_a_reason(redis_url: str) -> None:
    key = f"sink-{uuid.uuid4().hex[:8]}"
    client = redis.Redis.from_url(redis_url)
    client.set(key, "text")

    async def main() -> None:
        target = sink(parse_redis_url(redis_url), key)
        assert await answers(target, EVENT, EVENT) == [503, 503]
        assert target.fault is not None and "no stream" in target.fault.message
        client.delete(key)
        assert await answers(target, EVENT) == [202]
        assert target.fault is None
        await target.close(5)

    asyncio.run(main())


def test_redis_away_and_back(start_redis, caplog) -> None:
    server = start_redis()

    async def main() -> None:
        target = sink(parse_redis_url(server.url), "orders")
        assert await answers(target, EVENT) == [202]
        await asyncio.to_thread(server.stop)
        assert await answers(target, EVENT, EVENT) == [503, 503]
        assert target.fault is not None and target.fault.reason == "EngineUnreachable"
        await asyncio.to_thread(server.start)
        while await answers(target, EVENT) != [202]:
            await asyncio.sleep(0.05)
        assert target.fault is None
        await target.close(5)

    asyncio.run(main())
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1


def test_wrong_credentials_are_told_without_them(start_redis, caplog) -> None:
    server = start_redis(password="right")
    secret = {"password": b"mistaken"}

    async def main() -> None:
        target = sink(parse_redis_url(f"redis://127.0.0.1:{server.port}", secret), "orders")
        while target.fault is None:
            await asyncio.sleep(0.01)
        assert target.fault.reason == "AuthenticationFailed"
        assert "mistaken" not in target.fault.message
        assert await answers(target, EVENT) == [503]
        await target.close(1)

    asyncio.run(main())
    assert "mistaken" not in caplog.text


def test_as_many_replicas_have_it_as_are_asked_for(start_redis) -> None:
    primary = start_redis()
    replica = start_redis(replica_of=primary)

    async def main() -> None:
        one = sink(parse_redis_url(f"{primary.url}?replicas=1"), "orders")
        assert await answers(one, EVENT, EVENT) == [202, 202]
        await one.close(5)

    asyncio.run(main())
    assert redis.Redis.from_url(replica.url).xlen("orders") == 2


def test_too_few_replicas_are_a_failed_attempt(start_redis, monkeypatch) -> None:
    monkeypatch.setattr("triggers.redis_stream_sink_target.REPLICATION_SECONDS", 0.1)
    server = start_redis()

    async def main() -> None:
        target = sink(parse_redis_url(f"{server.url}?replicas=1"), "orders")
        assert await answers(target, EVENT) == [503]
        assert target.fault is not None and "replicas" in target.fault.message
        await target.close(5)

    asyncio.run(main())


def test_a_redis_cluster(start_redis) -> None:
    server = start_redis(cluster=True)

    async def main() -> None:
        target = sink(parse_redis_url(f"{server.url}?cluster=true"), "orders")
        assert await answers(target, EVENT, EVENT) == [202, 202]
        await target.close(5)

    asyncio.run(main())
    assert redis.Redis.from_url(server.url).xlen("orders") == 2
