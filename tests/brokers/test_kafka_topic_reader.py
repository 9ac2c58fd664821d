"""Reading stretches of a topic: where it ends, what it sees, what it does not keep in memory."""

import asyncio
import time

import pytest
from broker_contract import awaited
from confluent_kafka import Message
from kafka_records import Clients, clients, producer, transactional, values, write

from brokers.kafka.settings import KafkaSettings
from brokers.kafka.topic_reader import Stretch, TopicReader
from eventing.errors import StorageError


async def read(at: Clients, topic: str, start: int, end: int, **options: float) -> list[Message]:
    batches = at.reader.batches(topic, {0: Stretch(start, end)}, **options)
    return [message async for batch in batches for message in batch]


@awaited
async def test_a_stretch_has_its_records_in_order_and_no_others(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        write(kafka, topic, [b"%d" % n for n in range(2000)])
        assert values(await read(at, topic, 500, 1500)) == [b"%d" % n for n in range(500, 1500)]
        assert values(await read(at, topic, 1999, 2000)) == [b"1999"]
        assert await read(at, topic, 7, 7) == []


@awaited
async def test_many_readings_of_one_consumer_do_not_mix(kafka: str) -> None:
    async with clients(kafka) as at:
        topic, other = await at.new_topic(), await at.new_topic()
        write(kafka, topic, [b"%d" % n for n in range(2000)])
        write(kafka, other, [b"other %d" % n for n in range(2000)])
        for start in range(0, 1000, 25):
            assert values(await read(at, topic, start, start + 3)) == [
                b"%d" % n for n in range(start, start + 3)
            ]
            (only,) = await read(at, other, start, start + 1)
            assert only.value() == b"other %d" % start


@awaited
async def test_partitions_each_end_where_they_are_to(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic(3)
        for partition in range(3):
            write(kafka, topic, [b"%d" % n for n in range(100)], partition)
        stretches = {0: Stretch(0, 100), 1: Stretch(10, 20), 2: Stretch(99, 100)}
        got: dict[int, list[object]] = {0: [], 1: [], 2: []}
        async for batch in at.reader.batches(topic, stretches):
            for message in batch:
                got[message.partition() or 0].append(message.value())
        assert got == {
            each: [b"%d" % n for n in range(part.start, part.end)]
            for each, part in stretches.items()
        }


@awaited
async def test_a_transaction_that_is_open_is_waited_for(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        write(kafka, topic, [b"before"])
        open_one = transactional(kafka)
        write(open_one, topic, [b"within"])
        write(kafka, topic, [b"after"])
        high = (await at.topics.highs(topic, [0]))[0]
        reading = asyncio.ensure_future(read(at, topic, 0, high))
        await asyncio.wait([reading], timeout=0.5)
        assert not reading.done()
        open_one.commit_transaction(20)
        assert values(await reading) == [b"before", b"within", b"after"]


@awaited
async def test_what_a_transaction_gave_up_is_not_seen(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        given_up = transactional(kafka)
        write(given_up, topic, [b"never"] * 10)
        given_up.abort_transaction(20)
        high = (await at.topics.highs(topic, [0]))[0]
        assert await read(at, topic, 0, high) == []
        assert await read(at, topic, high - 1, high) == []
        write(kafka, topic, [b"after"])
        later = (await at.topics.highs(topic, [0]))[0]
        assert values(await read(at, topic, 0, later)) == [b"after"]
        assert await read(at, topic, 0, later - 1) == []


@awaited
async def test_a_transaction_that_stays_open_is_an_error_in_the_end(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        open_one = transactional(kafka)
        write(open_one, topic, [b"within"])
        with pytest.raises(StorageError, match="a transaction may be open"):
            await read(at, topic, 0, 1, deadline=0.5)
        open_one.abort_transaction(20)


@awaited
async def test_what_retention_took_is_passed_over(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        write(kafka, topic, [b"%d" % n for n in range(100)])
        assert await at.topics.delete_before(topic, {0: 60})
        assert values(await read(at, topic, 0, 100)) == [b"%d" % n for n in range(60, 100)]
        assert await read(at, topic, 0, 50) == []
        assert await at.topics.delete_before(topic, {0: 100})
        assert await read(at, topic, 0, 100) == []


@awaited
async def test_merged_goes_by_the_records_times(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic(3)
        sender = producer(kafka)
        for n in range(300):
            sender.produce(topic, b"%d" % n, partition=n * 7 % 3, timestamp=1_000_000 + n)
        sender.flush(20)
        highs = await at.topics.highs(topic, range(3))
        stretches = {partition: Stretch(0, high) for partition, high in highs.items()}
        got = [message.value() async for message in at.reader.merged(topic, stretches)]
        assert got == [b"%d" % n for n in range(300)]


@awaited
async def test_a_merged_partition_far_ahead_waits_for_the_others(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic(2)
        sender = producer(kafka)
        # All of the first partition is later than all of the second.
        for n in range(400):
            sender.produce(topic, bytes(50_000), partition=0, timestamp=2_000_000 + n)
        for n in range(400):
            sender.produce(topic, bytes(50_000), partition=1, timestamp=1_000_000 + n)
        sender.flush(20)
        stretches = {0: Stretch(0, 400), 1: Stretch(0, 400)}
        got = [
            (message.partition(), message.offset())
            async for message in at.reader.merged(topic, stretches)
        ]
        assert got == [(1, n) for n in range(400)] + [(0, n) for n in range(400)]


@awaited
async def test_single_records_are_fetched_by_their_offsets(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic(2)
        for partition in (0, 1):
            write(kafka, topic, [b"%d" % n for n in range(3000)], partition)
        await at.topics.delete_before(topic, {1: 10})
        wanted = {0: [2999, 3, 4, 3, 1500], 1: [5, 10, 2000]}
        found = await at.reader.fetch(topic, wanted)
        assert {place: message.value() for place, message in found.items()} == {
            **{(0, n): b"%d" % n for n in (3, 4, 1500, 2999)},
            **{(1, n): b"%d" % n for n in (10, 2000)},
        }
        assert await at.reader.fetch(topic, {}) == {}


@awaited
async def test_one_that_is_given_up_leaves_the_reader_usable(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        write(kafka, topic, [b"%d" % n for n in range(2000)])
        batches = at.reader.batches(topic, {0: Stretch(0, 2000)})
        assert (await anext(batches))[0].value() == b"0"
        await batches.aclose()
        reading = asyncio.ensure_future(read(at, topic, 0, 2001))
        await asyncio.wait([reading], timeout=0.3)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert values(await read(at, topic, 1, 2)) == [b"1"]


@awaited
async def test_several_read_side_by_side(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        write(kafka, topic, [b"%d" % n for n in range(500)])
        read_ones = await asyncio.gather(*(read(at, topic, n, n + 100) for n in range(0, 400, 40)))
        assert [values(each)[0] for each in read_ones] == [b"%d" % n for n in range(0, 400, 40)]
        assert {len(each) for each in read_ones} == {100}


@awaited
async def test_closing_ends_what_is_read(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await at.new_topic()
        write(kafka, topic, [b"one"])
        suspended = at.reader.batches(topic, {0: Stretch(0, 2)})
        await anext(suspended)
        waiting = asyncio.ensure_future(read(at, topic, 0, 2))
        await asyncio.wait([waiting], timeout=0.3)
        began = time.monotonic()
        await at.reader.close()
        assert time.monotonic() - began < 3
        for ending in (waiting, anext(suspended)):
            with pytest.raises(StorageError, match="closed"):
                await ending
        with pytest.raises(StorageError, match="closed"):
            await read(at, topic, 0, 1)


@awaited
async def test_kafka_that_is_away_is_an_error_and_no_hindrance_to_closing() -> None:
    reader = TopicReader(KafkaSettings("localhost:1"), "test")
    with pytest.raises(StorageError, match="can't be reached"):
        async for _ in reader.batches("topic", {0: Stretch(0, 1)}, deadline=0.5):
            pass
    began = time.monotonic()
    await reader.close()
    assert time.monotonic() - began < 3
