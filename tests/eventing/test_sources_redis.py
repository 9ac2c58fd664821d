"""The RedisStreamSource over a real Redis: what it promises of entries, takeover and faults."""

import asyncio
import json
import uuid

import pytest
import redis
from source_harness import (
    Sink,
    embedded_broker,
    eventually,
    local_lease,
    outlet_into,
    outlet_to,
    running,
)

from brokers.local_cluster import LocalLease
from brokers.redis.settings import RedisSettings, parse_redis_url
from eventing.sources.redis_stream_source import RedisStreamSource
from eventing.sources.settings import RedisStreamSourceSettings
from functions.base import Response

pytestmark = [pytest.mark.timeout(120)]


def source(settings: RedisSettings, stream: str, outlet, *, at_once=1, lease=local_lease):
    made = RedisStreamSourceSettings(settings, stream, f"group-{stream}", at_once)
    name = "RedisStreamSource/default/s"
    return RedisStreamSource(name, made, outlet, find_lease=lease, lease=name, client_id="test")


class Stream:
    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.name = f"orders-{uuid.uuid4().hex[:8]}"
        self.group = f"group-{self.name}"
        self.settings = parse_redis_url(url)
        self.address = self.settings.address

    def begun(self) -> None:
        """As a source that ran before leaves it."""
        self.client.xgroup_create(self.name, self.group, id="$", mkstream=True)

    def add(self, *fields: str | bytes) -> str:
        return self.client.execute_command("XADD", self.name, "*", *fields).decode()

    @property
    def pending(self) -> int:
        try:
            return self.client.xpending(self.name, self.group)["pending"]
        except redis.ResponseError:
            return -1


@pytest.fixture
def stream(redis_url: str) -> Stream:
    return Stream(redis_url)


def test_entries_become_events_in_order_and_are_acknowledged(stream: Stream) -> None:
    stream.begun()
    ids = [stream.add("item", f"tea {n}", "item", "twice") for n in range(3)]
    stream.add(
        "ce_specversion", "1.0", "ce_id", "7", "ce_source", "/s", "ce_type", "t", "data", "x"
    )

    async def main() -> list:
        sink = Sink()
        async with running(source(stream.settings, stream.name, outlet_to(sink))):
            await eventually(lambda: len(sink.events) == 4, "all came")
            await eventually(lambda: stream.pending == 0, "all are acknowledged")
        return sink.events

    *plain, passed = asyncio.run(main())
    assert [each.attributes["id"] for each in plain] == ids
    assert plain[0].attributes["source"] == f"{stream.address}/{stream.name}"
    assert json.loads(plain[0].data) == ["item", "tea 0", "item", "twice"]
    assert passed.attributes["id"] == "7" and passed.data == b"x"


def test_a_new_group_begins_with_the_next_entry(stream: Stream) -> None:
    stream.add("a", "old")

    async def main() -> list:
        sink = Sink()
        async with running(source(stream.settings, stream.name, outlet_to(sink))):
            await eventually(lambda: stream.pending == 0, "the group is there")
            stream.add("a", "new")
            await eventually(lambda: sink.events, "it came")
        return sink.data

    assert asyncio.run(main()) == [b'["a","new"]']


def test_what_was_not_acknowledged_comes_again(stream: Stream) -> None:
    stream.begun()
    stream.add("n", "1")
    stream.add("n", "stuck")
    stream.add("n", "3")

    async def first() -> None:
        sink = Sink(lambda event: None if b"stuck" in event.data else Response(202))
        made = source(stream.settings, stream.name, outlet_to(sink))
        await eventually(lambda: sink.held, "the second is out")
        assert not await made.stop(0.0)

    async def second() -> list:
        sink = Sink()
        async with running(source(stream.settings, stream.name, outlet_to(sink))):
            await eventually(lambda: len(sink.events) == 2, "the rest came")
            await eventually(lambda: stream.pending == 0, "all are acknowledged")
        return sink.data

    asyncio.run(first())
    assert stream.pending == 2
    assert asyncio.run(second()) == [b'["n","stuck"]', b'["n","3"]']


def test_into_a_broker_in_batches_and_what_is_no_event_beside_them(stream, tmp_path) -> None:
    stream.begun()
    for n in range(150):
        stream.add("n", str(n))
    stream.add("n", b"\xff")
    stream.add("ce_specversion", "1.0")
    stream.add("n", "last")

    async def main() -> tuple:
        async with embedded_broker(tmp_path) as broker:
            async with running(source(stream.settings, stream.name, outlet_into(broker))) as made:
                await eventually(lambda: broker.head == 151, "all are in the log")
                await eventually(lambda: stream.pending == 0, "all are acknowledged")
                assert made.status()["unreadable"] == 2
            letters = await broker.dead_letters()
            return [json.loads(each.event.data)[1] async for each in broker.read()], letters

    stored, letters = asyncio.run(main())
    assert stored == [*map(str, range(150)), "last"]
    assert [each.event.attributes["stream"] for each in letters] == [stream.name] * 2
    assert "UTF-8" in letters[0].failure.reason


@pytest.mark.parametrize("at_once", [1, 5])
def test_as_many_are_out_as_it_is_told(stream: Stream, at_once: int) -> None:
    stream.begun()
    for n in range(12):
        stream.add("n", str(n))

    async def main() -> None:
        sink = Sink(lambda event: None)
        most = 0
        made = source(stream.settings, stream.name, outlet_to(sink), at_once=at_once)
        async with running(made):
            while len(sink.events) < 12:
                most = max(most, len(sink.held))
                if len(sink.held) == at_once or len(sink.events) + at_once > 12:
                    sink.release()
                await asyncio.sleep(0.005)
            sink.release()
            await eventually(lambda: stream.pending == 0, "all are acknowledged")
        assert most == at_once

    asyncio.run(main())


def test_what_other_consumers_gave_up_is_taken_over(stream: Stream, monkeypatch) -> None:
    monkeypatch.setattr("eventing.sources.redis_stream_source.CLAIM_IDLE", 0.05)
    monkeypatch.setattr("eventing.sources.redis_stream_source.CLAIM_EVERY", 0.05)
    stream.begun()
    stream.add("n", "1")
    stream.client.xreadgroup(stream.group, "somebody", {stream.name: ">"})

    async def main() -> list:
        sink = Sink()
        async with running(source(stream.settings, stream.name, outlet_to(sink))):
            await eventually(lambda: stream.pending == 0, "it is acknowledged")
        return sink.data

    assert asyncio.run(main()) == [b'["n","1"]']


def test_entries_deleted_before_they_were_acknowledged_are_over(stream: Stream) -> None:
    stream.begun()
    gone = [stream.add("n", "gone") for _ in range(3)]
    stream.client.xreadgroup(stream.group, "eventing", {stream.name: ">"})
    stream.client.xdel(stream.name, *gone)
    stream.add("n", "there")

    async def main() -> list:
        sink = Sink()
        async with running(source(stream.settings, stream.name, outlet_to(sink))):
            await eventually(lambda: sink.events, "the other came")
            await eventually(lambda: stream.pending == 0, "and nothing is left")
        return sink.data

    assert asyncio.run(main()) == [b'["n","there"]']


def test_one_works_at_a_time_and_the_other_takes_over(stream: Stream) -> None:
    stream.begun()

    class Handed(LocalLease):
        """Held once it is given."""

        def __init__(self) -> None:
            super().__init__()
            self.given = asyncio.Event()

        async def wait(self) -> None:
            await self.given.wait()

    async def main() -> None:
        leases = Handed(), Handed()

        async def find(index: int, name: str) -> Handed:
            return leases[index]

        sinks = Sink(lambda event: None), Sink()
        made = [
            source(
                stream.settings,
                stream.name,
                outlet_to(sinks[n]),
                lease=lambda name, n=n: find(n, name),
            )
            for n in (0, 1)
        ]
        leases[0].given.set()
        stream.add("n", "1")
        await eventually(lambda: sinks[0].held, "the first works")
        assert [each.status()["state"] for each in made] == ["running", "standing by"]
        # It is paused, its lease goes to the other, and it wakes.
        leases[1].given.set()
        await leases[0].close()
        leases = Handed(), leases[1]
        await eventually(lambda: sinks[1].data == [b'["n","1"]'], "the second has taken over")
        await eventually(lambda: stream.pending == 0, "and acknowledged")
        assert made[0].status()["state"] == "standing by"
        sinks[0].release()
        stream.add("n", "2")
        await eventually(lambda: len(sinks[1].events) == 2, "and goes on")
        assert len(sinks[0].events) == 1
        for each in made:
            await each.stop(1.0)

    asyncio.run(main())


def test_redis_away_at_first_and_later(start_redis, caplog) -> None:
    server = start_redis()
    stream = Stream(server.url)
    stream.begun()
    server.stop()

    async def main() -> None:
        sink = Sink()
        async with running(source(stream.settings, stream.name, outlet_to(sink))) as made:
            await eventually(lambda: made.fault, "it says so")
            assert made.fault.reason == "EngineUnreachable"
            await asyncio.to_thread(server.start)
            stream.add("n", "1")
            await eventually(lambda: len(sink.events) == 1, "it goes on")
            await asyncio.to_thread(server.stop)
            await eventually(lambda: made.fault, "it says so again")
            await asyncio.to_thread(server.start)
            stream.add("n", "2")
            await eventually(lambda: len(sink.events) == 2, "it goes on again")
            assert made.fault is None

    asyncio.run(main())
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 2


def test_a_stream_that_was_lost_with_its_group_is_read_from_its_new_beginning(start_redis) -> None:
    server = start_redis(appendfsync=None)
    stream = Stream(server.url)
    stream.begun()

    async def main() -> list:
        sink = Sink()
        async with running(source(stream.settings, stream.name, outlet_to(sink))):
            stream.add("n", "1")
            await eventually(lambda: len(sink.events) == 1, "it runs")
            await asyncio.to_thread(server.restart)
            stream.add("n", "2")
            await eventually(lambda: len(sink.events) == 2, "what came first is not passed over")
        return sink.data

    assert asyncio.run(main()) == [b'["n","1"]', b'["n","2"]']


def test_wrong_credentials_are_told_without_them(start_redis, caplog) -> None:
    server = start_redis(password="right")
    address = f"redis://127.0.0.1:{server.port}"

    async def main() -> None:
        for password, reason in (("mistaken", "AuthenticationFailed"), ("right", None)):
            settings = parse_redis_url(address, {"password": password.encode()})
            made = source(settings, "orders", outlet_to(Sink()))
            async with running(made):
                await eventually(lambda m=made: m.fault or m.status()["lag"] is not None, "either")
                assert (made.fault.reason if made.fault else None) == reason
                assert made.fault is None or password not in made.fault.message

    asyncio.run(main())
    assert "mistaken" not in caplog.text


def test_a_key_that_is_no_stream_is_told(stream: Stream) -> None:
    stream.client.set(stream.name, "text")

    async def main() -> None:
        async with running(source(stream.settings, stream.name, outlet_to(Sink()))) as made:
            await eventually(lambda: made.fault, "it says so")
            assert "no stream" in made.fault.message

    asyncio.run(main())


def test_a_redis_cluster(start_redis) -> None:
    server = start_redis(cluster=True)
    stream = Stream(server.url)
    stream.begun()
    stream.add("n", "1")
    settings = parse_redis_url(f"{server.url}?cluster=true")

    async def main() -> list:
        sink = Sink()
        async with running(source(settings, stream.name, outlet_to(sink))) as made:
            await eventually(lambda: stream.pending == 0, "it is acknowledged")
            await eventually(lambda: made.status()["lag"] is not None, "and measured")
        return sink.data

    assert asyncio.run(main()) == [b'["n","1"]']


def test_over_tls(start_redis) -> None:
    from certificates import Authority

    authority = Authority()
    server = start_redis(pem=authority.issue().both)
    address = f"rediss://127.0.0.1:{server.port}"

    async def run(ca: str) -> str | None:
        settings = parse_redis_url(address, {"ca.crt": ca.encode()})
        async with running(source(settings, "orders", outlet_to(Sink()))) as made:
            await eventually(lambda: made.fault or made.status()["lag"] is not None, "either")
            return made.fault.reason if made.fault else None

    assert asyncio.run(run(authority.ca)) is None
    assert asyncio.run(run(Authority().ca)) == "AuthenticationFailed"
    assert asyncio.run(run("no certificate")) == "AuthenticationFailed"
