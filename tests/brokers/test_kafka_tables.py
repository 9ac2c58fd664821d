"""Tables in compacted topics: what every node that reads them sees, and when."""

import asyncio

import pytest
from broker_contract import awaited
from kafka_records import Clients, clients, transactional, write

from brokers.base import Failure
from brokers.kafka.compacted_topic import CompactedTopic
from brokers.kafka.dead_letter_records import drop_record, letter_record, unreadable_key
from brokers.kafka.dead_letter_topic import DeadLetterTopic, dead_letter_topic
from brokers.kafka.kept_event import Record
from brokers.kafka.registry import Registry, registry_topic, removal_record, subscription_record
from brokers.kafka.topics import Topic
from eventing.errors import StorageError
from eventing.event import Event

FAILURE = Failure("http://subscriber/", 503, "503 Service Unavailable", b"busy\xff")


def event(id: str, data: bytes | None = b"{}") -> Event:
    return Event({"specversion": "1.0", "id": id, "source": "/test", "type": "order"}, data)


def letter(key: bytes, trigger: str, id: str, data: bytes | None = b"{}") -> Record:
    return letter_record(key, trigger, event(id, data), FAILURE, attempts=3, at=12.5, position=42)


async def new_registry(at: Clients) -> Topic:
    topic = registry_topic(await at.new_topic(), 1)
    await at.topics.ensure([topic])
    return topic


async def new_letters(at: Clients) -> str:
    topic = dead_letter_topic(await at.new_topic(), 1)
    await at.topics.ensure([topic])
    return topic.name


async def made_anew(at: Clients, topic: Topic) -> None:
    await at.topics.delete([topic.name])
    with pytest.raises(StorageError, match="has no such topic"):
        while True:
            await at.topics.partitions(topic.name)
            await asyncio.sleep(0.05)
    await at.topics.ensure([topic])


async def ids(letters: DeadLetterTopic, trigger: str | None = None, **options: int) -> list[str]:
    page = await letters.page(trigger, **options)
    return [each.event.attributes["id"] for each in page]


@awaited
async def test_two_readers_see_each_others_subscriptions(kafka: str) -> None:
    async with clients(kafka) as one, clients(kafka) as another:
        topic = (await new_registry(one)).name
        first = Registry(one.topics, one.reader, topic)
        second = Registry(another.topics, another.reader, topic)
        await first.refresh()
        assert first.known() == {}
        write(kafka, topic, [subscription_record("ä", {"order": "ordered", "start": [1, 2]})])
        write(kafka, topic, [subscription_record("b", {})])
        for registry in (first, second):
            await registry.refresh()
            assert registry.known() == {"ä": {"order": "ordered", "start": [1, 2]}, "b": {}}
        write(kafka, topic, [subscription_record("c", {"version": 2}), removal_record("ä")])
        for registry in (first, second):
            await registry.refresh()
            assert registry.known() == {"b": {}, "c": {"version": 2}}


@awaited
async def test_a_subscription_is_what_its_first_record_says_until_it_is_removed(
    kafka: str,
) -> None:
    async with clients(kafka) as at:
        topic = (await new_registry(at)).name
        registry = Registry(at.topics, at.reader, topic)
        write(kafka, topic, [subscription_record("a", {"n": n}) for n in (1, 2)])
        await registry.refresh()
        assert registry.known() == {"a": {"n": 1}}
        write(kafka, topic, [removal_record("a"), subscription_record("a", {"n": 3})])
        await registry.refresh()
        assert registry.known() == {"a": {"n": 3}}


@awaited
async def test_a_subscription_record_that_is_none_is_passed_over(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = (await new_registry(at)).name
        registry = Registry(at.topics, at.reader, topic)
        write(
            kafka,
            topic,
            [
                (b"a", [], b"{no json"),
                (b"b", [], b"[1]"),
                (b"\xff", [], b"{}"),
                (b"\xff", [], None),
                subscription_record("c", {}),
            ],
        )
        await registry.refresh()
        assert registry.known() == {"c": {}}


@awaited
async def test_what_a_transaction_committed_is_seen_and_what_it_gave_up_is_not(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = (await new_registry(at)).name
        registry = Registry(at.topics, at.reader, topic)
        sender = transactional(kafka)
        for number in range(10):
            if number:
                sender.begin_transaction()
            write(sender, topic, [subscription_record(f"committed-{number}", {})])
            sender.commit_transaction(20)
            await registry.refresh()
            assert f"committed-{number}" in registry.known()
        sender.begin_transaction()
        write(sender, topic, [subscription_record("given-up", {})])
        sender.abort_transaction(20)
        await registry.refresh()
        assert "given-up" not in registry.known()


@awaited
async def test_a_topic_made_anew_is_read_from_its_start(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await new_registry(at)
        registry = Registry(at.topics, at.reader, topic.name)
        write(kafka, topic.name, [subscription_record("old", {})])
        await registry.refresh()
        assert registry.known() == {"old": {}}
        await made_anew(at, topic)
        # More records than there were: the offsets alone would tell nothing.
        write(kafka, topic.name, [subscription_record(f"new-{n}", {}) for n in range(3)])
        await registry.refresh()
        assert set(registry.known()) == {"new-0", "new-1", "new-2"}


@awaited
async def test_a_topic_that_is_gone_is_an_error(kafka: str) -> None:
    async with clients(kafka) as at:
        registry = Registry(at.topics, at.reader, "topic-that-never-was")
        with pytest.raises(StorageError, match="has no such topic") as raised:
            await registry.refresh()
        assert raised.value.reason == "TopicMissing"


@awaited
async def test_refreshed_by_many_at_once_each_record_is_applied_once(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = (await new_registry(at)).name
        applied: list[object] = []
        table = CompactedTopic(
            at.topics, at.reader, topic, lambda each: applied.append(each.value()), applied.clear
        )
        write(kafka, topic, [(b"%d" % n, [], b"%d" % n) for n in range(50)])
        await asyncio.gather(*(table.refresh() for _ in range(5)))
        assert applied == [b"%d" % n for n in range(50)]


@awaited
async def test_a_table_may_begin_with_what_is_recent(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = (await new_registry(at)).name
        sender = transactional(kafka)
        sender.produce(topic, b"old", b"a", 0, timestamp=1_000_000)
        sender.produce(topic, b"new", b"b", 0)
        sender.commit_transaction(20)
        applied: list[object] = []
        table = CompactedTopic(
            at.topics,
            at.reader,
            topic,
            lambda each: applied.append(each.value()),
            applied.clear,
            recent=60,
        )
        await table.refresh()
        assert applied == [b"new"]


@awaited
async def test_two_readers_see_the_same_dead_letters(kafka: str) -> None:
    async with clients(kafka) as one, clients(kafka) as another:
        topic = await new_letters(one)
        first = DeadLetterTopic(one.topics, one.reader, topic)
        second = DeadLetterTopic(another.topics, another.reader, topic)
        assert await first.page() == []
        write(kafka, topic, [letter(b"k1", "a", "1"), letter(b"k2", "b", "2", None)])
        write(kafka, topic, [letter(b"k3", "a", "3", b"")])
        page = await first.page()
        assert page == await second.page()
        assert [each.id for each in page] == [1, 2, 3]
        assert [each.event.data for each in page] == [b"{}", None, b""]
        assert {each.failure for each in page} == {FAILURE}
        assert {(each.attempts, each.at, each.position) for each in page} == {(3, 12.5, 42)}
        assert first.counts() == second.counts() == {"a": 2, "b": 1}
        assert await ids(first, "a") == ["1", "3"]
        assert await ids(first, after=1, limit=1) == ["2"]
        assert await ids(first, after=3) == []
        assert await second.fetch(2) == page[1]
        assert first.key_of(2) == b"k2"


@awaited
async def test_a_dropped_letter_is_gone_everywhere(kafka: str) -> None:
    async with clients(kafka) as one, clients(kafka) as another:
        topic = await new_letters(one)
        first = DeadLetterTopic(one.topics, one.reader, topic)
        second = DeadLetterTopic(another.topics, another.reader, topic)
        write(kafka, topic, [letter(b"k1", "a", "1"), letter(b"k2", "a", "2")])
        assert await ids(first) == await ids(second) == ["1", "2"]
        write(kafka, topic, [drop_record(b"k1"), drop_record(b"unknown")])
        for letters in (first, second):
            assert await letters.fetch(1) is None
            assert letters.key_of(1) is None
            assert letters.counts() == {"a": 1}
            assert await ids(letters) == ["2"]
        assert await first.fetch(99) is None


@awaited
async def test_a_letter_that_two_nodes_wrote_is_one_whose_ids_both_find_it(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await new_letters(at)
        letters = DeadLetterTopic(at.topics, at.reader, topic)
        twice = letter(unreadable_key(0, 7), "", "unreadable")
        write(kafka, topic, [twice, letter(b"k", "a", "between"), twice])
        assert [each.id for each in await letters.page()] == [2, 3]
        assert letters.counts() == {"": 1, "a": 1}
        for id in (1, 3):
            found = await letters.fetch(id)
            assert found is not None
            assert (found.id, letters.key_of(id)) == (3, unreadable_key(0, 7))
        write(kafka, topic, [drop_record(unreadable_key(0, 7))])
        assert await ids(letters) == ["between"]
        assert letters.key_of(1) is letters.key_of(3) is None


@awaited
async def test_a_record_that_is_no_letter_is_passed_over(kafka: str) -> None:
    async with clients(kafka) as at:
        topic = await new_letters(at)
        letters = DeadLetterTopic(at.topics, at.reader, topic)
        key, headers, value = letter(b"k2", "a", "2")
        lacking = [each for each in headers if each[0] != "eventing_at"]
        write(kafka, topic, [(b"k1", [], b"{}"), (key, lacking, value), letter(b"k3", "a", "3")])
        assert await ids(letters) == ["3"]
        assert await ids(letters, limit=1) == ["3"]
        assert letters.counts() == {"a": 1}


@awaited
async def test_a_letter_finds_room_for_any_event_its_broker_takes(kafka: str) -> None:
    async with clients(kafka) as at:
        options = dead_letter_topic(await at.new_topic(), 1).options
        assert int(options["segment.bytes"]) > int(options["max.message.bytes"]) > 16 << 20
        assert options["cleanup.policy"] == "compact"
