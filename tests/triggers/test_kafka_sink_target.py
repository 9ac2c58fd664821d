"""A Kafka topic as a target, over a real Kafka: what is written, and what is answered."""

import asyncio
import json
import shutil
import subprocess
import uuid

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka_properties import Access
from service_rule import unavailable

from brokers.kafka.settings import KafkaSettings, security_of
from eventing.event import Event
from eventing.kafka_encoding import decode_record
from functions.base import Call, Response
from triggers.kafka_sink_target import KafkaSinkTarget
from triggers.sink import KafkaSinkSettings

pytestmark = [pytest.mark.timeout(120)]

EVENT = Event(
    {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "t",
        "datacontenttype": "application/json",
        "partitionkey": "k",
        "name": "é",
    },
    b'{"n": 1}',
)


def topic_name() -> str:
    return f"sink-{uuid.uuid4().hex[:8]}"


def make(servers: str, topic: str, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for future in admin.create_topics([NewTopic(topic, 1, 1, config=config)]).values():
        future.result(30)


def read(servers: str, topic: str, count: int) -> list:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "none", "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        found = []
        while len(found) < count:
            found += consumer.consume(count - len(found), 30)
        return found
    finally:
        consumer.close()


async def answer(target: KafkaSinkTarget, event: Event = EVENT) -> Response:
    answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    target.submit(Call(event, 1, "default/t"), answered.set_result)
    return await asyncio.wait_for(answered, 30)


def settings(servers: str, topic: str, **more) -> KafkaSinkSettings:
    return KafkaSinkSettings(more.pop("kafka", KafkaSettings(servers)), topic, **more)


def sink(made: KafkaSinkSettings) -> KafkaSinkTarget:
    return KafkaSinkTarget("KafkaSink/default/s", made, client_id="test")


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_an_event_is_a_record_that_is_the_event_again(kafka: str, mode: str) -> None:
    topic = topic_name()
    make(kafka, topic)

    async def main() -> None:
        target = sink(settings(kafka, topic, mode=mode))
        assert (await answer(target)).status == 202
        assert target.fault is None and target.status()["stored"] == 1
        await target.close(5)

    asyncio.run(main())
    (record,) = read(kafka, topic, 1)
    headers = dict(record.headers())
    assert record.key() == b"k"
    if mode == "binary":
        assert headers["ce_type"] == b"t" and headers["content-type"] == b"application/json"
        assert record.value() == EVENT.data
        assert decode_record(record.headers(), record.value()) == EVENT
    else:
        assert headers == {"content-type": b"application/cloudevents+json"}
        document = json.loads(record.value())
        assert document["type"] == "t" and document["data"] == {"n": 1}
        found = decode_record(record.headers(), record.value())
        assert found.attributes == EVENT.attributes and json.loads(found.data) == {"n": 1}


def test_kcat_reads_what_was_written(kafka: str) -> None:
    if shutil.which("kcat") is None:
        unavailable("kcat is not installed: apt install kcat")
    topic = topic_name()
    make(kafka, topic)

    async def main() -> None:
        target = sink(settings(kafka, topic))
        assert (await answer(target)).status == 202
        await target.close(5)

    asyncio.run(main())
    read = subprocess.run(
        ["kcat", "-C", "-b", kafka, "-t", topic, "-e", "-q", "-f", "%k|%h|%s"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    key, headers, value = read.split("|")
    assert key == "k" and value == '{"n": 1}'
    assert {"ce_specversion=1.0", "ce_id=1", "ce_type=t"} <= set(headers.split(","))


def test_the_topic_is_made_where_it_is_told_how(kafka: str) -> None:
    topic = topic_name()
    made = settings(kafka, topic, kafka=KafkaSettings(kafka, partitions=3), makes_topic=True)

    async def main() -> None:
        target = sink(made)
        assert (await answer(target)).status == 202
        await target.close(5)

    asyncio.run(main())
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    assert len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 3


def test_a_missing_topic_is_a_reason_until_it_is_there(kafka: str, caplog) -> None:
    topic = topic_name()

    async def main() -> None:
        target = sink(settings(kafka, topic))
        first = await answer(target)
        assert first.status == 503 and topic in first.reason
        assert target.fault is not None and target.fault.reason == "TopicMissing"
        await asyncio.to_thread(make, kafka, topic)
        while (await answer(target)).status != 202:
            await asyncio.sleep(0.05)
        assert target.fault is None
        await target.close(5)

    asyncio.run(main())
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1


def test_what_the_topic_never_takes_is_answered_413(kafka: str) -> None:
    topic = topic_name()
    make(kafka, topic, **{"max.message.bytes": "1000"})

    async def main() -> None:
        target = sink(settings(kafka, topic))
        large = Event(EVENT.attributes, bytes(5000))
        assert (await answer(target, large)).status == 413
        assert (await answer(target)).status == 202
        await target.close(5)

    asyncio.run(main())


def test_an_event_that_is_none_is_not_sent(kafka: str) -> None:
    topic = topic_name()
    make(kafka, topic)

    async def main() -> None:
        target = sink(settings(kafka, topic))
        await answer(target)
        refused = await answer(target, Event({**EVENT.attributes, "name": "\ud800"}))
        assert refused.status == 500 and "surrogate" in refused.reason
        await target.close(5)

    asyncio.run(main())


def test_wrong_credentials_are_told_without_them(start_kafka, caplog) -> None:
    server = start_kafka(access=Access({"ann": "right"}))
    secret = {"protocol": b"SASL_PLAINTEXT", "user": b"ann", "password": b"mistaken"}
    wrong = KafkaSettings(server.bootstrap_servers, security_of(secret))

    async def main() -> None:
        target = sink(settings("", "orders", kafka=wrong))
        told = await answer(target)
        assert told.status == 503 and "mistaken" not in told.reason
        assert target.fault is not None and target.fault.reason == "AuthenticationFailed"
        await target.close(1)

    asyncio.run(main())
    assert "mistaken" not in caplog.text


def test_kafka_away_and_back(start_kafka) -> None:
    server = start_kafka()
    make(server.bootstrap_servers, "orders")

    async def main() -> None:
        target = sink(settings(server.bootstrap_servers, "orders"))
        assert (await answer(target)).status == 202
        await asyncio.to_thread(server.stop)
        assert (await answer(target)).status == 503
        while target.fault is None:
            await asyncio.sleep(0.05)
        assert target.fault.reason == "EngineUnreachable"
        began = asyncio.get_running_loop().time()
        assert (await answer(target)).status == 503
        assert asyncio.get_running_loop().time() - began < 1, "it is known by now"
        await asyncio.to_thread(server.start)
        while (await answer(target)).status != 202:
            await asyncio.sleep(0.05)
        await target.close(5)
        assert (await answer(target)).status == 503

    asyncio.run(main())
