"""The floor of an engine: its client library and nothing else, in a process of its own.

    python -m benchmarks.bare_clients kafka write localhost:9092 TOPIC 10000
    python -m benchmarks.bare_clients redis read redis://localhost:6379 STREAM 10000

Writes, or reads and acknowledges, so many measured events as fast as it can; a writer knows of
each whether it was stored. Prints the CPU
microseconds an event of this process with all its threads. A reader prints `ready` before.
"""

import sys
import time
import uuid
from collections.abc import Callable

from benchmarks.measured_event import DATA, entry_fields, ids, record_headers

BATCH = 100


def kafka_write(servers: str, topic: str, count: int) -> float:
    from confluent_kafka import KafkaError, Producer

    records = [record_headers(id) for id in ids(count)]
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "acks": "all"})
    producer.list_topics(topic, timeout=30)
    refused = 0

    def stored(error: KafkaError | None, message: object) -> None:
        nonlocal refused
        refused += error is not None

    began = time.process_time()
    for headers in records:
        while True:
            try:
                producer.produce(topic, DATA, headers=headers, on_delivery=stored)
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(60) or refused:
        raise RuntimeError("Kafka did not take all records within 60 s")
    return time.process_time() - began


def kafka_read(servers: str, topic: str, count: int) -> float:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"bare-{uuid.uuid4()}",
            "auto.offset.reset": "latest",
            "enable.auto.commit": False,
        }
    )
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    ends = [
        TopicPartition(topic, each, consumer.get_watermark_offsets(TopicPartition(topic, each))[1])
        for each in partitions
    ]
    consumer.assign(ends)
    _tell_ready()
    began, end = time.process_time(), time.monotonic() + 120
    while count > 0:
        messages = consumer.consume(BATCH, 1.0)
        for message in messages:
            message.headers()
            message.value()
        count -= len(messages)
        if messages:
            consumer.commit(asynchronous=False)
        elif time.monotonic() > end:
            raise TimeoutError(f"{count} records did not come within 120 s")
    cost = time.process_time() - began
    consumer.close()
    return cost


def redis_write(url: str, stream: str, count: int) -> float:
    import redis

    entries = [entry_fields(id) for id in ids(count)]
    client = redis.Redis.from_url(url)
    client.ping()
    began = time.process_time()
    for start in range(0, count, BATCH):
        with client.pipeline(transaction=False) as pipeline:
            for fields in entries[start : start + BATCH]:
                pipeline.xadd(stream, fields)
            pipeline.execute()
    return time.process_time() - began


def redis_read(url: str, stream: str, count: int) -> float:
    import redis

    group = f"bare-{uuid.uuid4()}"
    client = redis.Redis.from_url(url)
    client.xgroup_create(stream, group, "$", mkstream=True)
    _tell_ready()
    began, end = time.process_time(), time.monotonic() + 120
    while count > 0:
        if time.monotonic() > end:
            raise TimeoutError(f"{count} entries did not come within 120 s")
        for _, entries in client.xreadgroup(group, "bare", {stream: ">"}, BATCH, block=1000) or ():
            client.xack(stream, group, *(id for id, _ in entries))
            count -= len(entries)
    cost = time.process_time() - began
    client.xgroup_destroy(stream, group)
    return cost


def _tell_ready() -> None:
    print("ready", flush=True)


ROLES: dict[tuple[str, str], Callable[[str, str, int], float]] = {
    ("kafka", "write"): kafka_write,
    ("kafka", "read"): kafka_read,
    ("redis", "write"): redis_write,
    ("redis", "read"): redis_read,
}

if __name__ == "__main__":
    engine, role, address, place, number = sys.argv[1:]
    print(ROLES[engine, role](address, place, int(number)) / int(number) * 1e6)
