"""The KafkaSource over a real Kafka: what it promises of records, order, offsets and faults."""

import asyncio
import json

import pytest
from source_harness import (
    SOURCE,
    Sink,
    committed,
    embedded_broker,
    eventually,
    kafka_source,
    make_topic,
    new_topic,
    outlet_into,
    outlet_to,
    produce,
    running,
)

from brokers.kafka.settings import KafkaSettings, security_of
from functions.base import Response

pytestmark = [pytest.mark.timeout(180)]


def test_plain_records_become_events_and_cloudevents_pass(kafka: str) -> None:
    topic = new_topic(kafka)
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_source", b"/s"), ("ce_type", b"t")]
    structured = {"specversion": "1.0", "id": "8", "source": "/s", "type": "t", "data": {"n": 1}}
    produce(kafka, topic, b"tea", key="k", headers=[("Trace-ID", b"x")])
    produce(kafka, topic, b"whole", headers=headers)
    produce(
        kafka,
        topic,
        json.dumps(structured).encode(),
        headers=[("content-type", b"application/cloudevents+json")],
    )
    produce(kafka, topic, None, key="gone")

    async def main() -> list:
        sink = Sink()
        async with running(kafka_source(kafka, topic, outlet_to(sink))):
            await eventually(lambda: len(sink.events) == 4, "all came")
        return sink.events

    plain, binary, json_event, tombstone = asyncio.run(main())
    assert plain.attributes["type"] == "dev.knative.kafka.event"
    assert plain.attributes["source"] == f"{SOURCE}#{topic}"
    assert plain.attributes["id"] == "partition:0/offset:0"
    assert plain.attributes["key"] == plain.attributes["partitionkey"] == "k"
    assert plain.attributes["kafkaheadertraceid"] == "x"
    assert plain.data == b"tea"
    assert (binary.attributes["id"], binary.attributes["type"], binary.data) == ("7", "t", b"whole")
    assert binary.attributes["knativekafkaoffset"] == "1"
    assert (json_event.attributes["id"], json.loads(json_event.data)) == ("8", {"n": 1})
    assert tombstone.data is None and tombstone.attributes["key"] == "gone"


def test_what_can_not_become_an_event_is_kept_and_the_others_go_on(kafka: str, tmp_path) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, b"before")
    produce(kafka, topic, b"poison", headers=[("ce_specversion", b"1.0"), ("ce_id", b"1")])
    produce(kafka, topic, b"after")

    async def main() -> tuple:
        async with embedded_broker(tmp_path) as broker:
            async with running(kafka_source(kafka, topic, outlet_into(broker))) as source:
                await eventually(lambda: broker.head == 2, "the others are in the log")
                assert source.status()["unreadable"] == 1
            stored = [each.event.data async for each in broker.read()]
            letters = await broker.dead_letters()
            assert await broker.redrive(letters[0].id)
            assert await broker.dead_letters() == []
            return stored, letters, [each.event.data async for each in broker.read()]

    stored, letters, redriven = asyncio.run(main())
    assert stored == [b"before", b"after"]
    (letter,) = letters
    attributes = letter.event.attributes
    assert attributes["type"] == "dev.eventing.record.unreadable"
    assert (attributes["topic"], attributes["partition"], attributes["offset"]) == (topic, "0", "1")
    assert "ce_source" in attributes["reason"] and "ce_source" in letter.failure.reason
    assert letter.event.data == b"poison" and letter.trigger == ""
    assert redriven[-1] == b"poison"
    assert committed(kafka, f"group-{topic}", topic) == 3


def test_a_record_that_is_no_event_goes_to_the_dead_letter_sink(kafka: str) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, b"poison", headers=[("ce_specversion", b"1.0")])
    produce(kafka, topic, b"after")

    async def main() -> tuple:
        sink, dead = Sink(), Sink()
        async with running(kafka_source(kafka, topic, outlet_to(sink, dead_letters=dead))):
            await eventually(lambda: sink.events and dead.events, "both came")
        return sink.data, dead.events

    data, (dead,) = asyncio.run(main())
    assert data == [b"after"]
    assert dead.attributes["knativeerrorcode"] == "422" and dead.attributes["topic"] == topic


@pytest.mark.parametrize("ordered", [True, False])
def test_offsets_never_pass_an_unsettled_record(kafka: str, ordered: bool) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, b"0", b"stuck", b"2", b"3")
    group = f"group-{topic}"

    async def first() -> list:
        sink = Sink(lambda event: None if event.data == b"stuck" else Response(202))
        source = kafka_source(kafka, topic, outlet_to(sink), ordered=ordered)
        expected = 2 if ordered else 4
        await eventually(lambda: len(sink.events) == expected, "all that may be begun is")
        await eventually(lambda: committed(kafka, group, topic) == 1, "what is before is committed")
        # Ended without the one that is out, as a kill would.
        assert not await source.stop(0.0)
        return sink.data

    async def second() -> list:
        sink = Sink()
        async with running(kafka_source(kafka, topic, outlet_to(sink), ordered=ordered)):
            await eventually(lambda: b"3" in sink.data, "the rest came")
        return sink.data

    seen = asyncio.run(first())
    assert committed(kafka, group, topic) == 1
    again = asyncio.run(second())
    assert again[0] == b"stuck"
    assert {*seen, *again} == {b"0", b"stuck", b"2", b"3"}
    assert committed(kafka, group, topic) == 4


def test_ordered_keeps_the_order_under_a_record_that_fails(kafka: str) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, *(str(n).encode() for n in range(20)))

    async def main() -> list:
        failures = iter(range(3))
        taken = []

        def answer(event):
            if event.data == b"5" and next(failures, None) is not None:
                return Response(500)
            taken.append(event.data)
            return Response(202)

        async with running(kafka_source(kafka, topic, outlet_to(Sink(answer)))):
            await eventually(lambda: len(taken) == 20, "all were taken")
        return taken

    assert asyncio.run(main()) == [str(n).encode() for n in range(20)]


def test_what_the_sink_refuses_for_good_goes_on_to_the_dead_letter_sink(kafka: str) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, b"bad", b"good")

    async def main() -> tuple:
        sink = Sink(lambda event: Response(400 if event.data == b"bad" else 202))
        dead = Sink()
        async with running(kafka_source(kafka, topic, outlet_to(sink, dead_letters=dead))):
            await eventually(lambda: len(sink.events) == 2 and dead.events, "both are settled")
        return sink.data, dead.events[0].attributes

    data, attributes = asyncio.run(main())
    assert data == [b"bad", b"good"] and attributes["knativeerrorcode"] == "400"


def test_latest_begins_with_what_comes_after_it_was_first_there(kafka: str) -> None:
    topic = new_topic(kafka, 3)
    produce(kafka, topic, *(b"old" for _ in range(9)))

    async def main() -> list:
        sink = Sink()
        async with running(kafka_source(kafka, topic, outlet_to(sink), earliest=False)) as source:
            await eventually(lambda: source.status()["partitions"] == 3, "it has its partitions")
        # Nothing was read yet; what comes while it is away is not passed over.
        produce(kafka, topic, *(b"new" for _ in range(9)))
        async with running(kafka_source(kafka, topic, outlet_to(sink), earliest=False)):
            await eventually(lambda: len(sink.events) >= 9, "the new ones came")
        return sink.data

    assert asyncio.run(main()) == [b"new"] * 9


def test_a_slow_sink_holds_the_consumer_and_nothing_is_lost(kafka: str, monkeypatch) -> None:
    monkeypatch.setattr("eventing.sources.kafka_consumer.MOST_RECORDS", 50)
    topic = new_topic(kafka, 2)
    produce(kafka, topic, *(b"%d" % n for n in range(1000)))

    async def main() -> None:
        sink = Sink(lambda event: None)
        source = kafka_source(kafka, topic, outlet_to(sink), ordered=False)
        async with running(source):
            await eventually(lambda: sink.held, "it began")
            consumer = source._consumer
            await eventually(lambda: len(consumer._paused) == 2, "it pauses")
            assert consumer._handed <= 50 + 500
            while len({*sink.data}) < 1000:
                sink.release()
                await asyncio.sleep(0.01)
            await eventually(lambda: not sink.held or sink.release(), "all are answered")
        assert sorted(map(int, sink.data)) == list(range(1000)), "and none twice"

    asyncio.run(main())
    assert sum(committed(kafka, f"group-{topic}", topic, each) for each in (0, 1)) == 1000


def test_two_share_the_partitions_and_one_takes_over_from_the_other(kafka: str) -> None:
    topic = new_topic(kafka, 4)

    async def main() -> None:
        sinks = Sink(), Sink()
        one = kafka_source(kafka, topic, outlet_to(sinks[0]), client_id="one")
        await eventually(lambda: one.status()["partitions"] == 4, "it has all")
        two = kafka_source(kafka, topic, outlet_to(sinks[1]), client_id="two")
        await eventually(
            lambda: [one.status()["partitions"], two.status()["partitions"]] == [2, 2],
            "each has half",
        )
        for n in range(40):
            produce(kafka, topic, b"%d" % n, partition=n % 4)
        await eventually(lambda: sum(len(sink.events) for sink in sinks) == 40, "all came")
        assert all(sink.events for sink in sinks)
        assert {*sinks[0].data, *sinks[1].data} == {b"%d" % n for n in range(40)}
        assert await one.stop(5.0)
        await eventually(lambda: two.status()["partitions"] == 4, "the other has all")
        produce(kafka, topic, b"last", partition=0)
        produce(kafka, topic, b"last", partition=3)
        await eventually(lambda: sinks[1].data.count(b"last") == 2, "it takes over")
        assert await two.stop(5.0)

    asyncio.run(main())


def test_a_topic_that_is_missing_is_told_and_awaited(kafka: str, caplog) -> None:
    async def main() -> None:
        sink = Sink()
        async with running(kafka_source(kafka, "never-made-so-far", outlet_to(sink))) as source:
            await eventually(lambda: source.fault, "it says so")
            assert source.fault.reason == "TopicMissing"
            assert "never-made-so-far" in source.fault.message
            make_topic(kafka, "never-made-so-far")
            produce(kafka, "never-made-so-far", b"1")
            await eventually(lambda: sink.events, "it goes on")
            assert source.fault is None

    asyncio.run(main())
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1


def test_wrong_credentials_are_told_without_them(start_kafka, caplog) -> None:
    from kafka_properties import Access

    server = start_kafka(access=Access({"ann": "right"}))
    secret = {"protocol": b"SASL_PLAINTEXT", "user": b"ann", "password": b"mistaken"}
    settings = KafkaSettings(server.bootstrap_servers, security_of(secret))

    async def main() -> None:
        async with running(
            kafka_source(server.bootstrap_servers, "orders", outlet_to(Sink()), kafka=settings)
        ) as source:
            await eventually(lambda: source.fault, "it says so")
            assert source.fault.reason == "AuthenticationFailed"
            assert "mistaken" not in source.fault.message

    asyncio.run(main())
    assert "mistaken" not in caplog.text and "mistaken" not in repr(settings)


def test_kafka_away_at_first_and_later(start_kafka, caplog) -> None:
    server = start_kafka()
    topic = new_topic(server.bootstrap_servers)
    server.stop()

    async def main() -> None:
        sink = Sink()
        async with running(
            kafka_source(server.bootstrap_servers, topic, outlet_to(sink))
        ) as source:
            await eventually(lambda: source.fault, "it says so")
            assert source.fault.reason == "EngineUnreachable"
            await asyncio.to_thread(server.start)
            await asyncio.to_thread(produce, server.bootstrap_servers, topic, b"1")
            await eventually(lambda: sink.data == [b"1"], "it goes on")
            assert source.fault is None
            await asyncio.to_thread(server.stop)
            await eventually(lambda: source.fault, "it says so again")
            await asyncio.to_thread(server.start)
            await asyncio.to_thread(produce, server.bootstrap_servers, topic, b"2")
            await eventually(lambda: b"2" in sink.data, "it goes on again")
            await eventually(lambda: source.fault is None, "and is well")

    asyncio.run(main())
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 2


def test_it_ends_in_bounded_time_while_kafka_is_away(start_kafka) -> None:
    server = start_kafka()
    topic = new_topic(server.bootstrap_servers)

    async def main() -> float:
        sink = Sink()
        source = kafka_source(server.bootstrap_servers, topic, outlet_to(sink))
        await asyncio.to_thread(produce, server.bootstrap_servers, topic, b"1")
        await eventually(lambda: sink.events, "it runs")
        await asyncio.to_thread(server.kill)
        began = asyncio.get_running_loop().time()
        await source.stop(1.0)
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(main()) < 10


def test_a_topic_added_to_a_group_at_work_begins_with_what_comes_next(kafka: str) -> None:
    first, second = new_topic(kafka), new_topic(kafka)
    produce(kafka, second, b"old")

    async def main() -> list:
        sinks = Sink(), Sink()
        one = kafka_source(kafka, first, outlet_to(sinks[0]), earliest=False)
        await eventually(lambda: one.status()["partitions"] == 1, "it has its partition")
        two = kafka_source(
            kafka, first, outlet_to(sinks[1]), topics=(first, second), earliest=False
        )
        await eventually(lambda: two.status()["partitions"], "the other has the new one")
        produce(kafka, second, b"new")
        await eventually(lambda: sinks[1].events, "it came")
        for each in (one, two):
            await each.stop(5.0)
        return sinks[1].data

    assert asyncio.run(main()) == [b"new"]


def test_one_that_is_paused_takes_nothing(kafka: str) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, b"1")

    async def main() -> None:
        sink = Sink()
        async with running(kafka_source(kafka, topic, outlet_to(sink), paused=True)) as source:
            await asyncio.sleep(0)
            assert source.status()["state"] == "paused" and source.fault is None
        assert sink.events == []

    asyncio.run(main())


def test_over_tls_with_a_user(start_kafka) -> None:
    from certificates import Authority
    from kafka_properties import Access

    authority = Authority()
    access = Access({"ann": "right"}, pem=authority.issue().both)
    server = start_kafka(access=access)
    topic = new_topic(server.inside_servers)
    produce(server.inside_servers, topic, b"1")
    secret = {"protocol": b"SASL_SSL", "user": b"ann", "password": b"right"}

    async def run(ca: str) -> tuple:
        settings = KafkaSettings(
            server.bootstrap_servers, security_of({**secret, "ca.crt": ca.encode()})
        )
        sink = Sink()
        async with running(kafka_source("", topic, outlet_to(sink), kafka=settings)) as source:
            await eventually(lambda: sink.events or source.fault, "one of both")
            return sink.data, source.fault

    assert asyncio.run(run(authority.ca)) == ([b"1"], None)
    _, fault = asyncio.run(run(Authority().ca))
    assert fault is not None and fault.reason == "AuthenticationFailed"
    _, fault = asyncio.run(run("no certificate"))
    assert fault is not None and "settings" in fault.message
