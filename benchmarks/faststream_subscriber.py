"""A FastStream subscriber that takes the measured event, beside which the node is measured.

    python -m benchmarks.faststream_subscriber kafka localhost:9092 TOPIC 10000
    python -m benchmarks.faststream_subscriber kafka-default localhost:9092 TOPIC 10000
    python -m benchmarks.faststream_subscriber redis redis://localhost:6379 STREAM 10000

The handler is the node's: JSON in, nothing out. Each message is acknowledged once it is handled;
with `kafka-default` as FastStream does it unless told otherwise: by time, handled or not. Prints
`ready`, then the CPU microseconds a message of this process with all its threads.
"""

import asyncio
import logging
import sys
import time
import uuid
from typing import Any

import uvloop

from benchmarks.measured_event import DATA, TYPE


def kafka_broker(servers: str, topic: str, handler: Any) -> Any:
    from faststream import AckPolicy

    return _kafka_broker(servers, topic, handler, AckPolicy.NACK_ON_ERROR)


def kafka_broker_by_default(servers: str, topic: str, handler: Any) -> Any:
    from faststream import AckPolicy

    return _kafka_broker(servers, topic, handler, AckPolicy.ACK_FIRST)


def _kafka_broker(servers: str, topic: str, handler: Any, policy: Any) -> Any:
    from faststream.kafka import KafkaBroker

    broker = KafkaBroker(servers, logger=None)
    group = f"faststream-{uuid.uuid4()}"
    broker.subscriber(
        topic, group_id=group, auto_offset_reset="earliest", ack_policy=policy, no_reply=True
    )(handler)
    return broker


def redis_broker(url: str, stream: str, handler: Any) -> Any:
    from faststream.redis import RedisBroker, StreamSub

    broker = RedisBroker(url, logger=None)
    group = f"faststream-{uuid.uuid4()}"
    sub = StreamSub(stream, group=group, consumer="one", last_id="$", max_records=100)
    broker.subscriber(stream=sub, no_reply=True)(handler)
    return broker


BROKERS = {
    "kafka": kafka_broker,
    "kafka-default": kafka_broker_by_default,
    "redis": redis_broker,
}


async def subscribe(engine: str, address: str, place: str, count: int) -> float:
    """CPU seconds from the first message to the last."""
    over: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    left = count
    began = 0.0

    async def handle(order: dict[str, Any]) -> None:
        nonlocal left, began
        if left == count:
            began = time.process_time()
        left -= 1
        if left == 0:
            over.set_result(time.process_time() - began)

    broker = BROKERS[engine](address, place, handle)
    await broker.start()
    try:
        print("ready", flush=True)
        return await asyncio.wait_for(over, 180)
    finally:
        await broker.stop()


async def publish(url: str, stream: str, count: int) -> None:
    """Redis alone: FastStream wraps what it sends there in a format of its own."""
    from faststream.redis import RedisBroker

    async with RedisBroker(url, logger=None) as broker:
        for _ in range(0, count, 100):
            await asyncio.gather(
                *(
                    broker.publish(DATA, stream=stream, headers={"ce_type": TYPE})
                    for _ in range(100)
                )
            )


if __name__ == "__main__":
    logging.disable()
    engine, address, place, number = sys.argv[1:]
    if engine == "publish":
        uvloop.run(publish(address, place, int(number)))
    else:
        print(uvloop.run(subscribe(engine, address, place, int(number))) / int(number) * 1e6)
