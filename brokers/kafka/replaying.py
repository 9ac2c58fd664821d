"""Handing out again what is in the log: as fresh deliveries in the trigger's deliveries topic."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from brokers.kafka.delivery_records import decode_delivery, delivery_record, new_key
from brokers.kafka.messages import headers_of, place_of, value_of
from brokers.kafka.positions import position_of
from brokers.kafka.progress import decode
from brokers.kafka.routers import Routers
from brokers.kafka.subscription import KafkaSubscription
from brokers.kafka.topic_reader import Stretch, TopicReader
from brokers.kafka.topics import Topics
from brokers.kafka.transactions import OutRecord, Produced
from eventing.errors import InvalidEvent, UserError
from eventing.event import Event
from eventing.kafka_encoding import decode_record

PAGE_RECORDS = 500
PAGE_BYTES = 4 << 20
AT_ONCE = 100_000
"""Events; each takes some hundred bytes of the memory of the node that hands it out."""

Change = Callable[[Sequence[Produced]], Coroutine[Any, Any, None]]


class Home(Protocol):
    """What replaying needs of the broker."""

    topic: str
    routers: Routers
    reader: TopicReader
    topics: Topics


async def replay(
    home: Home,
    subscription: KafkaSubscription,
    stretches: Mapping[int, Stretch],
    change: Change,
) -> int:
    """Store what the filter accepts of the stretches, page by page, but for what is on its way
    anyway. Returns how many. Raises UserError, before it stores any, where they are more than may
    wait."""
    settled = {partition: await _settled(home, subscription, partition) for partition in stretches}
    accepts = partial(home.routers.current.accepts, subscription.name)
    found = partial(_found, home, stretches, settled, accepts)
    if sum(each.end - each.start for each in stretches.values()) > AT_ONCE:
        many = 0
        async for _ in found():
            many += 1
        if many > AT_ONCE:
            raise UserError(
                f"{many} events are more than the {AT_ONCE} that can be replayed at once over "
                "Kafka; replay a part of them, with --from and --to"
            )
    count = size = 0
    page: list[Produced] = []
    async for partition, offset, event in found():
        record = delivery_record(new_key(), event, position_of(partition, offset))
        page.append(OutRecord(subscription.deliveries, partition, *record))
        count += 1
        size += len(event.data or b"") + 256
        if len(page) >= PAGE_RECORDS or size >= PAGE_BYTES:
            await change(page)
            page, size = [], 0
    if page:
        await change(page)
    return count


async def _found(
    home: Home,
    stretches: Mapping[int, Stretch],
    settled: Mapping[int, Callable[[int], bool]],
    accepts: Callable[[Event], bool],
) -> AsyncIterator[tuple[int, int, Event]]:
    """Partition, offset and event of what is to be handed out again."""
    messages = home.reader.merged(home.topic, stretches)
    try:
        async for message in messages:
            partition, offset = place_of(message)
            if settled[partition](offset):
                try:
                    event = decode_record(headers_of(message), value_of(message))
                except InvalidEvent:
                    continue
                if accepts(event):
                    yield partition, offset, event
    finally:
        await messages.aclose()


async def _settled(
    home: Home, subscription: KafkaSubscription, partition: int
) -> Callable[[int], bool]:
    """Whether the trigger is through with the event at an offset: it is not on its way."""
    share = subscription.shares.get(partition)
    if share is not None and share.loaded:
        progress = share.now()
        end, open_offsets = progress.next, frozenset(progress.open)
        waiting = frozenset(share.waiting.positions)
    else:
        committed = await home.topics.group_offsets(subscription.group, home.topic)
        offset, metadata = committed.get(partition, (0, ""))
        found = decode(offset, metadata).progress
        end, open_offsets = found.next, frozenset(found.open)
        waiting = await _waiting(home, subscription.deliveries, partition)

    def is_settled(offset: int) -> bool:
        return (
            offset < end
            and offset not in open_offsets
            and position_of(partition, offset) not in waiting
        )

    return is_settled


async def _waiting(home: Home, deliveries: str, partition: int) -> frozenset[int]:
    """Positions that wait on another node, from the topic itself."""
    ends = await home.topics.highs(deliveries, [partition])
    found: dict[bytes | None, int] = {}
    batches = home.reader.batches(deliveries, {partition: Stretch(0, ends[partition])})
    try:
        async for batch in batches:
            for message in batch:
                found.pop(message.key(), None)
                if message.value() is not None:
                    try:
                        delivery, _ = decode_delivery(headers_of(message), value_of(message))
                    except InvalidEvent:
                        continue
                    found[message.key()] = delivery.position
    finally:
        await batches.aclose()
    return frozenset(found.values())
